//! Being told that a holding is over: [`Watch`], and [`Lost`] for those who wait for it.
//!
//! For: threads, tasks, callbacks. Not for: finding out (`keeper.rs`, or whoever releases).

use crate::observer::Interrupt;
use crate::timeout::{Deadline, Moment, Timeout};
use crate::wait::{Bell, pause_for};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How a holding came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was lost, for this reason: others may hold it soon, or do already.
    Lost(String),
    /// Its holder released it.
    Released,
}

/// Whoever wants to know when a holding is over looks here. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    bell: Bell,
}

type Call = Box<dyn FnOnce(&Outcome) + Send>;
type Renewal = Arc<dyn Fn(Moment) + Send + Sync>;

#[derive(Default)]
struct State {
    outcome: Option<Outcome>,
    /// Until when it surely lasts. None: nobody has said so.
    expires: Option<Moment>,
    calls: Vec<Call>,
    renewals: Vec<Renewal>,
    tasks: Vec<(u64, Waker)>,
    /// How many futures were polled.
    futures: u64,
}

/// Whoever may be interrupted sleeps no longer than this at once: a signal that came just before a sleep ends none.
const UNHEARD: Duration = Duration::from_secs(1);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("outcome", &self.state().outcome)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// For a holding that has just begun.
    #[must_use]
    pub fn new() -> Watch {
        Watch::default()
    }

    /// It is over. The first one who says so is right: false for all others.
    pub fn end(&self, outcome: Outcome) -> bool {
        let mut state = self.shared.state();
        if state.outcome.is_some() {
            return false;
        }
        state.outcome = Some(outcome.clone());
        state.renewals.clear();
        let (calls, tasks) = (
            std::mem::take(&mut state.calls),
            std::mem::take(&mut state.tasks),
        );
        drop(state);
        // First those who sleep: a callback may take its time. None of it under the mutex, since all of it is code of others.
        self.shared.bell.ring();
        for (_, task) in tasks {
            let _ = catch_unwind(AssertUnwindSafe(|| task.wake()));
        }
        for call in calls {
            // One that panics must not keep the others from being told.
            let _ = catch_unwind(AssertUnwindSafe(|| call(&outcome)));
        }
        true
    }

    /// How it ended. None: it has not.
    pub fn outcome(&self) -> Option<Outcome> {
        self.shared.state().outcome.clone()
    }

    /// Call this once when it is over: in the thread that finds out, or here and now if it is over already. It should be brief.
    pub fn call(&self, call: impl FnOnce(&Outcome) + Send + 'static) {
        let mut state = self.shared.state();
        match state.outcome.clone() {
            None => state.calls.push(Box::new(call)),
            Some(outcome) => {
                drop(state);
                call(&outcome);
            }
        }
    }

    /// It was renewed, and lasts until then. Says nothing to anybody once it is over.
    pub fn prolong(&self, expires: Moment) {
        let mut state = self.shared.state();
        if state.outcome.is_some() {
            return;
        }
        state.expires = Some(expires);
        let renewals = state.renewals.clone();
        // Code of others is not called under the mutex.
        drop(state);
        for call in renewals {
            let _ = catch_unwind(AssertUnwindSafe(|| call(expires)));
        }
    }

    /// Call this each time it was renewed, with the moment until which it lasts now: in the thread that renews it. It should be brief.
    pub fn on_renewed(&self, call: impl Fn(Moment) + Send + Sync + 'static) {
        self.shared.state().renewals.push(Arc::new(call));
    }

    /// Wait until it is over. None: the time is over first.
    pub fn wait(&self, timeout: impl Into<Timeout>) -> Option<Outcome> {
        let deadline = Deadline::from(timeout.into());
        loop {
            // First listen, then look.
            let wake = self.shared.bell.listen();
            if let Some(outcome) = self.outcome() {
                return Some(outcome);
            }
            if deadline.has_passed() {
                return None;
            }
            pause_for(&wake, deadline);
        }
    }

    /// The same for a program that handles signals: before each sleep, and whenever a handler has run in this thread, it is asked whether to go on. None, too: it gave up.
    pub fn wait_asking(
        &self,
        timeout: impl Into<Timeout>,
        mut ask: impl FnMut() -> Interrupt,
    ) -> Option<Outcome> {
        let deadline = Deadline::from(timeout.into());
        loop {
            let wake = self.shared.bell.listen();
            if let Some(outcome) = self.outcome() {
                return Some(outcome);
            }
            if deadline.has_passed() || ask() == Interrupt::GiveUp {
                return None;
            }
            let step = Moment::now().after(deadline.remaining(UNHEARD));
            pause_for(&wake, step.map_or(deadline, Deadline::At));
        }
    }

    /// The same for a task.
    pub fn lost(&self) -> Lost {
        Lost {
            watch: self.clone(),
            number: None,
        }
    }

    /// One that is over as soon as one of these is lost, or all are released.
    #[must_use]
    pub fn first_of(watches: Vec<Watch>) -> Watch {
        let joint = Watch::new();
        let open = Arc::new(Mutex::new(watches.len()));
        // Weak ones: each would keep itself.
        let parts: Arc<[Weak<Shared>]> =
            watches.iter().map(|w| Arc::downgrade(&w.shared)).collect();
        for watch in watches {
            let (whole, parts) = (joint.clone(), parts.clone());
            watch.on_renewed(move |_| {
                let parts = parts.iter().filter_map(Weak::upgrade);
                // The first one that ends is the end of the whole.
                if let Some(first) = parts.filter_map(|part| part.state().expires).min() {
                    whole.prolong(first);
                }
            });
            let (joint, open) = (joint.clone(), open.clone());
            watch.call(move |outcome| {
                let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                *open -= 1;
                let none_is_left = *open == 0;
                drop(open);
                if none_is_left || matches!(outcome, Outcome::Lost(_)) {
                    joint.end(outcome.clone());
                }
            });
        }
        joint
    }
}

