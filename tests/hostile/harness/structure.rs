//! A datagram taken apart, down to the last field, and put together again, whatever the fields hold by then.

use std::collections::BTreeMap;

use grapevine::wire::checksum;

/// What a field means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Kind,
    Cluster,
    Speaks,
    Sender,
    Generation,
    Receiver,
    Token,
    Id,
    WindowEnd,
    Rate,
    RateChange,
    Owner,
    /// Of a generation from the header's.
    Difference,
    Heartbeat,
    Version,
    /// From one version to the next.
    Step,
    Floor,
    Mark,
    Size,
    Credit,
    Sequence,
    End,
    Hash,
    Base,
    Tick,
    Key,
    Life,
    Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Uint(u64),
    Int(i64),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
    Nil,
    True,
}

/// What the rows of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Records,
    Wants,
    Deltas,
    Entries,
    Heartbeats,
    Maxima,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Field(Role, Value),
    Rows(Table, Vec<Vec<Part>>),
    /// How many nils are told, and how many there are.
    Padding(u64, u64),
}

/// A datagram without its envelope: header and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure(pub Vec<Part>);

impl Structure {
    /// Takes a datagram apart; `None` if it is not well-formed.
    pub fn of(datagram: &[u8]) -> Option<Structure> {
        let body = datagram.get(4..datagram.len().checked_sub(4)?)?;
        let mut reader = Reader { rest: body, parts: Vec::new() };
        reader.message()?;
        reader.rest.is_empty().then_some(Structure(reader.parts))
    }

    /// Puts it together, with the envelope and the right checksum.
    pub fn datagram(&self) -> Vec<u8> {
        let mut out = b"GV\x01\x00".to_vec();
        self.0.iter().for_each(|part| write(&mut out, part));
        let checksum = checksum(&out);
        out.extend_from_slice(&checksum);
        out
    }

    /// Made for whoever it is handed to, once that is known.
    pub fn for_anybody(mut self) -> Structure {
        for (_, value) in self.fields().into_iter().filter(|(role, _)| *role == Role::Receiver) {
            *value = Value::Uint(0);
        }
        self
    }

    /// Every field, those in tables included.
    pub fn fields(&mut self) -> Vec<(Role, &mut Value)> {
        let mut found = Vec::new();
        fields(&mut self.0, &mut found);
        found
    }

    /// Every table, those in tables included, the outermost first.
    pub fn tables(&mut self, which: impl Fn(Table) -> bool + Copy) -> Vec<&mut Vec<Vec<Part>>> {
        let mut found = Vec::new();
        tables(&mut self.0, which, &mut found);
        found
    }

    /// The kinds of its tables, in the order of [`Structure::tables`] if that finds all.
    pub fn kinds_of_tables(&self) -> Vec<Table> {
        fn kinds(parts: &[Part], found: &mut Vec<Table>) {
            for part in parts {
                if let Part::Rows(table, rows) = part {
                    found.push(*table);
                    rows.iter().for_each(|row| kinds(row, found));
                }
            }
        }
        let mut found = Vec::new();
        kinds(&self.0, &mut found);
        found
    }
}

/// Real datagrams, of which one of a rare kind is as likely to be drawn as one of a common kind.
pub struct Collection(Vec<Vec<Structure>>);

impl Collection {
    pub fn new(structures: impl Iterator<Item = Structure>) -> Collection {
        let mut kinds: BTreeMap<(Option<u8>, bool, bool), Vec<Structure>> = BTreeMap::new();
        for mut structure in structures {
            let kind = structure.datagram().get(4).copied();
            let has_deltas = structure.tables(|table| table == Table::Deltas).iter().any(|rows| !rows.is_empty());
            let has_records = structure.tables(|table| table == Table::Records).iter().any(|rows| !rows.is_empty());
            kinds.entry((kind, has_deltas, has_records)).or_default().push(structure);
        }
        Collection(kinds.into_values().collect())
    }

