//! A command under a lock with a lease, as sneck watches it: when the lease is lost, and that there is a keeper.
//!
//! Not for: ending the command (`unix_hold.rs`), nor what the keeper does when sneck itself cannot (`unix_keeping.rs`).
//!
//! # When
//!
//! The lock is lost when the lease's own clock says so, a `ttl` after the last word that the server heard, or when the server says so before. Then TERM, and `--kill-after` later KILL. The server lets nobody in before `ttl + lock delay`, counted
//! from the same word, and `--kill-after` is shorter than the delay: the group is dead first. The same moments are the keeper's.

use std::io;
use std::time::{Duration, SystemTime};

use rustix::process::{Signal, getpid, kill_process};
use sneck::{Guard, Moment, Standing, text};

use super::HeldCommand;
use super::keeper::{Keeper, Word};

#[derive(Debug)]
pub(super) struct Lease {
    /// None: it was ended again and again.
    keeper: Option<Keeper>,
    kill_after: Duration,
    lost: bool,
}

impl Lease {
    /// Tells the keeper what to watch, and from now on each new end of the lease.
    pub(super) fn begin(
        mut keeper: Keeper,
        command: &HeldCommand,
        kill_after: Duration,
        guard: &Guard,
    ) -> io::Result<Lease> {
        // First this: what is told before the keeper has heard what to watch means nothing to it, and is told by what it is to watch.
        let line = keeper.line().clone();
        let expires = until(guard.expires());
        guard.carry(|holding| keeper.watch(command, kill_after, expires, holding))?;
        guard.on_renewed(move |until| line.say(Word::Until(until)));
        // One that came between the two is not lost.
        keeper.line().say(Word::Until(until(guard.expires())));
        // A signal that changes nothing, and makes whoever waits for the command look.
        guard.on_lost(|_| {
            let _ = kill_process(getpid(), Signal::CHILD);
        });
        Ok(Lease {
            keeper: Some(keeper),
            kill_after,
            lost: false,
        })
    }

    /// Why the lock was lost, and when KILL is due. None: it was not, or that is known.
    pub(super) fn look(&mut self, guard: &Guard) -> Option<(String, Moment)> {
        if self.lost {
            return None;
        }
        let Standing::Lost(why) = guard.standing() else {
            return None;
        };
        self.lost = true;
        let over = until(guard.expires()).min(Moment::now());
        let kill = over.after(self.kill_after).unwrap_or(over);
        if let Some(keeper) = &self.keeper {
            keeper.line().say(Word::Ending(kill));
        }
        let since = SystemTime::now()
            .checked_sub(over.elapsed())
            .map(text::time)
            .unwrap_or_default();
        Some((format!("the lock was lost at {since}: {why}"), kill))
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Replaces a keeper that somebody has ended.
    ///
    /// # Errors
    /// There is none from now on. Said once.
    pub(super) fn look_at_keeper(
        &mut self,
        command: &HeldCommand,
        guard: &Guard,
    ) -> io::Result<()> {
        let Some(keeper) = self.keeper.as_mut().filter(|_| !self.lost) else {
            return Ok(());
        };
        if !keeper.has_ended() || command.has_ended()? {
            return Ok(());
        }
        let (expires, kill_after) = (until(guard.expires()), self.kill_after);
        guard
            .carry(|holding| keeper.replace(command, kill_after, expires, holding))
            .inspect_err(|_| self.keeper = None)
    }

    /// When there is something to look at, if nothing is heard before.
    pub(super) fn due(&self, guard: &Guard) -> Option<Moment> {
        guard.expires().filter(|_| !self.lost)
    }

    pub(super) fn anchor(&self) -> Option<i32> {
        self.keeper.as_ref().and_then(Keeper::anchor)
    }

    /// The command has ended: nothing is to be kept any more.
    pub(super) fn say_goodbye(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.line().say(Word::Goodbye);
        }
    }
}

/// Without a clock that ends it nothing is known of the future.
fn until(expires: Option<Moment>) -> Moment {
    expires.unwrap_or_else(Moment::now)
}
