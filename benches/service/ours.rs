//! Grapevine's side: a service that offers `role:api,cmd:add`, and one that finds it by gossip and calls it.

use std::time::Duration;

use grapevine::keyring::{Keyring, SecretKey};
use grapevine::service::{Failure, Service};
use grapevine::{Builder, Gossiper};
use serde::{Deserialize, Serialize};

use crate::Outcome;

const PATTERN: &str = "role:api,cmd:add";
/// How soon a provider has to be found.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Numbers {
    left: i64,
    right: i64,
}

#[derive(Serialize, Deserialize)]
struct Sum {
    result: i64,
}

/// With a key, if calls are to be encrypted.
fn node(is_keyed: bool) -> Outcome<Builder> {
    let node = Gossiper::builder();
    if !is_keyed {
        return Ok(node);
    }
    let key: SecretKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse()?;
    Ok(node.keyring(Keyring::new(key)))
}

/// A service with the settings that services have by default.
pub fn provide(is_keyed: bool) -> Outcome<Service> {
    let service = Service::builder().listen("127.0.0.1:0").gossip(node(is_keyed)?).start()?;
    service.add(PATTERN, |numbers: Numbers| {
        let result = numbers.left.checked_add(numbers.right).ok_or(Failure::new("overflow", "the sum is too large"))?;
        Ok(Sum { result })
    })?;
    Ok(service)
}

/// A service that calls the one whose node has this address.
pub struct Client(Service);

impl Client {
    pub fn start(seed: &str, is_keyed: bool) -> Outcome<Client> {
        let service = Service::builder().seed(seed).gossip(node(is_keyed)?).start()?;
        if !service.wait_for(PATTERN, PATIENCE) {
            return Err(format!("nobody offers {PATTERN} after {PATIENCE:?}").into());
        }
        Ok(Client(service))
    }

    pub fn add(&self, left: i64, right: i64) -> Outcome<()> {
        let sum: Sum = self.0.act((PATTERN, Numbers { left, right }))?;
        if sum.result == left + right { Ok(()) } else { Err("the sum is wrong".into()) }
    }
}
