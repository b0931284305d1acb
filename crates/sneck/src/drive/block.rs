//! A thread turns the machine: it sleeps in system calls that signals can interrupt.

use crate::acquire::{Acquisition, Step};
use crate::error::Result;
use crate::guard::Guard;
use crate::sys::Nap;
use crate::wait::{self, Armed};

/// Turn the machine until the lock is held or the acquisition ends.
pub(crate) fn acquire(mut machine: Acquisition) -> Result<Guard> {
    let mut armed: Option<Armed> = None;
    // What came before this wait is none of its business.
    let _ = wait::heard();
    loop {
        let step = machine.step()?;
        if !matches!(step, Step::Held(_)) && wait::heard() {
            machine.woke(Nap::Interrupted)?;
        }
        if !matches!(step, Step::Held(_) | Step::Arm(_)) {
            machine.about_to_sleep()?;
        }
        let nap = match step {
            Step::Held(guard) => return Ok(guard),
            Step::Line(longest) => machine.ticket().map_or(Nap::Woken, |t| t.sleep(longest)),
            Step::Block(stop) => match machine.block(&stop)? {
                Some(guard) => return Ok(guard),
                None => continue,
            },
            Step::Arm(wakes) => {
                // Take the old ones down first: what they lend is used again.
                drop(armed.take());
                machine.armed(armed.insert(Armed::new(wakes)).trust());
                continue;
            }
            Step::Pause(length) => wait::pause(length),
            Step::Sleep(longest) => match &mut armed {
                Some(armed) => armed.sleep(longest),
                None => wait::pause(longest),
            },
        };
        machine.woke(nap)?;
    }
}
