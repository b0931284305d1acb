//! Proof of holding: [`Guard`]. Dropping it releases; [`Guard::release`] also says how that went.

use crate::claim::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::holder::Holder;
use crate::lease::{Lost, Outcome, Watch};
use crate::place::Place;
use crate::protocol::{Borrowed, Clean, Endures, Held, Standing};
use crate::queue::Ticket;
use crate::sys::fork::generation;
use crate::tend;
use crate::timeout::{Moment, Timeout};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the guards of one acquisition share.
#[derive(Debug)]
pub(crate) struct Holding {
    place: Place,
    claim: u64,
    mode: Mode,
    clean: Clean,
    broken: Vec<Holder>,
    generation: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    held: Box<dyn Held>,
    /// One, or more under [`crate::Reentry::Idempotent`]. Zero: released.
    guards: usize,
    ticket: Option<Ticket>,
    /// Made when somebody asks for it.
    watch: Option<Watch>,
}

const COPY: &str = "this is a forked child's copy; the parent holds the lock";

/// How a holding ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Unlocked for everybody.
    Release,
    /// Only closed: what was inherited goes on holding.
    Bequeath,
    /// Only closed: what is written down goes on holding.
    Leave,
}

impl Holding {
    pub(crate) fn new(
        place: Place,
        (claim, mode): (u64, Mode),
        held: Box<dyn Held>,
        broken: Vec<Holder>,
        ticket: Ticket,
    ) -> Arc<Holding> {
        let clean = if broken.is_empty() {
            held.found()
        } else {
            Clean::No
        };
        let state = Mutex::new(State {
            held,
            guards: 1,
            ticket: None,
            watch: None,
        });
        let holding = Arc::new(Holding {
            place,
            claim,
            mode,
            clean,
            broken,
            generation: generation(),
            state,
        });
        ticket.hold(&holding);
        let mut state = holding.state();
        state.ticket = Some(ticket);
        let first = state.held.tend();
        drop(state);
        if let Some(first) = first {
            tend::tend(&holding, first);
        }
        holding
    }

    /// Keep it fresh; when next. None: it has ended.
    pub(crate) fn tend(&self) -> Option<Duration> {
        let mut state = self.state();
        if state.guards == 0 {
            return None;
        }
        state.held.tend()
    }

    fn watch(&self) -> Watch {
        if self.is_copy() {
            let watch = Watch::new();
            watch.end(Outcome::Lost(COPY.into()));
            return watch;
        }
        let mut state = self.state();
        let State {
            held,
            watch,
            guards,
            ..
        } = &mut *state;
        let watch = watch
            .get_or_insert_with(|| held.watch().unwrap_or_default())
            .clone();
        let over = *guards == 0;
        drop(state);
        if over {
            watch.end(Outcome::Released);
        }
        watch
    }

    /// Only for the process that acquired: in a forked child the mutex may be held by a thread that is not there.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_copy(&self) -> bool {
        self.generation != generation()
    }

    pub(crate) fn claim_id(&self) -> u64 {
        self.claim
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing_of(None)
    }

    /// That of one part, or of the whole.
    pub(crate) fn standing_of(&self, part: Option<usize>) -> Standing {
        if self.is_copy() {
            return Standing::Lost(COPY.into());
        }
        let state = self.state();
        if state.guards == 0 {
            Standing::Released
        } else {
            match part {
                None => state.held.standing(),
                Some(part) => state.held.standing_of(part),
            }
        }
    }

    /// One more guard of the same holding; None if it has just ended.
    pub(crate) fn enter_again(self: &Arc<Holding>) -> Option<Guard> {
        let mut state = self.state();
        if state.guards == 0 {
            return None;
        }
        state.guards += 1;
        Some(Guard {
            holding: self.clone(),
            open: true,
        })
    }

    fn end(&self, how: End) -> Result<()> {
        if self.is_copy() {
            return Ok(());
        }
        let mut state = self.state();
        state.guards = state.guards.saturating_sub(1);
        if state.guards > 0 {
            return Ok(());
        }
        let ticket = state.ticket.take();
        let watch = state.watch.clone();
        let mut held = mem::replace(&mut state.held, Box::new(Nothing));
        // 1. A release talks to a server, for seconds perhaps, or calls back. 2. Another thread, or the callback, asks this holding. 3. It would wait for all of that. So
        // the mutex is free from here on, and says that it is over.
        drop(state);
        let result = match how {
            End::Bequeath if !held.carry().is_empty() => Ok(()),
            End::Leave if held.leave() == Endures::Yes => Ok(()),
            End::Leave => held.release().and(Err(cannot_be_left(&self.place))),
            End::Bequeath | End::Release => held.release(),
        };
        drop(held);
        // The turn passes on only now that the lock itself is free. Outside the mutex: the line is locked before holdings elsewhere.
        drop(ticket);
        if let Some(watch) = watch {
            watch.end(Outcome::Released);
        }
        result
    }
}

