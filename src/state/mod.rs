//! The shared state: the map of one owner, and everything held of all owners.
//!
//! Only the owner writes its map ([`OwnMap`]); everyone else holds a copy ([`Replica`]) that moves forward by
//! [`Delta`]s. How far a copy is, and what may answer it, is [`Progress`].

mod forgotten;
mod map;
mod member;
mod own;
mod progress;
mod replica;
mod ring;
mod seen;

pub use map::{Content, Entry, Map};
pub use member::{Asked, Mark, Member, Row, Telling};
pub use own::{Change, OwnMap};
pub use progress::{Delta, DeltaEntry, Fingerprint, Offer, Progress};
pub use replica::{Applied, Replica, Unfinished};
pub use ring::{Ring, RosterSum};
pub(crate) use ring::{in_window, place};
pub use seen::Seen;
