//! Threads that do for tasks what would keep their runtime's own threads asleep: wait in the kernel's queue of a lock, talk to a server.
//!
//! A few, whatever the number of tasks: one for each contended lock and [`MOST`] in all sleep in kernels' queues; as many talk to servers. They start when they are
//! needed, stay for a moment, and no signal reaches them. Not for: threads that acquire by themselves, which need no help.

use super::Nudge;
use crate::sys::fork::{PerProcess, generation};
use crate::sys::thread;
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// How many threads there are at most of each kind.
const MOST: usize = 16;

/// How long one without work stays.
const LINGER: Duration = Duration::from_secs(2);

/// A forked child has none of the threads.
static CREW: PerProcess<Mutex<Crew>> = PerProcess::new();

fn crew() -> MutexGuard<'static, Crew> {
    CREW.get(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Crew {
    /// The locks in whose queues somebody sleeps; who else of this process would like to, and is told when that one is out.
    queues: HashMap<Arc<str>, Vec<Weak<Nudge>>>,
    /// How many talk to servers.
    talkers: usize,
    /// Whoever waits for one of them.
    talks: VecDeque<Job>,
    idle: Vec<Arc<Seat>>,
}

type Job = Box<dyn FnOnce() + Send>;

/// What a thread without work sleeps on.
#[derive(Default)]
struct Seat {
    nudge: Nudge,
    job: Mutex<Option<Job>>,
}

/// The right to have a thread sleep in the kernel's queue of one lock. Dropping it gives it up, and tells who waits for it.
#[derive(Debug)]
pub(crate) struct Room {
    lock: Arc<str>,
    generation: u32,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// One of this process sleeps there already: [`Room::tell`].
    OneSleeps,
    /// All threads sleep, at other locks.
    Full,
}

impl Room {
    pub(crate) fn take(lock: &Arc<str>) -> Result<Room, NoRoom> {
        let mut crew = crew();
        if crew.queues.contains_key(lock) {
            return Err(NoRoom::OneSleeps);
        }
        if crew.queues.len() >= MOST {
            return Err(NoRoom::Full);
        }
        crew.queues.insert(lock.clone(), Vec::new());
        Ok(Room {
            lock: lock.clone(),
            generation: generation(),
        })
    }

    /// Give this nudge when the one who sleeps in the lock's queue is out: readers who came together are let in together.
    pub(crate) fn tell(lock: &Arc<str>, nudge: &Arc<Nudge>) {
        let mut crew = crew();
        match crew.queues.get_mut(lock) {
            Some(others) => {
                others.retain(|other| other.strong_count() > 0);
                others.push(Arc::downgrade(nudge));
            }
            None => {
                drop(crew);
                nudge.give();
            }
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.generation != generation() {
            return;
        }
        let others = crew().queues.remove(&self.lock).unwrap_or_default();
        let others = others.iter().filter_map(Weak::upgrade);
        others.for_each(|other| other.give());
    }
}

/// Something that is done elsewhere for a task.
pub(crate) struct Errand<T> {
    shared: Arc<Shared<T>>,
    generation: u32,
}

#[derive(Debug)]
struct Shared<T> {
    nudge: Nudge,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
enum State<T> {
    Running,
    Done(std::thread::Result<T>),
    /// Nobody waits for the answer any more; this is to be dropped after it.
    Abandoned(#[allow(dead_code)] Box<dyn Any + Send>),
    Taken,
}

impl<T: Send + 'static> Errand<T> {
    /// Have it done, in a thread that may sleep in a kernel's queue: whoever has a [`Room`] there.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn queue(job: impl FnOnce() -> T + Send + 'static) -> io::Result<Errand<T>> {
        let (errand, job) = Errand::new(job);
        start(job)?;
        Ok(errand)
    }

    /// Have it done, as soon as one of those who talk to servers has time.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn talk(job: impl FnOnce() -> T + Send + 'static) -> io::Result<Errand<T>> {
        let (errand, job) = Errand::new(job);
        talk(job)?;
        Ok(errand)
    }

    fn new(job: impl FnOnce() -> T + Send + 'static) -> (Errand<T>, Job) {
        let shared = Arc::new(Shared {
            nudge: Nudge::default(),
            state: Mutex::new(State::Running),
        });
        let errand = Errand {
            shared: shared.clone(),
            generation: generation(),
        };
        let job = Box::new(move || {
            // It may have waited for a thread so long that nobody wants it any more.
            if matches!(*shared.state(), State::Running) {
                shared.done(catch_unwind(AssertUnwindSafe(job)));
            }
        });
        (errand, job)
    }

    /// The answer, if it is there; otherwise the task is woken when it is.
    pub(crate) fn poll(&self, task: &Waker) -> Poll<T> {
        if !self.shared.nudge.wakes(task) {
            return Poll::Pending;
        }
        let state = std::mem::replace(&mut *self.shared.state(), State::Taken);
        match state {
            State::Done(Ok(answer)) => Poll::Ready(answer),
            // As if the task itself had done it.
            State::Done(Err(panic)) => resume_unwind(panic),
            other => {
                *self.shared.state() = other;
                Poll::Pending
            }
        }
    }

    /// Nobody waits for the answer any more. It is dropped when it comes, and then what it belongs to.
    pub(crate) fn abandon(self, with: impl Send + 'static) {
        // In a forked child nobody does it, and the mutex may be held by a thread that is not there.
        if self.generation != generation() {
            std::mem::forget((self, with));
            return;
        }
        let mut state = self.shared.state();
        if matches!(*state, State::Running) {
            *state = State::Abandoned(Box::new(with));
            return;
        }
        let done = std::mem::replace(&mut *state, State::Taken);
        drop(state);
        drop(done);
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self, result: std::thread::Result<T>) {
        let mut state = self.state();
        if matches!(*state, State::Running) {
            *state = State::Done(result);
            drop(state);
            self.nudge.give();
            return;
        }
        let abandoned = std::mem::replace(&mut *state, State::Taken);
        drop(state);
        // A panic of theirs is nobody's here, and must not end a thread that others use.
        let _ = catch_unwind(AssertUnwindSafe(move || {
            drop(result);
            drop(abandoned);
        }));
    }
}

impl<T> fmt::Debug for Errand<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand").finish_non_exhaustive()
    }
}

