//! What a fuzzer's bytes mean: a state, and datagrams with the time between them.
//!
//! The first byte chooses the state. Datagrams follow, each behind the first four bytes of the envelope, which so serve as the
//! mark between them, wherever a fuzzer cuts and splices. Before the message's kind stand three bytes of how it arrives; the
//! checksum is left out, and computed when the datagram is handed over, as the receiver is where it is 0.

use std::net::SocketAddr;
use std::time::Duration;

use grapevine::Value;
use grapevine::instant::Instant;
use grapevine::wire::{Message, checksum};

use super::mutation::Mutation;
use super::states::{STATES, Scene, State};
use super::structure::{Collection, Structure};
use super::subject::{Act, Subject};
use super::world::peer;

const MARK: &[u8; 4] = b"GV\x01\x00";
/// The unit of the time before a datagram.
const TICK: Duration = Duration::from_micros(100);
/// Instead of a time: longer than a grace period and than the time between two renewals.
const LONG: u16 = 0xfff0;
const LONG_TIME: Duration = Duration::from_secs(61);
/// Instead of a time: it is stopped for so long.
const STOPPED: u16 = 0xfff8;
const STOPPED_TIME: Duration = Duration::from_secs(30);
/// Each costs work; a fuzzer finds more in many short inputs.
const MOST_DATAGRAMS: usize = 24;
const MOST_LONG_TIMES: usize = 3;

/// How a datagram arrives.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    from: Source,
    /// The node's own program sets a key before.
    sets: bool,
    /// What is made for nobody in particular stays so.
    is_first_contact: bool,
    ticks: u16,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// Where its sender says that it is.
    Sender,
    First,
    Third,
    Stranger,
}

impl Arrival {
    fn read(bytes: [u8; 3]) -> Arrival {
        let from = match bytes[0] & 3 {
            0 => Source::Sender,
            1 => Source::First,
            2 => Source::Third,
            _ => Source::Stranger,
        };
        let (sets, is_first_contact) = (bytes[0] & 4 != 0, bytes[0] & 8 != 0);
        Arrival { from, sets, is_first_contact, ticks: u16::from_le_bytes([bytes[1], bytes[2]]) }
    }

    fn from(&self, datagram: &[u8]) -> SocketAddr {
        match self.from {
            Source::Sender => Message::decode(datagram).map_or(peer(4), |(header, _)| header.sender).addr(),
            Source::First => peer(1).addr(),
            Source::Third => peer(3).addr(),
            Source::Stranger => SocketAddr::from(([192, 0, 2, 1], 9)),
        }
    }
}

/// Brings a node into the state that the input names, and hands it the datagrams. Panics if it breaks a promise.
pub fn run(scenes: &[Scene], input: &[u8]) {
    let Some((state, rest)) = input.split_first() else { return };
    let scene = &scenes[usize::from(*state) % scenes.len()];
    let mut subject = scene.subject();
    let mut long_times = 0;
    for part in parts(rest).take(MOST_DATAGRAMS) {
        let Some((head, body)) = part.split_first_chunk::<3>() else { continue };
        let arrival = Arrival::read(*head);
        match arrival.ticks {
            LONG.. if long_times == MOST_LONG_TIMES => {}
            STOPPED.. => {
                long_times += 1;
                let end = subject.now + STOPPED_TIME;
                subject.act(end, &Act::Wake);
            }
            LONG.. => {
                long_times += 1;
                subject.pass(LONG_TIME);
            }
            ticks => subject.pass(TICK * u32::from(ticks)),
        }
        if arrival.sets {
            set(&mut subject);
        }
        let datagram = match arrival.is_first_contact {
            true => datagram(body),
            false => subject.made_for_it(datagram(body)),
        };
        subject.receive(arrival.from(&datagram), &datagram);
    }
    subject.pass(Duration::from_secs(1));
    subject.check_the_view();
}

fn set(subject: &mut Subject) {
    let value = Value::encode(&subject.now.as_micros()).expect("a value");
    let now = subject.now;
    subject.act(now, &Act::Set("mine".to_owned(), value, Some(Duration::from_secs(20))));
}

