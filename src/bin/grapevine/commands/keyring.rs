//! `keygen`, `keyring`, and what changes the keys of an agent.

use std::io::{self, Read, Write};
use std::path::Path;

use grapevine::key_file::{self, KeyFile};
use grapevine::keyring::{Keyring, SecretKey};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{aligned, print, show};
use crate::args::{ClientArgs, KeyringArgs, KeyringCommand};
use crate::client::{Client, refused};
use crate::failure::Failure;
use crate::plain::printable;
use crate::secrets;
use crate::table::{self, Cell};

/// What is read from standard input is no longer.
const MAX_INPUT_BYTES: usize = 64 << 10;

/// Makes a key, and prints it or puts it into a file.
pub fn generate(output: Option<&Path>) -> Result<(), Failure> {
    let key = SecretKey::generate()?;
    match output {
        Some(path) => KeyFile::new(path).create(&Keyring::new(key.clone()))?,
        None => {
            let mut out = io::stdout().lock();
            writeln!(out, "{}", key.to_base64().as_str())?;
            out.flush()?;
        }
    }
    // Standard output is for the key alone.
    let _ = writeln!(io::stderr(), "key id {}", key.id());
    Ok(())
}

pub fn run(args: &KeyringArgs) -> Result<(), Failure> {
    let Some(change) = &args.change else {
        return show(&args.client, "keyring", &[], list);
    };
    match change {
        KeyringCommand::Add { file, client } => add(file, client),
        KeyringCommand::Use { id, client } => with_id("keyring_use", id, client),
        KeyringCommand::Remove { id, client } => with_id("keyring_remove", id, client),
        KeyringCommand::Encryption { step, client } => {
            show(client, "keyring_encryption", &[("encryption", step.as_str().into())], changed)
        }
        KeyringCommand::Off(client) => show(client, "keyring_off", &[], changed),
    }
}

fn with_id(name: &str, id: &str, client: &ClientArgs) -> Result<(), Failure> {
    let id = secrets::key_id(id).map_err(Failure::Usage)?;
    show(client, name, &[("key_id", id.to_string().into())], changed)
}

fn add(file: &Path, client: &ClientArgs) -> Result<(), Failure> {
    let keyring = if file == Path::new("-") { from_input()? } else { secrets::file("FILE", file)?.load()? };
    // As long as it can get: what grows leaves copies behind.
    let mut request = Zeroizing::new(String::with_capacity(128 + keyring.keys().count() * 64));
    request.push_str("{\"do\":\"keyring_add\",\"secret_keys\":[");
    for (n, key) in keyring.keys().enumerate() {
        for part in [if n == 0 { "\"" } else { ",\"" }, key.to_base64().as_str(), "\""] {
            request.push_str(part);
        }
    }
    request.push_str("]}\n");
    let reply = Client::connect(client.agent.control.as_deref())?.exchange_text(&request)?;
    print(client, reply, refused, changed)
}

/// The keys on standard input.
fn from_input() -> Result<Keyring, Failure> {
    let mut text = Zeroizing::new(vec![0; MAX_INPUT_BYTES]);
    let mut filled = 0;
    // Standard input has a buffer of its own, which a read of so many bytes passes by.
    let mut input = io::stdin().lock();
    while filled < MAX_INPUT_BYTES {
        match input.read(&mut text[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    key_file::parse(&text[..filled]).map_err(|error| match error {
        grapevine::Error::Keyring(problem) => Failure::Failed(format!("standard input cannot be used: {problem}")),
        error => error.into(),
    })
}

/// The keys, and what is said of all of them.
fn list(reply: &Map<String, Value>) -> Vec<String> {
    let text = |field: &str| reply.get(field).and_then(Value::as_str).map(printable);
    let keys = reply.get("keyring").and_then(Value::as_array).into_iter().flatten();
    let heading = [Cell::left("KEY ID"), Cell::left("USE"), Cell::right("DECRYPTED")];
    let mut rows = vec![heading.map(|cell| cell.styled(table::HEADING)).to_vec()];
    rows.extend(keys.map(|key| {
        let usage = if key["encrypts"] == true { "encrypts" } else { "decrypts" };
        let id = printable(key["key_id"].as_str().unwrap_or_default());
        let decrypted = key["decrypted"].as_u64().unwrap_or_default();
        vec![Cell::left(id), Cell::left(usage), Cell::right(decrypted.to_string())]
    }));
    let mut lines = match text("encryption") {
        Some(step) => {
            let mut lines = aligned(&rows);
            lines.push(format!("encryption {step}"));
            lines
        }
        None => vec!["no keys: what this agent sends and takes is plain".to_owned()],
    };
    lines.extend(text("key_file").map(|file| format!("key file {file}")));
    lines
}

/// The same, and how long it lasts.
fn changed(reply: &Map<String, Value>) -> Vec<String> {
    let mut lines = list(reply);
    let has_file = reply.contains_key("key_file");
    if reply.get("saved") != Some(&Value::Bool(true)) {
        let lasts = if has_file {
            "the key file stays as it is: take it away from the agent, or it has these keys again"
        } else {
            "this lasts until the agent ends, for it has no key file"
        };
        lines.push(lasts.to_owned());
    }
    lines
}
