//! What wakes tasks: one thread a process, which sleeps for all of them. It ends when nobody has slept for a while.
//!
//! For: a [`Doze`], the sleep of one task (or of a thread that waits for bells and descriptors at once). Not for: threads that sleep by themselves
//! (`linux.rs`), the kernel's queues (`crew.rs`).

use super::{Bell, Hint, Nudge, Poller, Trust};
use crate::protocol::Wake;
use crate::sys::fork::{PerProcess, generation};
use crate::sys::{Nap, futex, thread};
use crate::timeout::Moment;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

/// How long the thread stays when nobody sleeps.
const LINGER: Duration = Duration::from_secs(10);

/// A forked child has none of the parent's tasks, nor its thread.
static REACTOR: PerProcess<Reactor> = PerProcess::new();

/// Why a hint is not armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(windows, sneck_unsupported), allow(dead_code))]
pub(super) enum Unarmed {
    /// It cannot be.
    Unable,
    /// Nothing stands there to be watched: look again so soon.
    Missed(Duration),
    /// What it would tell has been told already.
    Over,
}

#[derive(Debug)]
struct Reactor {
    state: Mutex<State>,
    /// Rung when an earlier alarm is set and there is no poller to set it on.
    news: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    runs: bool,
    /// None: there were no descriptors to be had. Asked for again whenever the thread starts.
    poller: Option<Arc<Poller>>,
    timers: BTreeMap<(Moment, u64), Arc<Nudge>>,
    /// How many dozes there are.
    dozes: usize,
    next: u64,
    /// When the thread will look at the timers by itself.
    alarm: Option<Moment>,
}

fn reactor() -> &'static Reactor {
    REACTOR.get(|| Reactor {
        state: Mutex::default(),
        news: AtomicU32::new(0),
    })
}

impl Reactor {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, and the thread is there.
    fn running(&'static self) -> io::Result<MutexGuard<'static, State>> {
        let mut state = self.state();
        if !state.runs {
            if state.poller.is_none() {
                state.poller = Poller::new().ok().map(Arc::new);
            }
            let poller = state.poller.clone();
            thread::spawn_deaf("sneck-wake", move || self.run(poller.as_deref()))?;
            state.runs = true;
        }
        Ok(state)
    }

    /// The life of the thread.
    fn run(&self, poller: Option<&Poller>) {
        let mut nobody_since = None;
        loop {
            let news = self.news.load(Ordering::Acquire);
            let now = Moment::now();
            let mut state = self.state();
            let due = state.due(now);
            if state.dozes == 0 {
                let since = *nobody_since.get_or_insert(now);
                if since.elapsed() >= LINGER {
                    state.runs = false;
                    return;
                }
            } else {
                nobody_since = None;
            }
            let first = state.timers.keys().next().map(|(at, _)| *at);
            let alarm = first.or_else(|| now.after(LINGER)).unwrap_or(now);
            state.alarm = Some(alarm);
            if let Some(poller) = poller {
                poller.alarm(alarm);
            }
            drop(state);
            // Outside the mutex: waking a task runs code of its runtime.
            due.iter().for_each(|nudge| nudge.rouse());
            match poller {
                Some(poller) => poller.wait(),
                None => {
                    futex::wait(&self.news, news, alarm.until());
                }
            }
        }
    }

    /// Wake the thread at this moment, if it would not by itself.
    fn alarm(&self, state: &mut State, at: Moment) {
        if state.alarm.is_some_and(|alarm| alarm <= at) {
            return;
        }
        state.alarm = Some(at);
        match &state.poller {
            Some(poller) => poller.alarm(at),
            None => {
                self.news.fetch_add(1, Ordering::Release);
                futex::wake(&self.news);
            }
        }
    }
}

impl State {
    /// Those whose time has come, taken off the list.
    fn due(&mut self, now: Moment) -> Vec<Arc<Nudge>> {
        let mut due = Vec::new();
        while let Some(first) = self.timers.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove());
        }
        due
    }
}

/// One who sleeps: hints that are armed, and a time.
#[derive(Debug)]
pub(crate) struct Doze {
    reactor: &'static Reactor,
    nudge: Arc<Nudge>,
    poller: Option<Arc<Poller>>,
    hints: Vec<Hint>,
    timer: Option<(Moment, u64)>,
    /// A hint that comes by itself.
    at: Option<Moment>,
    /// Something could not be watched because it was not there: wake then, to arm anew.
    missed: Option<Moment>,
    trust: Trust,
    generation: u32,
}

