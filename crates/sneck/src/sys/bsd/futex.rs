//! One word to sleep on. macOS has no public call for it before 14.4, Condvar and `park` hide signals: each sleeper has a queue of the kernel's that can be poked, and
//! a table says who sleeps on which word. It ends when a signal handler runs in the thread.

use super::fork::PerProcess;
use super::queue::Queue;
use crate::sys::Nap;
use rustix::thread::{NanosleepRelativeResult, nanosleep};
use rustix::time::Timespec;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a word is looked at where no queue is to be had.
const STEP: Duration = Duration::from_millis(1);

/// Who sleeps on the word at which address, and queues that nobody sleeps on just now.
#[derive(Default)]
struct Table {
    asleep: HashMap<usize, Vec<Arc<Queue>>>,
    idle: Vec<Arc<Queue>>,
}

/// A forked child has none of the sleepers and none of the queues.
static TABLE: PerProcess<Mutex<Table>> = PerProcess::new();

fn table() -> MutexGuard<'static, Table> {
    TABLE
        .get(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

fn address(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word).addr()
}

/// Sleep while `word` is `expected`, at most `longest`.
pub(crate) fn wait(word: &AtomicU32, expected: u32, longest: Duration) -> Nap {
    let mut table = self::table();
    let queue = match table.idle.pop() {
        Some(queue) => queue,
        None => match Queue::new() {
            Ok(queue) => Arc::new(queue),
            Err(_) => {
                drop(table);
                return look_again_and_again(word, expected, longest);
            }
        },
    };
    // Under the mutex: whoever changed the word comes for it afterwards, and finds us, or came before, and we see the change.
    if word.load(Ordering::Acquire) != expected {
        table.idle.push(queue);
        return Nap::Woken;
    }
    let sleepers = table.asleep.entry(address(word)).or_default();
    sleepers.push(queue.clone());
    drop(table);
    let (nap, _) = queue.sleep(Some(longest));
    let mut table = self::table();
    if let Some(sleepers) = table.asleep.get_mut(&address(word)) {
        sleepers.retain(|other| !Arc::ptr_eq(other, &queue));
        if sleepers.is_empty() {
            table.asleep.remove(&address(word));
        }
    }
    // Nobody pokes it any more; who did so meanwhile must not end the next sleep.
    queue.sleep(Some(Duration::ZERO));
    table.idle.push(queue);
    nap
}

/// Wake whoever sleeps on `word`.
pub(crate) fn wake(word: &AtomicU32) {
    let table = self::table();
    let sleepers = table.asleep.get(&address(word));
    sleepers
        .into_iter()
        .flatten()
        .for_each(|queue| queue.poke());
}

/// There are no descriptors left.
fn look_again_and_again(word: &AtomicU32, expected: u32, longest: Duration) -> Nap {
    let mut left = longest;
    while word.load(Ordering::Acquire) == expected {
        if left.is_zero() {
            return Nap::TimedOut;
        }
        let step = left.min(STEP);
        let length = Timespec {
            tv_sec: 0,
            tv_nsec: step.subsec_nanos().into(),
        };
        if let NanosleepRelativeResult::Interrupted(_) = nanosleep(&length) {
            return Nap::Interrupted;
        }
        left -= step;
    }
    Nap::Woken
}
