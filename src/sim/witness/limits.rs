//! Every table within its limit, every datagram too.

use crate::sim::witness::view::{Held, View};
use crate::sim::witness::{Broken, Rule, broken};

pub(super) fn check(view: &View) -> Result<(), Broken> {
    let limits = &view.limits;
    if view.largest_datagram > view.max_datagram {
        let (size, limit) = (view.largest_datagram, view.max_datagram);
        return broken(Rule::DatagramsAreBounded, format!("it sent {size} bytes; the limit is {limit}"));
    }
    within("peers", view.size, limits.peers)?;
    // Those who are told to be forgotten are among the members.
    within("forgotten peers", view.forgotten, 2 * limits.peers)?;
    map(&view.own, 1, view)?;
    // While it catches up, what is old and what is new together.
    view.members.iter().try_for_each(|seen| map(&seen.held, 2, view))
}

fn map(held: &Held, times: usize, view: &View) -> Result<(), Broken> {
    within("keys", held.keys, times * view.limits.keys)?;
    within("bytes of a map", held.bytes, times * view.limits.map_bytes)?;
    within("bytes of an unfinished value", held.unfinished, view.limits.value_bytes)
}

fn within(what: &str, size: usize, limit: usize) -> Result<(), Broken> {
    if size <= limit {
        return Ok(());
    }
    broken(Rule::TablesAreBounded, format!("it holds {size} {what}; the limit is {limit}"))
}
