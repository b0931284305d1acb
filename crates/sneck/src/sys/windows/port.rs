//! An I/O completion port, and ends of processes that are posted to it.
//!
//! Not for: who waits for what (`wait/windows_poller.rs`).

use super::handle::{done, milliseconds, owned};
use crate::timeout::Moment;
use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatus, OVERLAPPED, PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
    WT_EXECUTEONLYONCE,
};

/// One thread takes from it.
#[derive(Debug)]
pub(crate) struct Port(OwnedHandle);

impl Port {
    pub(crate) fn new() -> io::Result<Port> {
        // SAFETY: no file, no port yet: a new one, for one thread. The handle is ours.
        unsafe {
            owned(CreateIoCompletionPort(
                INVALID_HANDLE_VALUE,
                ptr::null_mut(),
                0,
                1,
            ))
        }
        .map(Port)
    }

    /// Whatever ends on this handle is told, by its key.
    pub(crate) fn add(&self, handle: HANDLE, key: usize) -> io::Result<()> {
        // SAFETY: an open handle that was opened for overlapped operations, and our port, which is what is given back.
        let port = unsafe { CreateIoCompletionPort(handle, self.0.as_raw_handle(), key, 0) };
        done(i32::from(!port.is_null()))
    }

    /// Tell this key.
    pub(crate) fn post(&self, key: usize) {
        // SAFETY: an open port; nothing is said but the key.
        unsafe { PostQueuedCompletionStatus(self.0.as_raw_handle(), 0, key, ptr::null()) };
    }

    /// Sleep until something is told, or this moment comes, or a while is over.
    pub(crate) fn take(&self, until: Option<Moment>) -> Option<usize> {
        let longest = until.map_or(Duration::MAX, Moment::until);
        let (mut length, mut key) = (0, 0);
        let mut overlapped: *mut OVERLAPPED = ptr::null_mut();
        // SAFETY: an open port, and three valid places to write to.
        let told = unsafe {
            GetQueuedCompletionStatus(
                self.0.as_raw_handle(),
                &raw mut length,
                &raw mut key,
                &raw mut overlapped,
                milliseconds(longest),
            )
        };
        // What ended with an error is told too, and then there is a structure.
        (told != 0 || !overlapped.is_null()).then_some(key)
    }
}

/// The end of a process, posted to a port.
#[derive(Debug)]
pub(crate) struct ExitWatch {
    wait: HANDLE,
    _process: OwnedHandle,
    /// What the callback is given. It goes last.
    _told: Arc<Told>,
}

#[derive(Debug)]
struct Told {
    port: Arc<Port>,
    key: usize,
}

// SAFETY: a wait may be unregistered by any thread.
unsafe impl Send for ExitWatch {}
// SAFETY: nothing is done through a shared reference.
unsafe impl Sync for ExitWatch {}

impl ExitWatch {
    pub(crate) fn new(process: OwnedHandle, port: &Arc<Port>, key: usize) -> io::Result<ExitWatch> {
        let told = Arc::new(Told {
            port: port.clone(),
            key,
        });
        let mut wait = ptr::null_mut();
        // SAFETY: a valid place to write to; an open handle and what the callback gets, both of which outlive the wait: `drop` ends it, callback included, before
        // either goes. The callback has the right type and does not unwind.
        done(unsafe {
            RegisterWaitForSingleObject(
                &raw mut wait,
                process.as_raw_handle(),
                Some(ended),
                Arc::as_ptr(&told).cast(),
                INFINITE,
                WT_EXECUTEONLYONCE | WT_EXECUTEINWAITTHREAD,
            )
        })?;
        Ok(ExitWatch {
            wait,
            _process: process,
            _told: told,
        })
    }
}

impl Drop for ExitWatch {
    fn drop(&mut self) {
        // SAFETY: registered by us, ended once. The invalid handle says: wait for a callback that is running; it only posts.
        unsafe { UnregisterWaitEx(self.wait, INVALID_HANDLE_VALUE) };
    }
}

/// Runs in a thread of the system's pool.
// SAFETY: called with what was registered, once.
unsafe extern "system" fn ended(told: *mut c_void, _: bool) {
    // SAFETY: what was registered, which lives until the wait is ended.
    let told = unsafe { &*told.cast::<Told>() };
    told.port.post(told.key);
}
