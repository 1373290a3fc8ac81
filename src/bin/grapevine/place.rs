//! Where the control socket is when nobody says.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The port of an agent that was told none.
const DEFAULT_PORT: u16 = 9_000;

/// The control socket of the agent that is bound to this address, or to the default one.
pub fn default_control(bind: Option<&str>) -> PathBuf {
    let port = bind.and_then(|bind| bind.rsplit_once(':')?.1.parse().ok()).unwrap_or(DEFAULT_PORT);
    folder().join(format!("grapevine-{port}.sock"))
}

fn folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(folder) if folder.is_absolute() => folder,
        _ => std::env::temp_dir().join(format!("grapevine-{}", rustix::process::getuid().as_raw())),
    }
}

/// Makes the folder for a control socket that nobody gave a path for. In a temporary folder others could have put something there.
pub fn prepare_default(control: &Path) -> Result<(), String> {
    let Some(folder) = control.parent().filter(|_| std::env::var_os("XDG_RUNTIME_DIR").is_none()) else {
        return Ok(());
    };
    let shown = folder.display();
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(format!("cannot create the folder {shown}: {error}; give --control a path"));
        }
        _ => {}
    }
    let is = fs::symlink_metadata(folder).map_err(|error| format!("cannot look at {shown}: {error}"))?;
    let is_ours = is.is_dir() && is.uid() == rustix::process::getuid().as_raw() && is.mode() & 0o077 == 0;
    if is_ours {
        return Ok(());
    }
    Err(format!("the folder {shown} is not yours alone; remove it, or give --control a path"))
}