fn talk(job: Job) -> io::Result<()> {
    let mut crew = crew();
    if crew.talkers >= MOST {
        crew.talks.push_back(job);
        return Ok(());
    }
    crew.talkers += 1;
    drop(crew);
    let all = Box::new(move || {
        let mut job = Some(job);
        while let Some(next) = job {
            next();
            let mut crew = self::crew();
            job = crew.talks.pop_front();
            if job.is_none() {
                crew.talkers -= 1;
            }
        }
    });
    start(all).inspect_err(|_| self::crew().talkers -= 1)
}

/// Give it to a thread without work, or to a new one.
fn start(job: Job) -> io::Result<()> {
    let idle = crew().idle.pop();
    if let Some(seat) = idle {
        *seat.job() = Some(job);
        seat.nudge.give();
        return Ok(());
    }
    thread::spawn_deaf("sneck-wait", move || serve(job))
}

impl Seat {
    fn job(&self) -> MutexGuard<'_, Option<Job>> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The life of a thread.
fn serve(first: Job) {
    let seat = Arc::new(Seat::default());
    let mut job = Some(first);
    while let Some(now) = job {
        now();
        crew().idle.push(seat.clone());
        seat.nudge.sleep(LINGER);
        // Whoever took the seat off the list gives it a job, right now or in a moment; if nobody did, nobody will.
        let mut crew = crew();
        let before = crew.idle.len();
        crew.idle.retain(|idle| !Arc::ptr_eq(idle, &seat));
        let taken = crew.idle.len() == before;
        drop(crew);
        if taken {
            while !seat.nudge.take() {
                seat.nudge.sleep(LINGER);
            }
        }
        job = seat.job().take();
    }
}
