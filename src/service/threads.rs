//! The threads of services. The only file of them that starts one, or catches a panic.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sync::thread;

/// Enough for a message nested as deep as it may be, in a build without optimisation.
const STACK_BYTES: usize = 512 << 10;

/// Starts a thread that runs none of the program's code.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(format!("grapevine-{name}")).stack_size(STACK_BYTES).spawn(work).map(drop)
}

/// Starts a thread for handlers, with the stack that threads have by default.
pub(super) fn spawn_worker(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("grapevine-handler".to_owned()).spawn(work).map(drop)
}

/// Runs a program's code; a panic is its text.
pub(super) fn caught<R>(code: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let text = text_of(&*panic);
        // What it carries is the program's, with a drop of its own, which may panic too.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(another);
        }
        text
    })
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a text").to_owned()
}
