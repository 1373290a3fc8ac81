//! Our side: a service with the actions that `server.js` has, and the calls of a real client to it, of which every line is heard.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use grapevine::Gossiper;
use grapevine::service::{Failure, Service, ServiceBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::node::{Client, VERSIONS, installed};
use crate::promises;
use crate::relay::Relay;

/// For whatever has to happen by and by: on a machine that does other work, too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Those that are there.
pub fn versions() -> &'static [&'static str] {
    if installed() { &VERSIONS } else { &[] }
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A service of ours that others call.
pub struct Ours {
    pub service: Service,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    notes: AtomicU64,
    held: Mutex<Held>,
    released: Condvar,
}

/// Calls whose answers wait for [`Ours::release`].
#[derive(Default)]
struct Held {
    now: usize,
    /// How often they were released.
    times: u64,
}

#[derive(Deserialize)]
struct Numbers {
    left: i64,
    right: i64,
}

#[derive(Serialize)]
struct Number {
    result: i64,
}

/// A service on loopback, on any port, for calls without a time-out of their own.
pub fn settings() -> ServiceBuilder {
    let gossip = Gossiper::builder().bind("127.0.0.1:0");
    Service::builder().gossip(gossip).listen("127.0.0.1:0").timeout(PATIENCE).workers(256)
}

impl Ours {
    pub fn start() -> Self {
        Self::start_as(settings())
    }

    pub fn start_as(settings: ServiceBuilder) -> Self {
        Self::on(settings.start().expect("a service"))
    }

    /// Adds the actions to a service that runs.
    pub fn on(service: Service) -> Self {
        let ours = Self { service, state: Arc::default() };
        ours.add("add", |numbers: Numbers, _| Ok(Number { result: numbers.left + numbers.right }));
        ours.add("mcl", |numbers: Numbers, _| Ok(Number { result: numbers.left * numbers.right }));
        ours.add("echo", |message: Value, _| Ok(json!({ "what": message["what"] })));
        ours.add("same", |message: Value, _| Ok(message["what"].clone()));
        ours.add("seen", |message: Map<String, Value>, _| Ok(json!({ "seen": message })));
        ours.add("list", |_: Value, _| Ok(json!(["one", 2, { "three": 3 }])));
        ours.add("empty", |_: Value, _| Ok(()));
        ours.add("note", |_: Value, state| Ok(json!({ "notes": state.notes.fetch_add(1, Ordering::SeqCst) + 1 })));
        ours.add("noted", |_: Value, state| Ok(json!({ "notes": state.notes.load(Ordering::SeqCst) })));
        ours.add("hold", |message: Value, state| state.hold(&message));
        ours.add("fail", |_: Value, _| Err::<(), _>(Failure::new("shelf_empty", "the shelf is empty")));
        ours.add("panic", |_: Value, _| -> Result<(), Failure> { panic!("the shelf fell down") });
        ours
    }

    fn add<M: serde::de::DeserializeOwned, R: Serialize>(
        &self,
        cmd: &str,
        handler: impl Fn(M, &State) -> Result<R, Failure> + Send + Sync + 'static,
    ) {
        let state = self.state.clone();
        self.service.add(format!("role:api,cmd:{cmd}"), move |message| handler(message, &state)).expect("an action");
    }

    pub fn port(&self) -> u16 {
        self.service.local_addr().expect("it listens").port()
    }

    pub fn notes(&self) -> u64 {
        self.state.notes.load(Ordering::SeqCst)
    }

    pub fn wait_for_held(&self, number: usize) {
        wait_until(&format!("{number} calls are held"), || self.state.held.lock().unwrap().now == number);
    }

    /// Lets all answers out that wait.
    pub fn release(&self) {
        self.state.held.lock().unwrap().times += 1;
        self.state.released.notify_all();
    }

    /// A real client of it, pinned to role:api: a 0.9.3 without a pin never sends again after a reconnect.
    pub fn client(&self, version: &str) -> Calls {
        self.client_with(version, json!({ "pin": "role:api" }))
    }

    /// With the options of the script.
    pub fn client_with(&self, version: &str, mut options: Value) -> Calls {
        let relay = Relay::to(self.port());
        if options["timeout"].is_null() {
            options["timeout"] = json!(PATIENCE.as_millis());
        }
        Calls { client: Client::start(version, relay.port, &options), relay }
    }
}

impl State {
    fn hold(&self, message: &Value) -> Result<Value, Failure> {
        self.notes.fetch_add(1, Ordering::SeqCst);
        let mut held = self.held.lock().unwrap();
        held.now += 1;
        let times = held.times;
        let (mut held, waited) =
            self.released.wait_timeout_while(held, PATIENCE, |held| held.times == times).expect("a lock");
        held.now -= 1;
        if waited.timed_out() {
            return Err(Failure::new("held_for_ever", "nobody released it"));
        }
        Ok(json!({ "held": message["number"] }))
    }
}

/// A real client, and what it and our service say to each other.
pub struct Calls {
    client: Client,
    pub relay: Relay,
}

impl Calls {
    /// Ends the client, which has to go well, and looks at every line that our service sent.
    pub fn end(self) {
        self.client.end();
        promises::check_responses(&self.relay);
    }
}

impl Deref for Calls {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Calls {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}
