//! What must hold between an owner and one holder.

use grapevine::state::{Content, Entry};

use crate::holder::Holder;
use crate::owner::Owner;
use crate::rules::{KEYS, Rules};

/// The paper's invariant, and what it becomes with floors, between the owner and one holder of its present run:
///
/// - nobody is further than the owner;
/// - for every key whose last write the holder has passed (`last` ≤ max): it holds exactly what the owner holds, or has
///   hidden it by its own clock; where the owner has collected the tombstone, it holds no value;
/// - for every other key: what it holds of it is older; and if the last write is not above the holder's floor (it is in
///   transfer), it holds nothing confirmed of it, for those who may serve it have all passed that write.
pub fn invariant(owner: &Owner, holder: &Holder) -> Result<(), String> {
    let (far, progress) = (owner.own.progress(), holder.replica.progress());
    if progress.generation > far.generation {
        return Err("is of a generation that never was".to_owned());
    }
    if progress.generation < far.generation {
        return Ok(());
    }
    if progress.max > far.max || progress.floor > far.floor {
        return Err(format!("is further than the owner, {far:?}"));
    }
    for (key, name) in KEYS.iter().enumerate() {
        let (current, held, last) = (owner.own.map().get(name), holder.confirmed(name), owner.last[key]);
        let right = if last <= progress.max {
            match (current, held) {
                (Some(current), Some(held)) => current.version == held.version && same_content(current, held),
                (Some(current), None) => holder.refuses && value_bytes(current) > 1,
                (None, Some(held)) => !matches!(held.content, Content::Value(_)),
                (None, None) => true,
            }
        } else {
            held.is_none_or(|held| held.version < last && last > progress.floor)
        };
        if !right {
            return Err(format!("confirmed {held:?} of `{name}`, the owner has {current:?}, last written at {last}"));
        }
    }
    Ok(())
}

pub fn value_bytes(entry: &Entry) -> usize {
    match &entry.content {
        Content::Value(value) => value.as_bytes().len(),
        Content::Deleted | Content::Expired => 0,
    }
}

/// Whether a holder that went from one state to the other lost a key that its owner had all the time.
pub fn flicker(owner: &Owner, before: &Holder, after: &Holder, rules: &Rules) -> Result<(), String> {
    let (was, is) = (before.readable(), after.readable());
    for (key, streak) in owner.streak.into_iter().enumerate() {
        let may_lose = rules.crowded() || before.refuses && rules.is_big(KEYS[key]);
        if streak != 0 && was[key] >= streak && is[key] == 0 && !may_lose {
            return Err(format!("lost `{}`, which the owner has had since write {streak}", KEYS[key]));
        }
    }
    Ok(())
}

fn same_content(current: &Entry, held: &Entry) -> bool {
    let by_own_clock = current.deadline.is_some() && held.deadline.is_some() && held.content == Content::Expired;
    current.content == held.content || by_own_clock
}

/// Whether a holder has all that the owner has.
pub fn is_complete(owner: &Owner, holder: &Holder) -> Result<(), String> {
    let (far, progress) = (owner.own.progress(), holder.replica.progress());
    if (progress.generation, progress.max) != (far.generation, far.max) {
        return Err(format!("got no further than {progress:?} of {far:?}"));
    }
    if !holder.all_confirmed() {
        return Err("still holds entries over".to_owned());
    }
    invariant(owner, holder)
}
