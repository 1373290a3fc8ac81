//! `seal`: what it costs to encrypt a datagram, and to open one.

use std::hint::black_box;
use std::time::Instant;

use grapevine::keyring::{Keyring, SecretKey};
use grapevine::wire::{Digest, HEAD_BYTES, Header, Message, Rates, SEALED_ENVELOPE_BYTES, Seal};
use grapevine::{Config, Peer};
use serde_json::json;

use crate::Outcome;
use crate::child::settings::Settings;
use crate::child::usage::Reading;
use crate::child::{Report, dice};
use crate::figures::median;

/// Timed together, for a clock is read in some 30 ns.
const BATCH: usize = 1_000;

/// The time of one datagram of the largest size, in the median of the samples.
pub fn seal(settings: &Settings) -> Outcome<Report> {
    let mut dice = dice();
    let seal = Seal::new(&Keyring::new(SecretKey::generate()?), "grapevine");
    let (plain, mut datagram, mut nonce) = (full(&seal), Vec::new(), [0; 24]);
    dice.fill(&mut nonce);
    let sealing = time(settings.samples, || {
        datagram.clear();
        seal.seal(&plain, &nonce, &mut datagram);
    });
    let mut buffer = Vec::with_capacity(datagram.len());
    Message::open(&datagram, &seal, &mut buffer).map_err(|refusal| refusal.to_string())?;
    let opening = time(settings.samples, || {
        black_box(Message::open(&datagram, &seal, &mut buffer).is_ok());
    });
    datagram[700] ^= 1;
    let before = Reading::take()?;
    let refusing = time(settings.samples, || {
        black_box(Message::open(&datagram, &seal, &mut buffer).is_err());
    });
    let refused = (settings.samples * BATCH) as f64;
    let mut report = Report::new();
    report.insert("bytes".into(), json!(datagram.len()));
    report.insert("seal_us".into(), json!(sealing));
    report.insert("open_us".into(), json!(opening));
    report.insert("refuse_us".into(), json!(refusing));
    report.insert("allocations_per_refusal".into(), json!((before.used()?.allocations as f64 / refused).floor()));
    Ok(report)
}

/// A datagram that is as large as they come once it is sealed.
fn full(seal: &Seal) -> Vec<u8> {
    let sender = Peer::from(std::net::SocketAddr::from(([127, 0, 0, 1], 9_000)));
    let header = Header {
        key_id: seal.key_id(),
        cluster: "",
        speaks: 1,
        sender,
        generation: 1_760_000_000_000,
        receiver: 1,
        echo: None,
        token: None,
    };
    let encode = |padding| {
        let digest = Digest { id: 1, window: None, rates: Rates::default(), records: &[], padding };
        let mut out = Vec::new();
        Message::Digest(digest).encode(&header, &mut out);
        out
    };
    let most = Config::default().max_datagram - (SEALED_ENVELOPE_BYTES - HEAD_BYTES);
    let padding = most - encode(0).len();
    let mut datagram = encode(padding);
    // The padding's length takes bytes as well.
    while datagram.len() > most {
        datagram = encode(padding - (datagram.len() - most));
    }
    datagram
}

/// Of one call, in microseconds.
fn time(samples: usize, mut call: impl FnMut()) -> Option<f64> {
    let times: Vec<f64> = (0..samples)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..BATCH {
                call();
            }
            start.elapsed().as_secs_f64() * 1e6 / BATCH as f64
        })
        .collect();
    median(&times)
}
