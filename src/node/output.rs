//! What a call into the core hands back.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use log::Level;

use crate::event::Event;
use crate::wire::{HEAD_BYTES, NO_KEY, SEALED_ENVELOPE_BYTES, Seal};

/// Datagrams to send and events to publish, in their order. Use one again and again: it keeps its buffers.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    sealed: Vec<u8>,
    datagrams: Vec<Outgoing>,
    /// What happened.
    pub events: Vec<Event>,
    /// Indexes of seeds whose names should be resolved, for [`Node::seed_resolved`](crate::node::Node::seed_resolved).
    pub resolve: Vec<usize>,
    /// Lines for the log, to be written when no lock is held: a logger is somebody else's code.
    pub log: Vec<LogLine>,
}

/// A datagram in one of the buffers.
#[derive(Debug)]
struct Outgoing {
    to: SocketAddr,
    range: Range<usize>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// As it is sent, in `bytes`.
    Plain,
    /// In `bytes`, to be encrypted with this before anybody gets to see it.
    Unsealed(Arc<Seal>),
    /// As it is sent, in `sealed`.
    Sealed,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How grave it is.
    pub level: Level,
    /// What happened.
    pub text: String,
}

impl Output {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The datagrams to send, each with its destination. Those of a node with keys only once they are [sealed](Output::seal).
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.datagrams.iter().filter_map(|datagram| {
            let bytes = match datagram.form {
                Form::Plain => &self.bytes,
                Form::Sealed => &self.sealed,
                Form::Unsealed(_) => return None,
            };
            Some((datagram.to, &bytes[datagram.range.clone()]))
        })
    }

    /// Encrypts the datagrams of a node that has keys; of one that has none there is nothing to do. `fill` draws a nonce for each: 24
    /// bytes that never come again, as of the system's randomness. This is done here because there are no dice in the core, and while
    /// no lock need be held.
    ///
    /// # Errors
    /// Those of `fill`; then what is not encrypted stays out of [`Output::datagrams`].
    pub fn seal<E>(&mut self, mut fill: impl FnMut(&mut [u8; 24]) -> Result<(), E>) -> Result<(), E> {
        for datagram in &mut self.datagrams {
            if let Form::Unsealed(seal) = &datagram.form {
                let mut nonce = [0; 24];
                fill(&mut nonce)?;
                let start = self.sealed.len();
                seal.seal(&self.bytes[datagram.range.clone()], &nonce, &mut self.sealed);
                (datagram.range, datagram.form) = (start..self.sealed.len(), Form::Sealed);
            }
        }
        Ok(())
    }

    /// Empties it and keeps the buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sealed.clear();
        self.datagrams.clear();
        self.events.clear();
        self.resolve.clear();
        self.log.clear();
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty() && self.events.is_empty() && self.resolve.is_empty() && self.log.is_empty()
    }

    /// Takes the datagram that `write` appends, to be encrypted if `seal` has a key for it; returns its size when it is sent.
    pub(super) fn datagram(&mut self, to: SocketAddr, seal: &Arc<Seal>, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let range = start..self.bytes.len();
        let (form, more) = match seal.key_id() {
            NO_KEY => (Form::Plain, 0),
            // The head is the same.
            _ => (Form::Unsealed(seal.clone()), SEALED_ENVELOPE_BYTES - HEAD_BYTES),
        };
        let size = range.len() + more;
        self.datagrams.push(Outgoing { to, range, form });
        size
    }

    pub(super) fn log(&mut self, level: Level, text: String) {
        self.log.push(LogLine { level, text });
    }
}
