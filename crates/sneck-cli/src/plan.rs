//! What was typed, as what is meant. Not for: doing it (each verb has its file).

use crate::args::{
    AcquireArgs, BreakArgs, ListArgs, OthersArgs, ProtocolsArgs, ReleaseArgs, RunArgs, SpeechArgs,
    StaleArg, StatusArgs, WaitArgs, WaitForArgs,
};
use crate::exit::Exit;
use crate::taking;
use crate::waiting::Verbosity;
use crate::words;
use sneck::inspect::Probe;
use sneck::lease::Terms;
use sneck::protocol::Reach;
use sneck::{Error, ErrorKind, Lock, Mode, Place, Registry, Requirement, Stale, Timeout, text};
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

/// A lock to take.
#[derive(Debug)]
pub(crate) struct Taking {
    /// All of them, as they are shown.
    pub(crate) place: Place,
    /// Taken as one.
    pub(crate) locks: Vec<Place>,
    pub(crate) mode: Mode,
    pub(crate) timeout: Timeout,
    pub(crate) stale: Stale,
    pub(crate) lease: LeaseWish,
    /// What each of them must be able to promise.
    pub(crate) required: Vec<Requirement>,
    /// The end if somebody else holds it.
    pub(crate) held: Exit,
    pub(crate) verbosity: Verbosity,
}

/// For how long it is to be leased, where that was said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LeaseWish {
    pub(crate) ttl: Option<Duration>,
    pub(crate) delay: Option<Duration>,
}

/// A command to run under a lock.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) taking: Taking,
    pub(crate) hold: Hold,
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
}

/// Whether the command inherits what holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inherit {
    Yes,
    No,
}

/// What may end the command before it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    /// `--max-hold`.
    pub(crate) most: Option<Duration>,
    /// The lock has a lease, which can be lost.
    pub(crate) lease: Option<Terms>,
    /// From TERM to KILL.
    pub(crate) kill_after: Duration,
    pub(crate) inherit: Inherit,
}

/// Between TERM and KILL, where no lease says how long there is.
const KILL_AFTER: Duration = Duration::from_secs(10);

impl Hold {
    fn new(args: &RunArgs, lock: &Lock) -> Result<Hold, Error> {
        let lease = lock.terms();
        let kill_after = match lease {
            Some(terms) => {
                in_time(args.kill_after, terms).map_err(|error| error.at(lock.place()))?
            }
            None if args.max_hold.is_none() && args.kill_after.is_some() => {
                let what = "--kill-after: nothing ends the command here: the lock has no lease, and there is no --max-hold";
                return Err(Error::new(ErrorKind::Usage, "read the command line", what)
                    .at(lock.place())
                    .advise("leave it out, or say --max-hold DURATION"));
            }
            None => args.kill_after.unwrap_or(KILL_AFTER),
        };
        Ok(Hold {
            most: args.max_hold,
            lease,
            kill_after,
            inherit: if args.close {
                Inherit::No
            } else {
                Inherit::Yes
            },
        })
    }

    /// Whether anything does.
    pub(crate) fn has_bounds(&self) -> bool {
        self.most.is_some() || self.lease.is_some()
    }
}

/// From TERM, which comes when the lease is over, to KILL, which has to come before others are let in.
fn in_time(asked: Option<Duration>, terms: Terms) -> Result<Duration, Error> {
    let usage = |what: String| Error::new(ErrorKind::Usage, "read the command line", what);
    let delay = terms.delay();
    if delay.is_zero() {
        let what = "without a lock delay there is no time to end a command that has lost the lock";
        return Err(usage(what.into()).advise("say --lock-delay DURATION"));
    }
    match asked {
        None => Ok(delay / 2),
        Some(asked) if asked < delay => Ok(asked),
        Some(asked) => Err(usage(format!(
            "--kill-after {} is too long: others may get the lock {} after it is lost (--lock-delay), and the command must be dead by then",
            text::span(asked),
            text::span(delay)
        ))
        .advise("make it shorter than the lock delay, or that longer")),
    }
}

