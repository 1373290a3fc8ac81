//! What a call into the core hands back.

use std::net::SocketAddr;
use std::ops::Range;

use log::Level;

use crate::event::Event;

/// Datagrams to send and events to publish, in their order. Use one again and again: it keeps its buffers.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    datagrams: Vec<(SocketAddr, Range<usize>)>,
    /// What happened.
    pub events: Vec<Event>,
    /// Indexes of seeds whose names should be resolved, for [`Node::seed_resolved`](crate::node::Node::seed_resolved).
    pub resolve: Vec<usize>,
    /// Lines for the log, to be written when no lock is held: a logger is somebody else's code.
    pub log: Vec<LogLine>,
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

    /// The datagrams to send, each with its destination.
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.datagrams.iter().map(|(to, range)| (*to, &self.bytes[range.clone()]))
    }

    /// Empties it and keeps the buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.datagrams.clear();
        self.events.clear();
        self.resolve.clear();
        self.log.clear();
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty() && self.events.is_empty() && self.resolve.is_empty() && self.log.is_empty()
    }

    /// Takes the datagram that `write` appends; returns its size.
    pub(super) fn datagram(&mut self, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let end = self.bytes.len();
        self.datagrams.push((to, start..end));
        end - start
    }

    pub(super) fn log(&mut self, level: Level, text: String) {
        self.log.push(LogLine { level, text });
    }
}