fn cannot_be_left(place: &Place) -> Error {
    let what = format!(
        "a lock of protocol {} ends with the process that took it and cannot be left behind",
        place.scheme()
    );
    Error::new(ErrorKind::Unsupported, "leave", what)
        .advise("run the work under it with `sneck run`, or use a file protocol such as `pidfile`")
}

/// What is left of a holding that was closed.
#[derive(Debug)]
struct Nothing;

impl Held for Nothing {
    fn release(&mut self) -> Result<()> {
        Ok(())
    }

    fn standing(&self) -> Standing {
        Standing::Released
    }
}

/// Proof of holding a lock. Dropping it releases.
///
/// It may go to another thread and be released there. In a child made by fork(2) the copy does nothing: the parent holds.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("guard.lock");
/// use sneck::{Lock, Standing};
/// let guard = Lock::new(&path)?.acquire()?;
/// assert_eq!(guard.standing(), Standing::Held);
/// guard.release()?; // or just drop it, if nobody wants to know how it went
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the lock is released as soon as the guard is dropped; bind it to a name like `_guard`, not to `_`"]
#[derive(Debug)]
pub struct Guard {
    holding: Arc<Holding>,
    open: bool,
}

impl Guard {
    pub(crate) fn of(holding: Arc<Holding>) -> Guard {
        Guard {
            holding,
            open: true,
        }
    }

    /// Release, and say how that went.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] if the holding had ended behind our back (the lock file was removed or replaced, the link was taken, the
    /// connection broke): whatever stands there now is left alone. Otherwise what the operating system said.
    pub fn release(mut self) -> Result<()> {
        self.open = false;
        let standing = self.holding.standing();
        let ended = self.holding.end(End::Release);
        match standing {
            Standing::Lost(why) => Err(self.lost_error(&why)),
            _ => ended.map_err(|e| e.at(&self.holding.place)),
        }
    }

    /// A future that is ready when the lock is lost, or released: to end work that must not go on without it. Holds nothing itself.
    ///
    /// At a leased place it is lost at the latest when this process's own clock says that the lease is over, whatever the server answers, and that is before anybody else can get it.
    /// A local lock that somebody removes or replaces is found out by [`Guard::standing`]; nothing tells.
    ///
    /// ```
    /// use sneck::Lock;
    /// use sneck::lease::Outcome;
    /// let guard = Lock::in_memory().acquire()?;
    /// let lost = guard.lost();
    /// guard.release()?;
    /// # let mut lost = Box::pin(lost);
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # assert_eq!(std::future::Future::poll(lost.as_mut(), &mut context), std::task::Poll::Ready(Outcome::Released));
    /// # Ok::<(), sneck::Error>(())
    /// ```
    pub fn lost(&self) -> Lost {
        self.holding.watch().lost()
    }

    /// Call this when the lock is lost, or released: in a thread of the library, or in the one that releases. At once if that is so already. It may ask for the lock itself, and should be brief: others who are
    /// to be called wait for it.
    pub fn on_lost(&self, call: impl FnOnce(&Outcome) + Send + 'static) {
        self.holding.watch().call(call);
    }

    /// Wait until the lock is lost, or released by another thread. None: the time is over first.
    pub fn until_lost(&self, timeout: impl Into<Timeout>) -> Option<Outcome> {
        self.holding.watch().wait(timeout)
    }

