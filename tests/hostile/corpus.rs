//! The corpus of the fuzz targets: where it comes from, and that every input of it is well.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use grapevine::Value;

use crate::harness::envelope;
use crate::harness::input;
use crate::harness::states::Scene;
use crate::harness::values;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder(target)).unwrap().map(|file| file.unwrap().path());
    files.map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// What the fuzz target `datagrams` does with each input of its corpus.
#[test]
fn no_input_of_the_corpus_breaks_a_promise() {
    let scenes = Scene::all();
    let corpus = corpus("datagrams");
    assert!(corpus.len() > 50, "{} inputs", corpus.len());
    for (file, bytes) in corpus {
        // Shown if it fails.
        println!("{}", file.display());
        input::run(&scenes, &bytes);
    }
}

/// What the fuzz target `envelope` does with each input of its corpus.
#[test]
fn no_envelope_of_the_corpus_breaks_a_promise() {
    let corpus = corpus("envelope");
    assert!(corpus.len() > 10, "{} inputs", corpus.len());
    for (file, bytes) in corpus {
        println!("{}", file.display());
        envelope::check(&bytes);
    }
}

/// What the fuzz target `values` does with each input of its corpus.
#[test]
fn no_value_of_the_corpus_breaks_a_promise() {
    let corpus = corpus("values");
    assert!(corpus.len() > 10, "{} inputs", corpus.len());
    for (file, bytes) in corpus {
        println!("{}", file.display());
        values::check(&bytes);
    }
}

/// Writes the inputs from which the corpus was made: datagrams as nodes really send them, in the order in which they came.
/// `docs/CONTRIBUTING.md` tells how to go on from there.
#[test]
#[ignore = "writes into fuzz/seeds"]
fn make_the_seeds_of_the_corpus() {
    let seeds = |target: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let datagrams: BTreeSet<Vec<u8>> = Scene::all().iter().flat_map(input::seeds).collect();
    write(&seeds("datagrams"), datagrams.clone());
    // A stranger's plain ones, and the same said by somebody with the key, without checksum and cluster.
    let of_strangers = Scene::all().into_iter().flat_map(|scene| scene.sequel);
    let plain = of_strangers.filter_map(|(_, act)| act.datagram().cloned());
    let envelopes = plain.flat_map(|plain| {
        let body = [&[plain[4], 0xa0], &plain[15..plain.len() - 4]].concat();
        [[&[0], &plain[..]].concat(), [&[1], &body[..]].concat(), [&[2], &plain[..30]].concat()]
    });
    write(&seeds("envelope"), envelopes.collect());
    let values = [
        Value::encode(&()),
        Value::encode(&true),
        Value::encode(&-1),
        Value::encode(&u64::MAX),
        Value::encode(&0.5f32),
        Value::encode(&1e300),
        Value::encode("some \"words\"\n\u{1}"),
        Value::encode(&[[1, 2], [3, 4]]),
        Value::encode(&std::collections::BTreeMap::from([("a", Some(1)), ("b", None)])),
        Value::encode(&std::collections::BTreeMap::from([((1, 2), 'x')])),
        Value::encode(&serde_json::json!({"a": [{"b": null}], "c": {}})),
        Ok(Value::from_bytes([0xc4, 3, 1, 2, 3])),
        Ok(Value::from_bytes([0xd6, 0xff, 1, 2, 3, 4])),
        Ok(Value::from_bytes([vec![0x91; 62], vec![0x90]].concat())),
    ];
    write(&seeds("values"), values.into_iter().map(|value| value.unwrap().as_bytes().to_vec()).collect());
}

fn write(folder: &Path, inputs: BTreeSet<Vec<u8>>) {
    fs::create_dir_all(folder).unwrap();
    for (n, input) in inputs.iter().enumerate() {
        fs::write(folder.join(format!("{n:03}")), input).unwrap();
    }
}

/// Runs one input: `INPUT=path cargo test --test hostile -- --ignored --nocapture one_input`.
#[test]
#[ignore = "needs INPUT"]
fn one_input() {
    let file = std::env::var("INPUT").unwrap();
    input::run(&Scene::all(), &fs::read(file).unwrap());
}
