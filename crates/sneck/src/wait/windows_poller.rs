//! Events for those who sleep on a [`Nudge`], on Windows: one I/O completion port, shared by all of them.
//!
//! Changes of folders come to the port by themselves, ends of processes by a thread of the system's pool that posts to it, a new alarm by a post of
//! our own. Each watch has a key of its own, which is never used again: what comes late for one that is gone finds nobody. Not for: sleeping and deadlines
//! (`reactor.rs`).

use super::Nudge;
use super::reactor::Unarmed;
use crate::protocol::Descriptor;
use crate::sys::port::{ExitWatch, Port};
use crate::sys::watch::{Changes, Watched};
use crate::sys::{Presence, locks, process};
use crate::timeout::Moment;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the port says about the alarm; sources have numbers from [`FIRST`] on.
const ALARM: usize = 0;
const FIRST: usize = 1;

#[derive(Debug)]
pub(super) struct Poller {
    // Before the port: what is watched refers to it.
    sources: Mutex<Sources>,
    port: Arc<Port>,
}

#[derive(Debug, Default)]
struct Sources {
    by_key: HashMap<usize, Source>,
    entries: HashMap<PathBuf, usize>,
    exits: HashMap<u32, usize>,
    next: usize,
    alarm: Option<Moment>,
    /// The thread that waits has looked at the alarm, and sleeps until then.
    asleep: bool,
}

#[derive(Debug)]
struct Source {
    what: What,
    nudges: Vec<Arc<Nudge>>,
}

#[derive(Debug)]
enum What {
    Entry(PathBuf, Changes),
    /// Of the holders of a file.
    Ends(#[allow(dead_code)] Vec<ExitWatch>),
    Exit {
        pid: u32,
        /// Dropped when nobody waits for it any more.
        _watch: ExitWatch,
    },
}

/// One hint that is armed for one nudge.
#[derive(Debug)]
pub(super) struct Hint(usize);

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        Ok(Poller {
            port: Arc::new(Port::new()?),
            sources: Mutex::new(Sources {
                next: FIRST,
                ..Sources::default()
            }),
        })
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Be nudged when the entry changes.
    pub(super) fn entry(&self, path: &Path, nudge: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        let mut sources = self.sources();
        if let Some(key) = sources.entries.get(path).copied() {
            return Ok(sources.join(key, nudge));
        }
        let key = sources.key();
        let changes = Changes::for_port(path).and_then(|mut changes| {
            self.port.add(changes.folder(), key)?;
            changes.ask()?;
            Ok(changes)
        });
        let changes = changes.map_err(|_| Unarmed::Unable)?;
        sources.entries.insert(path.to_owned(), key);
        Ok(sources.start(key, What::Entry(path.to_owned(), changes), nudge))
    }

    /// Be nudged when a holder gives up the lock of this file, as far as holders tell.
    pub(super) fn closed(&self, path: &Path, nudge: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        let mut sources = self.sources();
        let key = sources.key();
        let ends = locks::ends(path).into_iter();
        let watches: io::Result<Vec<ExitWatch>> = ends
            .map(|end| ExitWatch::new(end, &self.port, key))
            .collect();
        match watches {
            Ok(watches) if !watches.is_empty() => {
                Ok(sources.start(key, What::Ends(watches), nudge))
            }
            _ => Err(Unarmed::Unable),
        }
    }

    /// Be nudged when the process ends.
    pub(super) fn exit(&self, pid: u32, nudge: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        let mut sources = self.sources();
        if let Some(key) = sources.exits.get(&pid).copied() {
            return Ok(sources.join(key, nudge));
        }
        let process = match process::open(pid) {
            Ok(process) => process,
            Err(Presence::Alive | Presence::Unknown) => return Err(Unarmed::Unable),
            Err(_) => return Err(Unarmed::Over),
        };
        // A process that has ended already was judged by the loop and left alone: its end wakes nobody any more.
        if process::has_ended(&process).map_err(|_| Unarmed::Unable)? {
            return Err(Unarmed::Over);
        }
        let key = sources.key();
        let _watch = ExitWatch::new(process, &self.port, key).map_err(|_| Unarmed::Unable)?;
        sources.exits.insert(pid, key);
        Ok(sources.start(key, What::Exit { pid, _watch }, nudge))
    }

    /// A socket cannot be listened to without changing it for everybody who has it.
    pub(super) fn ready(&self, _: Descriptor, _: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        Err(Unarmed::Unable)
    }

    /// No longer.
    pub(super) fn forget(&self, hint: Hint, nudge: &Arc<Nudge>) {
        let mut sources = self.sources();
        let Some(source) = sources.by_key.get_mut(&hint.0) else {
            return;
        };
        if let Some(at) = source.nudges.iter().position(|n| Arc::ptr_eq(n, nudge)) {
            source.nudges.swap_remove(at);
        }
        if source.nudges.is_empty() {
            let ended = sources.end(hint.0);
            drop(sources);
            // Outside the mutex: it waits for what the system has begun.
            drop(ended);
        }
    }

    /// End [`Poller::wait`] at this moment.
    pub(super) fn alarm(&self, at: Moment) {
        let mut sources = self.sources();
        sources.alarm = Some(at);
        if sources.asleep {
            self.port.post(ALARM);
        }
    }

    /// Sleep until something happens or the alarm goes off, and nudge those who wait for it.
    pub(super) fn wait(&self) {
        let mut sources = self.sources();
        let until = sources.alarm;
        sources.asleep = true;
        drop(sources);
        let told = self.port.take(until);
        let mut sources = self.sources();
        sources.asleep = false;
        let nudges = told.map(|key| sources.told(key)).unwrap_or_default();
        drop(sources);
        // Outside the mutex.
        nudges.iter().for_each(|nudge| nudge.give());
    }
}

impl Sources {
    fn key(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn start(&mut self, key: usize, what: What, nudge: &Arc<Nudge>) -> Hint {
        let nudges = vec![nudge.clone()];
        self.by_key.insert(key, Source { what, nudges });
        Hint(key)
    }

    fn join(&mut self, key: usize, nudge: &Arc<Nudge>) -> Hint {
        if let Some(source) = self.by_key.get_mut(&key) {
            source.nudges.push(nudge.clone());
        }
        Hint(key)
    }

    fn end(&mut self, key: usize) -> Option<Source> {
        let source = self.by_key.remove(&key)?;
        match &source.what {
            What::Entry(path, _) => self.entries.remove(path),
            What::Exit { pid, .. } => self.exits.remove(pid),
            What::Ends(_) => None,
        };
        Some(source)
    }

    /// Who waits for what the port told.
    fn told(&mut self, key: usize) -> Vec<Arc<Nudge>> {
        let Some(source) = self.by_key.get_mut(&key) else {
            return Vec::new();
        };
        let over = match &mut source.what {
            What::Entry(_, changes) => match changes.take() {
                Watched::Else => return Vec::new(),
                Watched::Changed => false,
                Watched::Over => true,
            },
            What::Exit { .. } | What::Ends(_) => true,
        };
        if over {
            return self.end(key).map(|ended| ended.nudges).unwrap_or_default();
        }
        source.nudges.clone()
    }
}
