//! A task turns the machine: whatever runtime polls it, it never sleeps in a system call for a holder, and it may be dropped at any point.
//!
//! It sleeps on wakers: of the process's own line, of the thread that wakes tasks (`wait/reactor.rs`), of a thread that sleeps in the kernel's queue for it
//! (`wait/crew.rs`). Dropped there, it has that thread called out of the kernel, and a grant that came first is given back by whoever finds it.

use crate::acquire::{Acquisition, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::guard::Guard;
use crate::lock::Handle;
use crate::protocol::{Blocked, Contender, Reach, Stop};
use crate::queue::{self, Acquirer, Slot};
use crate::sys::Nap;
use crate::sys::fork::generation;
use crate::timeout::{Deadline, Moment};
use crate::wait::{self, Doze, Errand, NoRoom, Room, Stopper, Trust};
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// An acquisition on its way: what [`crate::Lock::acquire_async`] gives. It needs no particular runtime.
///
/// Dropping it gives up, at any point, and leaves nothing behind: those behind it in the line and in the kernel's queue move up, and a grant that came too late is
/// given back.
///
/// A future that is neither polled nor dropped (a `select!` that looks elsewhere, a `join!` whose other half blocks) keeps its place, and may even hold the lock without
/// knowing: all others wait for it.
#[must_use = "a future does nothing unless it is polled: `.await` it"]
#[derive(Debug)]
pub struct Acquiring {
    phase: Phase,
    /// None: not yet made, or a thread has it.
    machine: Option<Box<Acquisition>>,
    /// The machine's, wherever that is.
    slot: Option<Slot>,
    /// Hints that are armed.
    armed: Option<Doze>,
    /// A time and nothing else.
    timer: Option<Doze>,
    /// There was no thread to sleep in the kernel's queue.
    no_room: Option<NoRoom>,
    generation: u32,
}

#[derive(Debug)]
enum Phase {
    /// Nothing is asked for until it is polled.
    Start(Arc<Handle>, Acquirer, Deadline),
    Turn,
    Sleep(On, Moment),
    /// A thread sleeps in the kernel's queue.
    Queued(Errand<Lent>, Arc<Stopper>),
    /// A thread turns the machine, because a server is to be asked.
    Away(Errand<(Box<Acquisition>, Result<Step>)>),
    Done,
}

/// What is slept on.
#[derive(Debug, Clone, Copy)]
enum On {
    /// The process's own line.
    Line,
    /// What is armed.
    Hints,
    /// Nothing but the time.
    Clock,
}

/// A claimant that a thread borrows, and what became of it.
#[derive(Debug)]
struct Lent {
    contender: Option<Box<dyn Contender>>,
    ended: Option<Result<Blocked>>,
}

impl Drop for Lent {
    /// Nobody waited for it: a grant that comes too late is given back.
    fn drop(&mut self) {
        if let Some(Ok(Blocked::Held(held))) = &mut self.ended {
            let _ = held.release();
        }
    }
}

impl Acquiring {
    pub(crate) fn new(handle: Arc<Handle>, acquirer: Acquirer, deadline: Deadline) -> Acquiring {
        Acquiring {
            phase: Phase::Start(handle, acquirer, deadline),
            machine: None,
            slot: None,
            armed: None,
            timer: None,
            no_room: None,
            generation: generation(),
        }
    }

    /// What the machine says, until it is held or there is something to wait for.
    fn go_on(&mut self, task: &Waker) -> Result<Poll<Guard>> {
        loop {
            let step = match mem::replace(&mut self.phase, Phase::Done) {
                Phase::Start(handle, acquirer, deadline) => {
                    let machine = Acquisition::new(handle, acquirer, deadline)?;
                    self.slot = Some(machine.slot().clone());
                    self.machine = Some(Box::new(machine));
                    self.phase = Phase::Turn;
                    continue;
                }
                Phase::Turn => match self.turn()? {
                    Some(step) => step,
                    None => continue,
                },
                Phase::Sleep(on, until) => {
                    let Poll::Ready(nap) = self.sleep(on, until, task)? else {
                        self.phase = Phase::Sleep(on, until);
                        return Ok(Poll::Pending);
                    };
                    self.machine()?.woke(nap)?;
                    self.phase = Phase::Turn;
                    continue;
                }
                Phase::Queued(errand, stopper) => {
                    let Poll::Ready(mut lent) = errand.poll(task) else {
                        self.phase = Phase::Queued(errand, stopper);
                        return Ok(Poll::Pending);
                    };
                    let machine = self.machine()?;
                    if let (Some(contender), Some(ended)) =
                        (lent.contender.take(), lent.ended.take())
                    {
                        if let Some(guard) = machine.blocked(contender, ended)? {
                            return Ok(Poll::Ready(guard));
                        }
                    }
                    self.phase = Phase::Turn;
                    continue;
                }
                Phase::Away(errand) => {
                    let Poll::Ready((machine, step)) = errand.poll(task) else {
                        self.phase = Phase::Away(errand);
                        return Ok(Poll::Pending);
                    };
                    self.machine = Some(machine);
                    step?
                }
                Phase::Done => return Err(ended()),
            };
            if let Some(guard) = self.follow(step)? {
                return Ok(Poll::Ready(guard));
            }
        }
    }

    fn machine(&mut self) -> Result<&mut Acquisition> {
        self.machine.as_deref_mut().ok_or_else(ended)
    }

    /// The machine's next step; None: somebody else takes it, where it may take its time.
    fn turn(&mut self) -> Result<Option<Step>> {
        let mut machine = self.machine.take().ok_or_else(ended)?;
        if !talks(&machine) {
            let step = machine.step();
            self.machine = Some(machine);
            return step.map(Some);
        }
        let errand = Errand::talk(move || {
            let step = machine.step();
            (machine, step)
        });
        self.phase = Phase::Away(errand.map_err(|e| no_thread(&e))?);
        Ok(None)
    }

    fn follow(&mut self, step: Step) -> Result<Option<Guard>> {
        self.phase = match step {
            Step::Held(guard) => return Ok(Some(guard)),
            Step::Line(longest) => Phase::Sleep(On::Line, after(longest)),
            Step::Pause(length) => Phase::Sleep(On::Clock, after(length)),
            Step::Sleep(longest) => {
                let nudge = self.armed.as_ref().map(Doze::nudge).cloned();
                if let (Some(NoRoom::OneSleeps), Some(nudge)) = (self.no_room.take(), nudge) {
                    Room::tell(self.machine()?.identity(), &nudge);
                }
                Phase::Sleep(On::Hints, after(longest))
            }
            Step::Arm(wakes) => {
                // Take the old ones down first: what they hold is used again.
                self.armed = None;
                self.armed = Doze::new(wakes).ok();
                let trust = self.armed.as_ref().map_or(Trust::Polling, Doze::trust);
                self.machine()?.armed(trust);
                Phase::Turn
            }
            Step::Block(stop) => self.block(stop)?,
        };
        Ok(None)
    }

    /// Have a thread sleep in the kernel's queue, if one is to be had.
    fn block(&mut self, stop: Stop) -> Result<Phase> {
        let machine = self.machine()?;
        let room = match Room::take(machine.identity()) {
            Ok(room) => room,
            Err(why) => {
                machine.not_in_the_queue();
                self.no_room = Some(why);
                return Ok(Phase::Turn);
            }
        };
        let Some(mut contender) = machine.lend() else {
            return Ok(Phase::Turn);
        };
        wait::choose_signal();
        let stopper = Arc::new(Stopper::default());
        let stop = stop.or_by(&stopper);
        let errand = Errand::queue(move || {
            let ended = contender.block(&stop);
            // First out of the queue: whoever is told of the end may want to go in again.
            drop(room);
            Lent {
                contender: Some(contender),
                ended: Some(ended),
            }
        });
        match errand {
            Ok(errand) => Ok(Phase::Queued(errand, stopper)),
            Err(_) => {
                machine.not_in_the_queue();
                self.no_room = Some(NoRoom::Full);
                Ok(Phase::Turn)
            }
        }
    }

    fn sleep(&mut self, on: On, until: Moment, task: &Waker) -> Result<Poll<Nap>> {
        let doze = match on {
            On::Line => {
                let ticket = self.machine()?.ticket();
                if ticket.is_none_or(|ticket| ticket.wakes(task)) {
                    return Ok(Poll::Ready(Nap::Woken));
                }
                &mut self.timer
            }
            On::Hints if self.armed.is_some() => &mut self.armed,
            On::Hints | On::Clock => &mut self.timer,
        };
        let slept = match doze {
            Some(doze) => doze.poll(until, task),
            None => Doze::new(Vec::new()).and_then(|new| doze.insert(new).poll(until, task)),
        };
        slept.map_err(|e| no_thread(&e))
    }
}

/// Whether its steps ask a server.
fn talks(machine: &Acquisition) -> bool {
    machine.reach() == Reach::Network
}

fn after(wait: Duration) -> Moment {
    let now = Moment::now();
    now.after(wait).unwrap_or(now)
}

fn ended() -> Error {
    let what = "this acquisition has ended already, or belongs to the process that forked this one";
    Error::new(ErrorKind::Usage, "acquire", what).advise("start another one")
}

fn no_thread(error: &io::Error) -> Error {
    let what = format!("no thread can be started that would wake the task: {error}");
    Error::new(ErrorKind::Io, "acquire", what)
        .advise("raise the limit on threads (ulimit -u, pids.max), or acquire in a thread")
}

impl Future for Acquiring {
    type Output = Result<Guard>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Guard>> {
        if self.generation != generation() {
            return Poll::Ready(Err(ended()));
        }
        match self.go_on(context.waker()) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(guard)) => Poll::Ready(Ok(guard)),
            Err(error) => {
                self.phase = Phase::Done;
                Poll::Ready(Err(error))
            }
        }
    }
}

impl Drop for Acquiring {
    fn drop(&mut self) {
        let machine = self.machine.take();
        // What is held stays: the slot is full.
        self.slot.iter().for_each(queue::forsake);
        match mem::replace(&mut self.phase, Phase::Done) {
            Phase::Queued(errand, stopper) => {
                if self.generation == generation() {
                    stopper.stop();
                }
                // The machine too: the next in the line is let in when the thread is out.
                errand.abandon(machine);
            }
            Phase::Away(errand) => errand.abandon(()),
            _ => {
                let talking = machine.filter(|machine| talks(machine));
                if let (Some(machine), true) = (talking, self.generation == generation()) {
                    // Withdrawing is a talk too. Without a thread for it, it is had here.
                    let _ = Errand::talk(move || drop(machine));
                }
            }
        }
    }
}
