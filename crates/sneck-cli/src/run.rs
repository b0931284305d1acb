//! `sneck run`: a command under a lock.
//!
//! 1. Fork the command and hold it at a socket: if sneck ends, however, before letting it go, it leaves without having run.
//! 2. Acquire, in the command's name: file claims bear its pid, so they are stale when *it* ends.
//! 3. Let it go, with the descriptors that hold the lock: from here on sneck may be killed without freeing it.
//! 4. Wait, passing signals on. 5. Close our copy, without unlocking: background processes of the command still hold theirs.

use crate::exit::Exit;
use crate::plan::{Inherit, Run};
use crate::signals::Relay;
use crate::sys::{HeldCommand, LetGo};
use crate::waiting::{Verbosity, WaitingLine, tell};
use sneck::{Error, ErrorKind, Event, Guard, Lock, Party, Registry, text};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Run it; the exit code says how that went, and messages have been given.
pub(crate) fn run(plan: &Run, registry: &Registry) -> Exit {
    let mut command = match HeldCommand::fork(&plan.program, &plan.arguments, &[]) {
        Ok(command) => command,
        Err(error) => return failed("cannot fork the command", &error),
    };
    let guard = match acquire(plan, registry, &command) {
        Ok(guard) => guard,
        Err(error) => return refused(plan, &error),
    };
    let mut relay = match Relay::start() {
        Ok(relay) => relay,
        Err(error) => return failed("cannot take charge of signals", &error),
    };
    let started = guard.carry(|holding| {
        command.let_go(match plan.inherit {
            Inherit::Yes => holding,
            Inherit::No => &holding[..0],
        })
    });
    let end = match started {
        Err(error) => failed("cannot start the command", &error),
        Ok(LetGo::Started | LetGo::Died) => match relay.relay_until_end(&command) {
            Ok(ended) => Exit::from(ended),
            Err(error) => failed("cannot wait for the command", &error),
        },
        Ok(LetGo::NotFound(code)) => not_started(plan, code, Exit::NotFound),
        Ok(LetGo::CannotExecute(code)) => not_started(plan, code, Exit::CannotExecute),
    };
    let given_up = match plan.inherit {
        Inherit::Yes => guard.ensure_held().and_then(|()| guard.bequeath()),
        Inherit::No => guard.release(),
    };
    match given_up {
        Ok(()) => end,
        Err(error) => {
            tell(&format!("sneck: {error}"));
            if end.code() == 0 {
                of_error(&error)
            } else {
                end
            }
        }
    }
}

fn acquire(plan: &Run, registry: &Registry, command: &HeldCommand) -> Result<Guard, Error> {
    let builder = || {
        Lock::builder()
            .registry(registry)
            .mode(plan.mode)
            .timeout(plan.timeout)
            .stale(plan.stale)
    };
    let party = u32::try_from(command.pid()).map_or_else(|_| Party::this_process(), Party::process);
    let line: Arc<Mutex<Option<WaitingLine>>> = Arc::default();
    let observer = {
        let (line, verbosity) = (line.clone(), plan.verbosity);
        let onlooker = builder().at(&plan.place)?;
        move |event: &Event<'_>| {
            let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Event::Waiting { place, .. } if line.is_none() => {
                    let onlooker = onlooker.clone();
                    *line = Some(WaitingLine::new(verbosity, place.to_string(), move || {
                        holders(&onlooker)
                    }));
                }
                _ => {}
            }
            if let Some(news) = news(event, verbosity) {
                match line.as_ref() {
                    Some(line) => line.note(news),
                    None => tell(&news),
                }
            }
        }
    };
    let lock = builder().party(party).observer(observer).at(&plan.place)?;
    let result = lock.acquire();
    drop(line.lock().unwrap_or_else(PoisonError::into_inner).take());
    result
}

/// Who holds it, for the line that is shown while waiting.
fn holders(lock: &Lock) -> String {
    let seen = lock.holder();
    let holders = seen.as_ref().map(|s| s.holders()).unwrap_or_default();
    holders
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// What is worth a line of its own.
fn news(event: &Event<'_>, verbosity: Verbosity) -> Option<String> {
    match event {
        Event::Breaking {
            place,
            holder,
            verdict,
            removal,
            ..
        } if verbosity != Verbosity::Quiet => Some(format!(
            "sneck: {place}: stale claim of {holder} ({verdict}): {removal}"
        )),
        Event::Polling { place, why } if verbosity != Verbosity::Quiet => Some(format!(
            "sneck: {place}: {why}; trying again and again instead"
        )),
        Event::Waiting { place, .. } if verbosity == Verbosity::Verbose => {
            Some(format!("sneck: {place}: held by somebody else, waiting"))
        }
        Event::Acquired { place, .. } if verbosity == Verbosity::Verbose => {
            Some(format!("sneck: {place}: acquired"))
        }
        _ => None,
    }
}

fn refused(plan: &Run, error: &Error) -> Exit {
    if error.is_held() {
        if plan.verbosity != Verbosity::Quiet {
            tell(&format!("sneck: {error}"));
        }
        return plan.held;
    }
    tell(&format!("sneck: {error}"));
    of_error(error)
}

/// The end that an error of the library means.
pub(crate) fn of_error(error: &Error) -> Exit {
    match error.kind() {
        ErrorKind::Busy | ErrorKind::TimedOut => Exit::HELD,
        ErrorKind::Foreign | ErrorKind::Damaged => Exit::NotALock,
        // Another protocol, or another mode, has to be asked for.
        ErrorKind::Usage | ErrorKind::Unsupported => Exit::Usage,
        ErrorKind::Unreachable => Exit::Unreachable,
        ErrorKind::CannotCreate => Exit::CannotCreate,
        ErrorKind::NoPermission => Exit::NoPermission,
        ErrorKind::Lost => Exit::Lost,
        _ => Exit::Io,
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
