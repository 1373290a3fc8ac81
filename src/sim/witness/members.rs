//! Who is alive, failed, left, forgotten: as events tell it, and as it may be.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::Event;
use crate::instant::Instant;
use crate::peer::{Peer, PeerState};
use crate::sim::witness::history::History;
use crate::sim::witness::view::{Seen, View};
use crate::sim::witness::{Broken, Rule, broken};

/// A time-out is three intervals and more, from which the guard against one's own pauses may take one and what it does not
/// notice.
const LEAST_SILENCE_INTERVALS: f64 = 1.5;

/// What one process was seen to think of the others.
#[derive(Default)]
pub(super) struct MemberLog {
    peers: BTreeMap<Peer, Known>,
    /// When it did something last, on its own clock, and for how long it has not stood still.
    last: Option<Instant>,
    awake: Duration,
}

/// What is known of a peer; that survives its being forgotten.
#[derive(Clone, Copy, Debug)]
struct Known {
    generation: u64,
    /// `None` when it is forgotten.
    state: Option<PeerState>,
    heartbeat: u64,
    /// How long the observer had been awake when the heartbeat advanced.
    advanced: Duration,
    highest_alive: u64,
}

impl MemberLog {
    pub(super) fn check(&mut self, view: &View, history: &History, among_liars: bool) -> Result<(), Broken> {
        self.pass(view);
        self.advances(view);
        for event in &view.events {
            self.event(view, event, among_liars)?;
            if let (Event::PeerLeft { peer, generation }, false) = (event, among_liars) {
                it_left(*peer, *generation, history)?;
            }
        }
        for seen in &view.members {
            self.compare(view, seen)?;
            if !among_liars {
                heartbeat_is_the_owners(seen, history)?;
            }
        }
        let told = self.peers.values().filter(|known| known.state.is_some()).count();
        if told != view.listed {
            let text = format!("events told of {told} peers, and it lists {}", view.listed);
            return broken(Rule::EventsTellTheState, text);
        }
        Ok(())
    }

    /// Counts the time in which it did not stand still: nothing happens for more than two intervals only then, because rounds are one
    /// apart.
    fn pass(&mut self, view: &View) {
        let passed = self.last.map_or(Duration::ZERO, |last| view.local - last);
        if passed <= view.interval * 2 {
            self.awake += passed;
        }
        self.last = Some(view.local);
    }

    fn advances(&mut self, view: &View) {
        for seen in &view.members {
            let awake = self.awake;
            if let Some(known) = self.peers.get_mut(&seen.peer) {
                if known.generation == seen.held.progress.generation && known.heartbeat < seen.heartbeat {
                    known.advanced = awake;
                }
            }
        }
    }

    fn event(&mut self, view: &View, event: &Event, among_liars: bool) -> Result<(), Broken> {
        let (peer, generation) = match event {
            Event::NewPeer { peer, generation } => {
                return self.new_peer(view, *peer, *generation, among_liars);
            }
            Event::PeerAlive { peer, generation }
            | Event::PeerFailed { peer, generation, .. }
            | Event::PeerLeft { peer, generation }
            | Event::PeerForgotten { peer, generation } => (*peer, *generation),
            _ => return Ok(()),
        };
        if peer == view.me {
            return broken(Rule::NobodyFailsItself, format!("it told of itself: {event:?}"));
        }
        let awake = self.awake;
        let Some(known) = self.peers.get_mut(&peer) else {
            return broken(Rule::EventsTellTheState, format!("of a peer that was never new: {event:?}"));
        };
        let before = *known;
        use PeerState::{Alive, Failed, Known, Left};
        let (from, to): (&[PeerState], Option<PeerState>) = match event {
            Event::PeerAlive { .. } => (&[Known, Failed], Some(Alive)),
            Event::PeerFailed { .. } => (&[Alive], Some(Failed)),
            Event::PeerLeft { .. } => (&[Known, Alive, Failed], Some(Left)),
            _ => (&[Known, Alive, Failed, Left], None),
        };
        if known.generation != generation || !known.state.is_some_and(|state| from.contains(&state)) {
            return broken(Rule::EventsTellTheState, format!("{event:?}, but {before:?}"));
        }
        known.state = to;
        if to == Some(Alive) {
            // Who invents peers by the thousand can have the memory of forgotten ones overflow.
            if generation < known.highest_alive && !among_liars {
                return broken(Rule::OldRunsStayDead, format!("{event:?}, after {before:?}"));
            }
            known.highest_alive = generation;
            known.advanced = awake;
        }
        if to == Some(Failed) {
            let silence = awake.saturating_sub(before.advanced);
            if silence < view.interval.mul_f64(LEAST_SILENCE_INTERVALS) {
                let text = format!("{event:?} after {silence:?} of silence in which it did not stand still itself");
                return broken(Rule::PausesConvictNobody, text);
            }
        }
        Ok(())
    }

