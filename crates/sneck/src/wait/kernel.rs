//! A blocking system call with a deadline.
//!
//! flock(2) has no timeout, and trying again and again loses the place in the kernel's queue each time. So the thread sleeps *in* the call, and
//! a timer of its own interrupts it once, at the deadline, with a signal whose handler does nothing.
//!
//! Steps: choose a signal that nobody uses and give it an empty handler without SA_RESTART; let it
//! through in this thread only; start a timer that signals this thread at the deadline and then every few ms,
//! in case it fired just before the call began; call; delete the timer; take up signals that are still on the way; restore the mask. SIGALRM and
//! its one timer a process belong to the program. What the timer is differs: `linux_timer.rs`, `bsd_timer.rs`.

use super::Ended;
use super::timer::{Timer, candidates, take_up};
use crate::protocol::Stop;
use crate::sys::file::Asleep;
use crate::timeout::{Deadline, Moment};
use std::io;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, zeroed};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the signal is repeated once the deadline has come.
pub(super) const REPEAT: Duration = Duration::from_millis(5);

/// Run a blocking call that a signal can interrupt (`ErrorKind::Interrupted`), until it is done, the deadline comes, somebody stops it or a signal
/// handler of the program runs.
pub(crate) fn in_kernel<T>(
    stop: &Stop,
    call: impl FnOnce(&Asleep<'_>) -> io::Result<T>,
) -> io::Result<Ended<T>> {
    let alarm = match (stop.deadline, &stop.by) {
        (Deadline::Once, _) => return Ok(Ended::TimedOut),
        (Deadline::Never, None) => None,
        (deadline, _) => match Alarm::set(deadline) {
            Some(alarm) => Some(alarm),
            None => return Ok(Ended::NoTimer),
        },
    };
    let stoppable = match (&alarm, &stop.by) {
        (Some(alarm), Some(stopper)) => match stopper.enter(alarm) {
            Some(inside) => Some(inside),
            None => return Ok(Ended::TimedOut),
        },
        _ => None,
    };
    let result = call(&Asleep(PhantomData));
    let stopped = stoppable.is_some_and(Inside::leave);
    if let Some(mut alarm) = alarm {
        alarm.fired |= stopped;
    }
    match result {
        Ok(done) => Ok(Ended::Done(done)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            Ok(if stopped || stop.deadline.has_passed() {
                Ended::TimedOut
            } else {
                Ended::Interrupted
            })
        }
        Err(error) => Err(error),
    }
}

/// Ends a blocked call in another thread, before its deadline.
///
/// It brings the alarm of that thread forward. So the signal is repeated until the thread is out, and nothing is sent to a thread that has ended.
#[derive(Debug, Default)]
pub(crate) struct Stopper {
    state: Mutex<Stopping>,
}

#[derive(Debug, Default)]
struct Stopping {
    asked: bool,
    /// The alarm of the thread that is inside.
    alarm: Option<Timer>,
}

impl Stopper {
    /// End the call, or let it not begin.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.asked = true;
        if let Some(timer) = &state.alarm {
            timer.start(Moment::now().since_boot());
        }
    }

    fn state(&self) -> MutexGuard<'_, Stopping> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this alarm can be brought forward. None: it was asked for already.
    fn enter<'a>(&'a self, alarm: &Alarm) -> Option<Inside<'a>> {
        let mut state = self.state();
        if state.asked {
            return None;
        }
        state.alarm = Some(alarm.timer.again());
        Some(Inside(self))
    }
}

/// The call may be running.
struct Inside<'a>(&'a Stopper);

impl Inside<'_> {
    /// The call is over. True: somebody stopped it.
    fn leave(self) -> bool {
        self.0.state().asked
    }
}

impl Drop for Inside<'_> {
    /// Before the alarm is deleted.
    fn drop(&mut self) {
        self.0.state().alarm = None;
    }
}

/// A timer that signals this thread. Not Send: it is about the thread that set it.
struct Alarm {
    timer: Timer,
    signal: libc::c_int,
    deadline: Deadline,
    /// What the thread's mask was, if it had to be changed.
    mask: Option<libc::sigset_t>,
    /// Brought forward: a signal may be on its way before the deadline.
    fired: bool,
    _this_thread: PhantomData<*const ()>,
}

extern "C" fn nothing(_: libc::c_int) {}

impl Alarm {
    fn set(deadline: Deadline) -> Option<Alarm> {
        let signal = signal()?;
        let timer = Timer::of_this_thread(signal)?;
        let mut alarm = Alarm {
            timer,
            signal,
            deadline,
            mask: None,
            fired: false,
            _this_thread: PhantomData,
        };
        let before = change_mask(libc::SIG_UNBLOCK, &set_of(signal));
        alarm.mask = contains(&before, signal).then_some(before);
        match deadline {
            Deadline::At(moment) if !alarm.timer.start(moment.since_boot()) => None,
            _ => Some(alarm),
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.timer.delete();
        // Before the deadline the timer has never fired: nothing is on its way, and a hand-over is two system calls shorter.
        if self.fired || self.deadline.has_passed() {
            let set = set_of(self.signal);
            change_mask(libc::SIG_BLOCK, &set);
            // A signal that was on its way must not interrupt a later call of the program.
            take_up(self.signal, &set);
            if self.mask.is_none() {
                change_mask(libc::SIG_UNBLOCK, &set);
            }
        }
        if let Some(mask) = &self.mask {
            change_mask(libc::SIG_SETMASK, mask);
        }
    }
}

/// Change this thread's mask; what it was before.
fn change_mask(how: libc::c_int, set: &libc::sigset_t) -> libc::sigset_t {
    let mut before = empty_set();
    // SAFETY: both sets are valid; a thread may always change its own mask.
    unsafe { libc::pthread_sigmask(how, set, &raw mut before) };
    before
}

pub(super) fn contains(set: &libc::sigset_t, signal: libc::c_int) -> bool {
    // SAFETY: a valid set and a valid signal number.
    unsafe { libc::sigismember(set, signal) == 1 }
}

fn set_of(signal: libc::c_int) -> libc::sigset_t {
    let mut set = empty_set();
    // SAFETY: an initialised set and a valid signal number.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    set
}

pub(super) fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised in the line above.
    unsafe { set.assume_init() }
}

