//! The control socket: the line protocol for many clients of this machine at once.

use std::fmt::{self, Display};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::umask;

use crate::agent::Agent;
use crate::agent::session;
use crate::protocol::{Code, Problem, Reply, line};

/// Clients at once. Each costs two threads and the events that wait for it.
const MAX_CLIENTS: usize = 64;
/// How long another agent that is just starting is waited for, and between two looks.
const LOCK_TIME: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// After a failure to accept: most often there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that is bound, and not served yet.
pub struct Control {
    listener: UnixListener,
    pub path: PathBuf,
    socket: Socket,
}

/// The socket's file, removed with this if it is still the same.
pub struct Socket {
    path: PathBuf,
    identity: Identity,
}

/// What tells one file from another that took its place: device, inode, and when that was made, for inodes are used again.
type Identity = (u64, u64, Option<SystemTime>);

fn identity(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|is| (is.dev(), is.ino(), is.created().ok()))
}

impl Drop for Socket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|is| is == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why there is no control socket.
#[derive(Debug)]
pub enum Refusal {
    /// Another agent serves it.
    Taken(String),
    NoPlace(String),
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Refusal::Taken(text) | Refusal::NoPlace(text)) = self;
        f.write_str(text)
    }
}

impl Control {
    /// Binds the socket, for nobody but this user. One that a dead agent left behind is replaced.
    pub fn bind(path: PathBuf) -> Result<Control, Refusal> {
        let shown = path.display().to_string();
        let failed = |error: io::Error| {
            Refusal::NoPlace(format!("cannot create the control socket {shown}: {error}; give --control another path"))
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Of two agents that start at once one looks after the other has bound.
        let _lock = lock(folder).map_err(failed)?;
        remove_stale(&path)?;
        let before = umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(&path);
        umask(before);
        let listener = listener.map_err(failed)?;
        let identity = identity(&path).map_err(failed)?;
        Ok(Control { listener, socket: Socket { path: path.clone(), identity }, path })
    }

    /// Serves clients on threads of their own, for as long as the process runs.
    pub fn serve(self, agent: &Arc<Agent>) -> io::Result<Socket> {
        let (listener, agent) = (self.listener, agent.clone());
        thread::Builder::new().name("control".to_owned()).spawn(move || accept(&listener, &agent))?;
        Ok(self.socket)
    }
}

/// Locks a folder, if that may be read, for as long as the file is open. Anybody who may read it can hold the lock, though not up the
/// start for ever.
fn lock(folder: &Path) -> io::Result<Option<fs::File>> {
    let file = match fs::File::open(folder) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
        file => file?,
    };
    let deadline = Instant::now() + LOCK_TIME;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
            Ok(()) => return Ok(Some(file)),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Err(_) if Instant::now() >= deadline => {
                return Err(io::Error::other("another program holds a lock on its folder"));
            }
            Err(_) => thread::sleep(LOCK_PAUSE),
        }
    }
}

/// Takes away what a dead agent left.
fn remove_stale(path: &Path) -> Result<(), Refusal> {
    let shown = path.display();
    let Ok(is) = fs::symlink_metadata(path) else { return Ok(()) };
    if !is.file_type().is_socket() {
        let text = format!("{shown} is there and is no socket; give --control another path");
        return Err(Refusal::NoPlace(text));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(Refusal::Taken(format!(
            "another agent serves the control socket {shown}; end it with `grapevine leave --control {shown}`, or give --control another path"
        ))),
        // The agent that is just ending has removed it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let text = format!("cannot replace {shown}, which a dead agent left: {error}; remove it");
                Err(Refusal::NoPlace(text))
            }
            _ => Ok(()),
        },
        Err(error) => {
            let text = format!("cannot tell whether an agent serves {shown}: {error}; remove it if none does");
            Err(Refusal::Taken(text))
        }
    }
}

fn accept(listener: &UnixListener, agent: &Arc<Agent>) {
    let clients = Arc::new(AtomicUsize::new(0));
    let mut warned = false;
    for stream in listener.incoming() {
        let client = Client::new(&clients);
        let served = stream.and_then(|stream| {
            if client.number > MAX_CLIENTS {
                return refuse(stream);
            }
            let (agent, stream) = (agent.clone(), stream);
            thread::Builder::new().name("client".to_owned()).spawn(move || {
                let _client = client;
                if let Err(error) = session::over_socket(&agent, stream) {
                    log::debug!("a client of the control socket: {error}");
                }
            })?;
            Ok(())
        });
        if let Err(error) = served {
            if !std::mem::replace(&mut warned, true) {
                log::warn!("cannot serve a client of the control socket: {error}");
            }
            thread::sleep(ACCEPT_PAUSE);
        } else {
            warned = false;
        }
    }
}

fn refuse(mut stream: UnixStream) -> io::Result<()> {
    let text = format!("there are {MAX_CLIENTS} connections already; close one");
    let error = Some(Problem::new(Code::TooManyConnections, text));
    // Who does not read it does not hold anybody up.
    stream.set_nonblocking(true)?;
    let _ = stream.write_all(line(&Reply { error, ..Reply::default() }).as_bytes());
    Ok(())
}

/// Counts one client, until it is dropped.
struct Client {
    clients: Arc<AtomicUsize>,
    number: usize,
}

impl Client {
    fn new(clients: &Arc<AtomicUsize>) -> Client {
        Client { clients: clients.clone(), number: clients.fetch_add(1, Ordering::SeqCst) + 1 }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.fetch_sub(1, Ordering::SeqCst);
    }
}
