//! A command that may not outlast its lock: one with `--max-hold`, and any under a lock with a lease.
//!
//! For: the group of processes that the command gets for itself, so that all of it can be ended and nothing else; the terminal that this group needs; the end.
//! Not for: what tells that a lease is lost, and the keeper (`unix_lease.rs`); commands whose lock lasts as long as they do. Those stay in sneck's group, where shells and terminals treat both as one (`unix_signals.rs`).
//!
//! # Two groups
//!
//! What the terminal and the shell do to a job they do to sneck's group. The command's group learns of it through sneck:
//!
//! | what happens | what sneck does |
//! |---|---|
//! | a process sends sneck a signal | passes it on to the group, unless it comes from there (whoever has ended since cannot be placed) |
//! | the kernel or the terminal sends HUP INT QUIT TSTP CONT WINCH ALRM | passes it on to the group |
//! | the command wants to read from the terminal (TTIN, TTOU), and sneck's group has it | gives it to the group |
//! | the same in the background | stops its own group in the same way, so that the shell can tell |
//! | the command is stopped while its group has the terminal (Ctrl-Z) | takes the terminal back and stops its own group |
//! | sneck is told to stop | tells the group, takes the terminal back and stops |
//! | sneck is continued | gives the terminal to the group that had it, if sneck's group has got it back, and continues the group |
//! | nobody could undo the stop, as the kernel finds | continues the group |
//! | INT or QUIT ends the command while its group has the terminal (Ctrl-C) | tells its own group: a pipeline, or the script around it |
//!
//! The group gets the terminal at once if stdin and stdout are terminals, as a shell gives it to a job. Otherwise there may be others in sneck's group that
//! read from it (`sneck run … | less`), and the group gets it when it asks.
//!
//! # The end
//!
//! TERM, and CONT lest a stopped process sleeps through it, as timeout(1) does; later KILL. From TERM on sneck waits until the group is empty, and not only for
//! the command: whoever inherited a kernel lock holds it. Nothing can be done while sneck itself is stopped; the limit counts on, and holds once it is continued. (A lease does not wait for that: the keeper ends the group.)
//!
//! A command under a lease that ends by itself may leave processes in its group. They go on under the lock, as those do that inherited a kernel lock: sneck waits for them, unless nothing was to be inherited (`-o`).

use super::keeper::Keeper;
use super::lease::Lease;
use super::signals::{Batch, Relay, Sender};
use super::{Alarm, Ended, HeldCommand, Terminal};
use crate::advice;
use crate::exit::Exit;
use crate::plan::{Hold, Inherit, Taking};
use crate::sys::platform as sys;
use crate::waiting::{Verbosity, tell};
use signal_hook::consts::signal::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP,
    SIGTTIN, SIGTTOU, SIGWINCH,
};
use signal_hook::iterator::exfiltrator::origin::Origin;
use sneck::{Guard, Moment, Place, text};
use std::io::{self, IsTerminal};
use std::time::Duration;

/// How often it is looked whether the group is empty. Nothing wakes anybody when that happens.
const TICK: Duration = Duration::from_millis(20);
/// How long processes may take to go once they were killed. Longer only if the kernel has them busy.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// So long the end of what was left in the background is waited for in silence.
const SILENCE: Duration = Duration::from_secs(1);

/// The command's group, its limit, and the terminal that they may share with us.
#[derive(Debug)]
pub(crate) struct Leash {
    hold: Hold,
    lease: Option<Lease>,
    verbosity: Verbosity,
    place: Place,
    /// The same as it was typed: one lock or several.
    locks: Vec<Place>,
    /// The command's number, and its group's.
    group: i32,
    alarm: Alarm,
    terminal: Option<Terminal>,
    share: Share,
    stage: Stage,
    /// When the stage is over; None: never.
    due: Option<Moment>,
    /// What the command left in the background is waited for.
    background: Option<Background>,
}

