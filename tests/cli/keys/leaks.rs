//! No key, and no part of one, is ever seen: not in logs of every level, errors, replies, JSON, arguments or environments.

use std::fs;
use std::io::Write;

use grapevine::keyring::{Encryption, SecretKey};
use serde_json::json;
use tempfile::TempDir;

use super::{key_file, keys_of, new_key, ring, set_mode, told};
use crate::harness::{Agent, Ended, Process, all_alive, program, until};

/// A secret in every form in which it could be printed, whole or in part.
struct Secret {
    forms: Vec<String>,
}

impl Secret {
    fn of(key: &SecretKey) -> Secret {
        Secret::of_text(key.to_base64().as_str())
    }

    /// Of base64, which may be damaged.
    fn of_text(text: &str) -> Secret {
        let mut forms: Vec<String> = (0..text.len() - 12).step_by(4).map(|at| text[at..at + 12].to_owned()).collect();
        let bytes = decoded(text);
        for eight in bytes.chunks(8).filter(|eight| eight.len() == 8) {
            let each =
                |form: &dyn Fn(&u8) -> String, between: &str| eight.iter().map(form).collect::<Vec<_>>().join(between);
            forms.push(each(&|byte| format!("{byte:02x}"), ""));
            forms.push(each(&|byte| format!("{byte:02X}"), ""));
            forms.push(each(&|byte| format!("{byte:02x}"), " "));
            forms.push(each(&|byte| format!("{byte:02x}"), ":"));
            for between in [", ", ",", " ", ",\n"] {
                forms.push(each(&|byte| byte.to_string(), between));
                forms.push(each(&|byte| format!("0x{byte:x}"), between));
            }
        }
        Secret { forms }
    }

    fn is_in(&self, text: &str) -> bool {
        self.forms.iter().any(|form| text.contains(form))
    }
}

/// The bytes of a base64 text, as far as it is one.
fn decoded(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().map_while(|byte| alphabet.iter().position(|other| *other == byte));
    let digits: Vec<usize> = digits.collect();
    let bytes = digits.chunks_exact(4).flat_map(|four| {
        let number = four.iter().fold(0, |number, digit| number << 6 | digit);
        [number >> 16, number >> 8, number].map(|byte| byte as u8)
    });
    bytes.collect()
}

/// Everything that anybody could see.
#[derive(Default)]
struct Seen(Vec<String>);

impl Seen {
    fn take(&mut self, ended: Ended) {
        self.0.push(format!("{}\n{}", String::from_utf8(ended.out).unwrap(), ended.err));
    }

    /// What every user of the machine, or its owner, reads of a process.
    fn take_process(&mut self, process: &Process) {
        for name in ["cmdline", "environ", "comm", "status"] {
            let told = fs::read(format!("/proc/{}/{name}", process.id())).unwrap_or_default();
            self.0.push(String::from_utf8_lossy(&told).into_owned());
        }
    }
}

#[test]
fn forms_are_found() {
    let key: SecretKey = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".parse().unwrap();
    let secret = Secret::of(&key);
    for text in ["x BwcHBwcHBwcH", "[7, 7, 7, 7, 7, 7, 7, 7]", "0707070707070707", "07:07:07:07:07:07:07:07"] {
        assert!(secret.is_in(text), "{text}");
    }
    assert!(!secret.is_in(&format!("{key:?} 7, 7, 7")));
}

