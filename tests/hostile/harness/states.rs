//! The states in which a node meets a datagram, each as a real cluster brings it about, and what came next there.

use std::collections::BTreeSet;
use std::time::Duration;

use grapevine::config::{Config, Limits};
use grapevine::instant::Instant;
use grapevine::{Peer, Value};

use super::structure::{Collection, Structure};
use super::subject::{Act, Script, Subject};
use super::world::{World, peer};

/// Small, so that a few datagrams are enough to reach every one of them; but more peers than an answer holds. `State::Full` has fewer.
pub const LIMITS: Limits = Limits {
    peers: 48,
    keys: 24,
    key_bytes: 64,
    value_bytes: 4_000,
    map_bytes: 12_000,
    catch_up_datagrams: 8,
    events: 16,
};

/// Half the default, so that what a map may hold takes more datagrams than one request may have in flight.
const MAX_DATAGRAM: usize = 700;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has just started, and knows nobody.
    Fresh,
    /// It knows three peers and their maps, with keys, lives and tombstones.
    Busy,
    /// A peer has restarted: the old map is held over, a part of a large value of the new one is here.
    InTransfer,
    /// It has said goodbye.
    Leaving,
    /// It knows as many peers as it may: alive, failed and left ones.
    Full,
    /// It was stopped for a minute.
    Resumed,
}

pub const STATES: [State; 6] =
    [State::Fresh, State::Busy, State::InTransfer, State::Leaving, State::Full, State::Resumed];

/// A state, and what came next.
pub struct Scene {
    pub state: State,
    pub script: Script,
    /// What happened afterwards.
    pub sequel: Vec<(Instant, Act)>,
}

impl Scene {
    pub fn all() -> Vec<Scene> {
        STATES.into_iter().map(Scene::new).collect()
    }

    pub fn new(state: State) -> Scene {
        let mut stage = Stage::new(state);
        stage.prepare(state);
        let end = stage.world.now;
        let begun = stage.world.subject(stage.me).script.acts.len();
        stage.sequel();
        let mut script = stage.world.take(stage.me).script;
        let sequel = script.acts.split_off(begun);
        script.end = end;
        Scene { state, script, sequel }
    }

    /// All datagrams that arrived in these scenes, taken apart.
    pub fn structures(scenes: &[Scene]) -> Collection {
        let acts = scenes.iter().flat_map(|scene| scene.script.acts.iter().chain(&scene.sequel));
        let datagrams: BTreeSet<&Vec<u8>> = acts.filter_map(|(_, act)| act.datagram()).collect();
        Collection::new(
            datagrams.into_iter().map(|bytes| Structure::of(bytes).expect("a node's own datagram").for_anybody()),
        )
    }

    /// A node in this state.
    pub fn subject(&self) -> Subject {
        Subject::replay(&self.script)
    }
}

/// The node in question is the one with 2 in its address: the ring has peers before and after it.
struct Stage {
    world: World,
    config: Config,
    me: Peer,
    others: Vec<Peer>,
}

impl Stage {
    fn new(state: State) -> Stage {
        let limits = if state == State::Full { Limits { peers: 5, ..LIMITS } } else { LIMITS };
        let config = Config { limits, grace: Duration::from_secs(60), max_datagram: MAX_DATAGRAM, ..Config::default() };
        let mut world = World::default();
        let config_of_others = Config { limits: LIMITS, ..config.clone() };
        let others = if state == State::Fresh { Vec::new() } else { vec![1, 3, 4] };
        let others = others.into_iter().map(|at| world.start(at, &config_of_others)).collect();
        let me = world.start(2, &config);
        Stage { world, config: config_of_others, me, others }
    }