    /// The same for whoever waits elsewhere: it holds nothing, and may outlive the guard.
    pub fn watch(&self) -> Watch {
        self.holding.watch()
    }

    /// Call this each time the lease was renewed, with what [`Guard::expires`] says from then on: for whoever watches over this process from outside. In a thread of the library, which renews
    /// nothing meanwhile, so be brief. Never called where no clock ends it.
    pub fn on_renewed(&self, call: impl Fn(Moment) + Send + Sync + 'static) {
        self.holding.watch().on_renewed(call);
    }

    /// Until when the lock is surely held if nothing more is heard of its server. None: no clock ends it.
    pub fn expires(&self) -> Option<Moment> {
        if self.holding.is_copy() {
            return None;
        }
        self.holding.state().held.expires()
    }

    /// Give up our part only: processes that inherited what [`Guard::carry`] lists go on holding until the last of them ends. Where nothing can be
    /// inherited this is [`Guard::release`].
    ///
    /// # Errors
    /// As [`Guard::release`], where it is one.
    pub fn bequeath(mut self) -> Result<()> {
        self.open = false;
        self.holding.end(End::Bequeath)
    }

    /// Leave the claim where it is, in the name of its party ([`crate::LockBuilder::party`]): from now on it lasts until
    /// [`crate::Lock::release_for`] removes it or the party's process ends. For scripts that take a lock with one command and release it with another.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where nothing is written down that could stay (`flock`, `fcntl`, servers): then the lock was released.
    pub fn leave(mut self) -> Result<()> {
        self.open = false;
        self.holding
            .end(End::Leave)
            .map_err(|e| e.at(&self.holding.place))
    }

    /// Whether the lock is still held. Looks at the local file system or at the connection; never waits for a server.
    pub fn standing(&self) -> Standing {
        self.holding.standing()
    }

    /// The same as an error, for `?` in the middle of the work.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`].
    pub fn ensure_held(&self) -> Result<()> {
        match self.standing() {
            Standing::Lost(why) => Err(self.lost_error(&why)),
            _ => Ok(()),
        }
    }

    fn lost_error(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::Lost,
            "hold",
            format!("the lock was lost while it was held: {why}"),
        )
        .at(&self.holding.place)
        .advise(
            "what it guards may have been used by two at once; find out who removed or replaced it",
        )
    }

    /// Whether this is what a fork left in the child: it holds nothing, and releasing or dropping it does nothing.
    pub fn is_copy(&self) -> bool {
        self.holding.is_copy()
    }

    /// Whether the last holder released: [`Clean::No`] means that it died, and that what the lock guards may be half done.
    pub fn was_clean(&self) -> Clean {
        self.holding.clean
    }

    /// Whose stale claims were removed in order to get here.
    pub fn broken(&self) -> &[Holder] {
        &self.holding.broken
    }

    /// The fencing token: a number that only grows from holder to holder. None: this protocol gives none.
    pub fn token(&self) -> Option<u64> {
        if self.holding.is_copy() {
            None
        } else {
            self.holding.state().held.token()
        }
    }

    /// The same of one of several locks that were taken as one, by its number in [`crate::Lock::parts`].
    pub fn token_of(&self, part: usize) -> Option<u64> {
        if self.holding.is_copy() {
            None
        } else {
            self.holding.state().held.token_of(part)
        }
    }

    /// Exclusive or shared.
    pub fn mode(&self) -> Mode {
        self.holding.mode
    }

    /// Which lock.
    pub fn place(&self) -> &Place {
        &self.holding.place
    }

    /// Lend out what a command started under the lock must inherit, so that the lock lives as long as it does. They are close-on-exec: whoever
    /// starts the command passes them on.
    pub fn carry<R>(&self, with: impl FnOnce(&[Borrowed<'_>]) -> R) -> R {
        if self.holding.is_copy() {
            return with(&[]);
        }
        with(&self.holding.state().held.carry())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.open {
            // Whoever wants to know calls `release`.
            let _ = self.holding.end(End::Release);
        }
    }
}
