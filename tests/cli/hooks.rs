//! `--on-event`: a command of the user's for each event.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::process::is_running;
use crate::harness::{Agent, PROGRAM, run, until};

/// An agent that runs a command for events; in the command's environment `FOLDER` is a folder for what it has to tell.
struct Hooked {
    agent: Agent,
    folder: TempDir,
}

impl Hooked {
    fn start(command: &str, args: &[&str]) -> Hooked {
        let folder = TempDir::new().unwrap();
        let prepare = |agent: &mut Command| {
            agent.args(["--on-event", command]).env("FOLDER", folder.path());
            agent.env("GRAPEVINE", PROGRAM);
        };
        let agent = Agent::start_after(args, prepare);
        Hooked { agent, folder }
    }

    /// The lines of a file that commands write.
    fn lines(&self, file: &str) -> Vec<String> {
        lines(&self.folder.path().join(file))
    }

    fn has_lines(&self, file: &str, count: usize) -> Vec<String> {
        until(&format!("{file} has {count} lines"), || self.lines(file).len() >= count);
        self.lines(file)
    }

    /// Sets keys `0`, `1` and so on.
    fn set(&self, count: usize) {
        let mut talk = self.agent.connect();
        for n in 0..count {
            talk.done(json!({"do": "set", "key": n.to_string(), "value": n}));
        }
    }
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    // The last one may be just being written.
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

/// One command at a time: what they were told is what the agent printed, from the first event to the last.
#[test]
fn commands_are_told_every_event() {
    let command = "cat >> $FOLDER/events; echo $GRAPEVINE_EVENT $GRAPEVINE_EVENT_PEER >> $FOLDER/names";
    for with_seed in [false, true] {
        let other = Agent::start(&["--set", "a=1"]);
        let mut args = vec!["--on-event-names", "all", "--on-event-jobs", "1", "--set", "b=1"];
        if with_seed {
            args.extend(["--seed", &*other.peer]);
        }
        let hooked = Hooked::start(command, &args);
        let another = Agent::join(&hooked.agent, &["--set", "c={\"x\": \"$(false) '\\\" ü\"}"]);
        hooked.agent.reads(&another.peer, "c", &json!({"x": "$(false) '\" ü"}));
        hooked.agent.sees(&another.peer, json!({"state": "alive"}));
        hooked.set(2);
        hooked.agent.connect().done(json!({"do": "delete", "key": "1"}));
        hooked.agent.connect().done(json!({"do": "set", "key": "lock", "value": 1, "ttl_ms": 20}));
        let peer = another.peer.clone();
        another.terminate();
        hooked.agent.sees(&peer, json!({"state": "left"}));
        until("it was told that the life ended", || {
            hooked.lines("events").iter().any(|event| event.contains("\"expire\""))
        });
        hooked.agent.connect().done(json!({"do": "leave"}));
        let Hooked { agent, folder } = hooked;
        let ended = agent.process.end();
        assert_eq!(ended.status, Some(0), "{ended:?}");

        let told: Vec<Value> =
            lines(&folder.path().join("events")).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let names = told.iter().map(|event| {
            let text = |field: &str| event[field].as_str().unwrap_or_default();
            format!("{} {}", text("event"), text("peer")).trim_end().to_owned()
        });
        assert_eq!(names.collect::<Vec<_>>(), lines(&folder.path().join("names")));
        let first = told.first().unwrap();
        let whom = if with_seed { &other.peer } else { &peer };
        assert_eq!((&first["event"], &first["peer"]), (&json!("new_peer"), &json!(whom)), "{told:#?}");
        for name in ["peer_alive", "update", "delete", "expire", "peer_left", "stopped"] {
            assert!(told.iter().any(|event| event["event"] == name), "no {name}: {told:#?}");
        }
        assert_eq!(told.last(), Some(&json!({"event": "stopped"})));
        let printed = String::from_utf8(ended.out).unwrap();
        let printed: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(without_lives(told), without_lives(printed));
    }
}

/// Events without what is left of lives, which is less whenever it is told.
fn without_lives(mut events: Vec<Value>) -> Vec<Value> {
    for event in &mut events {
        event.as_object_mut().unwrap().remove("ttl_ms");
    }
    events
}

/// The very first moments count: a seed on the same machine answers within a millisecond.
#[test]
fn no_peer_comes_too_early() {
    let seed = Agent::start(&[]);
    let args = ["--seed", &*seed.peer, "--on-event-names", "new_peer"];
    let hooked: Vec<Hooked> =
        (0..20).map(|_| Hooked::start("echo $GRAPEVINE_EVENT_PEER >> $FOLDER/peers", &args)).collect();
    for hooked in hooked {
        until("the seed is told of", || hooked.lines("peers").contains(&seed.peer));
    }
}

#[test]
fn commands_are_run_for_some_events() {
    let command = "echo $GRAPEVINE_EVENT >> $FOLDER/names";
    // By default for what happens to peers.
    let default = Hooked::start(command, &[]);
    let chosen = Hooked::start(command, &["--on-event-names", "update,peer_left", "--on-event-jobs", "1"]);
    for hooked in [&default, &chosen] {
        hooked.set(1);
        let other = Agent::join(&hooked.agent, &[]);
        hooked.agent.sees(&other.peer, json!({"state": "alive"}));
        other.terminate();
        until("it was told that the peer left", || hooked.lines("names").contains(&"peer_left".to_owned()));
    }
    // That it stops, too, is told to those alone who want it.
    for (hooked, wanted) in
        [(default, &["new_peer", "peer_alive", "peer_left"][..]), (chosen, &["peer_left", "update"])]
    {
        let Hooked { agent, folder } = hooked;
        agent.terminate();
        let mut names = lines(&folder.path().join("names"));
        names.sort();
        assert_eq!(names, wanted);
    }
}

/// Events for which no command was run, for the commands before took too long: the log always tells, the command if it is to.
#[test]
fn missed_events_are_told_to_those_who_want_to_know() {
    const EVENTS: u64 = 2_000;
    let command = "read -r event; echo \"$event\" >> $FOLDER/events; until [ -e $FOLDER/go ]; do sleep 0.01; done";
    for names in ["update", "update,missed"] {
        let hooked = Hooked::start(command, &["--on-event-names", names, "--on-event-jobs", "1"]);
        hooked.set(EVENTS as usize);
        fs::write(hooked.folder.path().join("go"), "").unwrap();
        let events = || hooked.lines("events").into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
        until("the last one is told", || events().any(|event| event["value"] == EVENTS - 1));
        let (missed, told): (Vec<Value>, Vec<Value>) = events().partition(|event| event["event"] == "missed");
        if names == "update" {
            assert_eq!(missed, [Value::Null; 0]);
        } else {
            let missed: u64 = missed.iter().map(|event| event["count"].as_u64().unwrap()).sum();
            assert!(missed > 0, "all were told");
            assert_eq!(missed + told.len() as u64, EVENTS);
        }
        hooked.agent.logs(" events were missed: ");
    }
    // Who does not choose is told.
    let help = run(&["agent", "--help"]).done().split_whitespace().collect::<String>();
    assert!(help.contains(
        "[default:new_peer,peer_alive,peer_failed,peer_left,peer_forgotten,address_conflict,wrong_cluster,missed]"
    ));
}

/// Each takes a place, of which there are as many as commands may run at once.
#[test]
fn so_many_run_at_once() {
    const EVENTS: usize = 12;
    let command = "
        for place in 1 2 3; do
            if mkdir $FOLDER/$place 2>/dev/null; then
                sleep 0.1; rmdir $FOLDER/$place; echo $place >> $FOLDER/places; exit
            fi
        done
        echo none >> $FOLDER/places";
    let hooked = Hooked::start(command, &["--on-event-names", "update", "--on-event-jobs", "3"]);
    hooked.set(EVENTS);
    let places = hooked.has_lines("places", EVENTS);
    assert!(!places.contains(&"none".to_owned()), "{places:?}");
    assert!(places.contains(&"3".to_owned()), "they do not wait for each other: {places:?}");
}

#[test]
fn one_at_a_time_run_in_order() {
    let hooked = Hooked::start("cat >> $FOLDER/events", &["--on-event-names", "update", "--on-event-jobs", "1"]);
    hooked.set(50);
    for (n, line) in hooked.has_lines("events", 50).iter().enumerate() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["value"], n);
    }
}

