//! A key file that is looked at again and again.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::event::EventFilter;
use crate::gossiper::{Gossiper, WeakGossiper};
use crate::key_file::KeyFile;
use crate::keyring::Keyring;
use crate::subscription::Subscription;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{AtomicBool, Mutex, Ordering};

/// It does not look more often.
const LEAST_PAUSE: Duration = Duration::from_millis(10);
/// Reading needs some 20 KiB; the rest is for loggers.
const STACK_BYTES: usize = 256 << 10;

/// Keeps the keys of a node as a file has them, until it is dropped or the node stops. It is no handle of the node.
pub struct KeyFileWatch {
    node: WeakGossiper,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    file: KeyFile,
    ended: AtomicBool,
    /// Of the node's end alone. Ended itself, it wakes the thread.
    stopped: Subscription,
    /// Held while the file is read or written, and the node is given what it holds.
    seen: Mutex<Seen>,
}

/// What is known of the file.
struct Seen {
    /// At the last look.
    looked_at: Option<Stamp>,
    /// When it was read, or written.
    taken: Option<Stamp>,
    /// Why it cannot be used.
    problem: Option<String>,
}

/// What tells one state of a file from another; nothing of one that is not there.
#[derive(Clone, Debug, Default, PartialEq)]
struct Stamp(Option<Changed>);

/// Its permissions count too. A file that was replaced has another inode, whatever its times.
#[cfg(unix)]
type Changed = (u64, u64, u64, [i64; 4]);
#[cfg(not(unix))]
type Changed = (u64, Option<Duration>);

#[cfg(unix)]
fn changed(is: &fs::Metadata) -> Changed {
    use std::os::unix::fs::MetadataExt;
    (is.dev(), is.ino(), is.len(), [is.mtime(), is.mtime_nsec(), is.ctime(), is.ctime_nsec()])
}

#[cfg(not(unix))]
fn changed(is: &fs::Metadata) -> Changed {
    let since = is.modified().ok().and_then(|modified| modified.duration_since(std::time::UNIX_EPOCH).ok());
    (is.len(), since)
}

impl Stamp {
    fn of(file: &KeyFile) -> Stamp {
        Stamp(fs::metadata(file.path()).ok().as_ref().map(changed))
    }
}

impl KeyFileWatch {
    pub(super) fn start(file: KeyFile, node: &Gossiper, every: Duration) -> Result<KeyFileWatch, Error> {
        let every = every.max(LEAST_PAUSE);
        let taken = Some(Stamp::of(&file));
        node.set_keyring(Some(file.load()?))?;
        let seen = Seen { looked_at: None, taken, problem: None };
        let stopped = node.subscribe_to(EventFilter::all().kinds([]));
        let shared = Arc::new(Shared { file, ended: AtomicBool::new(false), stopped, seen: Mutex::new(seen) });
        let (node, watched, watched_node) = (node.downgrade(), shared.clone(), node.downgrade());
        let body = move || {
            while watched.stopped.recv_timeout(every).is_none() && !watched.ended.load(Ordering::SeqCst) {
                let Some(node) = watched_node.upgrade() else { return };
                if node.check().and_then(|()| watched.look(&node)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("grapevine-keys".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn(body).map_err(Error::Thread)?;
        Ok(KeyFileWatch { node, shared, thread: Some(thread) })
    }

    /// The file.
    pub fn file(&self) -> &KeyFile {
        &self.shared.file
    }

    /// Changes the keys of the node, and the file with them: in the file first, so that one that cannot be written changes nothing.
    /// A node that is left without keys leaves the file as it is.
    ///
    /// # Errors
    /// Those of `change`; [`Error::KeyFile`] if the file cannot be written, cannot be used as it is, or was just changed by somebody
    /// else and is not taken in yet; [`Error::Stopped`] and [`Error::ThreadPanicked`]. Nothing is changed then.
    pub fn change<R>(&self, change: impl FnOnce(&mut Option<Keyring>) -> Result<R, Error>) -> Result<R, Error> {
        let node = self.node.upgrade().ok_or(Error::Stopped)?;
        node.check()?;
        let shared = &*self.shared;
        let mut seen = shared.seen.lock();
        if let Some(problem) = &seen.problem {
            return Err(shared.file.wrong(format!("{problem}; it is to be repaired before keys are changed")));
        }
        if seen.taken.as_ref() != Some(&Stamp::of(&shared.file)) {
            return Err(shared.file.wrong("it was just changed; try again once that was taken in, in a moment"));
        }
        let before = node.keyring();
        let mut keyring = before.clone();
        let result = change(&mut keyring)?;
        if keyring == before {
            return Ok(result);
        }
        if let Some(keyring) = &keyring {
            let written = shared.file.replace(keyring)?;
            seen.taken = Some(Stamp(written.metadata().ok().as_ref().map(changed)));
        }
        node.set_keyring(keyring)?;
        Ok(result)
    }
}

impl Shared {
    /// Takes in what has changed, once it is the same as at the last look.
    fn look(&self, node: &Gossiper) -> Result<(), Error> {
        let mut seen = self.seen.lock();
        let now = Stamp::of(&self.file);
        if seen.taken.as_ref() == Some(&now) {
            return Ok(());
        }
        if seen.looked_at.as_ref() != Some(&now) {
            seen.looked_at = Some(now);
            return Ok(());
        }
        seen.taken = Some(now);
        let (problem, taken_in) = match self.file.load() {
            Ok(keyring) => (None, node.set_keyring(Some(keyring))),
            Err(Error::KeyFile { problem, .. }) => (Some(problem), Ok(())),
            Err(error) => (Some(error.to_string()), Ok(())),
        };
        let before = std::mem::replace(&mut seen.problem, problem.clone());
        drop(seen);
        let shown = self.file.path().display();
        match (before, problem) {
            (before, Some(problem)) if before.as_ref() != Some(&problem) => {
                log::warn!("the key file {shown} cannot be used, and the keys stay as they are: {problem}");
            }
            (Some(_), None) => log::info!("the key file {shown} can be used again"),
            _ => {}
        }
        taken_in
    }
}

impl fmt::Debug for KeyFileWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFileWatch").field("file", &self.shared.file).finish_non_exhaustive()
    }
}

impl Drop for KeyFileWatch {
    /// Once this returns no keys are changed any more.
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.stopped.end();
        // A logger may drop it on the thread itself.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}