/// What the library itself prints of whatever holds a key, also where a program panics with it.
#[test]
fn no_key_is_printed() {
    let folder = TempDir::new().unwrap();
    let key = new_key();
    let secret = Secret::of(&key);
    let keyring = ring(&[&key, &new_key()], Encryption::Require);
    let file = key_file(&folder, "keys", &keyring);
    let builder = grapevine::Gossiper::builder().keyring(keyring.clone());
    let config = grapevine::Config { keyring: Some(keyring.clone()), ..grapevine::Config::default() };
    let mut shown = vec![format!("{key:?} {key} {keyring:#?} {builder:#?} {config:#?} {file:?}")];
    let node = builder.start().unwrap();
    let watch = file.watch(&node, std::time::Duration::from_secs(1)).unwrap();
    shown.push(format!("{node:?} {watch:?} {:?} {:?}", node.keyring(), node.secret_keys()));
    let text = key.to_base64();
    let damaged = format!("{}!", &text[..43]);
    let errors = [
        damaged.parse::<SecretKey>().map(drop),
        grapevine::key_file::parse(format!("{damaged}\n").as_bytes()).map(drop),
        text.parse::<grapevine::keyring::KeyId>().map(drop),
        text.parse::<Encryption>().map(drop),
        node.add_secret_key(key.clone()).and_then(|_| node.remove_secret_key(key.id())),
    ];
    shown.extend(errors.into_iter().map(|result| result.unwrap_err()).map(|error| format!("{error:?} {error}")));
    let panicked = std::panic::catch_unwind(|| panic!("{:?}", (keyring, key))).unwrap_err();
    shown.push(*panicked.downcast::<String>().unwrap());
    assert!(shown.last().unwrap().contains("SecretKey("), "{shown:?}");
    for shown in shown {
        assert!(!secret.is_in(&shown), "{shown}");
    }
}