#[derive(Debug)]
struct Background {
    since: Moment,
    said: bool,
}

/// Whose the terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    /// The group has not asked for it.
    Unasked,
    /// The group's.
    Lent,
    /// Taken back; the group's again once we are continued in the foreground.
    Due,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// TERM was sent.
    Told,
    /// KILL was sent.
    Killed,
}

/// What there is to do about the command that was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// It asks for the terminal, and can have it.
    Lend,
    /// Our group stops in the same way.
    Follow(i32),
    /// Somebody stopped the command alone.
    Leave,
}

impl Leash {
    /// To be called before the command is let go: it gets its group and, if it is to have it at once, the terminal; under a lease, the keeper gets to know what it keeps.
    pub(crate) fn put_on(
        command: &HeldCommand,
        hold: Hold,
        taking: &Taking,
        keeper: Option<Keeper>,
        guard: &Guard,
    ) -> io::Result<Leash> {
        // From here on: who writes to a terminal that another group has, or takes it from there, would be stopped.
        sys::block(&[SIGTTOU])?;
        let alarm = Alarm::new()?;
        command.lead_group()?;
        let lease = keeper.map(|keeper| Lease::begin(keeper, command, hold.kill_after, guard));
        let mut leash = Leash {
            hold,
            lease: lease.transpose()?,
            verbosity: taking.verbosity,
            place: taking.place.clone(),
            locks: taking.locks.clone(),
            group: command.pid(),
            alarm,
            terminal: Terminal::of_session(),
            share: Share::Unasked,
            stage: Stage::Running,
            due: None,
            background: None,
        };
        if io::stdin().is_terminal() && io::stdout().is_terminal() && leash.has_terminal() {
            leash.lend();
        }
        Ok(leash)
    }

    /// Waits until the command has ended, by itself or because its time was over: then all of its group has. To be called when it was let go: its time
    /// begins.
    pub(crate) fn hold_until_end(
        &mut self,
        relay: &mut Relay,
        command: &HeldCommand,
        guard: &Guard,
    ) -> io::Result<()> {
        self.due = self.hold.most.and_then(|most| Moment::now().after(most));
        let held = self.hold(relay, command, guard);
        if let Some(lease) = &self.lease {
            if held.is_err() {
                // If it cannot be known when the command ends, it must not outlive the lock.
                let _ = command.signal_group(SIGKILL);
            }
            lease.say_goodbye();
        }
        held
    }

    fn hold(&mut self, relay: &mut Relay, command: &HeldCommand, guard: &Guard) -> io::Result<()> {
        relay.collect_real_time_signals()?;
        loop {
            self.look_at_lease(command, guard);
            let ended = command.has_ended()?;
            let others = match (ended, self.stage) {
                (true, Stage::Running) if !self.waits_for_all() => break,
                (true, _) => self.others(),
                (false, _) => None,
            };
            if ended && others.as_deref() == Some(&[]) {
                break;
            }
            if ended && self.stage == Stage::Running {
                match &others {
                    // Nobody can tell what there is to wait for.
                    None => break,
                    Some(others) => self.wait_for(others),
                }
            }
            if self.due.is_some_and(|due| due.until().is_zero()) {
                match self.stage {
                    Stage::Running => self.tell_to_end(command),
                    Stage::Told => self.kill(command),
                    Stage::Killed if ended => {
                        self.give_up(others);
                        break;
                    }
                    // Its status is needed, however long the kernel has it busy.
                    Stage::Killed => self.due = None,
                }
                continue;
            }
            if self.stage == Stage::Running && !ended {
                if let Some(signal) = command.stopped_by()? {
                    self.command_stopped(signal, relay, command)?;
                    continue;
                }
            }
            let lease = self.lease.as_ref().and_then(|lease| lease.due(guard));
            let wait = self.due.into_iter().chain(lease).min().map(Moment::until);
            let tick = self
                .background
                .as_ref()
                .map_or(TICK, |left| (left.since.elapsed() / 8).clamp(TICK, SILENCE));
            self.alarm.set(match ended {
                true => Some(wait.map_or(tick, |wait| wait.min(tick))),
                false => wait,
            })?;
            let batch = relay.wait_with(&self.alarm)?;
            self.handle(&batch, relay, command)?;
        }
        if self.background.is_none() {
            self.command_ended();
        }
        Ok(())
    }