/// With everything that it started.
#[test]
fn one_that_takes_too_long_is_killed() {
    let command = "sleep 1000 & echo $! >> $FOLDER/ids; echo $$ >> $FOLDER/ids; wait";
    let hooked = Hooked::start(command, &["--on-event-names", "update", "--on-event-limit", "300ms"]);
    hooked.set(1);
    let ids = hooked.has_lines("ids", 2);
    assert!(ids.iter().any(|id| is_running(id)), "it is given its time");
    hooked.agent.logs("the command for update, after ");
    hooked.agent.logs("it took longer than 300ms and was killed");
    until("both have ended", || !ids.iter().any(|id| is_running(id)));
    // The next one is run, and ends in the same way.
    hooked.set(2);
    let ids = hooked.has_lines("ids", 4);
    until("all have ended", || !ids.iter().any(|id| is_running(id)));
}

#[test]
fn failures_are_logged() {
    let hooked = Hooked::start("exit 3", &["--on-event-names", "update"]);
    hooked.set(1);
    hooked.agent.logs("the command for update, after ");
    hooked.agent.logs("it ended with exit status: 3");
    let hooked = Hooked::start("kill -TERM $$", &["--on-event-names", "update"]);
    hooked.set(1);
    hooked.agent.logs("it ended with signal: 15");
    let hooked = Hooked::start("/nonexistent/program", &["--on-event-names", "update"]);
    hooked.set(1);
    hooked.agent.logs("it ended with exit status: 127");
    // The shell's own words are there, too.
    hooked.agent.logs("/nonexistent/program");
}

