//! A file that several processes write to. Not for: what is in the lines (`journal.rs`, `deeds.rs`).

use super::{done, owned, wide};
use std::ffi::OsStr;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr::null;
use windows_sys::Win32::Foundation::{WAIT_ABANDONED, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{
    CreateMutexW, INFINITE, ReleaseMutex, WaitForSingleObject,
};

/// Whoever stands still in the middle of adding to [`Lines`] keeps everybody else from it.
pub const LINES_IN_TURN: bool = true;

/// A file that several processes write to at once, line by line.
#[derive(Debug)]
pub struct Lines {
    file: File,
    /// NTFS appends in one step. wine 8 asks how long the file is and writes there, so that lines of several processes would fall on each other: one
    /// at a time, by a lock that has nothing to do with locks on files.
    turn: OwnedHandle,
}

impl Lines {
    /// Open it, or begin it.
    ///
    /// # Panics
    /// If the file system does not let us.
    pub fn open(path: &Path) -> Lines {
        let file = File::options().append(true).create(true).open(path);
        let file = file.expect("a file of a test's own can be opened");
        let mut name = DefaultHasher::new();
        path.hash(&mut name);
        let name = wide(OsStr::new(&format!("sneck-lines-{:x}", name.finish())));
        // SAFETY: a name that ends with a zero; the usual rights.
        let turn = owned(unsafe { CreateMutexW(null(), 0, name.as_ptr()) });
        Lines { file, turn }
    }

    /// Write one.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn add(&self, line: &str) {
        let turn = self.turn.as_raw_handle();
        // SAFETY: a mutex that is open as long as we are.
        let got = unsafe { WaitForSingleObject(turn, INFINITE) };
        assert!(
            got == WAIT_OBJECT_0 || got == WAIT_ABANDONED,
            "{}",
            io::Error::last_os_error()
        );
        let written = (&self.file).write_all(line.as_bytes());
        // SAFETY: this thread has it.
        done(unsafe { ReleaseMutex(turn) });
        written.expect("a file of a test's own can be written");
    }
}
