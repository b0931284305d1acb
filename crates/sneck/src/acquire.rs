//! The acquisition loop, as a state machine: the only place that knows all the rules.
//!
//! ```text
//!            turn in the process's own line?      no: sleep in the line ──┐
//!                 │ yes            ▲───────────────────────────────────────┘
//!                 ▼
//!   ┌────────► attempt ──────────► held
//!   │             │ busy
//!   │             ▼
//!   ├── stale, and the policy allows? remove exactly what was seen
//!   │             │ no
//!   │             ▼
//!   │        deadline passed? ────► refused, with what was seen
//!   │             │ no
//!   │             ▼
//!   ├── a queue in the kernel? sleep in it until held, replaced or stopped
//!   │             │ no
//!   │             ▼
//!   └── arm the wakes, attempt once more, sleep
//! ```
//!
//! Where a place has parts, one that is had is given back when another one is busy; then the loop pauses for a moment of chance, and
//! waits for that one.
//!
//! The machine takes no time itself: it says what to do next ([`Step`]), and a driver (`drive/`) does it.
//!
//! | file | what it holds |
//! |---|---|
//! | `again.rs` | whoever holds it already and acquires again |
//! | `clearing.rs` | what was done about claims in the way |
//! | `sleeper.rs` | how it sleeps |
//! | `refusal.rs` | what it says when the time is over |

mod again;
mod clearing;
mod refusal;
mod sleeper;

use crate::Mode;
use crate::claim::Claim;
use crate::error::{Error, ErrorKind, Result};
use crate::guard::{Guard, Holding};
use crate::holder::{Holder, Source};
use crate::lock::{Handle, Reentry};
use crate::observer::{Event, Interrupt, Observer};
use crate::place::Place;
use crate::protocol::{
    Attempt, Blocked, Contender, Gave, Held, Modes, Protocol, Queue, Reach, Removable, Sighting,
    Stop, Wake,
};
use crate::queue::{self, Acquirer, Slot, Ticket, Who};
use crate::stale::{Judge, Stale};
use crate::sys::Nap;
use crate::timeout::Deadline;
use crate::wait::{self, Backoff, Trust, Waiting};
use clearing::Clearing;
use refusal::{named, refused};
use sleeper::{KernelQueue, Sleeper};
use std::sync::Arc;
use std::time::Duration;

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Step {
    /// It is held.
    Held(Guard),
    /// Sleep in the process's own line, at most so long.
    Line(Duration),
    /// Sleep in the kernel's queue: [`Acquisition::block`].
    Block(Stop),
    /// Arm these, say whether they can be trusted, and step again at once.
    Arm(Vec<Wake>),
    /// Sleep on what is armed, at most so long.
    Sleep(Duration),
    /// Sleep so long, whatever happens.
    Pause(Duration),
}

/// How often a claim that changes while we judge it is tried again before we sleep.
const CHANGING: usize = 16;
/// How many rounds long the pause after giving back may become: two who are in step, at servers that take their time, part only if one of them has a whole
/// round while the other one pauses.
const ROUNDS: u32 = 4;
/// First behind others of this process: how often to look whether what they hold is still there. Whoever stands further back looks less often, so that a
/// long line does not look more often than a short one.
const LOOK_AHEAD: Duration = Duration::from_secs(2);
const LOOK_AHEAD_AT_MOST: u32 = 30;

/// One acquisition on its way.
#[derive(Debug)]
pub(crate) struct Acquisition {
    handle: Arc<Handle>,
    who: Who,
    claim: Arc<Claim>,
    deadline: Deadline,
    phase: Phase,
    ticket: Option<Ticket>,
    /// What its ticket is filled in with.
    slot: Slot,
    contender: Option<Box<dyn Contender>>,
    /// None until the first sleep: an uncontended lock asks nothing about the ground it lies on.
    sleeper: Option<Sleeper>,
    clearing: Clearing,
    /// How long to pause after parts were given back.
    given_back: Backoff,
    /// Of whom the observer was told last, and at which place.
    told: Option<(Place, Vec<Holder>)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Not yet in the line.
    Start,
    /// In the line.
    Line,
    /// To try; nothing armed.
    Try,
    /// To try; these are armed.
    Armed(Vec<u64>),
    /// Parts were given back: to pause.
    GaveBack,
}