impl Doze {
    /// Arm these, as far as possible.
    ///
    /// # Errors
    /// There is no thread to be had that would wake anybody.
    pub(crate) fn new(wakes: Vec<Wake>) -> io::Result<Doze> {
        let reactor = reactor();
        let poller = {
            let mut state = reactor.running()?;
            state.dozes += 1;
            state.poller.clone()
        };
        let mut doze = Doze {
            reactor,
            nudge: Arc::default(),
            poller,
            hints: Vec::new(),
            timer: None,
            at: None,
            missed: None,
            trust: if wakes.is_empty() {
                Trust::Polling
            } else {
                Trust::Events
            },
            generation: generation(),
        };
        wakes.into_iter().for_each(|wake| doze.arm(wake));
        Ok(doze)
    }

    fn arm(&mut self, wake: Wake) {
        let nudge = &self.nudge;
        let unable = Unarmed::Unable;
        let poller = self.poller.as_deref().ok_or(unable);
        let hint = match wake {
            Wake::Entry(path) => poller.and_then(|p| p.entry(&path, nudge)),
            Wake::Closed(path) => poller.and_then(|p| p.closed(&path, nudge)),
            Wake::Exit(pid) => poller.and_then(|p| p.exit(pid, nudge)),
            Wake::Ready(descriptor) => poller.and_then(|p| p.ready(descriptor, nudge)),
            Wake::At(moment) => {
                self.at = Some(self.at.map_or(moment, |at| at.min(moment)));
                return;
            }
            Wake::Rung(bell, heard) => return Bell::nudge(&bell, heard, nudge),
        };
        match hint {
            Ok(hint) => self.hints.push(hint),
            Err(Unarmed::Over) => {}
            Err(Unarmed::Unable) => self.trust = Trust::Polling,
            Err(Unarmed::Missed(wait)) => self.missed = Moment::now().after(wait),
        }
    }

    /// Whether events can be relied on.
    pub(crate) fn trust(&self) -> Trust {
        self.trust
    }

    /// What wakes it, for whoever has more to say.
    pub(crate) fn nudge(&self) -> &Arc<Nudge> {
        &self.nudge
    }

    /// Whether the sleep is over that ends at `until`; otherwise the task is woken when it may be.
    ///
    /// # Errors
    /// There is no thread to be had that would wake anybody.
    pub(crate) fn poll(&mut self, until: Moment, task: &Waker) -> io::Result<Poll<Nap>> {
        if self.nudge.wakes(task) && self.nudge.take() {
            return Ok(Poll::Ready(Nap::Woken));
        }
        let now = Moment::now();
        let hint = self.at.into_iter().chain(self.missed).min();
        if hint.is_some_and(|at| at <= now) {
            self.missed = None;
            self.at = None;
            return Ok(Poll::Ready(Nap::Woken));
        }
        if until <= now {
            return Ok(Poll::Ready(Nap::TimedOut));
        }
        self.wake_at(hint.map_or(until, |at| at.min(until)))?;
        Ok(Poll::Pending)
    }

    /// A thread may sleep here too.
    #[cfg_attr(sneck_unsupported, allow(dead_code))]
    pub(crate) fn sleep(&mut self, longest: Duration) -> Nap {
        let hint = self.at.into_iter().chain(self.missed).min();
        let nap = match hint.map(Moment::until) {
            Some(sooner) if sooner < longest => match self.nudge.sleep(sooner) {
                Nap::TimedOut => Nap::Woken,
                other => other,
            },
            _ => self.nudge.sleep(longest),
        };
        if nap == Nap::Woken {
            self.nudge.take();
            (self.at, self.missed) = (None, None);
        }
        nap
    }

    fn wake_at(&mut self, at: Moment) -> io::Result<()> {
        if self.timer.is_some_and(|(set, _)| set == at) {
            return Ok(());
        }
        let mut state = self.reactor.running()?;
        if let Some(old) = self.timer.take() {
            state.timers.remove(&old);
        }
        state.next += 1;
        let timer = (at, state.next);
        state.timers.insert(timer, self.nudge.clone());
        self.reactor.alarm(&mut state, at);
        self.timer = Some(timer);
        Ok(())
    }
}

impl Drop for Doze {
    fn drop(&mut self) {
        // A forked child has a reactor of its own, and nothing armed.
        if self.generation != generation() {
            return;
        }
        if let Some(poller) = &self.poller {
            for hint in self.hints.drain(..) {
                poller.forget(hint, &self.nudge);
            }
        }
        let mut state = self.reactor.state();
        state.dozes -= 1;
        if let Some(timer) = self.timer.take() {
            state.timers.remove(&timer);
        }
    }
}
