//! `sneck release`: removes the claim that `sneck acquire` left in a process's name, and no other.

use crate::acquire::can_be_left;
use crate::exit::Exit;
use crate::plan::Release;
use crate::waiting::tell;
use sneck::{Error, Lock, Party, Registry};

/// Release it; the exit code says how that went, and messages have been given.
pub(crate) fn release(plan: &Release, registry: &Registry) -> Exit {
    match remove(plan, registry) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            tell(&format!("sneck: {error}"));
            Exit::from(&error)
        }
    }
}

fn remove(plan: &Release, registry: &Registry) -> Result<(), Error> {
    let lock = Lock::builder().registry(registry).at(&plan.place)?;
    can_be_left(&lock)?;
    lock.release_for(Party::process(plan.pid))
}
