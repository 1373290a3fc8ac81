//! The requests about pre-shared keys. What they name wrongly is never repeated to anybody: it may be a key.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use grapevine::key_file::{KeyFile, KeyFileWatch};
use grapevine::keyring::{Encryption, KeyId, Keyring, SecretKey};
use grapevine::{Error, Gossiper};
use serde_json::value::RawValue;

use crate::agent::Agent;
use crate::agent::answer::Fields;
use crate::failure::Failure;
use crate::protocol::{Code, Problem, Reply};
use crate::secrets;

/// The requests.
pub const NAMES: [&str; 6] =
    ["keyring", "keyring_add", "keyring_use", "keyring_remove", "keyring_encryption", "keyring_off"];
/// How often the key file is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What is done to the keys of a node, which may have none.
type Change = Box<dyn FnOnce(&mut Option<Keyring>) -> Result<(), Error>>;

/// Where an agent's keys are kept besides the node.
pub struct Keys {
    file: Option<KeyFileWatch>,
    /// Held by whoever changes keys that are in no file.
    changing: Mutex<()>,
}

/// Reads the key file, before anything is started.
pub fn load(file: &KeyFile) -> Result<Keyring, Failure> {
    let keyring = file.load()?;
    let ids: Vec<String> = keyring.keys().map(SecretKey::to_string).collect();
    log::info!("keys of {}: {} (encryption: {})", file.path().display(), ids.join(", "), keyring.encryption());
    Ok(keyring)
}

impl Keys {
    /// Follows the file from here on, if there is one.
    pub fn start(file: Option<&KeyFile>, node: &Gossiper) -> Result<Keys, Failure> {
        let file = file.map(|file| file.watch(node, EVERY)).transpose()?;
        Ok(Keys { file, changing: Mutex::default() })
    }

    fn file(&self) -> Option<String> {
        self.file.as_ref().map(|watch| watch.file().path().display().to_string())
    }

    /// Changes the keys of the node, and the file with them.
    fn change(&self, node: &Gossiper, change: Change) -> Result<Reply, Problem> {
        match &self.file {
            Some(watch) => watch.change(change)?,
            None => {
                let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
                let mut keyring = node.keyring();
                change(&mut keyring)?;
                node.set_keyring(keyring)?;
            }
        }
        // Nothing is said in the file of a node without keys.
        let saved = self.file.is_some() && node.encryption().is_some();
        Ok(Reply { saved: Some(saved), ..Reply::keyring(node, self.file()) })
    }
}

/// Carries out `keyring`, or what it changes.
pub fn answer(agent: &Agent, name: &str, mut fields: Fields<'_>) -> Result<Reply, Problem> {
    let (node, keys) = (&agent.node, &agent.keys);
    let mut field = |field: &str| {
        let value = fields.remove(field);
        value.ok_or_else(|| bad(name, &format!("it has no `{field}`")))
    };
    let change: Change = match name {
        "keyring_add" => {
            let added = secret_keys(name, field("secret_keys")?)?;
            Box::new(|held| add(held, added))
        }
        "keyring_use" => {
            let id = key_id(name, field("key_id")?)?;
            Box::new(move |held| of_node(held)?.use_key(id).map(drop))
        }
        "keyring_remove" => {
            let id = key_id(name, field("key_id")?)?;
            Box::new(move |held| of_node(held)?.remove(id))
        }
        "keyring_encryption" => {
            let step: Option<Encryption> = secrets::text(field("encryption")?).and_then(|step| step.parse().ok());
            let step = step.ok_or_else(|| bad(name, "`encryption` is one of accept, send and require"))?;
            Box::new(move |held| {
                let keyring = of_node(held)?;
                *keyring = keyring.clone().with_encryption(step);
                Ok(())
            })
        }
        "keyring_off" => Box::new(off),
        _ => {
            nothing_else(name, &fields)?;
            return Ok(Reply::keyring(node, keys.file()));
        }
    };
    nothing_else(name, &fields)?;
    keys.change(node, change)
}

fn bad(name: &str, problem: &str) -> Problem {
    Problem::new(Code::BadRequest, format!("{name}: {problem}"))
}

fn nothing_else(name: &str, fields: &Fields<'_>) -> Result<(), Problem> {
    if fields.is_empty() { Ok(()) } else { Err(bad(name, "it has a field too many")) }
}

fn key_id(name: &str, value: &RawValue) -> Result<KeyId, Problem> {
    let id = secrets::text(value).ok_or_else(|| bad(name, "`key_id` is no text that could be one"))?;
    secrets::key_id(&id).map_err(|problem| bad(name, &problem))
}

fn secret_keys(name: &str, value: &RawValue) -> Result<Vec<SecretKey>, Problem> {
    let texts = secrets::texts(value).filter(|texts| !texts.is_empty());
    let texts = texts.ok_or_else(|| bad(name, "`secret_keys` is no array of keys in base64"))?;
    let keys = texts.iter().zip(1..).map(|(text, n): (_, usize)| {
        // The error itself tells no more than how long it is.
        text.trim().parse().map_err(|_| {
            bad(
                name,
                &format!("number {n} of `secret_keys` is no key: a key is 32 random bytes in base64, 44 characters"),
            )
        })
    });
    keys.collect()
}

/// To a node without keys they come as in the first step: everything stays as it was but for what it understands.
fn add(held: &mut Option<Keyring>, added: Vec<SecretKey>) -> Result<(), Error> {
    for key in added {
        match held {
            Some(keyring) => drop(keyring.add(key)?),
            None => *held = Some(Keyring::new(key).with_encryption(Encryption::Accept)),
        }
    }
    Ok(())
}

fn off(held: &mut Option<Keyring>) -> Result<(), Error> {
    match held.as_ref().map(Keyring::encryption) {
        None | Some(Encryption::Accept) => {
            *held = None;
            Ok(())
        }
        Some(step) => {
            let first =
                if step == Encryption::Require { "first to `send`, then to `accept`" } else { "to `accept` first" };
            let problem = format!(
                "encryption is `{step}`, and others may encrypt what they send here; go {first}, on all nodes, and then `off`"
            );
            Err(Error::Keyring(problem))
        }
    }
}

fn of_node(held: &mut Option<Keyring>) -> Result<&mut Keyring, Error> {
    held.as_mut().ok_or_else(|| Error::Keyring("this node has no keys; add one first".to_owned()))
}
