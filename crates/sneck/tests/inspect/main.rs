//! What [`sneck::inspect`] says is true: of processes that each test makes itself, and lets hold and wait for what it knows.
//!
//! | file | about |
//! |---|---|
//! | `actor.rs` | those processes |
//! | `holders.rs` | who keeps what, however he came to it |
//! | `many.rs` | a thousand locks |
//! | `waiters.rs` | who waits, in which order, behind whom |
//! | `names.rs` | files that are deleted, replaced, elsewhere |
//! | `namespaces.rs` | what a pid namespace hides, and asking for it |
//! | `odd.rs` | two families, stopped holders, those who wait for themselves |
//! | `deadlocks.rs` | those who wait for each other |
//! | `nobody.rs` | an ordinary user who looks |
//! | `storm.rs` | while processes come and go |
//! | `harmless.rs` | looking changes nothing |
//! | `strings.rs` | what others wrote |
//!
//! Linux's own: the kernel's list, /proc, namespaces. Not for: claims that are written down, nor how a terminal shows any of it.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make, lock and remove what they like"
)]

mod actor;
mod deadlocks;
mod harmless;
mod holders;
mod many;
mod names;
mod namespaces;
mod nobody;
mod odd;
mod storm;
mod strings;
mod waiters;

use rustix::fs::{FlockOperation, fcntl_lock};
use sneck::inspect::{
    Holding, How, Inspection, Inspector, Keeper, KernelInode, Limit, Name, Probe, Range, Survey,
    Waiter, Waits,
};
use sneck::{Mode, Registry};
use sneck_testkit::child::{Session, say};
use sneck_testkit::sys;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// `inspect PATH`, `ask PATH` and `machine PATH` answer `done` and what is said of this file; `lock-posix PATH` locks it.
fn commands(_: &mut Session, words: &[&str]) -> bool {
    let probe = |probe: Probe| Inspector::new().probe(probe);
    let found = match words {
        ["inspect", path] => probe(Probe::Never).path(path),
        ["ask", path] => probe(Probe::Try).path(path),
        ["machine", path] => probe(Probe::Never).machine().map(|survey| {
            let is_it = |file: &&Inspection| file.file.path.as_deref() == Some(Path::new(path));
            let file = survey.files.iter().find(is_it).cloned();
            let mut file = file.unwrap_or_else(|| {
                let nothing = Inspector::new().path("/");
                nothing.expect("the root of all files can be looked at")
            });
            file.limits = survey.limits;
            file
        }),
        ["lock-posix", path] => {
            lock_posix(Path::new(path));
            say("done");
            return true;
        }
        _ => return false,
    };
    match found {
        Ok(found) => say(&format!("done {}", Told::of(&found))),
        Err(error) => say(&format!("done {:?} {error}", error.kind())),
    }
    true
}

sneck_testkit::entry!(Registry::local, commands);

/// What is said of a file, in few words.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    /// `flock x * by 12: 12 took, 13 inherited`
    holdings: Vec<String>,
    /// `14 flock x * queued 0 behind [0]`
    waiters: Vec<String>,
    oddities: Vec<String>,
    limits: Vec<String>,
}

impl Told {
    fn of(found: &Inspection) -> Told {
        Told {
            holdings: found.holdings.iter().map(holding).collect(),
            waiters: found.waiters.iter().map(waiter).collect(),
            oddities: found.oddities.iter().map(|o| format!("{o:?}")).collect(),
            limits: found.limits.iter().map(|l| format!("{l:?}")).collect(),
        }
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (held, waits) = (self.holdings.join("; "), self.waiters.join("; "));
        let (odd, limits) = (self.oddities.join(", "), self.limits.join(", "));
        write!(f, "held({held}) waits({waits}) odd({odd}) limits({limits})")
    }
}

fn what(mode: Mode, range: Range) -> String {
    let letter = if mode == Mode::Exclusive { 'x' } else { 's' };
    match range.to_string().as_str() {
        "" => format!("{letter} *"),
        range => format!("{letter} {range}"),
    }
}

fn number(pid: Option<u32>) -> String {
    pid.map_or("?".into(), |pid| pid.to_string())
}

