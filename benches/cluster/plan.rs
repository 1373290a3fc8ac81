//! What is run for which rows: each measurement with the command line of each library's child.

use crate::options::Options;

/// One thing to be run. Several rows may read one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measurement {
    /// One set to all of 100 nodes, every 100 ms.
    Spread100,
    /// The same every second.
    Spread1000,
    /// One set to all of 100 nodes by the rounds alone, fan-out 3.
    Rounds3,
    /// The same, fan-out 1.
    Rounds1,
    /// 100 idle nodes, every 100 ms.
    Idle,
    /// 200 nodes, every 100 ms.
    Join200,
    /// 1,000 nodes, every second.
    Thousand,
    /// 1,000 nodes that know of no other.
    Alone,
    /// A newcomer to 10,000 keys, every 100 ms.
    Newcomer100,
    /// The same every second.
    Newcomer1000,
    /// A newcomer with loss, every 100 ms.
    Lossy100,
    /// The same every second.
    Lossy1000,
    /// A stopped node among 50, every second.
    Detect,
    /// A minimal node's binary, and the crates.
    Sizes,
    /// 100 idle nodes that have a key, every 100 ms.
    IdleKeyed,
    /// Encrypting a datagram, and opening it.
    Seal,
    /// A minimal node's binary with keys, and the crates.
    SizesKeyed,
}

/// Whose child it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Library {
    /// Grapevine.
    Ours,
    /// chitchat with its default wire.
    V0,
    /// chitchat with its compressing wire.
    V1,
}

impl Library {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Library::Ours => "grapevine",
            Library::V0 => "chitchat v0",
            Library::V1 => "chitchat v1",
        }
    }
}

/// The measurements that a row reads, the one that is its own first.
pub fn measurements(row: u8) -> &'static [Measurement] {
    use Measurement::*;
    match row {
        1 => &[Spread100, Spread1000],
        2 => &[Rounds3, Rounds1, Spread100],
        3 | 4 | 10 => &[Idle],
        5 => &[Join200],
        6 => &[Thousand],
        7 => &[Newcomer100, Newcomer1000, Lossy100, Lossy1000],
        8 => &[Detect],
        9 => &[Idle, Thousand, Alone],
        11 => &[Sizes],
        12 => &[IdleKeyed, Idle, Seal, SizesKeyed, Sizes],
        _ => &[],
    }
}

/// The measurements of these rows, each once, in the order of the table.
pub fn all(rows: &[u8]) -> Vec<Measurement> {
    let mut all: Vec<Measurement> = rows.iter().flat_map(|row| measurements(*row)).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The repetitions of these, each with its number. Those that are compared with each other alternate, so that a machine which becomes
/// slower meets both.
pub fn in_turn(measurements: &[Measurement], options: &Options) -> Vec<(Measurement, usize)> {
    let all = measurements.iter().flat_map(|one| (1..=plan(*one, options).repeat).map(|number| (*one, number)));
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(measurement, number)| match measurement {
        Measurement::IdleKeyed => (Measurement::Idle, *number),
        other => (*other, *number),
    });
    all
}

/// How a measurement is taken.
pub struct Plan {
    /// The children of one repetition, in their order, with their command lines.
    pub children: Vec<(Library, String)>,
    /// How many repetitions.
    pub repeat: usize,
    /// Whether the children of a repetition run at the same time rather than in turn: only where they leave the machine
    /// idle.
    pub together: bool,
}

/// The peer's stops that are left out of row 8. Its harness stops the first node after 15 rounds, when detectors know
/// little; after so many its cluster is as old as ours is at the first stop.
pub const EARLY_STOPS: usize = 6;

