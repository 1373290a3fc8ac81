#!/usr/bin/env python3
"""Tells the cluster where a service is, and you which services there are, as they come and go.

    ./services.py web 10.0.0.7:80 --bind 127.0.0.1:9000
    ./services.py mail 10.0.0.8:25 --bind 127.0.0.1:9001 --seed 127.0.0.1:9000

What follows the name and the address are options of `grapevine agent`. It leaves at the end of its input and on Ctrl-C.
The variable GRAPEVINE may hold the path of the program.
"""
import contextlib, itertools, json, os, select, signal, subprocess, sys, threading
from concurrent.futures import Future

LIFE = 10  # seconds: a service that nobody renews is gone after it
GONE = {"delete", "expire", "peer_failed", "peer_left", "missed"}


class Agent:
    """A node of the cluster: `grapevine agent --stdio` as a child process."""

    def __init__(self, options, on_event):
        program = os.environ.get("GRAPEVINE") or "grapevine"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8", "bufsize": 1}
        try:
            self._process = subprocess.Popen([program, "agent", "--stdio", *options], **pipes)
        except OSError as error:
            sys.exit(f"cannot run {program}: {error.strerror}; put it on the PATH, or its path into GRAPEVINE")
        self._ids, self._replies = itertools.count(1), {}
        self.ended, self._end = os.pipe()  # the first can be read from, to its end, once the agent has ended
        self._reader = threading.Thread(target=self._read, args=[on_event], daemon=True)
        self._reader.start()

    def request(self, do, **fields):
        """Asks the agent, and waits for the reply. Not for on_event, which runs on the thread that reads replies."""
        number, reply = next(self._ids), Future()
        self._replies[number] = reply
        self._process.stdin.write(json.dumps({"id": number, "do": do, **fields}) + "\n")
        return reply.result()

    def leave(self):
        """Has the agent tell the others and end, which the end of its input does; returns its exit status."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._reader.join()
        return self._process.returncode

    def _read(self, on_event):
        for line in self._process.stdout:
            message = json.loads(line)
            if "event" in message:
                on_event(message)
            elif "error" in message:
                self._replies.pop(message["id"]).set_exception(RuntimeError(message["error"]["message"]))
            else:
                self._replies.pop(message["id"]).set_result(message)
        self._process.wait()
        for reply in list(self._replies.values()):
            reply.set_exception(BrokenPipeError("the agent has ended"))
        os.close(self._end)


services = {}  # (peer, key) -> address


def tell(event):
    name, peer, key = event["event"], event.get("peer"), event.get("key")
    if name == "ready":
        print(f"{peer} is up", flush=True)
    elif name == "update" and key.startswith("service/") and services.get((peer, key)) != event["value"]:
        services[peer, key] = event["value"]
        print(f"{peer} has {key} at {event['value']}", flush=True)
    elif name in GONE:
        # An event without a key is about all of a peer, one without a peer about all: who is still there renews soon.
        for entry in [entry for entry in services if peer in (None, entry[0]) and key in (None, entry[1])]:
            del services[entry]
            print(f"{entry[0]} has {entry[1]} no more", flush=True)


def register(agent, key, address):
    """Renews the service until the input or the agent ends."""
    ended = False
    while not ended:
        agent.request("set", key=key, value=address, ttl_ms=LIFE * 1000)
        readable, _, _ = select.select([sys.stdin, agent.ended], [], [], LIFE / 3)
        ended = agent.ended in readable or (sys.stdin in readable and not os.read(sys.stdin.fileno(), 4096))


def interrupt(*_):
    """Ctrl-C has it leave; a second one ends it at once, as it does the agent."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


def main():
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} NAME ADDRESS [OPTION OF GRAPEVINE AGENT]...")
    name, address, *options = sys.argv[1:]
    signal.signal(signal.SIGINT, interrupt)
    try:
        agent = Agent(options, tell)
        try:
            register(agent, f"service/{name}", address)
        finally:
            status = agent.leave()
    except KeyboardInterrupt:
        return
    except (OSError, RuntimeError) as error:
        sys.exit(f"cannot register {name}: {error}")
    if status:
        sys.exit(f"the agent ended with status {status}")


if __name__ == "__main__":
    main()
