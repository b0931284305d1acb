//! The seam on a platform that has none of its own yet: everything compiles, and what would need the platform answers
//! [`Unsupported`](io::ErrorKind::Unsupported).
//!
//! For: keeping the rest of the command honest about what it asks of a platform. Not for: approximations. A command
//! that could outlive its lock must not start at all.

use std::ffi::{OsStr, OsString};
use std::io;
use std::thread::{Builder, JoinHandle};

use sneck::{Guard, Party, Place};

use super::{Bearer, Ended, LetGo};
use crate::exit::Exit;
use crate::plan::{Hold, Inherit, Taking};
use crate::variables::Variables;

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
    pub(crate) fn prepare(
        _program: &OsStr,
        _arguments: &[OsString],
        _variables: &Variables,
    ) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn claimant(&self) -> Party {
        match *self {}
    }

    pub(crate) fn let_go<Descriptor>(
        &mut self,
        _holding: &[Descriptor],
        _inherit: Inherit,
        _numbers: &[Option<u64>],
    ) -> io::Result<LetGo> {
        match *self {}
    }

    pub(crate) fn wait(&self) -> io::Result<Ended> {
        match *self {}
    }
}

/// What the command's signals go through; here there is never a command.
#[derive(Debug)]
pub(crate) enum Relay {}

impl Relay {
    pub(crate) fn start() -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn relay_until_end(
        &mut self,
        _command: &HeldCommand,
        _say: &dyn Fn(&str),
    ) -> io::Result<()> {
        match *self {}
    }
}

/// What ends a command in time; here there is never a command.
#[derive(Debug)]
pub(crate) enum Leash {}

impl Leash {
    pub(crate) fn put_on(
        command: &HeldCommand,
        _hold: Hold,
        _taking: &Taking,
        _keeper: Option<Keeper>,
        _guard: &Guard,
    ) -> io::Result<Self> {
        match *command {}
    }

    pub(crate) fn hold_until_end(
        &mut self,
        _relay: &mut Relay,
        _command: &HeldCommand,
        _guard: &Guard,
    ) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn end(&self, _ended: Ended) -> Exit {
        match *self {}
    }
}

/// What ends the command when sneck cannot; here there is never a command.
#[derive(Debug)]
pub(crate) enum Keeper {}

impl Keeper {
    pub(crate) fn start(_place: &Place) -> io::Result<Keeper> {
        unsupported()
    }
}

/// No process is started as a keeper here.
pub(crate) fn keep() -> Option<Exit> {
    None
}

/// Whatever is a file may be one.
pub(crate) fn is_program(path: &std::path::Path) -> bool {
    path.is_file()
}

/// Nobody can tell here.
pub(crate) fn bearer(_pid: u32) -> Bearer {
    Bearer::Unknown
}

pub(crate) fn in_foreground() -> bool {
    true
}

pub(crate) fn can_erase() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term != "dumb" && !term.is_empty())
}

/// A thread; no signals are kept from it here.
pub(crate) fn spawn_without_signals(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(work)
}
