//! Changes of a datagram's fields, each by what the field means, and of its tables.

use super::structure::{Part, Role, Structure, Table, Value};
use super::world::peer;

/// One change. All of it is numbers, so that a case that fails can be made smaller.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// What is done: to a field by its role, or to a table.
    pub what: u8,
    /// Where, counted around.
    pub place: u16,
    /// What is put there, by its role.
    pub number: u64,
    /// A second place, or how often.
    pub other: u16,
}

/// The numbers at which arithmetic goes wrong, and a minute, a day and the lengths around which a limit lies.
const EDGES: [u64; 22] = [
    0,
    1,
    2,
    24,
    64,
    127,
    128,
    255,
    256,
    4_000,
    4_001,
    60_000,
    86_400_000,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 53,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

const KEYS: [&[u8]; 12] = [
    b"text",
    b"list",
    b"short",
    b"long",
    b"gone",
    b"large0",
    b"mine",
    b"brief",
    b"",
    "\u{e9}t\u{e9}".as_bytes(),
    b"\0",
    b"\xff\xfe",
];

impl Mutation {
    /// Changes a datagram; `donor` is another, from which rows may be taken.
    pub fn apply(&self, structure: &mut Structure, donor: &Structure) {
        match self.what % 16 {
            0..=7 => self.change_a_field(structure),
            8 => self.tell_a_lot(structure),
            9 => self.swap_two_fields(structure),
            10 => self
                .change_a_table(structure, |rows, at, other| rows.insert(other % (rows.len() + 1), rows[at].clone())),
            11 => self.change_a_table(structure, |rows, at, other| {
                let other = other % rows.len();
                rows.swap(at, other);
            }),
            12 => self.change_a_table(structure, |rows, at, _| drop(rows.remove(at))),
            13 => self.repeat_a_row(structure),
            14 => self.take_a_row(structure, donor),
            _ => self.break_the_form(structure),
        }
    }

    fn place(&self, len: usize) -> usize {
        usize::from(self.place) % len.max(1)
    }

    fn change_a_field(&self, structure: &mut Structure) {
        // Most fields are in rows; the header's are changed less often than these.
        let mut fields = structure.fields();
        let skipped = if self.other.is_multiple_of(4) || fields.len() <= 13 { 0 } else { 8 };
        let at = skipped + self.place(fields.len() - skipped);
        let (role, value) = &mut fields[at];
        **value = self.value(*role, value);
    }

    fn value(&self, role: Role, old: &Value) -> Value {
        let number = usize::try_from(self.number % 4_096).unwrap_or(0);
        match role {
            Role::Sender | Role::Owner | Role::WindowEnd => Value::Bytes(address(number, self.other)),
            Role::Key => Value::Text(match number % (KEYS.len() + 4) {
                n if n < KEYS.len() => KEYS[n].to_vec(),
                n => vec![b'k'; [64, 65, 256, 257][n - KEYS.len()]],
            }),
            Role::Cluster => Value::Text([&b"grapevine"[..], b"", b"other", &[b'c'; 65]][number % 4].to_vec()),
            Role::Content => content(number, self.other),
            Role::Token | Role::Life if number % 3 == 0 => Value::Nil,
            Role::Difference | Role::RateChange => Value::Int(self.number_near(old).cast_signed()),
            _ => Value::Uint(self.number_near(old)),
        }
    }

    /// An edge, something near what was there, or anything.
    fn number_near(&self, old: &Value) -> u64 {
        let old = match old {
            Value::Uint(old) => *old,
            Value::Int(old) => old.cast_unsigned(),
            _ => 0,
        };
        let number = self.number / 4;
        match self.number % 4 {
            0 => EDGES[(number % EDGES.len() as u64) as usize],
            1 => old.wrapping_add(number % 7).wrapping_sub(3),
            2 => old.wrapping_add(EDGES[(number % EDGES.len() as u64) as usize]),
            _ => number >> (self.other % 64),
        }
    }

    fn swap_two_fields(&self, structure: &mut Structure) {
        let mut fields = structure.fields();
        let at = self.place(fields.len());
        let role = fields[at].0;
        let alike: Vec<usize> = (0..fields.len()).filter(|n| fields[*n].0 == role).collect();
        let other = alike[usize::from(self.other) % alike.len()];
        let (first, second) = (fields[at].1.clone(), fields[other].1.clone());
        *fields[at].1 = second;
        *fields[other].1 = first;
    }

    /// Changes the rows of a table that is not empty.
    fn change_a_table(&self, structure: &mut Structure, change: impl FnOnce(&mut Vec<Vec<Part>>, usize, usize)) {
        let kinds = structure.kinds_of_tables();
        let kind = kinds.get(usize::from(self.other >> 8) % kinds.len().max(1)).copied();
        let mut tables = structure.tables(|table| Some(table) == kind);
        let at = self.number as usize % tables.len().max(1);
        if let Some(rows) = tables.get_mut(at).filter(|rows| !rows.is_empty()) {
            let row = self.place(rows.len());
            change(rows, row, usize::from(self.other));
        }
    }

    /// The same row again and again, with a number in it that counts up: what costs little once.
    fn repeat_a_row(&self, structure: &mut Structure) {
        let times = 2 + self.number % 40;
        self.change_a_table(structure, |rows, at, other| {
            let row = rows[at].clone();
            for n in 1..=times {
                let mut next = row.clone();
                let counted = other % next.len();
                match &mut next[counted] {
                    Part::Field(_, Value::Uint(value)) => *value = value.wrapping_add(n),
                    Part::Field(_, Value::Int(value)) => *value = value.wrapping_add_unsigned(n),
                    // An IPv4 peer's address or port.
                    Part::Field(_, Value::Bytes(bytes)) if bytes.len() == 6 => bytes[3 + other % 3] ^= n as u8,
                    _ => {}
                }
                rows.insert(at + n as usize, next);
            }
        });
    }

    /// Makes a delta one that is taken: from 0, and beyond what is held, with many entries of one sort or a piece.
    fn tell_a_lot(&self, structure: &mut Structure) {
        let mut tables = structure.tables(|table| table == Table::Deltas);
        let Some(rows) = tables.first_mut().filter(|rows| !rows.is_empty()) else { return };
        let at = self.place(rows.len());
        let first = 1 + self.number % 50;
        let (entries, to) = if self.number.is_multiple_of(3) {
            (vec![self.piece(first)], first - 1)
        } else {
            let count = u64::from(1 + self.other % 64);
            ((0..count).map(|n| self.entry(n, if n == 0 { first } else { 1 })).collect(), first + count)
        };
        let numbers = [0, to, self.number >> 60, 0];
        for (part, number) in rows[at].iter_mut().skip(2).zip(numbers) {
            *part = Part::Field(Role::Version, Value::Uint(number));
        }
        if let Some(Part::Rows(_, old)) = rows[at].last_mut() {
            *old = entries;
        }
    }

    fn entry(&self, n: u64, step: u64) -> Vec<Part> {
        let life = if self.number.is_multiple_of(5) { Value::Uint(n * 500) } else { Value::Nil };
        let content = content(self.number as usize / 7, self.other / 64);
        vec![
            Part::Field(Role::Key, self.key(n)),
            Part::Field(Role::Step, Value::Uint(step)),
            Part::Field(Role::Life, life),
            Part::Field(Role::Content, content),
        ]
    }

    /// A piece from any place of a value of any size.
    fn piece(&self, step: u64) -> Vec<Part> {
        let choice = (self.number / 50) as usize;
        let total = [0, 1, 600, 4_000, 4_001, 1 << 32, u64::MAX][choice % 7];
        let offset = [0, 0, 0, 1, 500][choice / 7 % 5];
        vec![
            Part::Field(Role::Key, self.key(0)),
            Part::Field(Role::Step, Value::Uint(step)),
            Part::Field(Role::Life, Value::Nil),
            Part::Field(Role::Size, Value::Uint(total)),
            Part::Field(Role::Size, Value::Uint(offset)),
            Part::Field(Role::Content, Value::Bytes(vec![0xc2; usize::from(self.other % 512)])),
        ]
    }

    fn key(&self, n: u64) -> Value {
        let len = [0, 0, 0, 64, 65, 256, 257][(self.number / 11) as usize % 7];
        Value::Text(format!("{:k<len$}", n.to_string()).into_bytes())
    }

    fn take_a_row(&self, structure: &mut Structure, donor: &Structure) {
        let mut donor = donor.clone();
        for kind in [Table::Deltas, Table::Records, Table::Wants, Table::Entries, Table::Heartbeats, Table::Maxima] {
            let found: Vec<Vec<Part>> =
                donor.tables(|table| table == kind).into_iter().flatten().map(std::mem::take).collect();
            let mut tables = structure.tables(|table| table == kind);
            if !found.is_empty() && !tables.is_empty() {
                let at = self.place(tables.len());
                let row = found[self.number as usize % found.len()].clone();
                let rows = &mut tables[at];
                let place = usize::from(self.other) % (rows.len() + 1);
                rows.insert(place, row);
                return;
            }
        }
    }

    /// A field of another type, one too many or too few, a count that does not match.
    fn break_the_form(&self, structure: &mut Structure) {
        if let (0..=2, Some(Part::Padding(told, real))) = (self.number % 8, structure.0.last_mut()) {
            (*told, *real) =
                [(*real + 1, *real), (u64::MAX, *real), (*real + 300, *real + 300)][self.number as usize % 3];
            return;
        }
        let at = self.place(structure.0.len());
        match self.number % 4 {
            0 => structure.0.insert(at, structure.0[at].clone()),
            1 => drop(structure.0.remove(at)),
            2 => structure.0[at] = Part::Field(Role::Mark, Value::True),
            _ => {
                let mut fields = structure.fields();
                let at = self.place(fields.len());
                *fields[at].1 = [Value::Nil, Value::True, Value::Int(-1), Value::Text(vec![b'x'])]
                    [usize::from(self.other % 4)]
                .clone();
            }
        }
    }
}

/// The receiver, third parties, invented ones, and those whom nobody can reach.
fn address(number: usize, other: u16) -> Vec<u8> {
    let v4 = |ip: [u8; 4], port: u16| [&ip[..], &port.to_be_bytes()].concat();
    let v6 = |ip: [u16; 8], port: u16| [&ip.map(u16::to_be_bytes).concat()[..], &port.to_be_bytes()].concat();
    let of = |at: u8| v4([10, 0, 0, at], peer(at).addr().port());
    match number % 16 {
        0 | 1 => of(2),
        2 => of(1),
        3 | 4 => of(3),
        5 => of(4),
        6 => of(9),
        7 | 8 => v4([10, 1, (other >> 8) as u8, other as u8], 9_000),
        9 => v6([0xfd00, 0, 0, 0, 0, 0, 0, other], 9_000),
        10 => v4([0, 0, 0, 0], 0),
        11 => v4([10, 0, 0, 7], 0),
        12 => v4([224, 0, 0, 1], 9_000),
        13 => v6([0xfe80, 0, 0, 0, 0, 0, 0, 1], 9_000),
        14 => v6([0, 0, 0, 0, 0, 0xffff, 0x0a00, 0x0003], 9_000),
        _ => vec![7; number % 20],
    }
}

/// Tombstones, and values of every type, empty, large, deep, and none at all.
fn content(number: usize, other: u16) -> Value {
    let len = usize::from(other) % 1_100;
    Value::Bytes(match number % 12 {
        0 => return Value::Nil,
        1 => return Value::True,
        2 => Vec::new(),
        3 => vec![0xc1; len],
        4 => [vec![0x91; len], vec![0x90]].concat(),
        5 => [vec![0x81; len.min(70)], vec![0xa1, b'"'], vec![0; len.min(70)]].concat(),
        6 => vec![(other % 256) as u8],
        7 => [&[0xdf, 0xff, 0xff, 0xff, 0xff][..], &vec![1; len]].concat(),
        8 => [&[0xc9, 0, 0, 0, 4, 0xff][..], b"ext!"].concat(),
        9 => vec![0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
        10 => vec![0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        _ => [&[0xa3][..], b"two"].concat(),
    })
}
