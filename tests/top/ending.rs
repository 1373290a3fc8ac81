//! However `top` ends, the terminal is as it was before.

use std::fs;

use rustix::process::Signal;

use crate::harness::process::signal_to;
use crate::harness::{Agent, until};
use crate::terminal::{self, Terminal};
use crate::{cluster, top};

/// Wide enough for everything that is said to be one line.
fn top_of(agent: &Agent, alive: usize) -> Terminal {
    let terminal = top(160, 24, agent, alive);
    assert!(!terminal.is("cursor_flag") && terminal.is("alternate_on"));
    terminal
}

/// The shell has its terminal back: its own screen, the cursor, and it edits and shows what is typed.
fn is_restored(terminal: &Terminal, said: &[String], status: u8) {
    let ran = "$ \"$G\" top --every 100ms".to_owned();
    let expected = [&[ran][..], said, &["$".to_owned()]].concat();
    terminal.shows("what there was before", |screen| {
        let lines: Vec<&String> = screen.iter().filter(|line| !line.is_empty()).collect();
        lines.iter().copied().eq(&expected)
    });
    assert!(terminal.is("cursor_flag") && !terminal.is("alternate_on"));
    terminal.run("echo status $?; stty -a");
    let screen = terminal.shows("its settings", |screen| screen.iter().any(|line| line.contains(" icanon ")));
    assert!(screen.contains(&"$ echo status $?; stty -a".to_owned()), "{screen:#?}");
    assert!(screen.contains(&format!("status {status}")), "{screen:#?}");
    assert!(screen.iter().any(|line| line.contains("isig icanon iexten echo ")), "{screen:#?}");
    assert!(screen.iter().any(|line| line.contains("opost ")) && !screen.iter().any(|line| line.contains("-opost")));
}

/// The process that the shell in a terminal waits for.
fn process_in(terminal: &Terminal) -> u32 {
    let shell = terminal.shell();
    fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap().trim().parse().unwrap()
}

#[test]
fn keys_and_signals_end_it() {
    if !terminal::is_there() {
        return;
    }
    let agents = cluster(2);
    for key in ["q", "C-c", "Escape"] {
        let terminal = top_of(&agents[0], 2);
        terminal.press(key);
        is_restored(&terminal, &[], 0);
    }
    for signal in [Signal::TERM, Signal::INT] {
        let terminal = top_of(&agents[0], 2);
        signal_to(process_in(&terminal), signal);
        is_restored(&terminal, &[], 0);
    }
}

#[test]
fn it_says_in_one_line_that_the_agent_has_ended() {
    if !terminal::is_there() {
        return;
    }
    for signal in [Signal::TERM, Signal::KILL] {
        let agent = Agent::start(&[]);
        let terminal = top_of(&agent, 1);
        agent.process.signal(signal);
        let said = format!("grapevine: the agent at {} has ended", agent.control.display());
        is_restored(&terminal, &[said], 1);
    }
}

#[test]
fn an_agent_that_does_not_answer_holds_up_no_key() {
    if !terminal::is_there() {
        return;
    }
    let agent = Agent::start(&[]);
    let terminal = top_of(&agent, 1);
    agent.process.pause();
    terminal.shows("that it does not answer", |screen| screen[2].starts_with("the agent has not answered for "));
    agent.process.signal(Signal::CONT);
    terminal.shows("that it answers again", |screen| screen[2].is_empty());
    agent.process.pause();
    terminal.press("q");
    is_restored(&terminal, &[], 0);
    agent.process.signal(Signal::CONT);
}

#[test]
fn it_goes_with_the_window() {
    if !terminal::is_there() {
        return;
    }
    let agent = Agent::start(&[]);
    let terminal = top_of(&agent, 1);
    let process = process_in(&terminal);
    drop(terminal);
    until("it has ended", || fs::metadata(format!("/proc/{process}")).is_err());
}
