//! While the command runs: until its end, and no longer than `--max-hold` allows. Not for: what console events do to sneck (`windows_console.rs`).
//!
//! # The end
//!
//! The command leads a process group of its own, so that Ctrl-Break can be sent to it and not to all who are on the console; later its job is ended. Who is on no
//! console, or on another one, gets no Ctrl-Break: one that shows windows, or that made its own console, is not told, and ended after `--kill-after` all the same. If
//! sneck itself has no console (a service), nobody can be told, and the job is ended at once.
//!
//! A lock with a lease is looked at once a second; when it is lost, the end comes in the same way. If sneck is killed, its job ends with it: there is no keeper. Nobody ends the command while sneck is suspended
//! for longer than the lease, which takes a debugger here.
//!
//! sneck keeps the lock for all that is in the job, so the limit is for all of them, though the command itself has ended in time.

use std::io;
use std::time::Duration;

use sneck::{Guard, Moment, Place, Standing, text};

use super::console;
use super::{End, Ended, Group, HeldCommand};
use crate::exit::Exit;
use crate::plan::{Hold, Taking};
use crate::waiting::tell;

/// So long the end of what was left in the background is waited for in silence.
const SILENCE: Duration = Duration::from_secs(1);
/// How long processes may take to go once they were ended.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What waits for the command. The console's events need no passing on: the system tells everybody.
#[derive(Debug)]
pub(crate) struct Relay {}

impl Relay {
    /// To be called right before the command is let go.
    pub(crate) fn start() -> io::Result<Relay> {
        Ok(Relay {})
    }

    /// Waits until the command has ended, and all that keeps the lock with it.
    pub(crate) fn relay_until_end(
        &mut self,
        command: &HeldCommand,
        say: &dyn Fn(&str),
    ) -> io::Result<()> {
        let wait = || {
            command.until(End::OfCommand, None)?;
            if command.end() == End::OfCommand
                || command.until(End::OfAll, Moment::now().after(SILENCE))?
            {
                return Ok(());
            }
            say(&format!(
                "the command has ended, what it started has not: it is held until then by {}",
                numbers(&command.processes())
            ));
            command.until(End::OfAll, None).map(drop)
        };
        sure(command, wait())
    }
}

/// How often a lease is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What ends the command when sneck cannot: here the job itself does.
#[derive(Debug)]
pub(crate) struct Keeper {}

impl Keeper {
    pub(crate) fn start(_place: &Place) -> io::Result<Keeper> {
        Ok(Keeper {})
    }
}

/// No process is started as a keeper here.
pub(crate) fn keep() -> Option<Exit> {
    None
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// Ctrl-Break was sent.
    Told,
    /// The job was ended.
    Killed,
}

/// The command's limit.
#[derive(Debug)]
pub(crate) struct Leash {
    hold: Hold,
    lost: bool,
    place: Place,
    stage: Stage,
    /// When the stage is over; None: never.
    due: Option<Moment>,
}

impl Leash {
    /// To be called before the command is let go: it gets its group.
    pub(crate) fn put_on(
        command: &HeldCommand,
        hold: Hold,
        taking: &Taking,
        _keeper: Option<Keeper>,
        _guard: &Guard,
    ) -> io::Result<Leash> {
        command.group.set(Group::Own);
        Ok(Leash {
            hold,
            lost: false,
            place: taking.place.clone(),
            stage: Stage::Running,
            due: None,
        })
    }

    /// Waits until the command has ended, by itself or because its time was over: then all of its job has. To be called when it was let go: its time
    /// begins.
    pub(crate) fn hold_until_end(
        &mut self,
        _relay: &mut Relay,
        command: &HeldCommand,
        guard: &Guard,
    ) -> io::Result<()> {
        self.due = self.hold.most.and_then(|most| Moment::now().after(most));
        loop {
            self.look_at_lease(command, guard);
            let end = match self.stage {
                Stage::Running => command.end(),
                Stage::Told | Stage::Killed => End::OfAll,
            };
            let look = self.hold.lease.filter(|_| !self.lost);
            let look = look.and_then(|_| Moment::now().after(LOOK));
            let wait = self.due.into_iter().chain(look).min();
            if sure(command, command.until(end, wait))? {
                return Ok(());
            }
            if self.due.is_none_or(|due| !due.until().is_zero()) {
                continue;
            }
            match self.stage {
                Stage::Running => self.tell_to_end(command),
                Stage::Told => self.kill(
                    command,
                    &format!(
                        "not ended {} after Ctrl-Break",
                        text::span(self.hold.kill_after)
                    ),
                ),
                Stage::Killed => {
                    // They run nothing of their own any more, but what they have begun may still happen.
                    self.say(&format!(
                        "still there after it was ended, and held until it goes: {}",
                        numbers(&command.processes())
                    ));
                    self.due = None;
                }
            }
        }
    }

    /// What this means for our own end.
    pub(crate) fn end(&self, ended: Ended) -> Exit {
        if self.lost {
            return Exit::Lost;
        }
        match self.stage {
            Stage::Running => Exit::from(ended),
            Stage::Told | Stage::Killed => Exit::HeldTooLong,
        }
    }

    fn look_at_lease(&mut self, command: &HeldCommand, guard: &Guard) {
        if self.lost || self.hold.lease.is_none() {
            return;
        }
        let Standing::Lost(why) = guard.standing() else {
            return;
        };
        self.lost = true;
        if self.stage == Stage::Running {
            self.end_because(command, &format!("the lock was lost: {why}"));
        }
        let over = guard
            .expires()
            .map_or(Moment::now(), |at| at.min(Moment::now()));
        let kill = over.after(self.hold.kill_after);
        self.due = self.due.into_iter().chain(kill).min();
    }

    fn tell_to_end(&mut self, command: &HeldCommand) {
        let most = text::span(self.hold.most.unwrap_or_default());
        self.end_because(
            command,
            &format!("held for {most}, as long as --max-hold allows"),
        );
    }

    fn end_because(&mut self, command: &HeldCommand, held: &str) {
        if let Err(error) = console::send_break(command.id()) {
            return self.kill(
                command,
                &format!("{held}, and nobody can be told ({error})"),
            );
        }
        self.stage = Stage::Told;
        self.due = Moment::now().after(self.hold.kill_after);
        self.say(&format!(
            "{held}: Ctrl-Break to pid {} and its process group, the end of all its processes {} later",
            command.id(),
            text::span(self.hold.kill_after)
        ));
    }

    fn kill(&mut self, command: &HeldCommand, why: &str) {
        self.stage = Stage::Killed;
        self.due = Moment::now().after(LAST_WAIT);
        let all = numbers(&command.processes());
        self.say(&format!("{why}: ending {all}"));
        if let Err(error) = command.end_all(Exit::HeldTooLong.code().unsigned_abs()) {
            self.say(&format!("cannot end {all}: {error}; it goes on"));
        }
    }

    fn say(&self, what: &str) {
        tell(&format!("sneck: {}: {what}", self.place));
    }
}

/// If it cannot be known when the command ends, it must not outlive the lock.
fn sure<T>(command: &HeldCommand, waited: io::Result<T>) -> io::Result<T> {
    waited.inspect_err(|_| {
        // Nothing more can be done if that fails, too; it ends with us.
        let _ = command.end_all(Exit::Io.code().unsigned_abs());
    })
}

fn numbers(processes: &[u32]) -> String {
    let numbers: Vec<String> = processes.iter().map(ToString::to_string).collect();
    format!("pid {}", numbers.join(", "))
}