impl Acquisition {
    pub(crate) fn new(
        handle: Arc<Handle>,
        acquirer: Acquirer,
        deadline: Deadline,
    ) -> Result<Acquisition> {
        let (protocol, settings) = (&handle.protocol, &handle.settings);
        let cannot = |kind, what: String, advice: &str| {
            Err(Error::new(kind, "acquire", what)
                .at(protocol.place())
                .advise(advice))
        };
        let scheme = protocol.place().scheme();
        let can = protocol.capabilities();
        if settings.mode == Mode::Shared && can.modes == Modes::Exclusive {
            return Err(refusal::no_shared_mode(&**protocol));
        }
        if settings.stale == Stale::Force && can.removal == Removable::No {
            let what = format!("a lock of protocol {scheme} cannot be taken by force");
            return cannot(
                ErrorKind::Unsupported,
                what,
                "it ends with its holder: end that process",
            );
        }
        if settings.reentry == Reentry::Idempotent && acquirer == Acquirer::SomeTask {
            let what = "a task that acquires again cannot be told from others of its thread";
            return cannot(
                ErrorKind::Usage,
                what.into(),
                "say who acquires: LockBuilder::owner",
            );
        }
        let claim = Arc::new(Claim::new(
            settings.mode,
            settings.party,
            settings.label.clone(),
            settings.terms,
        ));
        Ok(Acquisition {
            who: Who {
                acquirer,
                handle: handle.id,
            },
            handle,
            claim,
            deadline,
            phase: Phase::Start,
            ticket: None,
            slot: Slot::default(),
            contender: None,
            sleeper: None,
            clearing: Clearing::default(),
            given_back: Backoff::given_back(),
            told: None,
        })
    }

    /// What to do next. Errors end the acquisition, a refusal among them.
    pub(crate) fn step(&mut self) -> Result<Step> {
        let step = match self.phase {
            Phase::Start | Phase::Line => self.line(),
            Phase::Try | Phase::Armed(_) => self.contend(),
            Phase::GaveBack => {
                self.phase = Phase::Try;
                let pause = self.given_back.step();
                Ok(Step::Pause(self.deadline.remaining(pause)))
            }
        };
        step.map_err(|e| self.placed(e))
    }

    fn placed(&self, error: Error) -> Error {
        error.at(self.handle.protocol.place())
    }

    fn line(&mut self) -> Result<Step> {
        let reentry = self.handle.settings.reentry;
        if self.phase == Phase::Start {
            if reentry == Reentry::Idempotent {
                if let Some(guard) = again::enter(&self.handle, self.who.acquirer)? {
                    return Ok(Step::Held(guard));
                }
            }
            self.must_not_wait_for_itself()?;
            let lock = self.handle.identity.clone();
            self.ticket = Some(Ticket::take(lock, &self.claim, self.who, self.slot.clone()));
            self.phase = Phase::Line;
        }
        self.pass_the_lost()?;
        let Some(ticket) = &self.ticket else {
            return Err(ended());
        };
        if ticket.has_turn() {
            self.phase = Phase::Try;
            return self.contend();
        }
        if self.deadline.has_passed() {
            let ahead = self.ahead().described();
            return Err(self.refused_by(&*self.handle.protocol, &held(ahead)));
        }
        if reentry == Reentry::Refuse && ticket.waits_for(self.who.acquirer) {
            return Err(again::reentrant());
        }
        let look = LOOK_AHEAD
            * ticket
                .came_after()
                .saturating_add(1)
                .min(LOOK_AHEAD_AT_MOST);
        let protocol = self.handle.protocol.clone();
        self.tell_waiting(&*protocol, &held(self.ahead()));
        Ok(Step::Line(self.deadline.remaining(look)))
    }

    /// What others of this process held and lost, or what is to be taken from them by force, keeps nobody waiting.
    fn pass_the_lost(&mut self) -> Result<()> {
        let waits = |ticket: &Ticket| !ticket.has_turn();
        let Some(ticket) = self.ticket.as_ref().filter(|t| waits(t)) else {
            return Ok(());
        };
        ticket.pass_the_lost();
        let by_force = self.handle.settings.stale == Stale::Force;
        if !by_force || ticket.has_turn() {
            return Ok(());
        }
        let protocol = &self.handle.protocol;
        let mut ways = protocol.parts();
        if ways.is_empty() {
            ways.push(protocol.clone());
        }
        for way in ways {
            if !self.clearing.has_forced(way.place()) {
                let seen = way.inspect()?;
                self.clear(&*way, &seen)?;
            }
        }
        if let Some(ticket) = &self.ticket {
            ticket.pass_the_lost();
        }
        Ok(())
    }

    /// Whoever takes several and holds one of them stands in no line behind itself: nothing else would tell.
    fn must_not_wait_for_itself(&self) -> Result<()> {
        let (handle, acquirer) = (&self.handle, self.who.acquirer);
        let is_one = handle.parts.is_empty();
        if is_one || handle.settings.reentry != Reentry::Refuse || self.deadline.has_passed() {
            return Ok(());
        }
        match again::stands_in_its_own_way(handle, acquirer) {
            Some(place) => Err(again::reentrant().at(&place)),
            None => Ok(()),
        }
    }

