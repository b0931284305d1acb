//! What tests need of the operating system and the standard library does not give, by the same names wherever there is the same thing. With its
//! folders the only `unsafe` of the test kit.
//!
//! Unix alone has forks, signals, limits and traces (`unix/`): what needs them is a test of Unix, as are the modules `crash`, `interrupt`, `postgres` and `race`
//! of this crate, and the conformance functions that [`crate::each_function_of_this_system`] names. Not for: rules of locks.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::*;

mod net;
pub use net::*;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A state on the way in or out of a lock: what it is called, and how it is planted, given the lock's path and whose it is. See [`halfway`].
pub type Halfway = (&'static str, fn(&Path, u32));

/// This thread, as no other thread of the machine is called.
pub fn own_name() -> String {
    format!("{}.{}", std::process::id(), thread_number())
}

/// Run a command and wait for it at most this long; then it is killed.
///
/// # Panics
/// If it cannot be started or waited for.
pub fn run_within(command: &mut Command, patience: Duration) -> Option<std::process::ExitStatus> {
    let start = Instant::now();
    let mut child = command
        .spawn()
        .unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()));
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if start.elapsed() > patience {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
