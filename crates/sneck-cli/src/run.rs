//! `sneck run`: a command under a lock.
//!
//! 1. Fork the command and hold it at a socket: if sneck ends, however, before letting it go, it leaves without having run.
//! 2. Acquire, in the command's name: file claims bear its pid, so they are stale when *it* ends.
//! 3. Let it go, with the descriptors that hold the lock: from here on sneck may be killed without freeing it.
//! 4. Wait, passing signals on; with `--max-hold`, end it when its time is over (`sys`, `Relay` and `Leash`). 5. Release claims that name the command, before it is reaped. Close our copy of what it inherited, without unlocking: background processes of the command still hold theirs.

use crate::exit::Exit;
use crate::plan::{Hold, Inherit, Run};
use crate::sys::{HeldCommand, Leash, LetGo, Relay};
use crate::taking;
use crate::waiting::{Verbosity, tell};
use sneck::{Registry, text};
use std::io;

/// Run it; the exit code says how that went, and messages have been given.
pub(crate) fn run(plan: &Run, registry: &Registry) -> Exit {
    let mut command = match HeldCommand::prepare(&plan.program, &plan.arguments, &[]) {
        Ok(command) => command,
        Err(error) => return failed("cannot prepare the command", &error),
    };
    let guard = match taking::take(&plan.taking, command.claimant(), registry) {
        Ok(guard) => guard,
        Err(error) => return taking::refused(&plan.taking, &error),
    };
    let mut relay = match Relay::start() {
        Ok(relay) => relay,
        Err(error) => return failed("cannot take charge of signals", &error),
    };
    let mut leash = match plan.hold {
        Hold::AsLongAsItRuns => None,
        Hold::AtMost(limit) => match Leash::put_on(&command, limit, &plan.taking) {
            Ok(leash) => Some(leash),
            Err(error) => return failed("cannot prepare to end the command", &error),
        },
    };
    let say = |what: &str| {
        if plan.taking.verbosity != Verbosity::Quiet {
            tell(&format!("sneck: {}: {what}", plan.taking.place));
        }
    };
    let started = guard.carry(|holding| command.let_go(holding, plan.inherit));
    let ran = match started {
        Err(error) => Err(failed("cannot start the command", &error)),
        Ok(LetGo::Started | LetGo::Died) => match &mut leash {
            None => relay.relay_until_end(&command, &say),
            Some(leash) => leash.hold_until_end(&mut relay, &command),
        }
        .map_err(|error| failed("cannot wait for the command", &error)),
        Ok(LetGo::NotFound(code)) => Err(not_started(plan, code, Exit::NotFound)),
        Ok(LetGo::CannotExecute(code)) => Err(not_started(plan, code, Exit::CannotExecute)),
    };
    let given_up = match plan.inherit {
        Inherit::Yes => guard.ensure_held().and_then(|()| guard.bequeath()),
        Inherit::No => guard.release(),
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
    match given_up {
        Ok(()) => end,
        Err(error) => {
            tell(&format!("sneck: {error}"));
            if end.code() == 0 {
                Exit::from(&error)
            } else {
                end
            }
        }
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
