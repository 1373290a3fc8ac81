#!/usr/bin/env node
// Tells the cluster where a service is, and you which services there are, as they come and go.
//
//     ./services.mjs web 10.0.0.7:80 --bind 127.0.0.1:9000
//     ./services.mjs mail 10.0.0.8:25 --bind 127.0.0.1:9001 --seed 127.0.0.1:9000
//
// What follows the name and the address are options of `grapevine agent`. It leaves at the end of its input and on
// Ctrl-C. The variable GRAPEVINE may hold the path of the program.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const LIFE = 10_000; // milliseconds: a service that nobody renews is gone after it
const GONE = new Set(["delete", "expire", "peer_failed", "peer_left", "missed"]);

/** A node of the cluster: `grapevine agent --stdio` as a child process. */
class Agent {
  #child;
  #lastId = 0;
  #replies = new Map();

  constructor(options, onEvent) {
    const program = process.env.GRAPEVINE || "grapevine";
    this.#child = spawn(program, ["agent", "--stdio", ...options], { stdio: ["pipe", "pipe", "inherit"] });
    this.#child.stdin.on("error", () => {}); // `ended` says why
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#take(JSON.parse(line), onEvent));
    /** Resolves to the exit status and the signal, once the agent has ended; rejects if it cannot be run. */
    this.ended = once(this.#child, "close").catch((error) => {
      throw new Error(`cannot run ${program}: ${error.message}; put it on the PATH, or its path into GRAPEVINE`);
    });
    const rejectAll = (error) => this.#replies.forEach(({ reject }) => reject(error));
    this.ended.then(() => rejectAll(new Error("the agent has ended")), rejectAll);
  }

  /** Asks the agent; resolves to the reply. */
  request(name, fields) {
    const id = ++this.#lastId;
    this.#child.stdin.write(JSON.stringify({ id, do: name, ...fields }) + "\n");
    return new Promise((resolve, reject) => this.#replies.set(id, { resolve, reject }));
  }

  /** Has the agent tell the others and end, which the end of its input does. */
  leave() {
    this.#child.stdin.end();
  }

  #take(message, onEvent) {
    if ("event" in message) return onEvent(message);
    const { resolve, reject } = this.#replies.get(message.id);
    this.#replies.delete(message.id);
    return "error" in message ? reject(new Error(message.error.message)) : resolve(message);
  }
}

const services = new Map(); // JSON of [peer, key] -> address

function tell({ event, peer, key, value }) {
  const entry = JSON.stringify([peer, key]);
  if (event === "ready") {
    console.log(`${peer} is up`);
  } else if (event === "update" && key.startsWith("service/") && services.get(entry) !== value) {
    services.set(entry, value);
    console.log(`${peer} has ${key} at ${value}`);
  } else if (GONE.has(event)) {
    // An event without a key is about all of a peer, one without a peer about all: who is still there renews soon.
    for (const entry of services.keys()) {
      const [itsPeer, itsKey] = JSON.parse(entry);
      if ((peer ?? itsPeer) !== itsPeer || (key ?? itsKey) !== itsKey) continue;
      services.delete(entry);
      console.log(`${itsPeer} has ${itsKey} no more`);
    }
  }
}

function fail(problem) {
  console.error(problem);
  process.exit(1);
}

const [name, address, ...options] = process.argv.slice(2);
if (address === undefined) fail("usage: services.mjs NAME ADDRESS [OPTION OF GRAPEVINE AGENT]...");
const agent = new Agent(options, tell);
let leaving = false;

/** Also renews it. */
function register() {
  const entry = { key: `service/${name}`, value: address, ttl_ms: LIFE };
  agent.request("set", entry).catch((error) => leaving || fail(`cannot register ${name}: ${error.message}`));
}

function leave() {
  leaving = true;
  clearInterval(renewal);
  agent.leave();
}

register();
const renewal = setInterval(register, LIFE / 3);
process.stdin.on("end", leave).resume();
process.once("SIGINT", leave); // a second one ends this at once, as it does the agent
const [status, signal] = await agent.ended.catch((error) => fail(error.message));
if (status !== 0 && signal !== "SIGINT") fail(`the agent ended with ${signal ?? `status ${status}`}`);
process.exit();
