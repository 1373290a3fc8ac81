//! Without the feature `encryption` there are no keys, and everything is plain.

use std::convert::Infallible;
use std::io;

use crate::gossiper::Gossiper;
use crate::service::keys::{Answer, Hello, PREAMBLE_BYTES, Refused};

#[derive(Clone)]
pub(in crate::service) struct Keys;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Protection {
    Plain,
}

/// There is none.
pub(in crate::service) struct Initiator(Infallible);

/// There is none.
#[derive(Clone)]
pub(in crate::service) struct Session(Infallible);

impl Keys {
    pub(in crate::service) fn of(_: &Gossiper) -> Keys {
        Keys
    }

    pub(in crate::service) fn version(&self) -> u64 {
        0
    }

    pub(in crate::service) fn for_calls(&self) -> Protection {
        Protection::Plain
    }

    pub(in crate::service) fn take(&self, _: Protection) -> bool {
        true
    }

    pub(in crate::service) fn initiate(&self) -> io::Result<Option<(Initiator, Hello)>> {
        Ok(None)
    }

    pub(in crate::service) fn check(&self, _: [u8; PREAMBLE_BYTES]) -> Result<(), Refused> {
        Err(Refused("no_keys", "it is encrypted, and this program is built without the feature `encryption`"))
    }

    pub(in crate::service) fn respond(
        &self,
        preamble: [u8; PREAMBLE_BYTES],
        _: &Answer,
    ) -> Result<(Answer, Session, Protection), Refused> {
        Err(self.check(preamble).err().unwrap_or(Refused("no_keys", "")))
    }
}

impl Initiator {
    pub(in crate::service) fn finish(self, _: &Answer) -> Option<(Session, Protection)> {
        match self.0 {}
    }
}

impl Session {
    pub(in crate::service) fn seal(&self, _: u64, _: &[u8], _: &mut [u8]) -> Option<usize> {
        match self.0 {}
    }

    pub(in crate::service) fn open(&self, _: u64, _: &[u8], _: &mut [u8]) -> Option<usize> {
        match self.0 {}
    }
}
