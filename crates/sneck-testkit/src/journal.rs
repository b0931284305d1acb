//! Who was inside when: written by all parties to one file, on one monotonic clock, and judged afterwards.
//!
//! Beside it lies a counter that everybody inside reads, and writes one higher: lost counts show an overlap that the times are
//! too coarse for.

use crate::sys;
use sneck::{Guard, Mode};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

/// The journal of one lock.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    counter: PathBuf,
    lines: sys::Lines,
}

/// One stay inside.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stay {
    who: String,
    mode: String,
    enter: u64,
    /// None: it never left, or died inside at a time that nobody knows.
    leave: Option<u64>,
    /// It left by being killed.
    killed: bool,
}

impl Journal {
    /// Open it, or begin it.
    ///
    /// # Panics
    /// If the file system does not let us.
    pub fn open(path: &Path) -> Journal {
        Journal {
            path: path.to_owned(),
            counter: path.with_extension("counter"),
            lines: sys::Lines::open(path),
        }
    }

    fn write(&self, who: &str, what: &str, mode: Mode) {
        self.lines
            .add(&format!("{who} {what} {} {mode}\n", sys::now()));
    }

    /// We are inside.
    pub fn enter(&self, mode: Mode) {
        self.enter_as(&sys::own_name(), mode);
    }

    /// Somebody who goes from thread to thread is inside.
    pub fn enter_as(&self, who: &str, mode: Mode) {
        self.write(who, "enter", mode);
    }

    /// We are about to leave.
    pub fn leave(&self, mode: Mode) {
        self.leave_as(&sys::own_name(), mode);
    }

    /// Somebody who goes from thread to thread is about to leave.
    pub fn leave_as(&self, who: &str, mode: Mode) {
        self.write(who, "leave", mode);
    }

    /// This process was killed, and was alive at this time still: so long it was inside, if it was. To be noted before another one can
    /// have its number.
    ///
    /// # Panics
    /// If the journal cannot be written.
    pub fn killed(&self, pid: u32, at: u64) {
        self.lines.add(&format!("{pid} killed {at} -\n"));
    }

    /// Be inside for a moment: note it, and count. Releases.
    ///
    /// # Panics
    /// If the release fails.
    pub fn visit(&self, guard: Guard) {
        self.stay(guard.mode());
        guard.release().expect("the lock is still held");
    }

    /// Be inside for a moment: note it, and count.
    ///
    /// # Panics
    /// If the counter cannot be written.
    pub fn stay(&self, mode: Mode) {
        self.enter(mode);
        if mode == Mode::Exclusive {
            let count = self.count();
            thread::yield_now();
            fs::write(&self.counter, (count + 1).to_string()).expect("the counter can be written");
        } else {
            thread::yield_now();
        }
        self.leave(mode);
    }

    /// How many exclusive visits were counted.
    pub fn count(&self) -> u64 {
        fs::read_to_string(&self.counter)
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or(0)
    }

    /// Check that nobody was inside beside an exclusive party, and that all visits were counted. Returns how many there were.
    ///
    /// # Panics
    /// If they overlapped.
    #[track_caller]
    pub fn check(&self) -> usize {
        let text = fs::read_to_string(&self.path).expect("the journal can be read");
        let stays = read(&text);
        let overlaps = overlaps(&stays);
        assert!(
            overlaps.is_empty(),
            "several were inside at once:\n{overlaps}"
        );
        let exclusive = stays.iter().filter(|s| s.mode == "exclusive").count();
        assert_eq!(
            self.count(),
            exclusive as u64,
            "visits that were counted, and visits that were noted"
        );
        stays.len()
    }

    /// How many were inside at once, at most.
    ///
    /// # Panics
    /// If the journal cannot be read.
    pub fn most_at_once(&self) -> usize {
        let text = fs::read_to_string(&self.path).expect("the journal can be read");
        most_at_once(&read(&text))
    }

    /// How many stays are noted.
    ///
    /// # Panics
    /// If the journal cannot be read.
    pub fn stays(&self) -> usize {
        let text = fs::read_to_string(&self.path).expect("the journal can be read");
        read(&text).len()
    }

    /// How many stays are noted, and how many of them a kill ended.
    ///
    /// # Panics
    /// If the journal cannot be read.
    pub fn stays_and_kills(&self) -> (usize, usize) {
        let text = fs::read_to_string(&self.path).expect("the journal can be read");
        let stays = read(&text);
        let killed = stays.iter().filter(|s| s.killed).count();
        (stays.len(), killed)
    }

