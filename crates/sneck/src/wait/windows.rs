//! Events for a thread on Windows: changes of a folder, ends of processes, one sleep for all together.
//!
//! Windows tells what changed in a folder, by name, and not that somebody has unlocked or closed a file: for [`Wake::Closed`] the holders tell, where they are ours, and
//! otherwise the sleep is short. So it is for [`Wake::Ready`], since WSAEventSelect would change the socket for everybody who has it. Not for: tasks, and threads that wait for a bell beside all this (`reactor.rs`).

use super::{Bell, Doze, Trust};
use crate::protocol::Wake;
use crate::sys::handle::{Came, Event, wait_for};
use crate::sys::watch::{Changes, Watched};
use crate::sys::{Nap, Presence, console, locks, process};
use crate::timeout::{Deadline, Moment};
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::path::Path;
use std::time::Duration;

/// Why there are no events where there could be.
pub(crate) const NO_EVENTS: &str = "the system gives no events for it";

/// How many ends of processes one sleep has room for, beside folders and the console (of 64).
const MOST: usize = 48;
/// How many folders.
const FOLDERS: usize = 8;

/// Hints that are armed.
#[derive(Debug)]
pub(crate) struct Armed {
    folders: Vec<Changes>,
    /// Ends of processes and of holdings.
    exits: Vec<OwnedHandle>,
    at: Option<Moment>,
    bell: Option<(Bell, u32)>,
    /// Instead of all of these, where a bell is to be heard beside others: one sleep is on a word in memory or on handles.
    mixed: Option<Doze>,
    trust: Trust,
}

impl Armed {
    /// Arm them all, as far as possible.
    pub(crate) fn new(wakes: Vec<Wake>) -> Armed {
        let mut armed = Armed {
            folders: Vec::new(),
            exits: Vec::new(),
            at: None,
            bell: None,
            mixed: None,
            trust: Trust::Events,
        };
        if wakes.is_empty() {
            armed.trust = Trust::Polling;
        }
        let rings = |wake: &Wake| matches!(wake, Wake::Rung(..));
        if wakes.len() > 1 && wakes.iter().any(rings) {
            // Where no thread is to be had that listens for us, the sleep is short.
            armed.mixed = Doze::new(wakes).ok();
            armed.trust = armed.mixed.as_ref().map_or(Trust::Polling, Doze::trust);
            return armed;
        }
        for wake in wakes {
            let well = match wake {
                Wake::Entry(path) => {
                    let room = armed.folders.len() < FOLDERS;
                    let changes = Changes::watch(&path).ok().filter(|_| room);
                    let well = changes.is_some();
                    armed.folders.extend(changes);
                    well
                }
                Wake::Closed(path) => armed.listen_to_holders(&path),
                Wake::Ready(_) => false,
                Wake::Exit(pid) => armed.listen_to(pid),
                Wake::At(moment) => {
                    armed.at = Some(armed.at.map_or(moment, |at| at.min(moment)));
                    true
                }
                Wake::Rung(bell, heard) => {
                    armed.bell = Some((bell, heard));
                    true
                }
            };
            if !well {
                armed.trust = Trust::Polling;
            }
        }
        armed.forget_ended();
        armed
    }

    fn listen_to(&mut self, pid: u32) -> bool {
        match process::open(pid) {
            Ok(process) if self.exits.len() < MOST => self.exits.push(process),
            Ok(_) | Err(Presence::Alive | Presence::Unknown) => return false,
            // A process that has ended already was judged by the loop and left alone: its end wakes nobody any more.
            Err(_) => {}
        }
        true
    }

    fn listen_to_holders(&mut self, path: &Path) -> bool {
        let ends = locks::ends(path);
        let told = !ends.is_empty() && self.exits.len() + ends.len() <= MOST;
        if told {
            self.exits.extend(ends);
        }
        told
    }

    /// Whether events can be relied on.
    pub(crate) fn trust(&self) -> Trust {
        self.trust
    }

    /// Sleep until a hint comes, at most so long.
    pub(crate) fn sleep(&mut self, longest: Duration) -> Nap {
        if let Some(mixed) = &mut self.mixed {
            return mixed.sleep(longest);
        }
        let sooner = self.at.map(Moment::until).filter(|at| *at < longest);
        let nap = match &self.bell {
            Some((bell, heard)) => bell.sleep(*heard, sooner.unwrap_or(longest)),
            None => self.doze(sooner.unwrap_or(longest)),
        };
        if nap == Nap::TimedOut && sooner.is_some() {
            self.at = None;
            return Nap::Woken;
        }
        nap
    }

    fn doze(&mut self, longest: Duration) -> Nap {
        let Ok(from_console) = Event::new() else {
            return super::pause(longest);
        };
        let sleeper = console::Sleeper::on_event(&from_console);
        let until = Moment::now()
            .after(longest)
            .map_or(Deadline::Never, Deadline::At);
        loop {
            let mut handles = vec![from_console.raw()];
            handles.extend(self.folders.iter().map(Changes::raw));
            handles.extend(self.exits.iter().map(AsRawHandle::as_raw_handle));
            match wait_for(&handles, until) {
                Ok(Came::TimedOut) => return Nap::TimedOut,
                Ok(Came::First(0)) if sleeper.is_interrupted() => return Nap::Interrupted,
                Ok(Came::First(0)) => from_console.reset(),
                Ok(Came::First(number)) => match self.folders.get_mut(number - 1) {
                    Some(folder) => match folder.take() {
                        Watched::Changed => return Nap::Woken,
                        Watched::Else => {}
                        // It tells no more: the next sleep is to arm anew.
                        Watched::Over => {
                            self.folders.remove(number - 1);
                            return Nap::Woken;
                        }
                    },
                    None => {
                        self.forget_ended();
                        return Nap::Woken;
                    }
                },
                // Too many, or a handle that cannot be waited for: nothing is to be heard then.
                Err(_) => return super::pause(longest.min(Duration::from_millis(10))),
            }
        }
    }

    /// Such a handle stays signalled for ever: one that has spoken would wake every sleep to come.
    fn forget_ended(&mut self) {
        self.exits
            .retain(|exit| !process::has_ended(exit).unwrap_or(true));
    }
}