/// A claim to make in a process's name, and to leave.
#[derive(Debug)]
pub(crate) struct Acquire {
    pub(crate) taking: Taking,
    pub(crate) pid: u32,
}

/// A claim of a process to remove.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) place: Place,
    pub(crate) pid: u32,
}

/// Claims to remove.
#[derive(Debug)]
pub(crate) struct Break {
    pub(crate) locks: Vec<Place>,
    pub(crate) stale: Stale,
    pub(crate) verbosity: Verbosity,
}

/// Locks to wait for, without taking them.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) locks: Vec<Place>,
    pub(crate) mode: Mode,
    pub(crate) timeout: Timeout,
    /// What each of them must be able to promise.
    pub(crate) required: Vec<Requirement>,
    pub(crate) verbosity: Verbosity,
}

/// Locks to look at.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) locks: Vec<Place>,
    pub(crate) probe: Probe,
    pub(crate) form: Form,
}

/// Locks to list.
#[derive(Debug)]
pub(crate) struct List {
    /// None: the machine.
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) which: Which,
    pub(crate) form: ListForm,
}

/// Which of them: all that is asked for must hold of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Which {
    pub(crate) held: bool,
    pub(crate) stale: bool,
    pub(crate) waiting: bool,
    /// One of these holds or waits; empty: whoever.
    pub(crate) pids: Vec<u32>,
    pub(crate) user: Option<String>,
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListForm {
    Table,
    Tree,
    Json,
    Lines,
}

/// For whom it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    People,
    Json,
}

impl From<&ProtocolsArgs> for Form {
    fn from(args: &ProtocolsArgs) -> Form {
        if args.json { Form::Json } else { Form::People }
    }
}

/// The protocols of this build.
pub(crate) fn registry() -> Registry {
    #[allow(unused_mut)] // without any server there is nothing to add
    let mut registry = Registry::local();
    #[cfg(feature = "etcd")]
    sneck_etcd::register(&mut registry);
    #[cfg(feature = "postgres")]
    sneck_postgres::register(&mut registry);
    #[cfg(feature = "redis")]
    sneck_redis::register(&mut registry);
    registry
}

impl Run {
    pub(crate) fn new(mut args: RunArgs, registry: &Registry) -> Result<Run, Error> {
        let raw: Vec<OsString> = env::args_os().collect();
        let (locks, command) = words::split(
            &raw,
            std::mem::take(&mut args.lock),
            std::mem::take(&mut args.command),
        )?;
        let locks = places(registry, args.protocol.as_deref(), &locks)?;
        let mode = if args.shared {
            Mode::Shared
        } else {
            Mode::Exclusive
        };
        let lease = LeaseWish {
            ttl: args.ttl,
            delay: args.lock_delay,
        };
        // Whether they go together, and can do what is asked for, is found out now, before anything is started.
        let lock = taking::all(
            &locks,
            (mode, &args.require.require),
            lease,
            registry,
            Lock::builder(),
        )?;
        let hold = Hold::new(&args, &lock)?;
        let mut words = command.into_iter();
        let program = words.next().unwrap_or_default();
        Ok(Run {
            taking: Taking {
                place: lock.place().clone(),
                locks,
                mode,
                timeout: timeout(&args.wait),
                stale: stale(&args.others),
                lease,
                required: args.require.require,
                held: Exit::Held(args.conflict_exit_code),
                verbosity: verbosity(&args.speech),
            },
            hold,
            program,
            arguments: words.collect(),
        })
    }
}

impl Acquire {
    pub(crate) fn new(args: AcquireArgs, registry: &Registry) -> Result<Acquire, Error> {
        let place = place(registry, args.place.protocol.as_deref(), &args.place.lock)?;
        Ok(Acquire {
            taking: Taking {
                locks: vec![place.clone()],
                place,
                mode: Mode::Exclusive,
                timeout: timeout(&args.wait),
                stale: stale(&args.others),
                lease: LeaseWish::default(),
                required: args.require.require,
                held: Exit::HELD,
                verbosity: verbosity(&args.speech),
            },
            pid: args.pid,
        })
    }
}

