//! A blocking call with a deadline, on Windows: it waits for several things at once, so nobody has to be called out of it by force.
//!
//! Not for: what is waited for (`sys/windows/bytes.rs`, `folder.rs`).

use super::Ended;
use crate::protocol::Stop;
use crate::sys::file::Asleep;
use crate::sys::handle::Event;
use crate::timeout::Deadline;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Run a blocking call, until it is done, the deadline comes, somebody stops it or something comes from the console: then it answers with
/// `ErrorKind::Interrupted`.
pub(crate) fn in_kernel<T>(
    stop: &Stop,
    call: impl FnOnce(&Asleep<'_>) -> io::Result<T>,
) -> io::Result<Ended<T>> {
    if stop.deadline == Deadline::Once {
        return Ok(Ended::TimedOut);
    }
    let event = match &stop.by {
        None => None,
        Some(stopper) => match stopper.enter()? {
            Some(event) => Some(event),
            None => return Ok(Ended::TimedOut),
        },
    };
    let result = call(&Asleep {
        stop: event.as_deref(),
        deadline: stop.deadline,
    });
    let stopped = stop.by.as_ref().is_some_and(|stopper| stopper.leave());
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
#[derive(Debug, Default)]
pub(crate) struct Stopper {
    state: Mutex<Stopping>,
}

#[derive(Debug, Default)]
struct Stopping {
    asked: bool,
    /// What the thread that is inside waits for too.
    event: Option<Arc<Event>>,
}

impl Stopper {
    /// End the call, or let it not begin.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.asked = true;
        if let Some(event) = &state.event {
            event.set();
        }
    }

    fn state(&self) -> MutexGuard<'_, Stopping> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the call can be ended. None: it was asked for already.
    fn enter(&self) -> io::Result<Option<Arc<Event>>> {
        let mut state = self.state();
        if state.asked {
            return Ok(None);
        }
        let event = Arc::new(Event::new()?);
        state.event = Some(event.clone());
        Ok(Some(event))
    }

    /// The call is over. True: somebody stopped it.
    fn leave(&self) -> bool {
        let mut state = self.state();
        state.event = None;
        state.asked
    }
}

/// There is no signal to choose.
pub(crate) fn choose_signal() {}