    /// The holder of this process that has the turn.
    fn ahead(&self) -> Holder {
        let mut holder = Holder::process(Source::Process, std::process::id());
        holder.mode = self.ticket.as_ref().and_then(Ticket::ahead);
        holder
    }

    fn contend(&mut self) -> Result<Step> {
        let mut changes = 0;
        let (busy, way) = loop {
            let busy = match self.contender()?.attempt()? {
                Attempt::Held(held) => return Ok(Step::Held(self.held(held))),
                Attempt::Busy(busy) => busy,
            };
            let whole = || self.handle.protocol.clone();
            let way = busy.part.clone().unwrap_or_else(whole);
            if self.clear(&*way, &busy.seen)? && changes < CHANGING && !wait::is_to_tell() {
                changes += 1;
                continue;
            }
            break (busy, way);
        };
        if self.deadline.has_passed() {
            // First withdraw, then look who is in the way: looking can take longer than our place in a queue is worth to others.
            self.contender = None;
            return Err(self.refused_by(&*way, &named(&*way, busy.seen)));
        }
        if busy.part.is_some() {
            self.must_not_wait_for_itself()?;
        }
        self.tell_waiting(&*way, &busy.seen);
        if let Gave::Parts(after) = busy.gave {
            self.gave_back(after);
            return self.step();
        }
        if busy.queue == Queue::Kernel && self.sleeper().queue == KernelQueue::Use {
            self.phase = Phase::Try;
            return Ok(Step::Block(Stop::at(self.deadline)));
        }
        let longest = match &mut self.clearing.obstructed {
            Some(steps) => steps.step(),
            None => self.sleeper().backoff.step(),
        };
        if self.handle.settings.waiting == Waiting::Polling {
            return Ok(Step::Sleep(self.deadline.remaining(longest)));
        }
        let signature = wait::signature(&busy.wakes);
        if self.phase != Phase::Armed(signature.clone()) {
            self.phase = Phase::Armed(signature);
            return Ok(Step::Arm(busy.wakes));
        }
        Ok(Step::Sleep(self.deadline.remaining(longest)))
    }

    fn sleeper(&mut self) -> &mut Sleeper {
        let handle = &self.handle;
        self.sleeper
            .get_or_insert_with(|| Sleeper::new(handle.settings.waiting, handle.lies_on()))
    }

