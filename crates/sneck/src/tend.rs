//! Claims that must be kept fresh while they are held: one thread a process touches them in turn.
//!
//! Other programs take an old directory or dotlock for abandoned. Not for: leases of servers, whose renewal can fail and must
//! then be told to the holder.

use crate::guard::Holding;
use crate::sys::fork::PerProcess;
use crate::sys::{futex, thread};
use crate::timeout::Moment;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How long the thread sleeps at most.
const LONGEST: Duration = Duration::from_secs(3600);

/// How many that have ended are kept before they are let go.
const PRUNE: usize = 64;

/// A forked child has none of the parent's holdings, nor its thread.
static TENDER: PerProcess<Tender> = PerProcess::new();

#[derive(Debug)]
struct Tender {
    work: Mutex<Work>,
    /// Changes when something was added that is due before all else.
    news: AtomicU32,
}

#[derive(Debug, Default)]
struct Work {
    tended: Vec<Tended>,
    /// At so many, those that have ended are let go: until then they keep their memory.
    prune_at: usize,
    runs: bool,
}

#[derive(Debug)]
struct Tended {
    holding: Weak<Holding>,
    due: Moment,
}

fn tender() -> &'static Tender {
    TENDER.get(|| Tender {
        work: Mutex::default(),
        news: AtomicU32::new(0),
    })
}

/// Tend this holding from now on, the first time after so long. It ends with the holding.
///
/// Where no thread is to be had the claim is not renewed; whoever then takes it for abandoned is found out by `standing()`.
pub(crate) fn tend(holding: &Arc<Holding>, first: Duration) {
    let tender = tender();
    let due = after(first);
    let mut work = tender.work();
    if work.tended.len() >= work.prune_at {
        work.tended.retain(|t| t.holding.strong_count() > 0);
        work.prune_at = PRUNE.max(2 * work.tended.len());
    }
    // Locks that come and go do not wake the thread each time: it wakes for the oldest anyway.
    let earliest = work.tended.iter().all(|t| due < t.due);
    work.tended.push(Tended {
        holding: Arc::downgrade(holding),
        due,
    });
    if !work.runs {
        work.runs = thread::spawn_deaf("sneck-tend", || tender.run()).is_ok();
    } else if earliest {
        tender.news.fetch_add(1, Ordering::Release);
        futex::wake(&tender.news);
    }
}

fn after(wait: Duration) -> Moment {
    let now = Moment::now();
    now.after(wait).unwrap_or(now)
}

impl Tender {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the thread: it ends when there is nothing left to tend.
    fn run(&self) {
        loop {
            let news = self.news.load(Ordering::Acquire);
            for holding in self.due() {
                // Outside the mutex: it asks the file system.
                if let Some(next) = holding.tend() {
                    self.work().tended.push(Tended {
                        holding: Arc::downgrade(&holding),
                        due: after(next),
                    });
                }
            }
            let mut work = self.work();
            work.tended.retain(|t| t.holding.strong_count() > 0);
            let Some(next) = work.tended.iter().map(|t| t.due).min() else {
                work.runs = false;
                return;
            };
            drop(work);
            futex::wait(&self.news, news, next.until().min(LONGEST));
        }
    }

    /// Those whose time has come, taken off the list.
    fn due(&self) -> Vec<Arc<Holding>> {
        let mut due = Vec::new();
        self.work().tended.retain(|tended| {
            let waits = !tended.due.until().is_zero();
            if !waits {
                due.extend(tended.holding.upgrade());
            }
            waits
        });
        due
    }
}
