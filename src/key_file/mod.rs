//! Keys in a file, which is read at the start and again whenever it was changed.
//!
//! A key file is text: `#` begins a comment, empty lines mean nothing, and every other line is one key in base64, 1 to
//! [`MAX_KEYS`](crate::keyring::MAX_KEYS) of them. The first one encrypts. One line may be `encryption accept`, `encryption send` or
//! `encryption require`, which are the steps of [`Encryption`](crate::keyring::Encryption); without it encryption is required.
//! Such a file may have 64 KiB.

mod format;
#[cfg(all(test, not(shuttle), unix))]
mod tests;
mod watch;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::builder::Builder;
use crate::error::Error;
use crate::gossiper::Gossiper;
use crate::keyring::Keyring;
use crate::sync;

pub use watch::KeyFileWatch;

/// No key file is longer.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// A file that holds the keys of a cluster.
///
/// On Unix it is refused while anybody but its owner may read or write it. On other systems that is not checked: see to it that
/// nobody else can.
///
/// ```no_run
/// use grapevine::Gossiper;
/// use grapevine::key_file::KeyFile;
/// use std::time::Duration;
///
/// let file = KeyFile::new("/etc/grapevine.keys");
/// let node = Gossiper::builder().keyring(file.load()?).start()?;
/// let watch = file.watch(&node, Duration::from_secs(1))?; // for as long as it lives
/// # Ok::<(), grapevine::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    path: PathBuf,
}

/// The keys of a text in a key file's format, for those that come another way than in a file.
///
/// # Errors
/// [`Error::Keyring`], with the number of the line that is wrong.
pub fn parse(text: &[u8]) -> Result<Keyring, Error> {
    format::read(text).map_err(Error::Keyring)
}

impl KeyFile {
    /// The file at this path, which is not looked at yet.
    pub fn new(path: impl Into<PathBuf>) -> KeyFile {
        KeyFile { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it. Links are followed.
    ///
    /// # Errors
    /// [`Error::KeyFile`] if it cannot be read, is no file, is one that others may read or write, or holds something else than keys.
    pub fn load(&self) -> Result<Keyring, Error> {
        let text = self.text().map_err(|problem| self.wrong(problem))?;
        format::read(&text).map_err(|problem| self.wrong(problem))
    }

    /// Replaces it by one with these keys, for its owner alone: written beside it as a whole, and then renamed. Where it is a link,
    /// what that leads to is replaced. Comments are not kept.
    ///
    /// # Errors
    /// [`Error::KeyFile`]; the file is then as it was.
    pub fn save(&self, keyring: &Keyring) -> Result<(), Error> {
        self.replace(keyring).map(drop)
    }

    /// Makes it, with these keys, for its owner alone.
    ///
    /// # Errors
    /// [`Error::KeyFile`], also if there is a file already.
    pub fn create(&self, keyring: &Keyring) -> Result<(), Error> {
        let written = write_new(&self.path, keyring);
        written.map(drop).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                self.wrong("it is there already, and is not overwritten; choose another name")
            }
            _ => self.wrong(format!("it cannot be written: {error}")),
        })
    }

    /// Gives a node the keys in this file now, and again whenever the file was changed: it looks every so often, 10 ms at least. A change
    /// is taken in once the file has stayed the same from one look to the next, so that none is read while it is written. While the
    /// file cannot be used the node keeps the keys that it has, and the log tells why, once for each reason.
    ///
    /// # Errors
    /// Those of [`KeyFile::load`], [`Error::Thread`], and [`Error::Stopped`] or [`Error::ThreadPanicked`] of a node that does not run.
    pub fn watch(&self, node: &Gossiper, every: Duration) -> Result<KeyFileWatch, Error> {
        KeyFileWatch::start(self.clone(), node, every)
    }

    /// As [`KeyFile::save`]: the file that is there now.
    fn replace(&self, keyring: &Keyring) -> Result<File, Error> {
        let cannot = |error: io::Error| self.wrong(format!("it cannot be written: {error}"));
        let path = match fs::canonicalize(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
            path => path.unwrap_or_else(|_| self.path.clone()),
        };
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:016x}", sync::unpredictable()));
        let beside = path.with_file_name(name);
        let file = write_new(&beside, keyring).map_err(cannot)?;
        fs::rename(&beside, &path).map_err(|error| {
            let _ = fs::remove_file(&beside);
            cannot(error)
        })?;
        // That it is there now also after the power was cut.
        if let Some(folder) = path.parent() {
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(file)
    }

    fn text(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        let cannot = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => "there is none; `grapevine keygen --output` makes one".to_owned(),
            _ => format!("it cannot be read: {error}"),
        };
        // Looked at before it is opened, which would wait at a pipe.
        check(&fs::metadata(&self.path).map_err(cannot)?)?;
        let mut file = File::open(&self.path).map_err(cannot)?;
        let is = file.metadata().map_err(cannot)?;
        check(&is)?;
        // One byte more shows that it is longer by now. What grows by itself would leave copies behind.
        let mut text = Zeroizing::new(vec![0; is.len() as usize + 1]);
        let mut filled = 0;
        while filled < text.len() {
            match file.read(&mut text[filled..]) {
                Ok(0) => {
                    text.truncate(filled);
                    return Ok(text);
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(cannot(error)),
            }
        }
        Err("it was written to while it was read; try again".to_owned())
    }

    fn wrong(&self, problem: impl Into<String>) -> Error {
        Error::KeyFile { path: self.path.clone(), problem: problem.into() }
    }
}

/// Whether a file may be one with keys.
fn check(is: &Metadata) -> Result<(), String> {
    if !is.is_file() {
        return Err("it is no file".to_owned());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let mode = is.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(format!("others than its owner may use it, for its mode is {mode:04o}; `chmod 600` it"));
        }
    }
    if is.len() > MAX_FILE_BYTES {
        return Err(format!("it has {} bytes, and a key file at most {MAX_FILE_BYTES}; is it another file?", is.len()));
    }
    Ok(())
}

/// Makes a file that is nobody else's, with all of these keys or not at all.
fn write_new(path: &Path, keyring: &Keyring) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let written = file.write_all(format::write(keyring).as_bytes()).and_then(|()| file.sync_all());
    written.map(|()| file).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

impl Builder {
    /// The cluster's pre-shared keys, from a file as [`KeyFile`] describes it. It is read now, and not again: for that there is
    /// [`KeyFile::watch`].
    #[must_use]
    pub fn key_file(self, path: impl Into<PathBuf>) -> Self {
        match KeyFile::new(path).load() {
            Ok(keyring) => self.keyring(keyring),
            Err(error) => self.refuse(error),
        }
    }
}