/// A future that is ready when the holding is over: what [`crate::Guard::lost`] gives. Needs no particular runtime.
#[must_use = "a future does nothing unless it is polled: `.await` it"]
#[derive(Debug)]
pub struct Lost {
    watch: Watch,
    /// By which its task is known, once it was polled.
    number: Option<u64>,
}

impl Clone for Lost {
    fn clone(&self) -> Lost {
        self.watch.lost()
    }
}

impl Drop for Lost {
    /// A task that looks again and again (`select`, a timeout) leaves nothing behind.
    fn drop(&mut self) {
        let Some(number) = self.number else {
            return;
        };
        // Never wait: in a forked child the mutex may be held by a thread that is not there. One that stays is woken in vain.
        if let Ok(mut state) = self.watch.shared.state.try_lock() {
            let own = state.tasks.iter().position(|(known, _)| *known == number);
            let gone = own.map(|at| state.tasks.swap_remove(at));
            drop(state);
            drop(gone);
        }
    }
}

impl Future for Lost {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.get_mut();
        let mut state = this.watch.shared.state();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        let number = *this.number.get_or_insert_with(|| {
            state.futures += 1;
            state.futures
        });
        let task = context.waker().clone();
        // What it was before is dropped once the mutex is free: it is code of others.
        let _before;
        match state.tasks.iter_mut().find(|(known, _)| *known == number) {
            Some((_, known)) => _before = std::mem::replace(known, task),
            None => state.tasks.push((number, task)),
        }
        drop(state);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    fn lost() -> Outcome {
        Outcome::Lost("gone".into())
    }

    #[test]
    fn everybody_is_told_once_and_the_first_reason_counts() {
        let watch = Watch::new();
        let (sender, told) = mpsc::channel();
        watch.call(|_| panic!("a callback that panics"));
        let early = sender.clone();
        watch.call(move |outcome| early.send(outcome.clone()).expect("it listens"));
        let waiter = thread::spawn({
            let watch = watch.clone();
            move || watch.wait(Timeout::Forever)
        });
        assert!(watch.end(lost()));
        assert!(!watch.end(Outcome::Released));
        watch.call(move |outcome| sender.send(outcome.clone()).expect("it listens"));
        assert_eq!(told.iter().collect::<Vec<_>>(), [lost(), lost()]);
        assert_eq!(waiter.join().expect("it ends"), Some(lost()));
        assert_eq!(watch.wait(Duration::ZERO), Some(lost()));
    }

    #[test]
    fn of_several_the_one_that_ends_first_counts_at_each_renewal_and_none_is_kept_for_it() {
        let moment = |seconds| Moment::from_boot(Duration::from_secs(seconds));
        let both = [Watch::new(), Watch::new()];
        both[0].prolong(moment(10));
        let joint = Watch::first_of(both.to_vec());
        let (sender, told) = mpsc::channel();
        joint.on_renewed(move |expires| sender.send(expires).expect("it listens"));
        both[1].prolong(moment(20));
        both[0].prolong(moment(30));
        both[0].end(lost());
        both[0].prolong(moment(40));
        both[1].prolong(moment(40));
        assert_eq!(told.iter().collect::<Vec<_>>(), [moment(10), moment(20)]);
        let kept: Vec<_> = both.iter().map(|w| Arc::downgrade(&w.shared)).collect();
        drop(both);
        assert!(kept.iter().all(|watch| watch.upgrade().is_none()));
    }

    #[test]
    fn whoever_waits_for_so_long_only_is_not_kept() {
        assert_eq!(Watch::new().wait(Duration::from_millis(1)), None);
    }

    #[test]
    fn a_future_that_is_dropped_leaves_nothing_behind_and_others_are_woken() {
        let watch = Watch::new();
        let mut context = Context::from_waker(Waker::noop());
        let mut kept = Box::pin(watch.lost());
        for _ in 0..3 {
            assert!(kept.as_mut().poll(&mut context).is_pending());
            assert!(
                Box::pin(watch.lost())
                    .as_mut()
                    .poll(&mut context)
                    .is_pending()
            );
        }
        assert_eq!(watch.shared.state().tasks.len(), 1);
        watch.end(lost());
        assert_eq!(kept.as_mut().poll(&mut context), Poll::Ready(lost()));
    }

    #[test]
    fn whoever_is_asked_may_give_up() {
        let watch = Watch::new();
        let mut asked = 0;
        let waited = watch.wait_asking(Timeout::Forever, || {
            asked += 1;
            Interrupt::GiveUp
        });
        assert_eq!((waited, asked), (None, 1));
        watch.end(lost());
        let waited = watch.wait_asking(Timeout::Forever, || Interrupt::GiveUp);
        assert_eq!(waited, Some(lost()));
    }

    #[test]
    fn of_several_the_first_loss_counts_and_only_the_last_release() {
        let both = [Watch::new(), Watch::new()];
        let joint = Watch::first_of(both.to_vec());
        both[0].end(Outcome::Released);
        assert_eq!(joint.outcome(), None);
        both[1].end(Outcome::Released);
        assert_eq!(joint.outcome(), Some(Outcome::Released));
        let both = [Watch::new(), Watch::new()];
        let joint = Watch::first_of(both.to_vec());
        both[1].end(lost());
        assert_eq!(joint.outcome(), Some(lost()));
    }
}
