//! The originals' behaviours and failures once more, in clusters that require encryption: see `common::keyed`.

mod common;

#[path = "originals/behaviours.rs"]
mod behaviours;
#[path = "originals/keys.rs"]
mod keys;
#[path = "originals/lies.rs"]
mod lies;
#[path = "originals/lives.rs"]
mod lives;
