//! Whether everyone agrees: who is alive, and what is in whose map.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::instant::Instant;
use crate::node::Node;
use crate::peer::{Peer, PeerState};
use crate::sim::Sim;
use crate::sim::host::Host;
use crate::sim::witness::{Rule, Violation};
use crate::state::Entry;

impl Sim {
    /// What keeps everyone from agreeing, if something does: of all nodes that run and have not left each must list exactly the
    /// others as alive, and hold every map exactly as its owner does, with lives as long as clocks and delays explain.
    pub fn disagreement(&self) -> Option<String> {
        let all: Vec<(&Host, &Node)> = self.hosts.values().filter_map(|host| Some((host, member(host)?))).collect();
        let mut clusters: BTreeMap<&str, Vec<(&Host, &Node)>> = BTreeMap::new();
        for (host, node) in all {
            clusters.entry(&host.config.cluster).or_default().push((host, node));
        }
        clusters.values().find_map(|members| self.disagreement_among(members))
    }

    fn disagreement_among(&self, members: &[(&Host, &Node)]) -> Option<String> {
        let living: BTreeSet<Peer> = members.iter().map(|(_, node)| node.me()).collect();
        for (at, node) in members {
            if let Some(problem) = wrong_roster(node, &living) {
                return Some(problem);
            }
            let others = members.iter().filter(|(_, owner)| owner.me() != node.me());
            let wrong = others.map(|(host, owner)| self.wrong_map((at, node), (host, owner))).find_map(|wrong| wrong);
            if wrong.is_some() {
                return wrong;
            }
        }
        None
    }

    pub(super) fn no_agreement(&self, within: Duration) -> Violation {
        let problem = self.disagreement().unwrap_or_default();
        Violation::new(Rule::Agreement, self.now, None, format!("no agreement after {within:?}: {problem}"))
    }

    fn wrong_map(&self, (host, node): (&Host, &Node), (owner_host, owner): (&Host, &Node)) -> Option<String> {
        let (at, of) = (node.me(), owner.me());
        let own = owner.ring().own();
        let member = node.ring().member(of)?;
        let progress = member.replica.progress();
        if progress != own.progress() {
            return Some(format!("{at} holds {of} as far as {progress:?}, not {:?}", own.progress()));
        }
        let (here, there) = (host.clock.at(self.now), owner_host.clock.at(self.now));
        let map = member.replica.map();
        let mut held = map.readable("", here);
        for (key, entry, value) in own.map().readable("", there) {
            let Some((held_key, held_entry, held_value)) = held.next() else {
                return Some(format!("{at} lacks {of}'s {key:?}"));
            };
            if (held_key, held_value, held_entry.version) != (key, value, entry.version) {
                return Some(format!(
                    "{at} holds {of}'s {held_key:?} = {held_value} at {}, not {key:?} = {value} at {}",
                    held_entry.version, entry.version
                ));
            }
            let left = (remaining(held_entry, here), remaining(entry, there));
            if !self.lives_agree(left) {
                return Some(format!("at {at} {of}'s {key:?} lives for another {:?}, not {:?}", left.0, left.1));
            }
        }
        held.next().map(|(key, ..)| format!("{at} holds {of}'s {key:?}, which is gone"))
    }

    fn lives_agree(&self, left: (Option<Duration>, Option<Duration>)) -> bool {
        match left {
            (Some(held), Some(true_one)) => {
                let tolerance = match &self.witness {
                    Some(witness) => witness.tolerance(held.max(true_one)),
                    None => Duration::MAX,
                };
                held.abs_diff(true_one) <= tolerance
            }
            (held, true_one) => held.is_none() && true_one.is_none(),
        }
    }
}

/// The node, if it takes part: running, and not leaving.
fn member(host: &Host) -> Option<&Node> {
    host.node.as_ref().filter(|node| !node.has_left() && host.paused.is_none())
}

fn wrong_roster(node: &Node, living: &BTreeSet<Peer>) -> Option<String> {
    let at = node.me();
    for (peer, state) in node.peers() {
        if (state == PeerState::Alive) != living.contains(&peer) {
            let truth = if living.contains(&peer) { "alive" } else { "gone" };
            return Some(format!("{at} lists {peer} as {state}, which is {truth}"));
        }
    }
    let listed = node.peers().filter(|(_, state)| *state == PeerState::Alive).count();
    let missing = || living.iter().find(|peer| **peer != at && node.ring().member(**peer).is_none());
    (listed + 1 != living.len()).then(|| format!("{at} lists {listed} peers as alive and lacks {:?}", missing()))
}

fn remaining(entry: &Entry, now: Instant) -> Option<Duration> {
    entry.deadline.map(|deadline| deadline - now)
}
