//! What ends a blocking system call on Linux: a POSIX timer on CLOCK_BOOTTIME that signals one thread (SIGEV_THREAD_ID).
//!
//! Not for: when it is wanted, and the signal's handler (`kernel.rs`).

use super::kernel::REPEAT;
use std::mem::zeroed;
use std::ptr;
use std::time::Duration;

/// A timer of the kernel's. Any thread of the process may start it.
#[derive(Debug)]
pub(super) struct Timer(libc::timer_t);

// SAFETY: the pointer is the kernel's number of the timer in libc's clothes; timer_settime and timer_delete may be called from any thread of the process.
unsafe impl Send for Timer {}

impl Timer {
    /// One that signals the thread that makes it, which must delete it before it ends. None: RLIMIT_SIGPENDING is used up.
    pub(super) fn of_this_thread(signal: libc::c_int) -> Option<Timer> {
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: sigevent is a plain C struct for which all zeroes is a value.
        let mut event: libc::sigevent = unsafe { zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        // SAFETY: both pointers are valid for the call. The thread outlives the timer: the `Alarm` that it is for cannot leave this thread and deletes it.
        let made =
            unsafe { libc::timer_create(libc::CLOCK_BOOTTIME, &raw mut event, &raw mut timer) };
        (made == 0).then_some(Timer(timer))
    }

    /// The same one, for somebody who will start it before it is deleted, if at all.
    pub(super) fn again(&self) -> Timer {
        Timer(self.0)
    }

    /// Fire at this moment, and again and again from then on.
    pub(super) fn start(&self, at: Duration) -> bool {
        let when = libc::itimerspec {
            it_interval: timespec(REPEAT),
            it_value: timespec(at),
        };
        // SAFETY: the timer is alive (its `Alarm` deletes it last, after `Inside` is dropped), `when` is valid, the old value is not asked for.
        let started = unsafe {
            libc::timer_settime(
                self.0,
                libc::TIMER_ABSTIME,
                &raw const when,
                ptr::null_mut(),
            )
        };
        started == 0
    }

    /// To be called once, and last.
    pub(super) fn delete(&self) {
        // SAFETY: ours, deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

fn timespec(length: Duration) -> libc::timespec {
    libc::timespec {
        // What time_t is differs. Nobody waits until the machine has run for 68 years.
        tv_sec: i32::try_from(length.as_secs()).unwrap_or(i32::MAX).into(),
        // A zero value would disarm the timer.
        tv_nsec: libc::c_long::from(length.subsec_nanos().max(1) as i32),
    }
}

/// Signals that may be nobody's: the real-time ones, from the far end, since programs count from SIGRTMIN.
pub(super) fn candidates() -> impl Iterator<Item = libc::c_int> {
    (libc::SIGRTMIN()..libc::SIGRTMAX()).rev()
}

/// Take up what is on its way of this signal, which is the only one in the set, and blocked.
pub(super) fn take_up(signal: libc::c_int, set: &libc::sigset_t) {
    let at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: valid set and time; the information about the signal is not asked for.
    while unsafe { libc::sigtimedwait(set, ptr::null_mut(), &raw const at_once) } == signal {}
}
