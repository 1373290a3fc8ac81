//! Whatever is encoded is decoded as it was.

use std::net::SocketAddr;

use grapevine::Peer;
use grapevine::state::{Content, Delta, Entry, Fingerprint, Mark, Progress, Row};
use grapevine::value::{Key, Value};
use grapevine::wire::{
    Answer, Columns, CompactDigest, DeltaMessage, Digest, End, Header, Message, Rates, Want, WantMessage, WireContent,
    put_delta, put_entry, put_row, put_want,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::common::ms;

fn any_peer() -> impl Strategy<Value = Peer> {
    let v4 = (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| Peer::from(SocketAddr::from((ip, port))));
    let v6 = (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| Peer::from(SocketAddr::from((ip, port))));
    prop_oneof![v4, v6]
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![0..200u64, any::<u32>().prop_map(u64::from), any::<u64>(), Just(u64::MAX)]
}

fn any_window() -> impl Strategy<Value = (Peer, Peer)> {
    (any_peer(), any_peer())
}

fn any_progress() -> impl Strategy<Value = Progress> {
    (any_number(), any_number(), any_number()).prop_map(|(generation, max, floor)| Progress { generation, max, floor })
}

proptest! {
    #![proptest_config(cases(300))]

    /// What is encoded is decoded as it was.
    #[test]
    fn messages_survive_the_trip(
        (cluster, sender, generation, speaks, receiver) in (".{0,20}", any_peer(), any_number(), any::<u8>(), any::<u32>()),
        (echo, token) in (proptest::option::of(any_number()), proptest::option::of(any_number())),
        (id, want_id, credit, sequence) in any::<(u32, u32, u8, u8)>(),
        (window, rest, windowed) in (any_window(), proptest::option::of(any_window()), any::<bool>()),
        (wanted, permitted, roster, base, tick) in (any_number(), any_number(), any_number(), any_number(), any_number()),
        (one, two, three) in (vec(any::<u8>(), 0..400), vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..300)),
        (rate_change, padding) in (any::<i64>(), 0..400usize),
    ) {
        let header = Header { key_id: 0, cluster: &cluster, speaks, sender, generation, receiver, echo, token };
        let rates = Rates { wanted, permitted };
        let columns = Columns { window, roster, base, tick, heartbeats: &two };
        let messages = [
            Message::Digest(Digest { id, window: windowed.then_some(window), rates, records: &one, padding }),
            Message::CompactDigest(CompactDigest { id, rates, columns, maxima: &three }),
            Message::Answer(Answer {
                id,
                rest,
                rate_change,
                fingerprint: windowed.then_some(Fingerprint { max: wanted, floor: permitted, sum: (id % 2 == 0).then_some(id) }),
                columns: windowed.then_some(columns),
                records: &one,
                want_id,
                credit,
                wants: &two,
                deltas: &three,
            }),
            Message::Delta(DeltaMessage { want_id, sequence, end: End::CreditUsed, deltas: &one }),
            Message::Want(WantMessage { want_id, credit, wants: &one }),
        ];
        for message in messages {
            let mut bytes = vec![1, 2, 3];
            message.encode(&header, &mut bytes);
            prop_assert_eq!(Message::decode(&bytes[3..]), Ok((header, message)));
        }
    }

    /// So are the sequences in them.
    #[test]
    fn records_survive_the_trip(
        base in any_number(),
        rows in vec((any_peer(), any_number(), any_progress(), 0..3usize), 0..10),
        wants in vec((any_peer(), any_progress(), any_number(), any_number()), 0..10),
        parts in vec((any_peer(), any_number(), any::<[u16; 3]>(), any_number(),
            vec((".{0,10}", 1..1_000u64, 0..3u8, proptest::option::of(0..1_000_000u64), vec(any::<u8>(), 0..20)), 0..6)), 0..4),
    ) {
        let marks = [Mark::None, Mark::Left, Mark::Forgotten];
        let rows: Vec<Row> = rows.into_iter()
            .map(|(peer, heartbeat, progress, mark)| Row { peer, heartbeat, progress, mark: marks[mark] }).collect();
        let wants: Vec<Want> = wants.into_iter()
            .map(|(owner, progress, version, bytes)| Want { owner, progress, unfinished: (version, bytes) }).collect();
        let (mut records, mut asked, mut deltas) = (Vec::new(), Vec::new(), Vec::new());
        rows.iter().for_each(|row| put_row(&mut records, row, base));
        wants.iter().for_each(|want| put_want(&mut asked, want, base));
        let now = grapevine::instant::Instant::from_micros(77_000);
        let mut expected = Vec::new();
        for (owner, generation, [from, more, beyond], floor, entries) in parts {
            let (from, more, beyond) = (u64::from(from), u64::from(more), u64::from(beyond));
            let delta = Delta { generation, from, to: from + more, floor, max: from + more + beyond };
            let (mut bytes, mut previous, mut told) = (Vec::new(), from, Vec::new());
            for (key, step, content, life, value) in entries {
                let content = match content {
                    0 => Content::Value(Value::from_bytes(value.clone())),
                    1 => Content::Deleted,
                    _ => Content::Expired,
                };
                let deadline = life.map(|life| now + ms(life + 1));
                let entry = Entry::new(previous + step, content.clone(), deadline);
                put_entry(&mut bytes, &Key::from(key.as_str()), &entry, previous, now);
                previous = entry.version;
                told.push((key, previous, life.map(|life| ms(life + 1)), content));
            }
            put_delta(&mut deltas, owner, &delta, &bytes, base);
            expected.push((owner, delta, told));
        }
        let answer = Answer { records: &records, wants: &asked, deltas: &deltas, ..Answer::default() };
        prop_assert_eq!(answer.rows(base).collect::<Result<Vec<_>, _>>(), Ok(rows));
        prop_assert_eq!(answer.wants(base).collect::<Result<Vec<_>, _>>(), Ok(wants));
        let got: Vec<_> = answer.deltas(base).map(|part| {
            let part = part.unwrap();
            let told: Vec<_> = part.entries.map(|entry| {
                let entry = entry.unwrap();
                let content = match entry.content {
                    WireContent::Value(bytes) => Content::Value(Value::from_bytes(bytes)),
                    WireContent::Deleted => Content::Deleted,
                    WireContent::Expired => Content::Expired,
                    WireContent::Piece { .. } => unreachable!("no piece was put"),
                };
                (entry.key.to_owned(), entry.version, entry.life, content)
            }).collect();
            (part.owner, part.delta, told)
        }).collect();
        prop_assert_eq!(got, expected);
    }
}
