//! `memory`: nothing on disk. One lock a name in this process (`memory:name`), or a lock of its own for every [`crate::Lock`] that is made (`memory:`,
//! nothing after the colon), which its clones share.
//!
//! Downsides. It excludes the threads of this process and nobody else: another process, a forked child too, has locks of its own of the same names. It
//! cannot protect a command. Two copies of the library in one program (a Rust one and a Python one, say) do not see each other.
//!
//! Bytes: none. Exclusion rests on the table below, and not on the process's own line (`queue.rs`): whoever comes through another lock, a stack of
//! several for instance, stands in another line. Then the one who has the turn can find it held, and sleeps until the holder rings.

use super::{
    Attempt, Bell, Busy, Capabilities, Contender, Crash, Held, Modes, Order, Protocol, Reach,
    Sighting, Standing, Wake,
};
use crate::claim::{Claim, Mode};
use crate::error::Result;
use crate::holder::{Holder, Source};
use crate::place::Place;
use crate::sys::fork::{PerProcess, generation};
use crate::sys::text;
use crate::timeout::Moment;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// What is held in this process. A lock that nobody holds is not in it.
type Table = HashMap<Arc<str>, Inside>;

static TABLE: PerProcess<Mutex<Table>> = PerProcess::new();

fn table() -> MutexGuard<'static, Table> {
    // Nothing here runs code of others under the mutex, so a poisoned one holds a whole state.
    TABLE
        .get(|| Mutex::new(HashMap::new()))
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Who holds one lock: one exclusive claim, or shared ones.
#[derive(Debug, Default)]
struct Inside {
    claims: Vec<Inmate>,
    /// Rung when one of them leaves.
    bell: Bell,
}

#[derive(Debug)]
struct Inmate {
    claim: u64,
    mode: Mode,
    since: SystemTime,
}

impl Inside {
    fn admits(&self, mode: Mode) -> bool {
        let shared = |inmate: &Inmate| inmate.mode == Mode::Shared;
        self.claims.is_empty() || (mode == Mode::Shared && self.claims.iter().all(shared))
    }

    fn seen(&self) -> Sighting {
        let holder = |inmate: &Inmate| Holder {
            mode: Some(inmate.mode),
            since: Some(inmate.since),
            ..Holder::process(Source::Process, std::process::id())
        };
        Sighting::Held {
            holders: self.claims.iter().map(holder).collect(),
            mark: None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Memory {
    place: Place,
    key: Arc<str>,
}

impl Memory {
    pub(crate) fn new(place: Place) -> Memory {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // No name begins as the other kind does, and no two names are written alike.
        let key = match text::bytes(place.rest()) {
            [] => format!("memory#{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            name => format!("memory:{}", name.escape_ascii()),
        };
        Memory {
            place,
            key: key.into(),
        }
    }
}

impl Protocol for Memory {
    fn place(&self) -> &Place {
        &self.place
    }

    fn identity(&self) -> String {
        self.key.as_ref().to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            modes: Modes::SharedToo,
            order: Order::Fifo,
            reach: Reach::Process,
            crash: Crash::Free,
            ..Capabilities::LEAST
        }
    }

    fn contend(&self, claim: &Arc<Claim>) -> Result<Box<dyn Contender>> {
        Ok(Box::new(Seat {
            key: self.key.clone(),
            claim: claim.clone(),
        }))
    }

    fn inspect(&self) -> Result<Sighting> {
        let seen = table().get(&self.key).map(Inside::seen);
        // Described outside the mutex: that reads /proc.
        Ok(match seen {
            Some(Sighting::Held { holders, mark }) => Sighting::Held {
                holders: holders.into_iter().map(Holder::described).collect(),
                mark,
            },
            _ => Sighting::Free,
        })
    }

    fn wakes(&self, _: &Sighting) -> Vec<Wake> {
        // Whoever was seen may have left meanwhile: then to look again at once.
        let listened = table().get(&self.key).map(|inside| inside.bell.listen());
        vec![listened.unwrap_or_else(|| Wake::At(Moment::now()))]
    }
}

#[derive(Debug)]
struct Seat {
    key: Arc<str>,
    claim: Arc<Claim>,
}

impl Contender for Seat {
    fn attempt(&mut self) -> Result<Attempt> {
        let mut table = table();
        let inside = table.entry(self.key.clone()).or_default();
        if !inside.admits(self.claim.mode()) {
            // Listened to under the mutex: whoever leaves from now on rings.
            let wakes = vec![inside.bell.listen()];
            return Ok(Attempt::Busy(Busy::new(inside.seen(), wakes)));
        }
        inside.claims.push(Inmate {
            claim: self.claim.id(),
            mode: self.claim.mode(),
            since: SystemTime::now(),
        });
        Ok(Attempt::Held(Box::new(Holding {
            key: self.key.clone(),
            claim: self.claim.id(),
            generation: generation(),
            held: true,
        })))
    }
}

#[derive(Debug)]
struct Holding {
    key: Arc<str>,
    claim: u64,
    generation: u32,
    held: bool,
}

impl Holding {
    fn leave(&mut self) {
        // A forked child's copy: the claim stands in the parent's table.
        if !self.held || self.generation != generation() {
            return;
        }
        self.held = false;
        let mut table = table();
        let Some(inside) = table.get_mut(&self.key) else {
            return;
        };
        inside.claims.retain(|inmate| inmate.claim != self.claim);
        let bell = inside.bell.clone();
        if inside.claims.is_empty() {
            table.remove(&self.key);
        }
        drop(table);
        bell.ring();
    }
}

impl Held for Holding {
    fn release(&mut self) -> Result<()> {
        self.leave();
        Ok(())
    }

    fn standing(&self) -> Standing {
        if self.held {
            Standing::Held
        } else {
            Standing::Released
        }
    }
}

impl Drop for Holding {
    /// Nobody can have inherited it: closing is releasing.
    fn drop(&mut self) {
        self.leave();
    }
}
