//! A client of an agent's control socket.

use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::json;
use crate::lines::{Line, Lines};
use crate::place;

/// An agent answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// The keys of a full map take 17 MB.
const MAX_REPLY_BYTES: usize = 64 << 20;

/// A connection to an agent.
pub struct Client {
    path: PathBuf,
    stream: UnixStream,
    lines: Lines<UnixStream>,
}

impl Client {
    /// Connects to the agent at this socket, or at that of the default agent.
    pub fn connect(control: Option<&Path>) -> Result<Client, Failure> {
        let path = match control {
            Some(path) => path.to_owned(),
            None => {
                let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
                let (bind, listen) = (variable("GRAPEVINE_BIND"), variable("GRAPEVINE_LISTEN"));
                let path = place::default_control(place::gossip_port(bind.as_deref(), listen.as_deref()));
                // Whatever is said is for this user's agent alone.
                place::check_default(&path).map_err(Failure::Failed)?;
                path
            }
        };
        let stream = UnixStream::connect(&path).map_err(|error| cannot_connect(&path, &error))?;
        let failed =
            |error: io::Error| Failure::Failed(format!("cannot talk to the agent at {}: {error}", path.display()));
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        let lines = Lines::new(stream.try_clone().map_err(failed)?, MAX_REPLY_BYTES);
        Ok(Client { path, stream, lines })
    }

    /// Asks, and takes the answer: the fields of the reply without its id.
    pub fn request(&mut self, name: &str, fields: &[(&str, Value)]) -> Result<Map<String, Value>, Failure> {
        let reply = self.exchange(name, fields)?;
        match reply.get("error") {
            Some(error) => Err(refused(error)),
            None => Ok(reply),
        }
    }

    /// Asks, and takes the answer, which may be an error.
    pub fn exchange(&mut self, name: &str, fields: &[(&str, Value)]) -> Result<Map<String, Value>, Failure> {
        let mut request: Map<String, Value> = fields
            .iter()
            .filter(|(_, value)| !value.is_null() || name == "set")
            .map(|(field, value)| ((*field).to_owned(), value.clone()))
            .collect();
        request.insert("do".to_owned(), name.into());
        self.exchange_text(&(Value::Object(request).to_string() + "\n"))
    }

    /// The same for a request that is written already, with its end.
    pub fn exchange_text(&mut self, text: &str) -> Result<Map<String, Value>, Failure> {
        match self.stream.write_all(text.as_bytes()) {
            // What it said before it hung up is worth more than that it did.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(self.broken(&error)),
            _ => {}
        }
        let mut reply = self.line()?.ok_or_else(|| self.gone())?;
        reply.shift_remove("id");
        Ok(reply)
    }

    /// Has events follow, for as long as it takes until one comes.
    pub fn subscribe(&mut self, prefix: Option<&str>) -> Result<(), Failure> {
        let fields = prefix.map(|prefix| ("prefix", prefix.into()));
        self.request("subscribe", fields.as_slice())?;
        self.be_patient()
    }

    /// Waits until the agent has ended, whatever it says meanwhile.
    pub fn wait_for_end(&mut self) -> Result<(), Failure> {
        while self.line()?.is_some() {}
        Ok(())
    }

    /// Waits as long as it takes, from here on.
    pub fn be_patient(&mut self) -> Result<(), Failure> {
        self.stream.set_read_timeout(None).map_err(|error| self.broken(&error))
    }

    /// Waits so much longer for an answer.
    pub fn allow(&mut self, time: Duration) -> Result<(), Failure> {
        self.stream.set_read_timeout(PATIENCE.checked_add(time)).map_err(|error| self.broken(&error))
    }

    /// The next line; `None` when the agent has ended.
    pub fn line(&mut self) -> Result<Option<Map<String, Value>>, Failure> {
        let path = self.path.display();
        let foreign = |why: String| {
            Failure::Failed(format!("{path} does not speak the line protocol ({why}); is it another program's socket?"))
        };
        match self.lines.next() {
            Ok(Some(Line::Bytes(bytes))) => match json::parse(bytes) {
                Ok(Value::Object(line)) => Ok(Some(line)),
                Ok(_) => Err(foreign("a line is no object".to_owned())),
                Err(error) => Err(foreign(error.to_string())),
            },
            Ok(Some(Line::TooLong)) => Err(Failure::Failed(format!("{path} sent a line that is too long"))),
            Ok(None) => Ok(None),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// What there is to say when the agent hangs up.
    pub fn gone(&self) -> Failure {
        Failure::Failed(format!("the agent at {} has ended", self.path.display()))
    }

    fn broken(&self, error: &io::Error) -> Failure {
        let path = self.path.display();
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                Failure::Failed(format!("the agent at {path} does not answer; see whether its process is stopped"))
            }
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => self.gone(),
            _ => Failure::Failed(format!("cannot talk to the agent at {path}: {error}")),
        }
    }
}

/// What there is to say of a reply's error.
pub fn refused(error: &Value) -> Failure {
    Failure::failed(error["message"].as_str().unwrap_or_default())
}

fn cannot_connect(path: &Path, error: &io::Error) -> Failure {
    let is_socket = std::fs::metadata(path).is_ok_and(|is| is.file_type().is_socket());
    let path = path.display();
    Failure::Failed(match error.kind() {
        ErrorKind::NotFound => {
            format!(
                "there is no control socket {path}; start an agent with `grapevine agent`, or give --control the path of one"
            )
        }
        ErrorKind::ConnectionRefused if is_socket => {
            format!("nobody serves {path}: its agent has died; start it again with `grapevine agent`")
        }
        ErrorKind::ConnectionRefused => format!("{path} is no socket; give --control the path of an agent's"),
        ErrorKind::PermissionDenied => format!("you may not use {path}: it belongs to another user's agent"),
        _ => format!("cannot connect to {path}: {error}"),
    })
}