/// What commands say goes where logs go. A large event that nobody reads is no failure.
#[test]
fn output_is_the_line_protocol_s_alone() {
    let mut hooked = Hooked::start(
        "echo noise; echo more >&2; echo done >> $FOLDER/done",
        &["--stdio", "--on-event-names", "update"],
    );
    let large = "x".repeat(60_000);
    for n in 0..10 {
        // Every line that comes has to be one of the protocol's.
        hooked.agent.stdio.done(json!({"do": "set", "key": "a", "value": format!("{n} {large}")}));
    }
    hooked.has_lines("done", 10);
    hooked.agent.stdio.done(json!({"do": "leave"}));
    assert_eq!(hooked.agent.stdio.rest().last(), Some(&json!({"event": "stopped"})));
    let ended = hooked.agent.process.end();
    assert_eq!(ended.err.matches("noise\n").count(), 10, "{}", ended.err);
    assert_eq!(ended.err.matches("more\n").count(), 10);
    assert!(!ended.err.contains("the command for"), "{}", ended.err);
}

/// Its environment says where the agent is.
#[test]
fn a_command_may_ask_the_agent() {
    let command = "$GRAPEVINE set seen/$GRAPEVINE_EVENT $GRAPEVINE_EVENT_PEER";
    let mut hooked = Hooked::start(command, &["--on-event-names", "peer_alive"]);
    let other = Agent::join(&hooked.agent, &[]);
    let event = hooked.agent.stdio.event(json!({"event": "update", "key": "seen/peer_alive"}));
    assert_eq!(event["value"], other.peer);
}

/// The agent waits for the last commands.
#[test]
fn commands_are_finished_before_the_end() {
    let hooked = Hooked::start("sleep 0.3; echo done >> $FOLDER/done", &["--on-event-names", "stopped"]);
    let Hooked { agent, folder } = hooked;
    assert_eq!(agent.terminate().status, Some(0));
    assert_eq!(lines(&folder.path().join("done")), ["done"]);
}

/// A command may leave something behind that holds its standard input and does not read it: the next events do not wait for that.
#[test]
fn who_holds_the_input_holds_up_nothing() {
    let folder = TempDir::new().unwrap();
    let seen = folder.path().join("seen");
    let command = format!("exec 3<&0; sleep 30 <&3 >/dev/null 2>&1 & echo $GRAPEVINE_EVENT >> {}", seen.display());
    let agent = Agent::start(&["--on-event", &command, "--on-event-names", "update", "--on-event-jobs", "1"]);
    let mut talk = agent.connect();
    for n in 0..4 {
        talk.done(json!({"do": "set", "key": "large", "value": format!("{n}{}", "v".repeat(65_000))}));
    }
    until("all four are run", || fs::read_to_string(&seen).is_ok_and(|text| text.lines().count() == 4));
}

/// Nor does a command outlive the agent for long.
#[test]
fn commands_that_run_at_the_end_are_killed() {
    let folder = TempDir::new().unwrap();
    let (started, done) = (folder.path().join("started"), folder.path().join("done"));
    let command = format!("touch {}; sleep 20; touch {}", started.display(), done.display());
    let agent = Agent::start(&["--on-event", &command, "--on-event-names", "update"]);
    agent.run(&["set", "a", "1"]).done();
    until("it runs", || started.exists());
    agent.logs_after_leaving("1 commands for events that still run are killed");
    assert!(!done.exists());
}
