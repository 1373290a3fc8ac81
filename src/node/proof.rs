//! The three-times rule: an address that has not proved itself gets no more than three times the bytes that it sent
//! (RFC 9000, section 8.1), so that nobody can aim a node's answers at somebody else.
//!
//! Each side gives the other a token, which only whoever receives at that address can return. Tokens are computed, not
//! stored: a keyed hash of the address and of the hour.

use std::hash::Hasher;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use fastrand::Rng;
use siphasher::sip::SipHasher13;

use crate::instant::Instant;
use crate::node::Node;
use crate::peer::Peer;
use crate::state::Member;
use crate::wire::{Header, NO_KEY, PROTOCOL_VERSION, run_hash};

/// A token is taken in the hour in which it was given and in the next one.
const EPOCH: Duration = Duration::from_secs(3600);
/// A partner whose address is proved is not given new tokens for so long, which saves nine bytes a datagram.
const PROOF_LASTS: Duration = Duration::from_secs(1800);

#[derive(Debug)]
pub(super) struct Proof {
    secret: (u64, u64),
}

impl Proof {
    pub(super) fn new(dice: &mut Rng) -> Self {
        Proof { secret: (dice.u64(..), dice.u64(..)) }
    }

    /// The token for whoever receives at this address.
    pub(super) fn token(&self, now: Instant, addr: SocketAddr) -> u64 {
        self.token_of(epoch(now), addr)
    }

    pub(super) fn is_proved(&self, now: Instant, addr: SocketAddr, echo: u64) -> bool {
        let epoch = epoch(now);
        echo == self.token_of(epoch, addr) || epoch.checked_sub(1).is_some_and(|past| echo == self.token_of(past, addr))
    }

    fn token_of(&self, epoch: u64, addr: SocketAddr) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        hasher.write(&Peer::from(addr).to_wire());
        hasher.write_u64(epoch);
        // 0 is no token.
        hasher.finish().max(1)
    }
}

fn epoch(now: Instant) -> u64 {
    now.as_micros() / (EPOCH.as_micros() as u64)
}

/// Where to send to, and how to prove oneself there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) to: SocketAddr,
    /// Who is there, as far as that is known.
    pub(super) receiver: u32,
    pub(super) echo: Option<u64>,
    pub(super) token: Option<u64>,
    /// How many bytes may still be sent there before the address has proved itself.
    pub(super) allowance: usize,
}

impl Path {
    /// Whether the address has proved itself, or is one that this node turned to by itself.
    pub(super) fn is_proved(&self) -> bool {
        self.allowance == usize::MAX
    }

    /// So many bytes were sent there.
    pub(super) fn spend(&mut self, bytes: usize) {
        if !self.is_proved() {
            self.allowance = self.allowance.saturating_sub(bytes);
        }
    }
}

impl Node {
    /// The way to a peer that this node turns to by itself.
    pub(super) fn path_to(&self, now: Instant, to: SocketAddr) -> Path {
        let peer = Peer::from(to);
        let member = self.ring.member(peer);
        let proved = member.is_some_and(|member| now < member.proved_until);
        Path {
            to,
            receiver: member.map_or(0, |member| run_hash(peer, member.replica.progress().generation)),
            echo: member.and_then(|member| member.token).map(NonZeroU64::get),
            token: (!proved).then(|| self.proof.token(now, to)),
            allowance: usize::MAX,
        }
    }

    /// The way back to where a datagram of `len` bytes came from that may have been recorded: it proves nothing.
    pub(super) fn unproved_path_back(&self, now: Instant, from: SocketAddr, header: &Header<'_>, len: usize) -> Path {
        Path {
            to: from,
            receiver: run_hash(header.sender, header.generation),
            echo: header.token,
            token: Some(self.proof.token(now, from)),
            allowance: len.saturating_mul(3),
        }
    }

    /// The way back to where a fresh datagram of `len` bytes came from, which is `proved` if it returned the token given there.
    pub(super) fn path_back(
        &mut self,
        now: Instant,
        from: SocketAddr,
        header: &Header<'_>,
        len: usize,
        proved: bool,
    ) -> Path {
        let path = self.unproved_path_back(now, from, header, len);
        self.keep_token(from, header);
        let Some(member) = self.member_at(from, header) else {
            return if proved { Path { token: None, allowance: usize::MAX, ..path } } else { path };
        };
        let echo = member.token.map(NonZeroU64::get);
        if !proved {
            return Path { echo, ..path };
        }
        member.proved_until = now + PROOF_LASTS;
        Path { echo, token: None, allowance: usize::MAX, ..path }
    }

    /// Keeps the token that a peer gave, if it came from where the peer is reached.
    pub(super) fn keep_token(&mut self, from: SocketAddr, header: &Header<'_>) {
        if let (Some(token), Some(member)) = (header.token, self.member_at(from, header)) {
            member.token = NonZeroU64::new(token);
        }
    }

    /// The peer that sent this, if it came from where that is reached and from the run that is known.
    fn member_at(&mut self, from: SocketAddr, header: &Header<'_>) -> Option<&mut Member> {
        let is_known = |member: &&mut Member| member.replica.progress().generation == header.generation;
        self.ring.member_mut(header.sender).filter(|_| Peer::from(from) == header.sender).filter(is_known)
    }

    /// The header of what this node sends along a path.
    pub(super) fn header<'a>(&'a self, path: &Path) -> Header<'a> {
        let key_id = self.seal.key_id();
        Header {
            key_id,
            cluster: if key_id == NO_KEY { &self.config.cluster } else { "" },
            speaks: PROTOCOL_VERSION,
            sender: self.ring.me(),
            generation: self.generation(),
            receiver: path.receiver,
            echo: path.echo,
            token: path.token,
        }
    }
}