    fn contender(&mut self) -> Result<&mut Box<dyn Contender>> {
        if self.contender.is_none() {
            self.contender = Some(self.handle.protocol.contend(&self.claim)?);
        }
        self.contender
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Io, "acquire", "no claimant"))
    }

    fn held(&mut self, held: Box<dyn Held>) -> Guard {
        self.contender = None;
        let mut ticket = self
            .ticket
            .take()
            .expect("whoever tries has the turn, and whoever has the turn has a ticket");
        ticket.enter(&self.handle.parts, self.who);
        let broken = std::mem::take(&mut self.clearing.broken);
        let guard = Guard::of(Holding::new(
            self.handle.protocol.place().clone(),
            (self.claim.id(), self.claim.mode()),
            held,
            broken,
            ticket,
        ));
        self.notice(&Event::Acquired {
            place: self.handle.protocol.place(),
            clean: guard.was_clean(),
        });
        guard
    }

    /// Remove a stale claim, if it is one and the policy allows. True: try again.
    fn clear(&mut self, way: &dyn Protocol, seen: &Sighting) -> Result<bool> {
        let (judge, settings) = (self.judge(way), &self.handle.settings);
        let observer = settings.observer.as_deref();
        self.clearing
            .clear(way, seen, (settings.stale, judge), observer)
    }

    fn refused_by(&self, way: &dyn Protocol, seen: &Sighting) -> Error {
        let obstacle = self.clearing.obstacle.as_deref();
        refused(way, seen, self.deadline, obstacle, self.judge(way))
    }

    fn judge(&self, way: &dyn Protocol) -> Judge {
        let handle = &self.handle;
        let holds = if handle.protocol.place() == way.place() {
            handle.is_held_in_this_process()
        } else {
            queue::held_in_this_process(&way.identity())
        };
        Judge {
            party: handle.settings.party,
            holds,
        }
    }

    /// Some parts were had for so long, and were given back.
    fn gave_back(&mut self, after: Duration) {
        self.given_back.reach(after * ROUNDS);
        self.phase = Phase::GaveBack;
    }

    /// Sleep in the kernel's queue.
    pub(crate) fn block(&mut self, stop: &Stop) -> Result<Option<Guard>> {
        let Some(mut contender) = self.lend() else {
            return Ok(None);
        };
        let ended = contender.block(stop);
        self.blocked(contender, ended)
    }

    /// For [`Step::Block`]: whoever sleeps in the kernel's queue gets the claimant, and brings it back to [`Acquisition::blocked`].
    pub(crate) fn lend(&mut self) -> Option<Box<dyn Contender>> {
        self.contender.take()
    }

    /// The sleep in the kernel's queue ended so.
    pub(crate) fn blocked(
        &mut self,
        contender: Box<dyn Contender>,
        ended: Result<Blocked>,
    ) -> Result<Option<Guard>> {
        self.contender = Some(contender);
        match ended.map_err(|e| self.placed(e))? {
            Blocked::Held(held) => return Ok(Some(self.held(held))),
            Blocked::Again | Blocked::Stopped => {}
            Blocked::GaveBack(after) => self.gave_back(after),
            Blocked::Interrupted => self.woke(Nap::Interrupted)?,
            Blocked::NoQueue => self.sleeper().queue = KernelQueue::Avoid,
            Blocked::NoTimer => {
                self.sleeper().queue = KernelQueue::Avoid;
                self.sleeper().backoff = Backoff::polling();
                let why = "no timer or real-time signal is to be had (RLIMIT_SIGPENDING?)";
                self.tell_polling(why);
            }
        }
        Ok(None)
    }

    /// Instead of [`Step::Block`], for there is no thread to sleep in the kernel's queue: on events, until the next try.
    pub(crate) fn not_in_the_queue(&mut self) {
        self.sleeper().queue = KernelQueue::NotNow;
    }

    /// What was asked for with [`Step::Arm`] is armed, and this well.
    pub(crate) fn armed(&mut self, trust: Trust) {
        if trust == Trust::Polling && self.sleeper().trust == Trust::Events {
            self.sleeper().trust = trust;
            self.sleeper().backoff = Backoff::polling();
            self.tell_polling(wait::NO_EVENTS);
        }
    }

    /// How the sleep ended.
    pub(crate) fn woke(&mut self, nap: Nap) -> Result<()> {
        if let Some(sleeper) = &mut self.sleeper {
            sleeper.queue = sleeper.queue.after_a_sleep();
        }
        match nap {
            Nap::TimedOut => {}
            Nap::Woken => {
                // What woke us may have named another file or process: arm anew. And an event can come a few us before the lock is free.
                if matches!(self.phase, Phase::Armed(_)) {
                    self.phase = Phase::Try;
                }
                if let Some(sleeper) = &mut self.sleeper {
                    sleeper.soon();
                }
            }
            Nap::Interrupted => return self.ask(|observer| observer.interrupted()),
        }
        Ok(())
    }

    /// The thread goes to sleep now.
    // 1. A tries, which takes a while. 2. A handler runs in A: no sleep is there to be interrupted. 3. A sleeps, for as long as it takes, and whoever sent the signal waits
    // for an answer. What is left are the few instructions between this and the system call.
    pub(crate) fn about_to_sleep(&mut self) -> Result<()> {
        self.ask(|observer| observer.about_to_sleep())
    }

    fn ask(&mut self, question: impl FnOnce(&dyn Observer) -> Interrupt) -> Result<()> {
        let observer = self.handle.settings.observer.as_deref();
        if observer.map(question).unwrap_or_default() == Interrupt::Resume {
            return Ok(());
        }
        self.contender = None;
        let what = "a signal ended the wait for the lock";
        Err(self.placed(Error::new(ErrorKind::Interrupted, "acquire", what)))
    }

    /// Who is excluded by it: a server's lock has to be asked for over a network.
    pub(crate) fn reach(&self) -> Reach {
        self.handle.protocol.capabilities().reach
    }

    /// The lock's name in the process.
    pub(crate) fn identity(&self) -> &Arc<str> {
        &self.handle.identity
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(crate) fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    fn tell_waiting(&mut self, way: &dyn Protocol, seen: &Sighting) {
        let nobody = self.handle.settings.observer.is_none();
        let known = |told: &(Place, Vec<Holder>)| {
            (&told.0, told.1.as_slice()) == (way.place(), seen.holders())
        };
        if nobody || self.told.as_ref().is_some_and(known) {
            return;
        }
        self.notice(&Event::Waiting {
            place: way.place(),
            seen,
        });
        self.told = Some((way.place().clone(), seen.holders().to_vec()));
    }

    fn tell_polling(&self, why: &str) {
        self.notice(&Event::Polling {
            place: self.handle.protocol.place(),
            why,
        });
    }

    fn notice(&self, event: &Event<'_>) {
        if let Some(observer) = &self.handle.settings.observer {
            observer.notice(event);
        }
    }
}

fn held(holder: Holder) -> Sighting {
    Sighting::Held {
        holders: vec![holder],
        mark: None,
    }
}

fn ended() -> Error {
    let what = "the acquisition has ended already";
    Error::new(ErrorKind::Io, "acquire", what)
}
