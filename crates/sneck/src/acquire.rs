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
//! The machine takes no time itself: it says what to do next ([`Step`]), and a driver (`drive/`) does it.

use crate::Mode;
use crate::breaking;
use crate::claim::Claim;
use crate::error::{Error, ErrorKind, Result};
use crate::guard::{Guard, Holding};
use crate::holder::{Holder, Source};
use crate::lock::{Reentry, Settings};
use crate::observer::{Event, Interrupt};
use crate::protocol::{
    Attempt, Blocked, Contender, Ground, Held, Mark, Modes, Protocol, Removable, Removal, Sighting,
    Stop, Wake,
};
use crate::queue::{self, Ticket};
use crate::stale::{self, Judge, Stale, Verdict};
use crate::sys::Nap;
use crate::timeout::Deadline;
use crate::wait::{self, Backoff, Trust, Waiting};
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
}

/// How often a claim that changes while we judge it is tried again before we sleep.
const CHANGING: usize = 16;
/// Behind others of this process: how often to look whether what they hold is still there.
const LOOK_AHEAD: Duration = Duration::from_secs(2);

/// One acquisition on its way.
#[derive(Debug)]
pub(crate) struct Acquisition {
    protocol: Arc<dyn Protocol>,
    settings: Arc<Settings>,
    lock: Arc<str>,
    claim: Arc<Claim>,
    deadline: Deadline,
    phase: Phase,
    ticket: Option<Ticket>,
    contender: Option<Box<dyn Contender>>,
    /// None until the first sleep: an uncontended lock asks nothing about the ground it lies on.
    sleeper: Option<Sleeper>,
    broken: Vec<Holder>,
    /// Why a stale claim could not be removed.
    obstacle: Option<String>,
    /// What came of the last attempt to remove one, which is told once.
    met: Option<(Mark, Removal)>,
    /// While somebody is about to remove the claim in the way, or keeps it from being removed. No event says when they are done, so this is polled for, without harm
    /// to the steps of the sleep before and after.
    // 1. A finds a dead claim that B is about to remove: it looks again soon. 2. B removes it and makes its own, which lives. 3. A sleeps as if it had
    // seen no B: in steps of polling if it polls, and not in those of the net below events, each ten times as long as the last.
    obstructed: Option<Backoff>,
    forced: Forced,
    told: Option<Vec<Holder>>,
}

/// Whether a claim was forced away under [`Stale::Force`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forced {
    NotYet,
    Once,
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
}

/// How this acquisition sleeps.
#[derive(Debug)]
struct Sleeper {
    queue: KernelQueue,
    trust: Trust,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KernelQueue {
    /// To be used, as far as known.
    Use,
    /// There is none, it cannot be left in time, or it is not wanted.
    Avoid,
}

impl Sleeper {
    fn new(waiting: Waiting, ground: Ground) -> Sleeper {
        let network = ground == Ground::NetworkFiles;
        let queue = match waiting {
            // A kernel waiter on a network file system may be told late or never.
            Waiting::Best if !network => KernelQueue::Use,
            _ => KernelQueue::Avoid,
        };
        let (trust, backoff) = match (network, waiting) {
            (true, _) => (Trust::Polling, Backoff::network()),
            (false, Waiting::Polling) => (Trust::Polling, Backoff::polling()),
            (false, Waiting::Best | Waiting::Events) => (Trust::Events, Backoff::net()),
        };
        Sleeper {
            queue,
            trust,
            backoff,
        }
    }

    /// It may come free any moment.
    fn soon(&mut self) {
        // Whoever polls keeps to the lengths of polling. 1. A polls, and finds a dead claim that B is about to remove: busy. 2. B removes it and makes its
        // own, which lives. 3. A sleeps in the steps of the net below events, each ten times as long as the last and up to ten seconds, and no
        // event ends them.
        match self.trust {
            Trust::Events => self.backoff = Backoff::early(),
            Trust::Polling => self.backoff.reset(),
        }
    }
}

impl Acquisition {
    pub(crate) fn new(
        protocol: Arc<dyn Protocol>,
        settings: Arc<Settings>,
        lock: Arc<str>,
        deadline: Deadline,
    ) -> Result<Acquisition> {
        if settings.mode == Mode::Shared && protocol.capabilities().modes == Modes::Exclusive {
            let what = format!("protocol {} has no shared mode", protocol.place().scheme());
            return Err(Error::new(ErrorKind::Unsupported, "acquire", what)
                .at(protocol.place())
                .advise("take it exclusively, or use `flock`"));
        }
        if settings.stale == Stale::Force && protocol.capabilities().removal == Removable::No {
            let what = format!(
                "a lock of protocol {} cannot be taken by force",
                protocol.place().scheme()
            );
            return Err(Error::new(ErrorKind::Unsupported, "acquire", what)
                .at(protocol.place())
                .advise("it ends with its holder: end that process"));
        }
        let claim = Arc::new(Claim::new(
            settings.mode,
            settings.party,
            settings.label.clone(),
        ));
        Ok(Acquisition {
            protocol,
            settings,
            lock,
            claim,
            deadline,
            phase: Phase::Start,
            ticket: None,
            contender: None,
            sleeper: None,
            broken: Vec::new(),
            obstacle: None,
            met: None,
            obstructed: None,
            forced: Forced::NotYet,
            told: None,
        })
    }