/// The signal used last; asked again before each wait whether it is still ours.
static CHOSEN: AtomicI32 = AtomicI32::new(0);

/// Choose the signal in this thread: its mask says what the program reads with sigwait or signalfd, and that of a thread of ours does not.
pub(crate) fn choose_signal() {
    signal();
}

/// A signal whose action is ours, or the default one, which we then replace. One that the thread blocks may be somebody's who reads
/// it with sigwait or signalfd: only if there is no other.
fn signal() -> Option<libc::c_int> {
    let chosen = CHOSEN.load(Ordering::Relaxed);
    if chosen != 0 && action(chosen) == Action::Ours {
        return Some(chosen);
    }
    let mask = change_mask(libc::SIG_BLOCK, &empty_set());
    let is_blocked = |signal| contains(&mask, signal);
    let found = candidates()
        .filter(|&s| !is_blocked(s))
        .chain(candidates().filter(|&s| is_blocked(s)))
        .find(|&signal| {
            action(signal) == Action::Ours || (action(signal) == Action::Default && take(signal))
        })?;
    CHOSEN.store(found, Ordering::Relaxed);
    Some(found)
}

#[derive(PartialEq, Eq)]
enum Action {
    Default,
    Ours,
    Theirs,
}

fn action(signal: libc::c_int) -> Action {
    // SAFETY: sigaction is a plain C struct for which all zeroes is a value.
    let mut current: libc::sigaction = unsafe { zeroed() };
    // SAFETY: asks only; the pointer is valid.
    if unsafe { libc::sigaction(signal, ptr::null(), &raw mut current) } != 0 {
        return Action::Theirs;
    }
    match current.sa_sigaction {
        libc::SIG_DFL => Action::Default,
        handler if handler == nothing as *const () as libc::sighandler_t => Action::Ours,
        _ => Action::Theirs,
    }
}

fn take(signal: libc::c_int) -> bool {
    // SAFETY: as above.
    let mut ours: libc::sigaction = unsafe { zeroed() };
    ours.sa_sigaction = nothing as *const () as libc::sighandler_t;
    // On the alternate stack where there is one (Go and others insist); without SA_RESTART, so that the call ends.
    ours.sa_flags = libc::SA_ONSTACK;
    // SAFETY: the handler has the right type and does nothing, which is async-signal-safe; the mask is a valid empty set.
    unsafe { libc::sigaction(signal, &raw const ours, ptr::null_mut()) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeout::Timeout;
    use std::os::fd::AsFd;

    fn blocked_read(deadline: Deadline) -> Ended<usize> {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        in_kernel(&Stop::at(deadline), |_| {
            Ok(rustix::io::read(reader.as_fd(), &mut [0_u8; 1])?)
        })
        .unwrap()
    }

    #[test]
    fn a_blocked_call_ends_at_its_deadline_and_not_before() {
        let wait = Duration::from_millis(30);
        let start = Moment::now();
        let deadline = Deadline::from(Timeout::After(wait));
        assert!(matches!(blocked_read(deadline), Ended::TimedOut));
        assert!(start.elapsed() >= wait);
    }

    #[test]
    fn the_mask_is_as_before_and_no_signal_is_left_over() {
        let mask = || {
            let blocked = change_mask(libc::SIG_BLOCK, &empty_set());
            let mut pending = empty_set();
            // SAFETY: the pointer is valid for the call.
            unsafe { libc::sigpending(&raw mut pending) };
            let is_in = |set: &libc::sigset_t| {
                (1..32)
                    .chain(candidates())
                    .filter(|&s| contains(set, s))
                    .collect::<Vec<_>>()
            };
            (is_in(&blocked), is_in(&pending))
        };
        let before = mask();
        for _ in 0..20 {
            blocked_read(Deadline::from(Timeout::After(Duration::from_micros(200))));
        }
        assert_eq!(before, mask());
    }

    #[test]
    fn a_signal_that_somebody_else_handles_is_left_to_them() {
        extern "C" fn theirs(_: libc::c_int) {}
        let signal_number = candidates().last().unwrap();
        // SAFETY: sigaction is a plain C struct for which all zeroes is a value.
        let mut action_of_theirs: libc::sigaction = unsafe { zeroed() };
        action_of_theirs.sa_sigaction = theirs as *const () as libc::sighandler_t;
        // SAFETY: a valid action whose handler does nothing, for a signal that no other test uses.
        let taken =
            unsafe { libc::sigaction(signal_number, &raw const action_of_theirs, ptr::null_mut()) };
        assert_eq!(taken, 0);
        assert!(action(signal_number) == Action::Theirs);
        assert_ne!(signal(), Some(signal_number));
    }
}