fn holding(of: &Holding) -> String {
    let mut text = format!("{} {}", of.kind, what(of.mode, of.range));
    if let Some(taker) = of.taker {
        let _ = write!(text, " by {taker}");
    }
    let keeper = |keeper: &Keeper| {
        let how = match keeper.how {
            How::Took => "took",
            How::Inherited => "inherited",
            How::Has => "has",
            How::Listed => "listed",
            How::Named => "named",
            _ => "?",
        };
        format!("{} {how}", number(keeper.holder.pid))
    };
    let keepers: Vec<String> = of.keepers.iter().map(keeper).collect();
    format!("{text}: {}", keepers.join(", "))
}

fn waiter(of: &Waiter) -> String {
    let waits = match of.waits {
        Waits::Queued(place) => format!("queued {place}"),
        Waits::Somewhere => "somewhere".into(),
        Waits::Watches => "watches".into(),
        _ => "?".into(),
    };
    format!(
        "{} {} {} {waits} behind {:?}",
        number(of.holder.pid),
        of.kind,
        what(of.mode, of.range),
        of.behind
    )
}

/// What is said of the file at this path, if it changes.
#[track_caller]
fn look(path: &Path) -> Inspection {
    Inspector::new().path(path).expect("one can look")
}

/// What is said of the file at this path; the survey of the machine and the one of the path's folder have to say the same.
#[track_caller]
fn seen(path: &Path) -> Inspection {
    let here = look(path);
    let there = on_machine(here.file.inode.expect("a file is there"));
    assert_eq!(told_apart(&here), told_apart(&there), "{}", path.display());
    let folder = path.parent().expect("it has one").to_owned();
    let survey = Inspector::new().under(&[folder]).expect("one can look");
    let there = of_survey(survey, here.file.inode);
    assert_eq!(told_apart(&here), told_apart(&there), "{}", path.display());
    if !here.holdings.is_empty() {
        assert_eq!(there.file.name, Name::Leads);
        assert_eq!(there.file.path.as_deref(), Some(path));
    }
    here
}

/// The same in few words.
#[track_caller]
fn told(path: &Path) -> Told {
    Told::of(&seen(path))
}

fn told_apart(of: &Inspection) -> Told {
    Told {
        limits: Vec::new(),
        ..Told::of(of)
    }
}

/// What the survey of the machine says of a file. Nothing is there, if it says nothing.
#[track_caller]
fn on_machine(inode: KernelInode) -> Inspection {
    let survey = Inspector::new().machine().expect("one can look");
    of_survey(survey, Some(inode))
}

#[track_caller]
fn of_survey(survey: Survey, inode: Option<KernelInode>) -> Inspection {
    let mut those = survey.files.into_iter().filter(|f| f.file.inode == inode);
    let file = those.next().unwrap_or_else(|| {
        let nothing = Inspector::new().path("/proc/self/status");
        nothing.expect("one can look")
    });
    assert!(those.next().is_none(), "a file is said once");
    file
}

/// What is to be said of processes that do not show what they have open. Some containers have one that hides it from root, too.
fn hidden() -> Vec<Limit> {
    let pids = fs::read_dir("/proc").expect("/proc is there");
    let pids = pids.map_while(Result::ok).filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().parse::<u32>().is_ok()
    });
    let hides = |entry: &fs::DirEntry| {
        let shown = fs::read_dir(entry.path().join("fdinfo"));
        shown.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    // Kernel threads have no command line, nor anything open.
    let is_process = |entry: &fs::DirEntry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| !line.is_empty())
    };
    let processes = pids.filter(hides).filter(is_process).count();
    match processes {
        0 => Vec::new(),
        processes => vec![Limit::HiddenDescriptors { processes }],
    }
}

/// A POSIX lock of this process, which it keeps: the file is never closed.
fn lock_posix(path: &Path) {
    let file = fs::File::options().write(true).open(path);
    let file = file.expect("it is there");
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).expect("it is free");
    std::mem::forget(file);
}

/// What some tests cannot do without. They fail instead of passing without having looked.
#[track_caller]
fn must_be_root() {
    assert!(
        sys::is_root(),
        "this needs root, for other users and for namespaces: run the tests as root, in a container for instance"
    );
}
