//! The seam on a platform that has none of its own yet: everything compiles, and what would need the platform answers
//! [`Unsupported`](io::ErrorKind::Unsupported).
//!
//! For: keeping the rest of the command honest about what it asks of a platform. Not for: approximations. A command
//! that could outlive its lock must not start at all.

use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::RangeInclusive;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::{Bearer, Ended, LetGo};

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "running a command under a lock is not supported on this platform",
    ))
}

/// A command that waits to be let go; here there is never one.
#[derive(Debug)]
pub(crate) enum HeldCommand {}

impl HeldCommand {
    pub(crate) fn fork(
        _program: &OsStr,
        _arguments: &[OsString],
        _environment: &[(OsString, OsString)],
    ) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn pid(&self) -> i32 {
        match *self {}
    }

    pub(crate) fn let_go<Descriptor>(&mut self, _inherited: &[Descriptor]) -> io::Result<LetGo> {
        match *self {}
    }

    #[allow(dead_code)] // the names are the seam's
    pub(crate) fn wait(&self) -> io::Result<Ended> {
        match *self {}
    }

    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        match *self {}
    }

    pub(crate) fn signal(&self, _signal: i32) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn lead_group(&self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn signal_group(&self, _signal: i32) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn stopped_by(&self) -> io::Result<Option<i32>> {
        match *self {}
    }
}

/// The numbers of the real-time signals: none.
#[expect(clippy::reversed_empty_ranges, reason = "empty is what is meant")]
pub(crate) fn real_time_signals() -> RangeInclusive<i32> {
    1..=0
}

pub(crate) fn block(_signals: &[i32]) -> io::Result<()> {
    unsupported()
}

pub(crate) fn unblock(_signals: &[i32]) -> io::Result<()> {
    unsupported()
}

/// Whatever is a file may be one.
pub(crate) fn is_program(path: &std::path::Path) -> bool {
    path.is_file()
}

/// Nobody can tell here.
pub(crate) fn bearer(_pid: u32) -> Bearer {
    Bearer::Unknown
}

pub(crate) fn leads_session() -> bool {
    false
}

pub(crate) fn stop_as_asked() -> io::Result<()> {
    unsupported()
}

pub(crate) fn group_of(_pid: i32) -> Option<i32> {
    None
}

pub(crate) fn others_in_group(_leader: i32) -> Option<Vec<i32>> {
    None
}

pub(crate) fn stop_group(_signal: i32) -> io::Result<()> {
    unsupported()
}

pub(crate) fn signal_own_group(_signal: i32) -> io::Result<()> {
    unsupported()
}

/// A terminal that groups share; here there is never one.
#[derive(Debug)]
pub(crate) enum Terminal {}

impl Terminal {
    pub(crate) fn of_session() -> Option<Terminal> {
        None
    }

    pub(crate) fn is_ours(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_of(&self, _group: i32) -> bool {
        match *self {}
    }

    pub(crate) fn give(&self, _group: i32) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn take_back(&self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn set_back(&self) {
        match *self {}
    }
}

/// An alarm; here nobody can be woken by one.
#[derive(Debug)]
pub(crate) enum Alarm {}

impl Alarm {
    pub(crate) fn new() -> io::Result<Alarm> {
        unsupported()
    }

    pub(crate) fn set(&self, _wait: Option<Duration>) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn wait<Stream>(&self, _stream: Stream) -> io::Result<bool> {
        match *self {}
    }
}

pub(crate) fn in_foreground() -> bool {
    true
}

/// A thread; no signals are kept from it here.
pub(crate) fn spawn_without_signals(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(work)
}