    /// What this means for our own end.
    pub(crate) fn end(&self, ended: Ended) -> Exit {
        if self.has_lost() {
            return Exit::Lost;
        }
        if self.stage != Stage::Running {
            return Exit::HeldTooLong;
        }
        if let (Ended::Signal(signal @ (SIGINT | SIGQUIT)), Share::Due) = (ended, self.share) {
            // The terminal told the command's group alone. We ourselves handle it.
            let _ = sys::signal_own_group(signal);
        }
        Exit::from(ended)
    }

    /// Whether the lock was lost, which was said then.
    pub(crate) fn has_lost(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::is_lost)
    }

    // ---- what is left when the command has ended -------------------------------------------------------------------------

    fn waits_for_all(&self) -> bool {
        self.lease.is_some() && self.hold.inherit == Inherit::Yes
    }

    /// Who is in the group beside the command; None: it cannot be told.
    fn others(&self) -> Option<Vec<i32>> {
        let mut others = sys::others_in_group(self.group, Some(self.group))?;
        let anchor = self.lease.as_ref().and_then(Lease::anchor);
        others.retain(|pid| Some(*pid) != anchor);
        Some(others)
    }

    fn wait_for(&mut self, others: &[i32]) {
        if self.background.is_none() {
            // Those who are left do not need it more than we do.
            self.command_ended();
        }
        let left = self.background.get_or_insert_with(|| Background {
            since: Moment::now(),
            said: false,
        });
        if !left.said && left.since.elapsed() >= SILENCE {
            left.said = true;
            self.note(&format!(
                "the command has ended, what it started has not: it is held until then by {}",
                numbers(others)
            ));
        }
    }

    // ---- the end -------------------------------------------------------------------------------------------------------

    fn look_at_lease(&mut self, command: &HeldCommand, guard: &Guard) {
        let Some(lease) = &mut self.lease else {
            return;
        };
        if let Err(error) = lease.look_at_keeper(command, guard) {
            self.say(&format!(
                "the keeper was ended, and there is no other one ({error}): if sneck is killed now, the command goes on without the lock"
            ));
            return;
        }
        let Some((why, kill)) = lease.look(guard) else {
            return;
        };
        if kill.until().is_zero() {
            // We were stopped for so long. The keeper has seen to it.
            self.stage = Stage::Killed;
            self.due = Moment::now().after(LAST_WAIT);
            self.send(SIGKILL, command);
            self.say(&format!("{why}: process group {} was ended", self.group));
        } else if self.stage == Stage::Running {
            self.stage = Stage::Told;
            self.due = Some(kill);
            self.send(SIGTERM, command);
            self.send(SIGCONT, command);
            self.say(&format!(
                "{why}: TERM to pid {} and its process group, KILL {} later",
                self.group,
                text::span(kill.until())
            ));
        } else {
            self.due = Some(self.due.map_or(kill, |due| due.min(kill)));
            self.say(&format!("{why}; the command is being ended already"));
        }
    }

    fn tell_to_end(&mut self, command: &HeldCommand) {
        self.stage = Stage::Told;
        self.due = Moment::now().after(self.hold.kill_after);
        self.say(&format!(
            "held for {}, as long as --max-hold allows: TERM to pid {} and its process group, KILL {} later",
            text::span(self.hold.most.unwrap_or_default()),
            self.group,
            text::span(self.hold.kill_after)
        ));
        self.send(SIGTERM, command);
        self.send(SIGCONT, command);
    }

    fn kill(&mut self, command: &HeldCommand) {
        self.stage = Stage::Killed;
        self.due = Moment::now().after(LAST_WAIT);
        if self.has_lost() {
            // First that: a terminal may keep us waiting.
            self.send(SIGKILL, command);
        }
        self.say(&format!(
            "not ended {} after TERM: KILL to process group {}",
            text::span(self.hold.kill_after),
            self.group
        ));
        if !self.has_lost() {
            self.send(SIGKILL, command);
        }
    }

    fn send(&self, signal: i32, command: &HeldCommand) {
        if let Err(error) = command.signal_group(signal) {
            self.say(&format!(
                "cannot end process group {}: {error}; it goes on",
                self.group
            ));
        }
    }

    fn give_up(&self, others: Option<Vec<i32>>) {
        if let Some(others) = others {
            self.say(&still_there(&others, &self.locks));
        }
    }

    fn say(&self, what: &str) {
        tell(&format!("sneck: {}: {what}", self.place));
    }

    fn note(&self, what: &str) {
        if self.verbosity != Verbosity::Quiet {
            self.say(what);
        }
    }

    /// While we are stopped nobody renews the lease.
    fn warn_of_stop(&self) {
        if let Some(terms) = self.hold.lease {
            self.note(&format!(
                "stopped: nobody renews the lock meanwhile; it is lost, and the command ended, {} from now at the latest",
                text::span(terms.ttl())
            ));
        }
    }

    // ---- signals and stops -----------------------------------------------------------------------------------------------

    fn handle(
        &mut self,
        batch: &Batch,
        relay: &mut Relay,
        command: &HeldCommand,
    ) -> io::Result<()> {
        self.pass_on(batch, command);
        if batch.stops() && self.stage == Stage::Running {
            self.take_back();
            self.warn_of_stop();
            sys::stop_as_asked()?;
            self.was_continued(Stop::Follow(SIGTSTP), relay, command);
        }
        Ok(())
    }

    fn pass_on(&mut self, batch: &Batch, command: &HeldCommand) {
        if batch.continues() {
            self.lend_again();
        }
        for received in batch.in_order() {
            // One that is being ended is not to be stopped.
            if received.signal == SIGTSTP && self.stage != Stage::Running {
                continue;
            }
            if is_for_the_group(received, self.group) {
                // It has just ended, or may not be told: what was sent to sneck then has no effect, as if it had been sent there.
                let _ = command.signal_group(received.signal);
            }
        }
    }

    fn command_stopped(
        &mut self,
        signal: i32,
        relay: &mut Relay,
        command: &HeldCommand,
    ) -> io::Result<()> {
        let stop = what_to_do(signal, self.share, self.has_terminal());
        match stop {
            Stop::Lend => {
                if self.lend() {
                    let _ = command.signal_group(SIGCONT);
                }
            }
            Stop::Follow(signal) => {
                self.take_back();
                self.warn_of_stop();
                sys::stop_group(signal)?;
                self.was_continued(stop, relay, command);
            }
            Stop::Leave => {}
        }
        Ok(())
    }

    /// We were to stop, and run: somebody continued us, or the kernel says that nobody could, and nothing stopped.
    fn was_continued(&mut self, stop: Stop, relay: &mut Relay, command: &HeldCommand) {
        let batch = relay.pending();
        self.pass_on(&batch, command);
        if batch.continues() {
            return;
        }
        self.lend_again();
        // One that wants to read would be stopped again at once, and so for ever.
        if stop == Stop::Follow(SIGTSTP) {
            let _ = command.signal_group(SIGCONT);
        }
    }

    // ---- the terminal ----------------------------------------------------------------------------------------------------

    fn has_terminal(&self) -> bool {
        self.terminal.as_ref().is_some_and(Terminal::is_ours)
    }

    /// Whether that went well.
    fn lend(&mut self) -> bool {
        let terminal = self.terminal.as_ref();
        let lent = terminal.is_some_and(|terminal| terminal.give(self.group).is_ok());
        if lent {
            self.share = Share::Lent;
        }
        lent
    }

    /// The shell may have taken it meanwhile, and may have given it back to us or not.
    fn lend_again(&mut self) {
        let Some(terminal) = &self.terminal else {
            return;
        };
        if self.share == Share::Lent && !terminal.is_of(self.group) {
            self.share = Share::Due;
        }
        if self.share == Share::Due && terminal.is_ours() {
            self.lend();
        }
    }

    fn take_back(&mut self) {
        if self.share == Share::Lent {
            if let Some(terminal) = &self.terminal {
                // There is nothing to be done if that fails: it hangs, or is no more.
                let _ = terminal.take_back();
            }
            self.share = Share::Due;
        }
    }

    fn command_ended(&mut self) {
        if self.share != Share::Lent {
            // It was in the background: no key has ended it, and its modes are not what is set now.
            self.share = Share::Unasked;
            return;
        }
        self.take_back();
        if let (Stage::Told | Stage::Killed, Some(terminal)) = (self.stage, &self.terminal) {
            // It had no time to set it back itself.
            terminal.set_back();
        }
    }
}