    pub fn draw(&self, number: u64) -> &Structure {
        let kind = &self.0[(number % self.0.len() as u64) as usize];
        &kind[(number / self.0.len() as u64 % kind.len() as u64) as usize]
    }
}

fn fields<'p>(parts: &'p mut [Part], found: &mut Vec<(Role, &'p mut Value)>) {
    for part in parts {
        match part {
            Part::Field(role, value) => found.push((*role, value)),
            Part::Rows(_, rows) => rows.iter_mut().for_each(|row| fields(row, found)),
            Part::Padding(..) => {}
        }
    }
}

fn tables<'p>(parts: &'p mut [Part], which: impl Fn(Table) -> bool + Copy, found: &mut Vec<&'p mut Vec<Vec<Part>>>) {
    for part in parts {
        let Part::Rows(table, rows) = part else { continue };
        if which(*table) {
            found.push(rows);
        } else {
            rows.iter_mut().for_each(|row| tables(row, which, found));
        }
    }
}

fn write(out: &mut Vec<u8>, part: &Part) {
    match part {
        Part::Field(_, value) => write_value(out, value),
        Part::Rows(_, rows) => {
            let mut bytes = Vec::new();
            rows.iter().flatten().for_each(|part| write(&mut bytes, part));
            rmp::encode::write_bin(out, &bytes).expect("a vector takes everything");
        }
        Part::Padding(told, real) => {
            write_value(out, &Value::Uint(*told));
            out.resize(out.len() + *real as usize, 0xc0);
        }
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    const ROOM: &str = "a vector takes everything";
    match value {
        Value::Uint(value) => drop(rmp::encode::write_uint(out, *value).expect(ROOM)),
        Value::Int(value) => drop(rmp::encode::write_sint(out, *value).expect(ROOM)),
        Value::Bytes(bytes) => rmp::encode::write_bin(out, bytes).expect(ROOM),
        Value::Text(bytes) => {
            rmp::encode::write_str_len(out, bytes.len() as u32).expect(ROOM);
            out.extend_from_slice(bytes);
        }
        Value::Nil => out.push(0xc0),
        Value::True => out.push(0xc3),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    parts: Vec<Part>,
}

impl<'a> Reader<'a> {
    fn message(&mut self) -> Option<()> {
        let kind = self.rest.first().copied()?;
        self.uint(Role::Kind)?;
        self.text(Role::Cluster)?;
        self.uint(Role::Speaks)?;
        self.bytes(Role::Sender)?;
        self.uint(Role::Generation)?;
        self.uint(Role::Receiver)?;
        self.uint_or_nil(Role::Token)?;
        self.uint_or_nil(Role::Token)?;
        self.uint(Role::Id)?;
        match kind {
            1 => {
                self.window()?;
                self.uints(&[Role::Rate, Role::Rate])?;
                self.rows(Table::Records)?;
                self.padding()
            }
            2 => {
                self.uints(&[Role::Rate, Role::Rate])?;
                self.columns()?;
                self.rows(Table::Maxima)
            }
            3 => {
                self.window()?;
                self.int(Role::RateChange)?;
                if self.nil(Role::Hash).is_none() {
                    self.uints(&[Role::Version, Role::Floor])?;
                    self.nil(Role::Hash).or_else(|| self.uints(&[Role::Hash]))?;
                }
                self.nil(Role::WindowEnd).or_else(|| self.columns())?;
                self.rows(Table::Records)?;
                self.uints(&[Role::Id, Role::Credit])?;
                self.rows(Table::Wants)?;
                self.rows(Table::Deltas)
            }
            4 => {
                self.uints(&[Role::Sequence, Role::End])?;
                self.rows(Table::Deltas)
            }
            5 => {
                self.uint(Role::Credit)?;
                self.rows(Table::Wants)
            }
            _ => None,
        }
    }

    fn row(&mut self, table: Table) -> Option<()> {
        match table {
            Table::Heartbeats => self.int(Role::Difference),
            Table::Maxima => self.uint(Role::Version),
            Table::Records => {
                self.owner()?;
                self.uints(&[Role::Heartbeat, Role::Version, Role::Floor, Role::Mark])
            }
            Table::Wants => {
                self.owner()?;
                self.uints(&[Role::Version, Role::Floor, Role::Version, Role::Size])
            }
            Table::Deltas => {
                self.owner()?;
                self.uints(&[Role::Version, Role::Step, Role::Step, Role::Floor])?;
                self.rows(Table::Entries)
            }
            Table::Entries => {
                self.text(Role::Key)?;
                self.uint(Role::Step)?;
                self.uint_or_nil(Role::Life)?;
                match self.rest.first()? {
                    0xc0 => self.nil(Role::Content),
                    0xc3 => {
                        self.rest = &self.rest[1..];
                        self.put(Role::Content, Value::True)
                    }
                    0xc4..=0xc6 => self.bytes(Role::Content),
                    _ => {
                        self.uints(&[Role::Size, Role::Size])?;
                        self.bytes(Role::Content)
                    }
                }
            }
        }
    }

    fn rows(&mut self, table: Table) -> Option<()> {
        let mut inner = Reader { rest: self.bin()?, parts: Vec::new() };
        let mut rows = Vec::new();
        while !inner.rest.is_empty() {
            inner.row(table)?;
            rows.push(std::mem::take(&mut inner.parts));
        }
        self.parts.push(Part::Rows(table, rows));
        Some(())
    }

    fn owner(&mut self) -> Option<()> {
        self.bytes(Role::Owner)?;
        self.int(Role::Difference)
    }

    fn window(&mut self) -> Option<()> {
        self.nil(Role::WindowEnd).or_else(|| {
            self.bytes(Role::WindowEnd)?;
            self.bytes(Role::WindowEnd)
        })
    }

    fn columns(&mut self) -> Option<()> {
        self.bytes(Role::WindowEnd)?;
        self.bytes(Role::WindowEnd)?;
        self.uints(&[Role::Hash, Role::Base, Role::Tick])?;
        self.rows(Table::Heartbeats)
    }

    fn padding(&mut self) -> Option<()> {
        let told = self.read_uint()?;
        let real = self.rest.iter().take_while(|byte| **byte == 0xc0).count();
        self.rest = &self.rest[real..];
        self.parts.push(Part::Padding(told, real as u64));
        Some(())
    }

    fn uints(&mut self, roles: &[Role]) -> Option<()> {
        roles.iter().try_for_each(|role| self.uint(*role))
    }

    fn uint(&mut self, role: Role) -> Option<()> {
        let value = self.read_uint()?;
        self.put(role, Value::Uint(value))
    }

    fn int(&mut self, role: Role) -> Option<()> {
        let value = rmp::decode::read_int(&mut self.rest).ok()?;
        self.put(role, Value::Int(value))
    }

    fn uint_or_nil(&mut self, role: Role) -> Option<()> {
        self.nil(role).or_else(|| self.uint(role))
    }

    fn nil(&mut self, role: Role) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[0xc0])?;
        self.put(role, Value::Nil)
    }

    fn text(&mut self, role: Role) -> Option<()> {
        let len = rmp::decode::read_str_len(&mut self.rest).ok()?;
        let text = self.take(len)?;
        self.put(role, Value::Text(text.to_vec()))
    }

    fn bytes(&mut self, role: Role) -> Option<()> {
        let bytes = self.bin()?;
        self.put(role, Value::Bytes(bytes.to_vec()))
    }

    fn bin(&mut self) -> Option<&'a [u8]> {
        let len = rmp::decode::read_bin_len(&mut self.rest).ok()?;
        self.take(len)
    }

    fn take(&mut self, len: u32) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len as usize)?;
        self.rest = rest;
        Some(taken)
    }

    fn read_uint(&mut self) -> Option<u64> {
        rmp::decode::read_int(&mut self.rest).ok()
    }

    fn put(&mut self, role: Role, value: Value) -> Option<()> {
        self.parts.push(Part::Field(role, value));
        Some(())
    }
}
