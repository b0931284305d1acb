//! The session that is kept for the next claimant of a handle, and who sees to it that it is not kept for long.
//!
//! The server would end it when its lease is over, and say so in its log as of something that went wrong. So it is closed before, by a keeper of the lease engine, which finds out now and then
//! whether it was of use.
//!
//! Not for: whether a session is fit (`target.rs`).

use crate::target::{Line, Whose};
use sneck::lease::{Lease, Renewed, Tenure};
use sneck::{Moment, Result, Standing};
use std::sync::{Arc, Mutex, Weak};

/// One session at most.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    slot: Arc<Mutex<Slot>>,
    /// Looks after it, in the process of this number; ends once it has closed it.
    warden: Mutex<Option<(u32, Lease)>>,
}

#[derive(Debug, Default)]
struct Slot {
    line: Option<Line>,
    used: Used,
}

/// Whether it was put here since the warden looked last.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Used {
    #[default]
    No,
    Yes,
}

impl Kept {
    /// Takes it out, if it is there. Never waits for another thread, which in a forked child may not be there.
    pub(crate) fn take(&self) -> Option<Line> {
        self.slot.try_lock().ok()?.line.take()
    }

    /// Puts it there. Back, if there is one already.
    pub(crate) fn put(&self, line: Line) -> Option<Line> {
        let whose = line.whose.clone();
        match self.slot.try_lock() {
            Ok(mut slot) if slot.line.is_none() => {
                slot.line = Some(line);
                slot.used = Used::Yes;
            }
            _ => return Some(line),
        }
        self.watch(&whose);
        None
    }

    fn watch(&self, whose: &Whose) {
        let Ok(mut warden) = self.warden.try_lock() else {
            return;
        };
        let own = std::process::id();
        // A forked child asks its parent's nothing: a thread that the child has not may hold its mutexes.
        let is_there =
            |(of, lease): &(u32, Lease)| *of == own && lease.standing() == Standing::Held;
        if !warden.as_ref().is_some_and(is_there) {
            let slot = Arc::downgrade(&self.slot);
            // It looks three times in a ttl, and by the second time has closed what nobody used.
            let lease = Lease::begin(whose.terms, Moment::now(), Box::new(Warden { slot }));
            *warden = Some((own, lease));
        }
    }
}

#[derive(Debug)]
struct Warden {
    slot: Weak<Mutex<Slot>>,
}

impl Tenure for Warden {
    fn renew(&mut self, _: Moment) -> Result<Renewed> {
        let gone = || Ok(Renewed::Gone("nobody uses it".into()));
        let Some(slot) = self.slot.upgrade() else {
            return gone();
        };
        let Ok(mut slot) = slot.try_lock() else {
            return Ok(Renewed::Kept);
        };
        if std::mem::take(&mut slot.used) == Used::Yes {
            return Ok(Renewed::Kept);
        }
        let unused = slot.line.take();
        drop(slot);
        if let Some(line) = unused {
            line.session.close();
        }
        gone()
    }

    fn release(&mut self, _: Moment) -> Result<()> {
        Ok(())
    }
}
