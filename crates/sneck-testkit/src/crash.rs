//! A process killed at each system call of an acquire and release in turn, and what the next one finds.
//!
//! The process is a fork of the test, traced by it: it stands still before and after every call that it makes. At the first of these stops at which none was
//! killed yet it is killed and reaped, and so on, until one gets through. A stop is known by its call and by how often that call was made before, not by its
//! place in a list: another time there may be more reads of a file that has grown. A kill before a call means that the call is not made; a kill
//! after it, that its result is never seen.
//!
//! Not for: power failures (what the kernel had in hand is still there), nor kills inside of a call (the kernel ends or undoes those that locks are made of).

use crate::child::{Session, say};
use crate::sys::Lack;
use crate::{Child, PATIENCE, Setup, claims, sys};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What stands at the place before the process that is to be killed comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// The claim of a dead process that used this library, or the lock file of a kernel lock: the process dies as a breaker.
    DeadClaim,
    /// The claim of a dead process that used another one, where that looks different.
    DeadStranger,
}

/// After so many wrong points no more are tried.
const ENOUGH: usize = 8;

/// What was tried.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many kills.
    pub points: usize,
    /// Which calls, and how many kills at each.
    pub calls: BTreeMap<String, usize>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} points (", self.points)?;
        for (index, (name, times)) in self.calls.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {times}")?;
        }
        f.write_str(")")
    }
}

/// The command of newcomers: `lack WHAT`.
pub fn commands(_: &mut Session, words: &[&str]) -> bool {
    let ["lack", what] = words else {
        return false;
    };
    let lacks = [Lack::Nothing, Lack::NamelessFiles, Lack::Links];
    let lack = lacks.into_iter().find(|l| format!("{l:?}") == *what);
    sys::lack(lack.expect("something that can be lacking"));
    say("done");
    true
}

/// Kill at every point, and see that the next process gets the lock and that nothing is left over.
///
/// # Panics
/// If it does not, with all points at which it went wrong.
pub fn kill_at_every_point(setup: &Setup, scheme: &str, before: Before, lack: Lack) -> Tally {
    let folder: PathBuf = setup.folder.join("locks");
    let lock = folder.join("lock");
    let mut newcomer = setup.child();
    newcomer.order(&format!("lack {lack:?}"));
    let mut tally = Tally::default();
    let mut wrong = String::new();
    let mut tried = BTreeSet::new();
    while wrong.lines().count() < ENOUGH {
        claims::empty(&folder);
        if before != Before::Nothing {
            claims::make(scheme, &lock, sys::NO_PROCESS).expect("our own folder");
        }
        if before == Before::DeadClaim {
            claims::sign(scheme, &lock).expect("our own folder");
        }
        let Some(stop) = kill_at_a_new_stop(setup, lack, &mut tried) else {
            break;
        };
        let left = claims::names(&folder);
        *tally.calls.entry(stop.call.clone()).or_default() += 1;
        if let Err(what) = next(&mut newcomer, scheme, &folder) {
            let _ = writeln!(wrong, "killed {stop}, which left {left:?}: {what}");
        }
        tally.points += 1;
    }
    assert!(wrong.is_empty(), "{scheme}, {before:?}:\n{wrong}");
    let found = claims::names(&folder);
    assert_eq!(
        found,
        claims::rest(scheme),
        "left by one that was not killed"
    );
    tally
}

/// Where a process stood still: before or after which call, and how many such calls it had made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Stop {
    call: String,
    entering: bool,
    nth: usize,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.entering { "before" } else { "after" };
        write!(f, "{side} {} number {}", self.call, self.nth)
    }
}

/// Have a process acquire and release, and kill it at the first stop that is not among these; it is then. None: it got through.
fn kill_at_a_new_stop(setup: &Setup, lack: Lack, tried: &mut BTreeSet<Stop>) -> Option<Stop> {
    let mut process = sys::trace(|| {
        sys::lack(lack);
        let lock = setup.lock();
        sys::mark();
        let released = lock.acquire_within(PATIENCE / 6).and_then(|g| g.release());
        sys::mark();
        i32::from(released.is_err())
    });
    while !process.step().expect("the mark comes").is_mark() {}
    // Behind the mark.
    process.step();
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(here) = process.step().filter(|c| !c.is_mark()) {
        let nth = made.entry(here.name()).or_default();
        *nth += usize::from(here.entering);
        let stop = Stop {
            call: here.name(),
            entering: here.entering,
            nth: *nth,
        };
        if tried.insert(stop.clone()) {
            process.kill();
            return Some(stop);
        }
    }
    // It must end well.
    while process.step().is_some() {}
    None
}

/// The next process wants the lock.
fn next(newcomer: &mut Child, scheme: &str, folder: &Path) -> Result<(), String> {
    let wait = Duration::from_secs(5).as_millis();
    newcomer.tell(&format!("acquire it {wait}"));
    let (word, rest) = newcomer.hear_one_of(&["held", "refused"]);
    if word != "held" {
        return Err(rest);
    }
    newcomer.tell("release it");
    let (word, rest) = newcomer.hear_one_of(&["released", "lost"]);
    if word != "released" {
        return Err(rest);
    }
    let found = claims::names(folder);
    if found != claims::rest(scheme) {
        return Err(format!("litter: {found:?}"));
    }
    Ok(())
}
