//! The words in which a test tells its story.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Config;
use crate::error::Error;
use crate::peer::Peer;
use crate::sim::dice::Purpose;
use crate::sim::host::Host;
use crate::sim::network::{Faults, Scope};
use crate::sim::{Cause, Sim, Violation};

/// The port of every node that the simulator finds an address for.
const PORT: u16 = 9_000;
/// How often [`Sim::settle`] looks whether everyone agrees: that takes N² comparisons of maps.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Sim {
    // Starting and stopping.

    /// Starts `n` nodes, one after the other at the same moment; the first is everyone's seed.
    ///
    /// # Errors
    /// Those of [`Sim::start`].
    pub fn cluster(&mut self, n: usize, config: Config) -> Result<Vec<Peer>, Error> {
        let mut nodes = Vec::with_capacity(n);
        for _ in 0..n {
            let seeds = nodes.first().copied();
            nodes.push(self.join(config.clone(), seeds.as_slice())?);
        }
        Ok(nodes)
    }

    /// Starts a node that has these seeds, beside those in its settings.
    ///
    /// # Errors
    /// Those of [`Sim::start`].
    pub fn join(&mut self, mut config: Config, seeds: &[Peer]) -> Result<Peer, Error> {
        config.seeds.extend(seeds.iter().map(Peer::to_string));
        self.start(config)
    }

    /// Starts a node at the next free address: `10.0.0.0:9000`, `10.0.0.1:9000` and so on. What it advertises is that address,
    /// unless its settings say otherwise; where it binds is of no account here.
    ///
    /// # Errors
    /// Those of [`Node::new`](crate::node::Node::new).
    pub fn start(&mut self, config: Config) -> Result<Peer, Error> {
        let mut number = self.hosts.len();
        let addr = |number: usize| SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], PORT));
        while self.hosts.contains_key(&Peer::from(addr(number))) {
            number += 1;
        }
        self.start_at(addr(number), config, 0)
    }

    /// Starts a node at this address, whose wall clock is off by so many milliseconds.
    ///
    /// # Errors
    /// Those of [`Sim::start`].
    pub fn start_at(&mut self, addr: SocketAddr, config: Config, wall_ms: i64) -> Result<Peer, Error> {
        let peer = Peer::from(addr);
        let number = self.hosts.len() as u64;
        match self.hosts.get_mut(&peer) {
            Some(host) => (host.config, host.wall_ms) = (config, wall_ms),
            None => drop(self.hosts.insert(peer, Host::new(number, addr, config, wall_ms))),
        }
        self.boot(peer)?;
        Ok(peer)
    }

    /// The process dies without a word.
    pub fn crash(&mut self, peer: Peer) {
        let Some(host) = self.hosts.get_mut(&peer).filter(|host| host.node.is_some()) else { return };
        host.crash();
        self.happened.crashes += 1;
        self.trace.deed(self.now, peer, "crash");
        self.schedule(peer);
    }

    /// Starts it anew at the same address, a millisecond later; it remembers nothing.
    ///
    /// # Errors
    /// Those of [`Sim::start`]; [`Error::UnknownPeer`] if nothing was ever there.
    pub fn restart(&mut self, peer: Peer) -> Result<(), Error> {
        let end = self.now + Duration::from_millis(1);
        // Whatever is due until then happens first; a violation shows at the next step.
        while self.step(end).unwrap_or(false) {}
        self.happened.restarts += 1;
        self.boot(peer)
    }

    /// [`Sim::restart`] with a wall clock that is off by so many milliseconds.
    ///
    /// # Errors
    /// Those of [`Sim::restart`].
    pub fn restart_with_clock(&mut self, peer: Peer, wall_ms: i64) -> Result<(), Error> {
        if let Some(host) = self.hosts.get_mut(&peer) {
            self.happened.clocks_set_back += u64::from(wall_ms < host.wall_ms);
            host.wall_ms = wall_ms;
        }
        self.restart(peer)
    }

    /// [`Sim::restart`] as another program: other settings, another map, perhaps another cluster.
    ///
    /// # Errors
    /// Those of [`Sim::restart`].
    pub fn replace(&mut self, peer: Peer, config: Config) -> Result<(), Error> {
        if let Some(host) = self.hosts.get_mut(&peer) {
            host.config = config;
            self.happened.replacements += 1;
        }
        self.restart(peer)
    }

    /// The settings with which a node starts the next time.
    pub fn configure(&mut self, peer: Peer, config: Config) {
        if let Some(host) = self.hosts.get_mut(&peer) {
            host.config = config;
        }
    }

    fn boot(&mut self, peer: Peer) -> Result<(), Error> {
        if self.hosts.get(&peer).is_some_and(|host| host.node.is_some()) {
            self.crash(peer);
        }
        self.expel(peer.addr());
        let (now, seed) = (self.now, self.seed);
        let host = self.hosts.get_mut(&peer).ok_or(Error::UnknownPeer(peer))?;
        let mut rng = super::dice::Dice::new(seed, [host.number, host.runs]).rng(Purpose::Boot);
        host.boot(now, rng.u64(..))?;
        let seeds = host.config.seeds.len();
        self.trace.deed(now, peer, "start");
        self.call(peer, Cause::Start, |_, _, _| ());
        for index in 0..seeds {
            self.resolve(peer, index);
        }
        self.schedule(peer);
        Ok(())
    }

    /// Stops the process for a while (SIGSTOP); what it is sent waits in its socket.
    pub fn pause(&mut self, peer: Peer) {
        self.stop(peer, false);
    }

    /// Puts the whole machine to sleep, its monotonic clock too; what it is sent waits in its socket, as if the network
    /// had held it back.
    pub fn sleep(&mut self, peer: Peer) {
        self.stop(peer, true);
    }

    fn stop(&mut self, peer: Peer, asleep: bool) {
        let Some(host) = self.hosts.get_mut(&peer).filter(|host| host.node.is_some()) else { return };
        if host.paused.is_none() {
            let count = if asleep { &mut self.happened.sleeps } else { &mut self.happened.pauses };
            *count += 1;
            self.trace.deed(self.now, peer, if asleep { "sleep" } else { "pause" });
        }
        host.pause(self.now, asleep);
        self.schedule(peer);
    }

    /// Ends a pause or a sleep.
    pub fn resume(&mut self, peer: Peer) {
        let Some(host) = self.hosts.get_mut(&peer) else { return };
        let asleep = host.asleep;
        let Some(paused) = host.resume(self.now) else { return };
        self.trace.deed(self.now, peer, "resume");
        if let Some(witness) = self.witness.as_mut().filter(|_| asleep) {
            witness.slept(self.now, paused);
        }
        self.schedule(peer);
    }

    /// Has a machine's monotonic clock run fast by so many parts in a million from now on, or slow if it is negative;
    /// -500,000 to 500,000. Its wall clock is set right all the time, as by NTP.
    pub fn drift(&mut self, peer: Peer, ppm: i32) {
        let ppm = ppm.clamp(-500_000, 500_000);
        let Some(host) = self.hosts.get_mut(&peer) else { return };
        self.happened.drifts += u64::from(ppm != 0);
        host.drift_ppm = ppm;
        host.clock.drift(self.now, ppm);
        self.trace.deed(self.now, peer, &format!("drift {ppm} ppm"));
        if let Some(witness) = &mut self.witness {
            witness.drift(ppm);
        }
        self.schedule(peer);
    }

    // The network.

    /// What the wire does to every datagram.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.network.faults
    }

    /// What it does beside that to some, until the same number is given other faults; [`Faults::NONE`] ends it.
    pub fn faults_in(&mut self, number: u64, scope: Scope, faults: Faults) {
        self.trace.network(self.now, &format!("faults {number} {scope:?} {faults:?}"));
        if faults == Faults::NONE {
            self.network.scoped.remove(&number);
        } else {
            self.network.scoped.insert(number, (scope, faults));
        }
    }

    /// What a name among the seeds stands for.
    pub fn name(&mut self, name: &str, addrs: &[SocketAddr]) {
        self.names.insert(name.to_owned(), addrs.to_vec());
    }

    /// Nothing passes between the two groups any more.
    pub fn cut(&mut self, left: &[Peer], right: &[Peer]) {
        self.cut_one_way(left, right);
        self.cut_one_way(right, left);
    }

    /// Nothing passes from the first group to the second any more; what is sent back arrives.
    pub fn cut_one_way(&mut self, from: &[Peer], to: &[Peer]) {
        self.trace.network(self.now, &format!("cut {from:?} to {to:?}"));
        for from in from {
            self.network.cuts.extend(to.iter().filter(|to| *to != from).map(|to| (*from, *to)));
        }
    }

    /// Nothing passes between this node and the others any more.
    pub fn isolate(&mut self, peer: Peer) {
        let others: Vec<Peer> = self.hosts.keys().copied().filter(|other| *other != peer).collect();
        self.cut(&[peer], &others);
    }

    /// Ends every cut.
    pub fn heal(&mut self) {
        self.trace.network(self.now, "heal");
        self.network.cuts.clear();
    }

    /// Ends the cuts between the two groups.
    pub fn heal_between(&mut self, left: &[Peer], right: &[Peer]) {
        self.trace.network(self.now, &format!("heal {left:?} and {right:?}"));
        self.network.cuts.retain(|(from, to)| {
            !(left.contains(from) && right.contains(to) || right.contains(from) && left.contains(to))
        });
    }

    /// Ends all faults: the network's, every pause and sleep, every intruder. Clocks go on at their rates; what was crashed stays so.
    pub fn calm(&mut self) {
        self.network.faults = Faults::NONE;
        self.network.scoped.clear();
        self.heal();
        let outsiders: Vec<Peer> = self.outsiders.keys().copied().collect();
        for peer in outsiders {
            self.expel(peer.addr());
        }
        for peer in self.running() {
            self.resume(peer);
        }
        if let Some(witness) = &mut self.witness {
            witness.calm();
        }
    }

    /// [Ends all faults](Sim::calm) and runs until everyone agrees: every node that runs lists exactly the others that run as alive,
    /// and holds their maps exactly. Returns how long that took.
    ///
    /// # Errors
    /// [`Rule::Agreement`](crate::sim::Rule::Agreement) if they do not agree within that time, with who and why; and those of
    /// [`Sim::run_for`].
    pub fn settle(&mut self, within: Duration) -> Result<Duration, Violation> {
        self.calm();
        let start = self.now;
        while self.disagreement().is_some() {
            if self.now - start >= within {
                return Err(self.no_agreement(within));
            }
            self.run_for(LOOK_EVERY)?;
        }
        Ok(self.now - start)
    }

    /// Somebody within the cluster lies from here on. Of others' state whatever is told is believed, so who wrote what is not checked
    /// any more; everything else is, a node's own map above all.
    pub fn expect_lies(&mut self) {
        if let Some(witness) = &mut self.witness {
            witness.expect_lies();
        }
    }

    /// Has everything that is sent from here on recorded, for [`Sim::tapped`].
    pub fn tap(&mut self) {
        self.tap = Some(Vec::new());
    }

    /// Ends [`Sim::tap`]: what nodes sent, from where, to where, whether it arrived or not.
    pub fn tapped(&mut self) -> Vec<(Peer, SocketAddr, Vec<u8>)> {
        self.tap.take().unwrap_or_default()
    }
}