    /// What to do next. Errors end the acquisition, a refusal among them.
    pub(crate) fn step(&mut self) -> Result<Step> {
        let step = match self.phase {
            Phase::Start | Phase::Line => self.line(),
            Phase::Try | Phase::Armed(_) => self.contend(),
        };
        step.map_err(|e| e.at(self.protocol.place()))
    }

    fn line(&mut self) -> Result<Step> {
        if self.phase == Phase::Start {
            if self.settings.reentry == Reentry::Idempotent {
                if let Some(guard) = self.enter_again()? {
                    return Ok(Step::Held(guard));
                }
            }
            self.ticket = Some(Ticket::take(self.lock.clone(), &self.claim));
            self.phase = Phase::Line;
        }
        let Some(ticket) = &self.ticket else {
            return Err(ended());
        };
        if !ticket.has_turn() {
            ticket.pass_the_lost();
        }
        if self.settings.stale == Stale::Force && self.forced == Forced::NotYet {
            self.force_from_the_line()?;
        }
        let Some(ticket) = &self.ticket else {
            return Err(ended());
        };
        if ticket.has_turn() {
            self.phase = Phase::Try;
            return self.contend();
        }
        let seen = Sighting::Held {
            holders: self.ahead(),
            mark: None,
        };
        if self.deadline.has_passed() {
            return Err(self.refused(&seen));
        }
        if self.settings.reentry == Reentry::Refuse && ticket.waits_for_own_thread() {
            let what = "this thread holds the lock already: waiting for it would never end";
            return Err(Error::new(ErrorKind::Reentrant, "acquire", what).advise(
                "release the first guard, or choose Reentry::Wait or Reentry::Idempotent",
            ));
        }
        self.tell_waiting(&seen);
        Ok(Step::Line(self.deadline.remaining(LOOK_AHEAD)))
    }

    /// The holder that is to be robbed is of this very process.
    fn force_from_the_line(&mut self) -> Result<()> {
        if self.ticket.as_ref().is_none_or(Ticket::has_turn) {
            return Ok(());
        }
        let seen = self.protocol.inspect()?;
        self.clear_the_way(&seen)?;
        if let Some(ticket) = &self.ticket {
            ticket.pass_the_lost();
        }
        Ok(())
    }

    /// The holders of this process that have the turn.
    fn ahead(&self) -> Vec<Holder> {
        let mut holder = Holder::process(Source::Process, std::process::id());
        holder.mode = self
            .ticket
            .as_ref()
            .and_then(|t| t.ahead().first().map(|h| h.mode()));
        vec![holder.described()]
    }

    fn enter_again(&self) -> Result<Option<Guard>> {
        let Some(holding) = queue::held_by_this_thread(&self.lock) else {
            return Ok(None);
        };
        if self.claim.mode() == Mode::Exclusive && holding.mode() == Mode::Shared {
            let what = "this thread holds the lock shared and asks for it exclusively";
            return Err(Error::new(ErrorKind::Reentrant, "acquire", what)
                .advise("release the shared guard first"));
        }
        Ok(holding.enter_again())
    }

