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
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::umask;

use crate::agent::Agent;
use crate::agent::session;
use crate::protocol::{Code, Problem, Reply, line};

/// Clients at once. Each costs two threads and the events that wait for it.
const MAX_CLIENTS: usize = 64;
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
    inode: u64,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|is| is.ino() == self.inode) {
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
        let lock = fs::File::open(folder).map_err(failed)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        remove_stale(&path)?;
        let before = umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(&path);
        umask(before);
        let listener = listener.map_err(failed)?;
        let inode = fs::symlink_metadata(&path).map_err(failed)?.ino();
        Ok(Control { listener, socket: Socket { path: path.clone(), inode }, path })
    }

    /// Serves clients on threads of their own, for as long as the process runs.
    pub fn serve(self, agent: &Arc<Agent>) -> io::Result<Socket> {
        let (listener, agent) = (self.listener, agent.clone());
        thread::Builder::new().name("control".to_owned()).spawn(move || accept(&listener, &agent))?;
        Ok(self.socket)
    }
}

/// Takes away what a dead agent left.
fn remove_stale(path: &Path) -> Result<(), Refusal> {
    let shown = path.display();
    let Ok(is) = fs::symlink_metadata(path) else { return Ok(()) };
    if !is.file_type().is_socket() {
        let text = format!("{shown} is there and no socket; remove it, or give --control another path");
        return Err(Refusal::NoPlace(text));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(Refusal::Taken(format!(
            "another agent serves the control socket {shown}; end it with `grapevine leave --control {shown}`, or give --control another path"
        ))),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(|error| {
            Refusal::NoPlace(format!("cannot replace {shown}, which a dead agent left: {error}; remove it"))
        }),
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