impl Drop for Leash {
    /// Also if the command could not be started.
    fn drop(&mut self) {
        self.take_back();
    }
}

/// The command was stopped by this signal; `has_terminal`: our own group has the terminal now.
fn what_to_do(signal: i32, share: Share, has_terminal: bool) -> Stop {
    match (signal, share) {
        (SIGTTIN | SIGTTOU, _) if has_terminal => Stop::Lend,
        (SIGTTIN | SIGTTOU, _) => Stop::Follow(signal),
        // Nobody could type any more.
        (SIGTSTP | SIGSTOP, Share::Lent) => Stop::Follow(SIGTSTP),
        _ => Stop::Leave,
    }
}

fn still_there(others: &[i32], locks: &[Place]) -> String {
    let locks: Vec<String> = locks.iter().map(advice::typed).collect();
    format!(
        "still there after KILL, and may hold it: {}; look with `sneck status {}`",
        numbers(others),
        locks.join(" ")
    )
}

fn numbers(processes: &[i32]) -> String {
    let numbers: Vec<String> = processes.iter().map(ToString::to_string).collect();
    format!("pid {}", numbers.join(", "))
}

fn is_for_the_group(received: &Origin, group: i32) -> bool {
    let terminals = [SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH, SIGALRM];
    match Sender::of(received) {
        _ if received.signal == SIGCHLD => false,
        Sender::Kernel => terminals.contains(&received.signal),
        Sender::Process(pid) => {
            i64::from(pid) != i64::from(std::process::id()) && sys::group_of(pid) != Some(group)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_survives_is_named_with_what_to_type() {
        let locks = ["a", "b c"].map(|path| Place::file("pidfile", path));
        assert_eq!(
            still_there(&[7, 12], &locks),
            "still there after KILL, and may hold it: pid 7, 12; look with `sneck status pidfile:a 'pidfile:b c'`"
        );
    }

    #[test]
    fn the_table_of_stops() {
        for reads in [SIGTTIN, SIGTTOU] {
            for share in [Share::Unasked, Share::Due] {
                assert_eq!(what_to_do(reads, share, true), Stop::Lend);
                assert_eq!(what_to_do(reads, share, false), Stop::Follow(reads));
            }
        }
        for stops in [SIGTSTP, SIGSTOP] {
            let follow = Stop::Follow(SIGTSTP);
            assert_eq!(what_to_do(stops, Share::Lent, false), follow);
            assert_eq!(what_to_do(stops, Share::Unasked, true), Stop::Leave);
            assert_eq!(what_to_do(stops, Share::Due, false), Stop::Leave);
        }
    }
}