    fn contend(&mut self) -> Result<Step> {
        let mut changes = 0;
        let busy = loop {
            let busy = match self.contender()?.attempt()? {
                Attempt::Held(held) => return Ok(Step::Held(self.held(held))),
                Attempt::Busy(busy) => busy,
            };
            if self.clear_the_way(&busy.seen)? && changes < CHANGING {
                changes += 1;
                continue;
            }
            break busy;
        };
        if self.deadline.has_passed() {
            // First withdraw, then look who is in the way: looking can take longer than our place in a queue is worth to others.
            self.contender = None;
            let seen = self.named(busy.seen);
            return Err(self.refused(&seen));
        }
        self.tell_waiting(&busy.seen);
        if self.sleeper().queue == KernelQueue::Use {
            self.phase = Phase::Try;
            return Ok(Step::Block(Stop {
                deadline: self.deadline,
            }));
        }
        let longest = match &mut self.obstructed {
            Some(steps) => steps.step(),
            None => self.sleeper().backoff.step(),
        };
        if self.settings.waiting == Waiting::Polling {
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
        let (waiting, protocol) = (self.settings.waiting, &self.protocol);
        self.sleeper
            .get_or_insert_with(|| Sleeper::new(waiting, protocol.ground()))
    }

    fn contender(&mut self) -> Result<&mut Box<dyn Contender>> {
        if self.contender.is_none() {
            self.contender = Some(self.protocol.contend(&self.claim)?);
        }
        self.contender
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Io, "acquire", "no claimant"))
    }

    fn held(&mut self, held: Box<dyn Held>) -> Guard {
        self.contender = None;
        let ticket = self
            .ticket
            .take()
            .expect("whoever tries has the turn, and whoever has the turn has a ticket");
        let broken = std::mem::take(&mut self.broken);
        let place = self.protocol.place().clone();
        let guard = Guard::of(Holding::new(
            place,
            (self.claim.id(), self.claim.mode()),
            held,
            broken,
            ticket,
        ));
        self.notice(&Event::Acquired {
            place: self.protocol.place(),
            clean: guard.was_clean(),
        });
        guard
    }

