//! Being told that a holding is over: [`Watch`], and [`Lost`] for those who wait for it.
//!
//! For: threads, tasks, callbacks. Not for: finding out (`keeper.rs`, or whoever releases).

use crate::timeout::{Deadline, Moment, Timeout};
use crate::wait::{Bell, pause_for};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

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
    tasks: Vec<Waker>,
}

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
        for task in tasks {
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

    /// The same for a task.
    pub fn lost(&self) -> Lost {
        Lost {
            watch: self.clone(),
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
#[derive(Debug, Clone)]
pub struct Lost {
    watch: Watch,
}

impl Future for Lost {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.watch.shared.state();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        let task = context.waker();
        if !state.tasks.iter().any(|known| known.will_wake(task)) {
            state.tasks.push(task.clone());
        }
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
