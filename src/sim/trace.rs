//! What happened, in order: always as a hash, on request as text.

use std::fmt::{Display, Write};
use std::hash::Hasher;
use std::net::SocketAddr;

use siphasher::sip::SipHasher13;

use crate::event::Event;
use crate::instant::Instant;
use crate::peer::Peer;
use crate::sim::Sim;
use crate::wire::Message;

/// The record of a run.
#[derive(Default)]
pub(super) struct Trace {
    hash: SipHasher13,
    text: Option<String>,
}

impl Trace {
    /// A node receives a datagram.
    pub(super) fn datagram(&mut self, now: Instant, at: Peer, from: SocketAddr, bytes: &[u8]) {
        self.hash.write_u64(now.as_micros());
        self.hash.write(&at.to_wire());
        self.hash.write(&Peer::from(from).to_wire());
        self.hash.write(bytes);
        let Some(text) = &mut self.text else { return };
        let what = match Message::decode(bytes) {
            Ok((_, Message::Digest(_))) => "digest",
            Ok((_, Message::CompactDigest(_))) => "compact digest",
            Ok((_, Message::Answer(_))) => "answer",
            Ok((_, Message::Delta(_))) => "delta",
            Ok((_, Message::Want(_))) => "want",
            Err(refusal) => refusal.as_str(),
        };
        let _ = writeln!(text, "{} {at} <- {from} {what}, {} bytes", Time(now), bytes.len());
    }

    /// A node tells its program something.
    pub(super) fn event(&mut self, now: Instant, at: Peer, event: &Event) {
        self.line(now, at, &format_args!("{event:?}"));
    }

    /// A node logs something.
    pub(super) fn log(&mut self, now: Instant, at: Peer, line: &str) {
        self.line(now, at, &format_args!("{line}"));
    }

    /// Something is done to a machine.
    pub(super) fn deed(&mut self, now: Instant, at: Peer, deed: &str) {
        self.line(now, at, &format_args!("{deed}"));
    }

    /// Something is done to the network.
    pub(super) fn network(&mut self, now: Instant, deed: &str) {
        self.line(now, "network", &format_args!("{deed}"));
    }

    fn line(&mut self, now: Instant, at: impl Display, what: &std::fmt::Arguments<'_>) {
        let mut hashed = Hashed(&mut self.hash);
        let _ = write!(hashed, "{} {at} {what}", Time(now));
        if let Some(text) = &mut self.text {
            let _ = writeln!(text, "{} {at} {what}", Time(now));
        }
    }
}

struct Hashed<'a>(&'a mut SipHasher13);

impl Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

struct Time(Instant);

impl Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

impl Sim {
    /// Has every datagram that arrives, every event and everything that is done to a machine recorded as text, a line each.
    /// It grows without limit: for tests and for looking at a failure.
    pub fn record(&mut self) {
        self.trace.text.get_or_insert_default();
    }

    /// The record so far; empty unless [`Sim::record`] was called.
    pub fn recorded(&self) -> &str {
        self.trace.text.as_deref().unwrap_or_default()
    }

    /// A hash of everything that would be in the record, the datagrams' bytes included: equal for equal runs.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash.finish()
    }
}