    fn new_peer(&mut self, view: &View, peer: Peer, generation: u64, among_liars: bool) -> Result<(), Broken> {
        if peer == view.me {
            return broken(Rule::NobodyFailsItself, "it took itself for a peer".to_owned());
        }
        let heartbeat = view.members.iter().find(|seen| seen.peer == peer).map_or(0, |seen| seen.heartbeat);
        let awake = self.awake;
        let fresh = Known { generation, state: Some(PeerState::Known), heartbeat, advanced: awake, highest_alive: 0 };
        let known = self.peers.entry(peer).or_insert(Known { generation: 0, state: None, ..fresh });
        let before = *known;
        // Who invents peers by the thousand can have the memory of forgotten ones overflow.
        if generation < before.generation && !among_liars {
            return broken(Rule::OldRunsStayDead, format!("generation {generation} is new, after {before:?}"));
        }
        if generation == before.generation && before.state.is_some() {
            return broken(Rule::EventsTellTheState, format!("{peer} with generation {generation} is new once more"));
        }
        if generation == before.generation && heartbeat <= before.heartbeat && before.generation > 0 && !among_liars {
            let text = format!("{peer} came back with heartbeat {heartbeat}, after {before:?}");
            return broken(Rule::ProgressOnlyForward, text);
        }
        *known = Known { highest_alive: before.highest_alive, ..fresh };
        Ok(())
    }

    /// Whether the state is what the events told.
    fn compare(&mut self, view: &View, seen: &Seen) -> Result<(), Broken> {
        let peer = seen.peer;
        if peer == view.me {
            return broken(Rule::NobodyFailsItself, "it lists itself as a peer".to_owned());
        }
        let state = (seen.state != PeerState::Forgotten).then_some(seen.state);
        let Some(known) = self.peers.get_mut(&peer) else {
            return broken(Rule::EventsTellTheState, format!("it lists {peer} as {}, and no event told", seen.state));
        };
        let generation = seen.held.progress.generation;
        if (known.generation, known.state) != (generation, state) {
            let text = format!("{peer} is {} with generation {generation}; events told {known:?}", seen.state);
            return broken(Rule::EventsTellTheState, text);
        }
        if seen.heartbeat < known.heartbeat {
            let text = format!("{peer}'s heartbeat went back from {} to {}", known.heartbeat, seen.heartbeat);
            return broken(Rule::ProgressOnlyForward, text);
        }
        known.heartbeat = seen.heartbeat;
        Ok(())
    }
}

fn it_left(peer: Peer, generation: u64, history: &History) -> Result<(), Broken> {
    if history.run(peer, generation).is_some_and(|run| run.left) {
        return Ok(());
    }
    broken(Rule::OnlyTheOwnerWrites, format!("{peer} with generation {generation} is told to have left, and did not"))
}

fn heartbeat_is_the_owners(seen: &Seen, history: &History) -> Result<(), Broken> {
    let Some(run) = history.run(seen.peer, seen.held.progress.generation) else {
        let text = format!("{} was never seen with generation {}", seen.peer, seen.held.progress.generation);
        return broken(Rule::OnlyTheOwnerWrites, text);
    };
    if seen.heartbeat > run.heartbeat {
        let text = format!("{} never had heartbeat {}, only {}", seen.peer, seen.heartbeat, run.heartbeat);
        return broken(Rule::OnlyTheOwnerWrites, text);
    }
    Ok(())
}
