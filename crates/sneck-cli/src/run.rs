//! `sneck run`: a command under a lock.
//!
//! 1. Fork the command and hold it at a socket: if sneck ends, however, before letting it go, it leaves without having run.
//! 2. Acquire, in the command's name: file claims bear its pid, so they are stale when *it* ends.
//! 3. Let it go, with the descriptors that hold the lock: from here on sneck may be killed without freeing it.
//! 4. Wait, passing signals on; with `--max-hold`, end it when its time is over (`sys`, `Relay` and `Leash`). 5. Release claims that name the command, before it is reaped. Close our copy of what it inherited, without unlocking: background processes of the command still hold theirs.

use crate::exit::Exit;
use crate::plan::{Inherit, Run};
use crate::sys::{HeldCommand, Keeper, Leash, LetGo, Relay};
use crate::taking;
use crate::variables::{self, Variables};
use crate::waiting::{Verbosity, tell};
use sneck::{Error, ErrorKind, Registry, text};
use std::io;

/// Run it; the exit code says how that went, and messages have been given.
pub(crate) fn run(plan: &Run, registry: &Registry) -> Exit {
    let variables = Variables::of(&plan.taking);
    let mut command = match HeldCommand::prepare(&plan.program, &plan.arguments, &variables) {
        Ok(command) => command,
        Err(error) => return failed("cannot prepare the command", &error),
    };
    let keeper = plan.hold.lease.map(|_| Keeper::start(&plan.taking.place));
    let keeper = match keeper.transpose() {
        Ok(keeper) => keeper,
        Err(error) => return failed("cannot start the keeper", &error),
    };
    let guard = match taking::take(&plan.taking, command.claimant(), registry) {
        Ok(guard) => guard,
        Err(error) => return taking::refused(&plan.taking, &error),
    };
    let mut relay = match Relay::start() {
        Ok(relay) => relay,
        Err(error) => return failed("cannot take charge of signals", &error),
    };
    let mut leash = None;
    if plan.hold.has_bounds() {
        match Leash::put_on(&command, plan.hold, &plan.taking, keeper, &guard) {
            Ok(put_on) => leash = Some(put_on),
            Err(error) => return failed("cannot prepare to end the command", &error),
        }
    }
    let say = |what: &str| {
        if plan.taking.verbosity != Verbosity::Quiet {
            tell(&format!("sneck: {}: {what}", plan.taking.place));
        }
    };
    let tokens = variables::tokens(&plan.taking, &guard, registry);
    let inherit = plan.hold.inherit;
    let started = guard.carry(|holding| command.let_go(holding, inherit, &tokens));
    let ran = match started {
        Err(error) => Err(failed("cannot start the command", &error)),
        Ok(LetGo::Started | LetGo::Died) => match &mut leash {
            None => relay.relay_until_end(&command, &say),
            Some(leash) => leash.hold_until_end(&mut relay, &command, &guard),
        }
        .map_err(|error| failed("cannot wait for the command", &error)),
        Ok(LetGo::NotFound(code)) => Err(not_started(plan, code, Exit::NotFound)),
        Ok(LetGo::CannotExecute(code)) => Err(not_started(plan, code, Exit::CannotExecute)),
    };
    let given_up = match (plan.hold.lease, inherit) {
        // Nobody would renew it: nobody can go on holding it.
        (Some(_), _) | (None, Inherit::No) => guard.release(),
        (None, Inherit::Yes) => guard.ensure_held().and_then(|()| guard.bequeath()),
    };
    // Reaped only now: a claim in the name of a process that is no more is anybody's to break, and then it would look as if it had been lost.
    let end = match ran.map(|()| command.wait()) {
        Ok(Ok(ended)) => match &leash {
            None => Exit::from(ended),
            Some(leash) => leash.end(ended),
        },
        Ok(Err(error)) => failed("cannot wait for the command", &error),
        Err(exit) => exit,
    };
    let Err(error) = given_up else {
        return end;
    };
    if plan.hold.lease.is_some() {
        return leased_end(&error, end);
    }
    tell(&format!("sneck: {error}"));
    if end.code() == 0 {
        Exit::from(&error)
    } else {
        end
    }
}

/// Under a lease, what the command says of itself counts only if it held the lock to its end.
fn leased_end(error: &Error, end: Exit) -> Exit {
    match (error.kind(), end) {
        // Said when it happened.
        (ErrorKind::Lost, Exit::Lost) => {}
        (ErrorKind::Lost, _) => tell(&format!(
            "sneck: {error}; the command had ended by then, with {}",
            end.code()
        )),
        // It held, and nobody else gets it before its lease has run out.
        _ => tell(&format!(
            "sneck: the command has ended, and the lock could not be released: {error}; it ends by itself when its lease does"
        )),
    }
    match error.kind() {
        ErrorKind::Lost => Exit::Lost,
        _ => end,
    }
}

fn not_started(plan: &Run, code: i32, exit: Exit) -> Exit {
    let program = text::clean(&plan.program.to_string_lossy());
    tell(&format!(
        "sneck: cannot run `{program}`: {}",
        io::Error::from_raw_os_error(code)
    ));
    exit
}

fn failed(what: &str, error: &io::Error) -> Exit {
    tell(&format!("sneck: {what}: {error}"));
    Exit::Io
}
