//! The core: a plain value that is handed the time, datagrams and a seed, and hands back datagrams and events.
//!
//! There is no clock, socket, thread or dice in it. Three methods are the whole machine, each called by a thread of its
//! own in a running node, and by a simulator on virtual time:
//!
//! 1. [`Node::handle_datagram`] when one has arrived;
//! 2. [`Node::gossip`] at [`Node::next_gossip`]: rounds, news, requests to repeat;
//! 3. [`Node::detect`] at [`Node::next_detect`]: failures, expiry, forgetting.
//!
//! Each fills an [`Output`]: events are published in its order, then the datagrams are sent.

mod answers;
mod deltas;
mod draft;
mod fingerprints;
mod guard;
mod judge;
#[cfg(feature = "encryption")]
mod keys;
mod learn;
mod local;
mod open_digests;
mod output;
mod proof;
mod receive;
mod rounds;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use crate::config::Config;
use crate::detector::Judge;
use crate::error::Error;
use crate::flow::{Flow, FlowConfig};
use crate::instant::Instant;
use crate::peer::{Peer, PeerState};
use crate::reconcile::{CatchUp, DigestSet, News};
use crate::select::Partners;
use crate::state::{OwnMap, Ring, Row};
use crate::stats::Stats;
use crate::wire::Seal;

use fingerprints::Fingerprints;
use guard::{LogLimit, PauseGuard};
#[cfg(feature = "encryption")]
pub use keys::SecretKeyInfo;
use learn::{RENEWAL_SPREAD_MS, YEAR_2020_MS};
use local::WriteRate;
use open_digests::OpenDigests;
pub use output::{LogLine, Output};
use proof::Proof;

/// One member of a cluster, without its surroundings.
#[derive(Debug)]
pub struct Node {
    config: Config,
    ring: Ring,
    seeds: Vec<Vec<SocketAddr>>,
    judge: Judge,
    /// How often a heartbeat can be expected to advance here: once in an interval, unless the ring is so large that a round's
    /// budget covers only part of it.
    expected_advance: Duration,
    seal: Arc<Seal>,
    /// With each key of the ring so many datagrams were.
    #[cfg(feature = "encryption")]
    decrypted: Vec<(crate::keyring::KeyId, u64)>,
    fingerprints: Fingerprints,
    flow: Flow,
    write_rate: WriteRate,
    catch_up: CatchUp,
    news: News,
    proof: Proof,
    dice: Rng,
    guard: PauseGuard,
    log_limit: LogLimit,
    stats: Stats,
    /// Milliseconds since 1970 at [`Instant::ZERO`].
    unix_origin: u64,
    next_round: Instant,
    /// The round's live partners whose turn is still to come, and whose it is.
    turns: VecDeque<Peer>,
    turn_partner: Option<Peer>,
    /// How many of that partner's answers are still to come: one to each part of the digest.
    turn_answers: usize,
    /// When the next one has its turn, should that partner not answer.
    turn_ends: Option<Instant>,
    /// What the last turn's digests took.
    turn_bytes: usize,
    next_join: Option<Instant>,
    join_delay: Duration,
    /// What is left of `bytes_per_round` in this interval.
    budget: usize,
    open_digests: OpenDigests,
    roster_seen: (u64, Instant),
    last_renewal: Option<Instant>,
    last_conflict: Option<Instant>,
    last_foreign: Option<Instant>,
    last_collection: Option<Instant>,
    next_detect: Instant,
    left: bool,
    farewells_heard: usize,
    scratch: Scratch,
}

/// Buffers that are used again and again, so that a quiet round allocates almost nothing.
#[derive(Debug, Default)]
struct Scratch {
    full: DigestSet,
    compact: DigestSet,
    small: DigestSet,
    partners: Partners,
    rows: Vec<Row>,
    columns: Vec<u8>,
    records: Vec<u8>,
    wants: Vec<u8>,
    deltas: Vec<u8>,
    entries: Vec<u8>,
    peers: Vec<Peer>,
    opened: Vec<u8>,
}