fn datagram(body: &[u8]) -> Vec<u8> {
    let mut datagram = MARK.to_vec();
    datagram.extend_from_slice(body);
    let checksum = checksum(&datagram);
    datagram.extend_from_slice(&checksum);
    datagram
}

/// What stands between the marks. A mark before the first datagram is needless.
fn parts(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.windows(MARK.len()).position(|window| window == MARK);
        let (part, after) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + MARK.len()..]));
        rest = after;
        Some(part)
    })
}

/// An input with one field, row or table of one of its datagrams changed, as the numbers that `dice` draws say; `None` if that
/// datagram is not well-formed any more. Rows are taken from `donors`, or a whole datagram.
pub fn mutated(input: &[u8], donors: &Collection, mut dice: impl FnMut() -> u64) -> Option<Vec<u8>> {
    let (state, rest) = input.split_first()?;
    let mut parts: Vec<Vec<u8>> = parts(rest).map(<[u8]>::to_vec).collect();
    let donor = donors.draw(dice());
    let at = dice() as usize % parts.len().max(1);
    if parts.is_empty() || dice().is_multiple_of(8) {
        let datagram = donor.datagram();
        parts.insert(at, [&[0; 3], &datagram[MARK.len()..datagram.len() - 4]].concat());
    } else {
        let (head, body) = parts[at].split_first_chunk::<3>()?;
        let mut structure = Structure::of(&datagram(body))?;
        let [place, number, other] = [dice(), dice(), dice()];
        let number = if dice().is_multiple_of(2) { number % 200 } else { number };
        Mutation { what: dice() as u8, place: place as u16, number, other: other as u16 }.apply(&mut structure, donor);
        let changed = structure.datagram();
        parts[at] = [head, &changed[MARK.len()..changed.len() - 4]].concat();
    }
    Some([&[*state], &parts.join(&MARK[..])[..]].concat())
}

/// The input that hands a node in this state these datagrams, each with the three bytes of how it arrives.
pub fn compose(state: State, datagrams: &[([u8; 3], Vec<u8>)]) -> Vec<u8> {
    let parts = datagrams.iter().map(|(head, datagram)| [head, &datagram[MARK.len()..datagram.len() - 4]].concat());
    [&[number(state)], &parts.collect::<Vec<_>>().join(&MARK[..])[..]].concat()
}

/// Inputs that hand a scene's node what really came next: each datagram alone, and all in their order, some at a time.
pub fn seeds(scene: &Scene) -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    let mut last = scene.script.end;
    let mut together = Vec::new();
    let mut sets = false;
    for (at, act) in &scene.sequel {
        let Act::Datagram(from, bytes) = act else {
            sets |= matches!(act, Act::Set(..));
            continue;
        };
        let part = part(*from, bytes, ticks(*at, last), sets);
        (last, sets) = (*at, false);
        inputs.push([&[number(scene.state)], &part[..]].concat());
        together.push(part);
    }
    for chunk in together.chunks(MOST_DATAGRAMS / 2) {
        inputs.push([&[number(scene.state)], &chunk.join(&MARK[..])[..]].concat());
    }
    inputs
}

fn number(state: State) -> u8 {
    STATES.iter().position(|other| *other == state).unwrap_or(0) as u8
}

fn ticks(at: Instant, last: Instant) -> u16 {
    let ticks = (at - last).as_micros().div_ceil(TICK.as_micros());
    u16::try_from(ticks).unwrap_or(u16::MAX).min(LONG - 1)
}

fn part(from: SocketAddr, datagram: &[u8], ticks: u16, sets: bool) -> Vec<u8> {
    let mut part = vec![u8::from(sets) * 4];
    part.extend_from_slice(&ticks.to_le_bytes());
    part.extend_from_slice(&datagram[MARK.len()..datagram.len() - 4]);
    let claimed = Message::decode(datagram).expect("a datagram of a node").0.sender;
    assert_eq!(claimed.addr(), from, "a node's datagrams come from its address");
    part
}