/// How this one is taken. Samples are those of all repetitions together: 200 sets are 200 sets, in three clusters or in
/// one.
pub fn plan(measurement: Measurement, options: &Options) -> Plan {
    let quick = options.quick;
    let pick = |full: usize, short: usize| if quick { short } else { full };
    let each = |full: usize, short: usize| pick(full, short).div_ceil(options.repeat);
    let mut repeat = options.repeat;
    let (ours, v0, v1) = match measurement {
        Measurement::Spread100 => {
            let line = format!("spread --nodes 100 --interval-ms 100 --samples {}", each(200, 50));
            (line.clone(), Some(line), None)
        }
        Measurement::Spread1000 => {
            let line = |samples| format!("spread --nodes 100 --interval-ms 1000 --samples {samples}");
            // The peer takes twenty times as long for each; some twenty samples show it.
            (line(each(200, 10)), (!quick).then(|| line(each(20, 0))), None)
        }
        Measurement::Rounds3 | Measurement::Rounds1 => {
            let fanout = if measurement == Measurement::Rounds3 { 3 } else { 1 };
            let samples = each(200, 30);
            let line =
                format!("spread --nodes 100 --interval-ms 100 --samples {samples} --early-news off --fanout {fanout}");
            (line, None, None)
        }
        Measurement::Idle => {
            // With what is before them these are more than 128 rounds, after which detectors take no more memory.
            let line = format!("idle --nodes 100 --interval-ms 100 --seconds {}", pick(25, 5));
            (line.clone(), Some(line.clone()), Some(line + " --wire v1"))
        }
        Measurement::Join200 => {
            let line = format!("join --nodes 200 --interval-ms 100 --seconds {}", pick(20, 5));
            (line.clone(), Some(line), None)
        }
        Measurement::Thousand => {
            repeat = 1;
            let line = format!("idle --nodes 1000 --interval-ms 1000 --fanout 1 --keys 0 --seconds {}", pick(300, 15));
            // It takes two minutes and several gigabytes to see that a thousand chitchat nodes never find each other.
            let peer = "join --nodes 1000 --interval-ms 1000 --keys 0".to_owned();
            let wanted = !quick && options.rows.contains(&6);
            (line, wanted.then_some(peer), None)
        }
        Measurement::Alone => {
            repeat = 1;
            let line = "idle --nodes 1000 --interval-ms 1000 --fanout 1 --keys 0 --seconds 5 --alone";
            (line.to_owned(), None, None)
        }
        Measurement::Newcomer100 => {
            let line = |samples| format!("newcomer --keys 10000 --interval-ms 100 --samples {samples}");
            (line(each(30, 5)), Some(line(each(9, 2))), None)
        }
        Measurement::Newcomer1000 => {
            let line = |samples| format!("newcomer --keys 10000 --interval-ms 1000 --samples {samples}");
            (line(each(9, 1)), (!quick).then(|| line(each(3, 0))), None)
        }
        Measurement::Lossy100 => {
            let line = |samples| format!("newcomer --keys 10000 --interval-ms 100 --loss 1 --samples {samples}");
            (line(each(60, 10)), Some(line(each(9, 2))), None)
        }
        Measurement::Lossy1000 => {
            let line = |samples| format!("newcomer --keys 10000 --interval-ms 1000 --loss 1 --samples {samples}");
            (line(each(12, 1)), (!quick).then(|| line(each(3, 0))), None)
        }
        Measurement::Detect => {
            repeat = 1;
            let line = |samples| format!("detect --nodes 50 --interval-ms 1000 --samples {samples}");
            // 20 stops take seven minutes and a half; with what is before them, ten.
            let ours = if quick { line(2) } else { line(20) + " --seconds 150" };
            (ours, (!quick).then(|| line(EARLY_STOPS + 14)), None)
        }
        Measurement::IdleKeyed => {
            (format!("idle --nodes 100 --interval-ms 100 --keyed --seconds {}", pick(25, 5)), None, None)
        }
        Measurement::Seal => (format!("seal --samples {}", each(600, 60)), None, None),
        Measurement::SizesKeyed => (String::new(), None, None),
        // Not a child's work.
        Measurement::Sizes => (String::new(), Some(String::new()), None),
    };
    let mut children = vec![(Library::Ours, ours)];
    if options.peer {
        children.extend(v0.map(|line| (Library::V0, line)));
        children.extend(v1.map(|line| (Library::V1, line)));
    }
    // Fifty nodes that gossip once a second keep a core busy for a hundredth of the time, and ten minutes are long.
    let together = measurement == Measurement::Detect;
    Plan { children, repeat, together }
}
