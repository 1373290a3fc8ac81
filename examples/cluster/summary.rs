//! What is left to check when the story is told, and the numbers.

use std::collections::BTreeSet;

use grapevine::stats::Refusal;
use grapevine::{Event, Peer};

use crate::cluster::{Cluster, Member};
use crate::screen::{Screen, time};

/// How long the nodes took to see one thing, in seconds, the quickest first.
pub struct Step {
    what: &'static str,
    times: Vec<f64>,
    note: String,
}

impl Step {
    pub fn new(what: &'static str, times: Vec<f64>) -> Step {
        Step { what, times, note: String::new() }
    }

    #[must_use]
    pub fn note(self, note: &str) -> Step {
        Step { note: note.to_owned(), ..self }
    }

    pub fn first(&self) -> f64 {
        self.at(1)
    }

    pub fn last(&self) -> f64 {
        self.at(self.times.len())
    }

    fn half(&self) -> f64 {
        self.at(self.times.len().div_ceil(2))
    }

    /// When so many nodes had seen it.
    fn at(&self, nodes: usize) -> f64 {
        self.times.get(nodes.saturating_sub(1)).copied().unwrap_or_default()
    }
}

pub fn print_times(steps: &[Step], screen: &Screen) {
    screen.say(&format!("\n{:<14}{:>10}{:>10}{:>10}", "seen by", "the first", "50 %", "100 %"));
    for step in steps {
        let [first, half, last] = [step.first(), step.half(), step.last()].map(time);
        let row = format!("{:<14}{first:>10}{half:>10}{last:>10}  {}", step.what, step.note);
        screen.say(row.trim_end());
    }
}

/// Every node told what happened exactly once, and told nothing that did not happen.
pub fn check_events(
    cluster: &mut Cluster,
    nodes: usize,
    left: Peer,
    killed: Peer,
    screen: &Screen,
) -> Result<(), String> {
    let (mut ends, mut leaves, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    cluster.gather_events();
    for (name, event) in &cluster.log {
        match event {
            Event::Expire { .. } if event.key() == Some("offer") => ends.push(name),
            Event::PeerLeft { peer, .. } if *peer == left => leaves.push(name),
            Event::PeerFailed { peer, .. } if *peer == killed => failures.push(name),
            Event::PeerFailed { peer, phi, .. } => {
                return Err(format!("{name} took {} for failed, which was up (phi {phi:.1})", cluster.name(*peer)));
            }
            other => return Err(format!("{name} told what did not happen: {other:?}")),
        }
    }
    once_each("the key's life ended", &ends, nodes)?;
    once_each("a node left", &leaves, nodes - 1)?;
    once_each("a node failed", &failures, nodes - 2)?;
    let (leaves, failures) = (leaves.len(), failures.len());
    screen.say(&format!(
        "\ntold once each: the key's end by {nodes} nodes, the leave by {leaves}, the failure by {failures}"
    ));
    Ok(())
}

fn once_each(what: &str, names: &[&String], nodes: usize) -> Result<(), String> {
    let different: BTreeSet<_> = names.iter().collect();
    if names.len() == nodes && different.len() == nodes {
        return Ok(());
    }
    let (told, by) = (names.len(), different.len());
    Err(format!("that {what} was told {told} times by {by} nodes; expected: once by each of {nodes}"))
}

/// What the nodes that still run have sent and refused.
pub fn check_traffic(cluster: &Cluster, screen: &Screen) -> Result<(), String> {
    let (mut datagrams, mut bytes, mut dropped, mut late) = (0.0, 0.0, 0, 0);
    for Member { name, node, started, .. } in &cluster.members {
        let stats = node.stats();
        let seconds = started.elapsed().as_secs_f64();
        datagrams += stats.datagrams_sent as f64 / seconds;
        bytes += stats.bytes_sent as f64 / seconds;
        dropped += stats.dropped_by_kernel.unwrap_or(0);
        // What others made for a run that has ended, or answers when nobody waits any more, is no fault.
        let is_late = |reason: Refusal| matches!(reason, Refusal::NotForThisRun | Refusal::NotAsked);
        late += stats.refused.iter().filter(|(reason, _)| is_late(*reason)).map(|(_, count)| count).sum::<u64>();
        let refused = stats.refused.iter().filter(|(reason, count)| *count > 0 && !is_late(*reason));
        let reasons: Vec<_> = refused.map(|(reason, count)| format!("{} {count}", reason.as_str())).collect();
        if !reasons.is_empty() {
            return Err(format!("{name} refused datagrams: {}", reasons.join(", ")));
        }
    }
    let nodes = cluster.members.len() as f64;
    screen.say(&format!("false alarms: 0, refused: 0, too late: {late}, dropped by the kernel: {dropped}"));
    screen.say(&format!(
        "each node sent {:.0} datagrams and {:.1} kB a second",
        datagrams / nodes,
        bytes / nodes / 1e3
    ));
    Ok(())
}
