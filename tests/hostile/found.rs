//! What the fuzz targets found, each at its root.

use std::time::Duration;

use grapevine::config::Limits;
use grapevine::instant::Instant;
use grapevine::state::{Change, Content, Delta, DeltaEntry, Replica};
use grapevine::{Value, value::Key};

/// One who lies about a third party tells another value under a version that is held already. It is believed in a transfer, which
/// takes every entry anew; then those who listen to the events have to be told.
#[test]
fn another_value_under_the_same_version_is_an_update() {
    let mut replica = Replica::default();
    replica.begin_generation(1);
    let mut changes = Vec::new();
    // Each floor is above what was held: a transfer each time.
    for (value, floor) in [("truth", 0), ("lie", 10), ("lie", 20)] {
        let delta = Delta { generation: 1, from: 0, to: floor + 5, floor, max: floor + 5 };
        let content = Content::Value(Value::encode(value).unwrap());
        let entry = DeltaEntry { key: Key::from("key"), version: 2, content, life: Some(Duration::from_secs(9)) };
        replica.apply(Instant::ZERO, &delta, [entry].into_iter(), &Limits::default(), |c| changes.push(c), |_| ());
    }
    let told = changes.iter().map(|change| match change {
        Change::Update { value, .. } => value.to_string(),
        other => format!("{other:?}"),
    });
    let told: Vec<String> = told.collect();
    assert_eq!(told, ["\"truth\"", "\"lie\""]);
}