    fn prepare(&mut self, state: State) {
        if state == State::Fresh {
            return;
        }
        self.world.run_for(Duration::from_millis(1_300));
        self.write();
        self.world.run_for(Duration::from_millis(1_600));
        assert_eq!(self.world.disagreement(), None);
        match state {
            State::Fresh | State::Busy => {}
            State::InTransfer => self.begin_transfer(),
            State::Leaving => self.world.act(self.me, Act::Leave),
            State::Full => self.fill(),
            State::Resumed => {
                let mut me = self.world.take(self.me);
                self.world.run_for(Duration::from_secs(60));
                me.act(self.world.now, &Act::Wake);
                self.world.put(self.me, me);
            }
        }
    }

    /// Keys of every sort in everyone's map.
    fn write(&mut self) {
        // More than fits an answer.
        self.world.set(self.me, "all", Value::from_bytes(vec![0xc3; 1_000]));
        for at in self.others.clone().into_iter().chain([self.me]) {
            self.world.set(at, "text", Value::encode("some words").expect("a value"));
            self.world.set(at, "list", Value::encode(&(1, -2.5, [true; 3], "é")).expect("a value"));
            self.world.set(at, "gone", Value::encode(&()).expect("a value"));
            self.world.act(
                at,
                Act::Set("short".to_owned(), Value::encode(&7).expect("a value"), Some(Duration::from_secs(1))),
            );
            self.world.act(
                at,
                Act::Set("long".to_owned(), Value::encode(&8).expect("a value"), Some(Duration::from_secs(60))),
            );
            self.world.run_for(Duration::from_millis(10));
            self.world.act(at, Act::Delete("gone".to_owned()));
        }
    }

    fn begin_transfer(&mut self) {
        let owner = self.world.start(3, &self.config);
        self.world.set(owner, "text", Value::encode("other words").expect("a value"));
        for n in 0..2 {
            self.world.set(owner, &format!("large{n}"), Value::from_bytes(vec![0xc0 + n; 3_900]));
        }
        let is_half_way = |subject: &Subject| {
            let replica = subject.node.ring().member(peer(3)).map(|member| &member.replica);
            replica.is_some_and(|replica| replica.unfinished().is_some() && replica.map().has_held_over())
        };
        let end = self.world.now + Duration::from_secs(10);
        while !is_half_way(self.world.subject(self.me)) {
            assert!(self.world.step(end), "a transfer begins");
        }
    }

    fn fill(&mut self) {
        let five = self.world.start(5, &self.config);
        let six = self.world.start(6, &self.config);
        self.world.run_for(Duration::from_secs(5));
        self.world.act(five, Act::Leave);
        self.world.run_for(Duration::from_secs(2));
        self.world.take(five);
        self.world.take(six);
        self.world.run_for(Duration::from_secs(8));
        assert_eq!(self.world.subject(self.me).node.ring().len(), 5, "the table is full");
    }

    /// What comes next: news of every sort, a newcomer, a restart.
    fn sequel(&mut self) {
        if self.others.is_empty() {
            self.others = [1, 3, 4].into_iter().map(|at| self.world.start(at, &self.config)).collect();
            self.world.run_for(Duration::from_millis(300));
            self.write();
        }
        self.world.run_for(Duration::from_millis(1_500));
        let other = self.others[1];
        self.world.set(other, "large", Value::from_bytes(vec![0xc3; 3_000]));
        self.world.act(other, Act::Delete("list".to_owned()));
        self.world.act(
            other,
            Act::Set("brief".to_owned(), Value::encode(&9).expect("a value"), Some(Duration::from_secs(1))),
        );
        for key in ["mine", "too"] {
            self.world.set(self.me, key, Value::from_bytes(vec![0xc2; 3_800]));
        }
        self.world.run_for(Duration::from_secs(2));
        self.world.start(9, &self.config);
        self.world.run_for(Duration::from_secs(1));
        self.world.start(4, &self.config);
        self.world.set(peer(4), "new", Value::encode("life").expect("a value"));
        self.world.act(other, Act::Leave);
        self.world.run_for(Duration::from_secs(4));
    }
}