impl Node {
    /// A node that is `me` to the others, started at `now`, when the wall clock showed `unix_ms` milliseconds since 1970.
    /// `seed` is where its dice and its secret for address tokens start.
    ///
    /// The time of its first round is drawn between `now` and one interval later, so that nodes started together do not gossip in
    /// step. Its seeds are tried at once.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of its range or `me` cannot be reached; [`Error::ReservedKey`],
    /// [`Error::KeyTooLong`], [`Error::ValueTooLarge`] and [`Error::MapFull`] for an initial key.
    pub fn new(config: Config, me: Peer, now: Instant, unix_ms: u64, seed: u64) -> Result<Node, Error> {
        config.validate()?;
        if let Some(reason) = me.unreachable_because() {
            let problem =
                format!("nobody can reach this node as {me}: {reason}; set `advertise` to an address of its own");
            return Err(Error::Config { setting: "advertise", problem });
        }
        let mut dice = Rng::with_seed(seed);
        // A clock that was never set may show the same at every start.
        let drawn = if unix_ms < YEAR_2020_MS { dice.u64(..RENEWAL_SPREAD_MS) } else { 0 };
        let generation = unix_ms.max(1) + drawn;
        let first_heartbeat = dice.u64(..FIRST_HEARTBEATS);
        let phase = config.interval.mul_f64(dice.f64());
        let mut node = Node {
            ring: Ring::new(me, OwnMap::new(generation), first_heartbeat),
            seeds: vec![Vec::new(); config.seeds.len()],
            judge: Judge::new(&config.detector, config.interval, config.interval),
            expected_advance: config.interval,
            seal: Arc::default(),
            #[cfg(feature = "encryption")]
            decrypted: Vec::new(),
            fingerprints: Fingerprints::default(),
            flow: Flow::new(FlowConfig::default()),
            write_rate: WriteRate::new(now),
            catch_up: CatchUp::new(config.limits.catch_up_datagrams, dice.u32(..)),
            news: News::new(config.interval),
            proof: Proof::new(&mut dice),
            guard: PauseGuard::new(now, config.interval),
            log_limit: LogLimit::default(),
            stats: Stats::default(),
            unix_origin: unix_ms.saturating_sub(now.as_micros() / 1000),
            next_round: now + phase,
            turns: VecDeque::new(),
            turn_bytes: 0,
            turn_partner: None,
            turn_answers: 0,
            turn_ends: None,
            // They are tried as soon as their addresses are known; this is for those who then do not answer.
            next_join: (!config.seeds.is_empty()).then_some(now + FIRST_JOIN_DELAY.min(config.interval)),
            join_delay: FIRST_JOIN_DELAY.min(config.interval),
            budget: config.bytes_per_round,
            open_digests: OpenDigests::new(dice.u32(..)),
            roster_seen: (0, now),
            last_renewal: None,
            last_conflict: None,
            last_foreign: None,
            last_collection: None,
            next_detect: now + config.interval,
            left: false,
            farewells_heard: 0,
            scratch: Scratch::default(),
            dice,
            config,
        };
        #[cfg(feature = "encryption")]
        node.set_keyring(node.config.keyring.clone());
        let initial = std::mem::take(&mut node.config.initial);
        for (key, value) in &initial {
            local::check_not_reserved(key)?;
            node.check_entry(key, value)?;
            node.ring.change_own(|own| own.set(&key.as_str().into(), value.clone(), None));
        }
        node.config.initial = initial;
        Ok(node)
    }

    /// This node's identity.
    pub fn me(&self) -> Peer {
        self.ring.me()
    }

    /// Which run of it: milliseconds since 1970 at its start, or higher if it met its own past or its clock was never set.
    pub fn generation(&self) -> u64 {
        self.ring.own().progress().generation
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Everything that it holds of itself and of others.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// What it has counted. What only its surroundings know is zero.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.peers = self.ring.members().filter(|(_, member)| member.state != PeerState::Forgotten).count();
        stats.alive = self.ring.peers_in(PeerState::Alive).len();
        stats.own_keys = self.ring.own().map().len();
        stats
    }

    /// At most so many bytes per second should this node write, says flow control.
    pub fn permitted_rate(&self) -> f64 {
        self.flow.permitted()
    }

    /// When [`Node::gossip`] has something to do.
    pub fn next_gossip(&self) -> Instant {
        if self.left {
            return if self.farewell_heard() { Instant::MAX } else { self.next_round };
        }
        let wave = self.news.next_wave().filter(|_| self.config.early_news);
        let retry = self.catch_up.next_deadline();
        [wave, retry, self.turn_ends, self.next_join].into_iter().flatten().fold(self.next_round, Instant::min)
    }

    /// When [`Node::detect`] has something to do.
    pub fn next_detect(&self) -> Instant {
        self.next_detect
    }

    /// Tells the node what the wall clock shows. Only what it is ahead of the time that has passed here counts, as after
    /// a machine's sleep, which a monotonic clock leaves out: others may have restarted meanwhile, with generations that
    /// would seem to come from the future.
    pub fn wall_clock(&mut self, now: Instant, unix_ms: u64) {
        self.unix_origin = self.unix_origin.max(unix_ms.saturating_sub(now.as_micros() / 1000));
    }

    /// This node's wall clock: as it was at the start or told since, and counted on from there.
    fn unix_ms(&self, now: Instant) -> u64 {
        self.unix_origin.saturating_add(now.as_micros() / 1000)
    }
}

/// A run counts its rounds from a number below this, which it draws: programs with one address that start in the same millisecond
/// have the same generation, and would run in step without a trace of each other. Differences of heartbeats from −32 to 127 take one
/// byte in a column, so that this leaves 31 rounds to either side for those that are late or early.
const FIRST_HEARTBEATS: u64 = 96;
/// A seed that did not answer is tried again so soon, then after twice the time, up to one interval.
const FIRST_JOIN_DELAY: Duration = Duration::from_millis(50);