    /// Remove a stale claim, if it is one and the policy allows. True: try again.
    fn clear_the_way(&mut self, seen: &Sighting) -> Result<bool> {
        self.obstacle = None;
        let (met, obstructed) = (self.met.take(), self.obstructed.take());
        let Some(candidate) = breaking::candidate(&*self.protocol, seen, self.judge()) else {
            return Ok(false);
        };
        let policy = match (self.settings.stale, self.forced) {
            // Only the claim that was in the way is forced, not whoever gets in after it.
            (Stale::Force, Forced::Once) => Stale::Dead,
            (policy, _) => policy,
        };
        if !candidate.may_go(policy) {
            return Ok(false);
        }
        let observer = self.settings.observer.as_deref();
        let tell = |event: &Event<'_>| {
            let again = match (event, &met) {
                (Event::Breaking { mark, removal, .. }, Some(met)) => {
                    (*mark, removal) == (&met.0, &met.1)
                }
                _ => false,
            };
            if let (Some(observer), false) = (observer, again) {
                observer.notice(event);
            }
        };
        let removal = candidate.remove(&*self.protocol, policy, Some(&tell))?;
        if matches!(removal, Removal::BreakerBusy | Removal::Marked) {
            self.obstructed = Some(obstructed.unwrap_or_else(Backoff::polling));
        }
        self.met = Some((candidate.mark.clone(), removal));
        let stale = "its claim is stale, and";
        self.obstacle = match removal {
            Removal::Removed => {
                if policy == Stale::Force {
                    self.forced = Forced::Once;
                }
                self.broken.push(candidate.holder);
                return Ok(true);
            }
            Removal::Changed => return Ok(true),
            Removal::BreakerBusy => Some(format!(
                "{stale} somebody else is removing it or keeps the folder locked"
            )),
            Removal::Marked => Some(
                "its number is a dead process's, but a living one keeps the claim locked".into(),
            ),
            Removal::NotAllowed => Some(format!(
                "{stale} there is no right to remove it here; ask the owner of the folder"
            )),
            Removal::Unsupported => Some(format!("{stale} it cannot be removed from here")),
        };
        Ok(false)
    }

    /// Sleep in the kernel's queue.
    pub(crate) fn block(&mut self, stop: &Stop) -> Result<Option<Guard>> {
        let Some(contender) = &mut self.contender else {
            return Ok(None);
        };
        match contender
            .block(stop)
            .map_err(|e| e.at(self.protocol.place()))?
        {
            Blocked::Held(held) => return Ok(Some(self.held(held))),
            Blocked::Again | Blocked::Stopped => {}
            Blocked::Interrupted => self.woke(Nap::Interrupted)?,
            Blocked::NoQueue => self.sleeper().queue = KernelQueue::Avoid,
            Blocked::NoTimer => {
                self.sleeper().queue = KernelQueue::Avoid;
                self.sleeper().backoff = Backoff::polling();
                let why = "no timer or real-time signal is to be had (RLIMIT_SIGPENDING?)";
                self.notice(&Event::Polling {
                    place: self.protocol.place(),
                    why,
                });
            }
        }
        Ok(None)
    }

    /// What was asked for with [`Step::Arm`] is armed, and this well.
    pub(crate) fn armed(&mut self, trust: Trust) {
        if trust == Trust::Polling && self.sleeper().trust == Trust::Events {
            self.sleeper().trust = trust;
            self.sleeper().backoff = Backoff::polling();
            let why = "this system gives no events for it (inotify limits?)";
            self.notice(&Event::Polling {
                place: self.protocol.place(),
                why,
            });
        }
    }

    /// How the sleep ended.
    pub(crate) fn woke(&mut self, nap: Nap) -> Result<()> {
        match nap {
            Nap::TimedOut => {}
            Nap::Woken => {
                // What woke us may have named another file or process: arm anew. And an event can come a few us before the lock is free.
                if matches!(self.phase, Phase::Armed(_)) {
                    self.phase = Phase::Try;
                }
                self.sleeper().soon();
            }
            Nap::Interrupted => {
                let answer = self
                    .settings
                    .observer
                    .as_ref()
                    .map(|o| o.interrupted())
                    .unwrap_or_default();
                if answer == Interrupt::GiveUp {
                    self.contender = None;
                    let what = "a signal ended the wait for the lock";
                    return Err(Error::new(ErrorKind::Interrupted, "acquire", what)
                        .at(self.protocol.place()));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    /// The same sighting with the holders looked up. That the look found the lock free says only that it was too late.
    fn named(&self, seen: Sighting) -> Sighting {
        match &seen {
            Sighting::Held { holders, .. } if holders.is_empty() => match self.protocol.inspect() {
                Ok(looked @ Sighting::Held { .. }) => looked,
                _ => seen,
            },
            Sighting::Held { holders, mark } => {
                let holders = holders.iter().cloned().map(Holder::described).collect();
                Sighting::Held {
                    holders,
                    mark: mark.clone(),
                }
            }
            _ => seen,
        }
    }

    fn refused(&self, seen: &Sighting) -> Error {
        if let Sighting::Damaged { what, .. } = seen {
            return Error::new(
                ErrorKind::Damaged,
                "acquire",
                format!("damaged claim: {what}"),
            )
            .advise("if no program uses this lock, remove it by hand or by force");
        }
        let error = match self.deadline {
            Deadline::Once => Error::new(ErrorKind::Busy, "acquire", "busy"),
            _ => Error::new(ErrorKind::TimedOut, "acquire", "timed out"),
        };
        let error = error.held_by(seen.holders().to_vec());
        if let Some(protocol) = seen.holders().iter().find_map(|h| h.protocol) {
            return error.advise(format!(
                "the claim that stands there is of protocol {protocol}: every party must use the same one"
            ));
        }
        match (&self.obstacle, self.judged(seen)) {
            (Some(obstacle), _) => error.advise(obstacle.as_str()),
            (None, Some(verdict)) => error.advise(format!(
                "its claim looks stale ({verdict}), but the policy does not allow removing it"
            )),
            (None, None) => error,
        }
    }

    fn judge(&self) -> Judge {
        Judge {
            party: self.settings.party,
            holds: queue::held_in_this_process(&self.lock),
        }
    }

    fn judged(&self, seen: &Sighting) -> Option<Verdict> {
        stale::judge_sighting(seen, self.protocol.ground(), self.judge())
            .filter(|v| matches!(v, Verdict::Gone(_) | Verdict::Younger { .. }))
    }

    fn tell_waiting(&mut self, seen: &Sighting) {
        if self.settings.observer.is_none() || self.told.as_deref() == Some(seen.holders()) {
            return;
        }
        self.notice(&Event::Waiting {
            place: self.protocol.place(),
            seen,
        });
        self.told = Some(seen.holders().to_vec());
    }

    fn notice(&self, event: &Event<'_>) {
        if let Some(observer) = &self.settings.observer {
            observer.notice(event);
        }
    }
}

fn ended() -> Error {
    Error::new(
        ErrorKind::Io,
        "acquire",
        "the acquisition has ended already",
    )
}