impl Release {
    pub(crate) fn new(args: ReleaseArgs, registry: &Registry) -> Result<Release, Error> {
        Ok(Release {
            place: place(registry, args.place.protocol.as_deref(), &args.place.lock)?,
            pid: args.pid,
        })
    }
}

impl Break {
    pub(crate) fn new(args: BreakArgs, registry: &Registry) -> Result<Break, Error> {
        Ok(Break {
            locks: places(registry, args.protocol.as_deref(), &args.locks)?,
            stale: stale(&args.others),
            verbosity: if args.quiet {
                Verbosity::Quiet
            } else {
                Verbosity::Normal
            },
        })
    }
}

impl Wait {
    pub(crate) fn new(args: WaitForArgs, registry: &Registry) -> Result<Wait, Error> {
        Ok(Wait {
            locks: places(registry, args.protocol.as_deref(), &args.locks)?,
            mode: if args.shared {
                Mode::Shared
            } else {
                Mode::Exclusive
            },
            timeout: timeout(&args.wait),
            required: args.require.require,
            verbosity: verbosity(&args.speech),
        })
    }
}

impl Status {
    pub(crate) fn new(args: StatusArgs, registry: &Registry) -> Result<Status, Error> {
        Ok(Status {
            locks: places(registry, args.protocol.as_deref(), &args.locks)?,
            probe: if args.probe { Probe::Try } else { Probe::Never },
            form: if args.json { Form::Json } else { Form::People },
        })
    }
}

impl From<ListArgs> for List {
    fn from(args: ListArgs) -> List {
        List {
            paths: args.paths.into_iter().map(PathBuf::from).collect(),
            which: Which {
                held: args.held,
                stale: args.stale,
                waiting: args.waiting,
                pids: args.pid,
                user: args.user,
            },
            form: match (args.tree, args.json, args.ndjson) {
                (true, ..) => ListForm::Tree,
                (_, true, _) => ListForm::Json,
                (.., true) => ListForm::Lines,
                _ => ListForm::Table,
            },
        }
    }
}

fn timeout(args: &WaitArgs) -> Timeout {
    match (args.nonblock, args.wait) {
        (true, _) => Timeout::Once,
        (false, Some(wait)) => Timeout::from(wait),
        (false, None) => Timeout::Forever,
    }
}

fn stale(args: &OthersArgs) -> Stale {
    match args.stale {
        _ if args.force => Stale::Force,
        StaleArg::Never => Stale::Never,
        StaleArg::Dead => Stale::Dead,
        StaleArg::Likely => Stale::Likely,
        StaleArg::After(age) => Stale::After(age),
    }
}

fn verbosity(args: &SpeechArgs) -> Verbosity {
    match (args.quiet, args.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    }
}

/// All of them, or an error before anything is done with any.
fn places(
    registry: &Registry,
    protocol: Option<&str>,
    locks: &[OsString],
) -> Result<Vec<Place>, Error> {
    let read = |lock: &OsString| place(registry, protocol, lock);
    locks.iter().map(read).collect()
}

fn place(registry: &Registry, protocol: Option<&str>, lock: &OsStr) -> Result<Place, Error> {
    let place = match protocol {
        None => registry.place(lock)?,
        Some(_) if lock.is_empty() => return registry.place(lock),
        Some(scheme) => Place::file(scheme, lock),
    };
    // Ask now whether the protocol accepts it, before anything is started.
    let reach = registry.protocol(&place)?.capabilities().reach;
    if reach == Reach::Process {
        let what = format!(
            "a lock of protocol {} excludes threads of one process: it cannot protect a command",
            place.scheme()
        );
        return Err(
            Error::new(ErrorKind::Usage, "read the place", what).advise("name a file to lock")
        );
    }
    Ok(place)
}