    /// The overlaps, one a line; nothing is asserted.
    ///
    /// # Panics
    /// If the journal cannot be read.
    pub fn overlaps(&self) -> String {
        overlaps(&read(
            &fs::read_to_string(&self.path).expect("the journal can be read"),
        ))
    }
}

/// So many stays before a kill are searched for one that it ended: the killed one's is among the last, unless others were in and out so often
/// meanwhile, which an overlap would show.
const KILLED_AMONG: usize = 10_000;

fn read(text: &str) -> Vec<Stay> {
    let mut stays: Vec<Stay> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [who, what, at, mode] = words[..] else {
            panic!("the journal has a damaged line: {line:?}");
        };
        let at: u64 = at.parse().expect("a time is a number");
        if what == "killed" {
            let own = format!("{who}.");
            let inside = stays.iter_mut().rev().take(KILLED_AMONG);
            let inside = inside.filter(|s| s.leave.is_none() && s.who.starts_with(&own));
            for stay in inside {
                stay.leave = Some(at.max(stay.enter));
                stay.killed = true;
            }
        } else if what == "enter" {
            stays.push(Stay {
                who: who.to_owned(),
                mode: mode.to_owned(),
                enter: at,
                leave: None,
                killed: false,
            });
        } else {
            let stay = stays
                .iter_mut()
                .rev()
                .find(|s| s.who == who && s.leave.is_none());
            stay.expect("whoever leaves has entered").leave = Some(at);
        }
    }
    stays.sort_by_key(|s| s.enter);
    stays
}

/// A stay without an end is one of somebody who was killed inside: it ends when it began, for all that is known.
fn overlaps(stays: &[Stay]) -> String {
    let mut found = String::new();
    for (index, first) in stays.iter().enumerate() {
        let end = first.leave.unwrap_or(first.enter);
        let later = stays[index + 1..].iter().take_while(|s| s.enter < end);
        for second in later.filter(|s| s.mode == "exclusive" || first.mode == "exclusive") {
            let _ = writeln!(
                found,
                "{} ({}) from {} to {end}, and {} ({}) from {}",
                first.who, first.mode, first.enter, second.who, second.mode, second.enter
            );
        }
    }
    found
}

/// Whoever enters finds those inside who entered before and have not left.
fn most_at_once(stays: &[Stay]) -> usize {
    let beside = |one: &Stay| {
        let inside = |s: &&Stay| s.enter <= one.enter && s.leave.is_none_or(|l| l > one.enter);
        stays.iter().filter(inside).count()
    };
    stays.iter().map(beside).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_is_found_even_around_another_stay() {
        let apart =
            "a enter 1 exclusive\na leave 2 exclusive\nb enter 2 exclusive\nb leave 5 exclusive\n";
        assert_eq!(overlaps(&read(apart)), "");
        let inside =
            "a enter 1 exclusive\nb enter 2 exclusive\nb leave 3 exclusive\na leave 9 exclusive\n";
        assert_eq!(overlaps(&read(inside)).lines().count(), 1);
        let late = "a enter 1 shared\nb enter 2 shared\nb leave 3 shared\nc enter 4 exclusive\na leave 9 shared\n";
        assert_eq!(overlaps(&read(late)).lines().count(), 1);
    }

    #[test]
    fn readers_may_overlap_and_the_killed_left_when_they_came() {
        let readers = "a enter 1 shared\nb enter 2 shared\na leave 3 shared\nb leave 4 shared\n";
        assert_eq!(overlaps(&read(readers)), "");
        let killed = "a enter 1 exclusive\nb enter 2 exclusive\nb leave 3 exclusive\n";
        assert_eq!(overlaps(&read(killed)), "");
    }

    #[test]
    fn those_who_are_inside_at_once_are_counted() {
        let journal = "a enter 1 shared\nb enter 2 shared\na leave 3 shared\nb leave 4 shared\nc enter 4 shared\nc leave 5 shared\n";
        assert_eq!(most_at_once(&read(journal)), 2);
        assert_eq!(most_at_once(&[]), 0);
    }

    #[test]
    fn whoever_was_killed_inside_was_inside_until_then() {
        let journal = |killed: &str| {
            let text = format!(
                "7.7 enter 1 exclusive\n8.8 enter 4 exclusive\n{killed}8.8 leave 5 exclusive\n"
            );
            overlaps(&read(&text)).lines().count()
        };
        assert_eq!(journal("7 killed 3 -\n"), 0);
        assert_eq!(journal("7 killed 5 -\n"), 1);
        assert_eq!(journal("77 killed 5 -\n"), 0);
    }
}