#[test]
fn no_key_is_seen() {
    let folder = TempDir::new().unwrap();
    let keys: Vec<SecretKey> = (0..6).map(|_| new_key()).collect();
    let texts: Vec<String> = keys.iter().map(|key| key.to_base64().to_string()).collect();
    // One character too few, one that none has, and one that is turned round in the last place.
    let damaged: Vec<String> = [1, 2, 3]
        .map(|_| new_key().to_base64().to_string())
        .iter()
        .enumerate()
        .map(|(n, text)| match n {
            0 => text[..43].to_owned(),
            1 => format!("{}!{}", &text[..30], &text[31..]),
            _ => format!("{}={}", &text[..42], &text[42..43]),
        })
        .collect();
    let secrets: Vec<Secret> =
        keys.iter().map(Secret::of).chain(damaged.iter().map(|text| Secret::of_text(text))).collect();

    let old = ring(&[&keys[0]], Encryption::Require);
    let files = ["a", "b"].map(|name| key_file(&folder, name, &old));
    let agents: Vec<Agent> = files
        .iter()
        .map(|file| {
            let path = file.path().to_str().unwrap();
            Agent::start_after(&["--key-file", path, "--set", "a=1"], |command| {
                command.env("RUST_LOG", "trace");
            })
        })
        .collect();
    agents[1].connect().done(json!({"do": "keyring"}));
    let contact = Agent::start_after(
        &["--seed", &agents[0].peer, "--seed", &agents[1].peer, "--key-file", files[0].path().to_str().unwrap()],
        |command| {
            command.env("RUST_LOG", "trace");
        },
    );
    all_alive(&[&agents[0], &agents[1], &contact]);
    let mut seen = Seen::default();
    let agent = &agents[0];
    seen.take_process(&agent.process);

    // By a file, good and bad.
    let next = ring(&[&keys[0], &keys[1]], Encryption::Require);
    files[0].save(&next).unwrap();
    let mut talk = agent.connect();
    until("the file is taken in", || keys_of(&mut talk) == told(&next));
    for (n, bad) in damaged.iter().enumerate() {
        fs::write(files[1].path(), format!("{}{}\n{bad}\n", "\n".repeat(n), texts[0])).unwrap();
        agents[1].logs(&format!("line {} is no key", n + 2));
    }
    fs::write(files[1].path(), format!("{}\n{}\n", texts[0], texts[0])).unwrap();
    agents[1].logs("once more");
    set_mode(files[1].path(), 0o644);
    agents[1].logs("its mode is 0644");

    // By requests.
    let mut ask = |line: String| {
        talk.send(line + "\n");
        seen.0.push(loop {
            let line = talk.raw_line();
            if !line.contains("\"event\"") {
                break line;
            }
        });
    };
    ask(json!({"do": "keyring_add", "secret_keys": [texts[2]]}).to_string());
    for secret in damaged.iter().chain(&texts) {
        for request in [
            json!({"do": "keyring_add", "secret_keys": [secret, "x"]}),
            json!({"do": "keyring_add", "secret_keys": secret}),
            json!({"do": "keyring_add", "secret_keys": {secret: secret}}),
            json!({"do": "keyring_add", "secret_keys": ["x"], secret: 1}),
            json!({"do": "keyring_use", "key_id": secret}),
            json!({"do": "keyring_use", "key_id": [secret]}),
            json!({"do": "keyring_remove", "key_id": secret}),
            json!({"do": "keyring_encryption", "encryption": secret}),
            json!({"do": "keyring", "secret": secret}),
            json!({"do": "keyring_off", "secret": secret}),
            json!({"do": secret}),
            json!(secret),
            json!([secret]),
        ] {
            ask(request.to_string());
        }
        ask(secret.clone());
        ask(format!("{{\"do\":\"keyring_add\",\"secret_keys\":[\"{secret}\"]"));
        ask(format!("{{\"do\":\"keyring_add\",\"secret_keys\":[\"\\{secret}\"]}}"));
    }
    for request in [
        json!({"do": "keyring_use", "key_id": keys[2].to_string()}),
        json!({"do": "keyring_remove", "key_id": keys[0].to_string()}),
        json!({"do": "keyring"}),
        json!({"do": "stats"}),
        json!({"do": "members"}),
        json!({"do": "state"}),
    ] {
        ask(request.to_string());
    }

    // By commands.
    let given = key_file(&folder, "given", &ring(&[&keys[5]], Encryption::Require));
    let given = given.path().to_str().unwrap();
    let control = ["--control", agent.control.to_str().unwrap()];
    let mut run = |args: &[&str], input: &str| {
        for json in [&["--json"][..], &[]] {
            let mut command = program(&[args, &control, json].concat());
            let mut process = Process::start(command.env("RUST_LOG", "trace"));
            let mut stdin = process.input.take().unwrap();
            if args.iter().all(|arg| arg.len() < 40 || *arg == given) {
                seen.take_process(&process);
            }
            // One that does not read may have ended.
            let _ = stdin.write_all(input.as_bytes());
            drop(stdin);
            seen.take(process.end());
        }
    };
    run(&["keyring", "add", given], "");
    for secret in damaged.iter().chain(&texts[..1]) {
        run(&["keyring", "add", "-"], secret);
        run(&["keyring", "add", "-"], &format!("encryption {secret}\n"));
        for command in ["add", "use", "remove"] {
            run(&["keyring", command, secret], "");
        }
    }
    for args in [&["keyring"][..], &["stats"], &["members"], &["keyring", "use", &keys[5].to_string()]] {
        run(args, "");
    }
    fs::write(given, format!("{}\n", damaged[0])).unwrap();
    run(&["keyring", "add", given], "");
    seen.take(Process::start(&mut program(&["agent", "--bind", "127.0.0.1:0", "--key-file", given])).end());
    seen.take(Process::start(&mut program(&["agent", "--bind", "127.0.0.1:0", "--key-file", &damaged[1]])).end());

    // At the end of each of them there were logs of every level, and events.
    seen.take_process(&agent.process);
    for agent in agents.into_iter().chain([contact]) {
        agent.process.signal(rustix::process::Signal::TERM);
        let ended = agent.process.end();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        seen.take(ended);
    }
    let all = seen.0.join("\n");
    assert!(all.contains(&keys[2].to_string()), "ids are told");
    for (n, secret) in secrets.iter().enumerate() {
        let shown = seen.0.iter().find(|text| secret.is_in(text));
        assert!(shown.is_none(), "secret {n} is shown: {}", shown.unwrap());
    }
}
