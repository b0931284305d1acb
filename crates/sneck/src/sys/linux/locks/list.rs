//! /proc/locks: the kernel's list of all locks, as it is read and what its lines mean.
//!
//! ```text
//! 4: FLOCK  ADVISORY  WRITE 2034 fd:00:13241 0 EOF     held: pid, device and inode, bytes
//! 4: -> FLOCK  ADVISORY  WRITE 2035 fd:00:13241 0 EOF  waits for the one above it
//! 4:  -> FLOCK  ADVISORY  WRITE 2036 fd:00:13241 0 EOF waits for both of those (Linux 5.0 and newer indent, older ones do not)
//! 5: OFDLCK ADVISORY  READ -1 fd:00:13242 100 199      of no process
//! 6: LEASE  BREAKING  READ 2037 fd:00:13243 0 EOF
//! ```
//!
//! The pid is the one that took the lock, in our pid namespace; what processes outside of it took is not listed, but for OFD locks, which belong to nobody. In a nested namespace a lock whose taker has
//! ended is not listed either. The numbers are those of the kernel's own inode: `stat` has others on btrfs and overlayfs.

use crate::Mode;
use crate::inspect::{KernelInode, Kind, Range};
use crate::sys::{Listed, Rank, Reading};
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};

/// How often a list that came in several pieces is read before it is taken as it is.
const LOOKS: usize = 8;

/// So many of the readings before the last one fill its gaps then.
const UNITED: usize = 3;

/// The kernel's list, and in how many pieces it came. A piece is as long as the buffer, at most a page, and whole in itself; a lock that ends between two
/// of them shifts the rest, and one is missed. So no `read_to_string`, which begins with a few bytes.
pub(super) fn text() -> io::Result<(String, usize)> {
    let mut list = fs::File::open("/proc/locks")?;
    let (mut text, mut piece, mut pieces) = (String::new(), vec![0; 1 << 16], 0);
    loop {
        match list.read(&mut piece) {
            Ok(0) => return Ok((text, pieces)),
            Ok(length) => text.push_str(&String::from_utf8_lossy(&piece[..length])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        pieces += 1;
    }
}

/// All locks of which this is true. One reading is not enough, see [`text`]: two in a row must have the same ones. That none is there is believed only if all readings had none: even two that are the same to
/// the letter can miss the same lock.
pub(crate) fn listed(wanted: &dyn Fn(&Listed) -> bool) -> io::Result<Reading> {
    let mut known = Vec::<Vec<Listed>>::new();
    for _ in 0..LOOKS {
        let (text, pieces) = text()?;
        let lines = text.lines().filter_map(line);
        let mut locks: Vec<Listed> = lines.filter(|lock| wanted(lock)).collect();
        if pieces <= 1 {
            return Ok(Reading::Whole(locks));
        }
        drop_repeated(&mut locks);
        if known.last().is_some_and(|known| are_alike(&locks, known)) {
            return Ok(Reading::Whole(locks));
        }
        if !locks.is_empty() {
            known.push(locks);
        }
    }
    let Some(mut newest) = known.pop() else {
        return Ok(Reading::Whole(Vec::new()));
    };
    for reading in known.iter().rev().take(UNITED) {
        unite(&mut newest, reading);
    }
    Ok(Reading::Shifting(newest))
}

fn are_alike(some: &[Listed], others: &[Listed]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(a, b)| a.is(b))
}

/// What an older reading had and the newest has not, unless something there now excludes it: most likely it was missed.
fn unite(newest: &mut Vec<Listed>, older: &[Listed]) {
    let mut held: HashMap<KernelInode, Vec<Listed>> = HashMap::new();
    for lock in newest.iter().filter(|lock| lock.rank == Rank::Held) {
        held.entry(lock.inode).or_default().push(*lock);
    }
    // A lock, and those who wait for it.
    for record in older.chunk_by(|a, b| a.number == b.number) {
        let lock = record[0];
        let there = held.entry(lock.inode).or_default();
        if !there.iter().any(|now| now.is(&lock) || now.excludes(&lock)) {
            there.push(lock);
            newest.extend(record);
        }
    }
}

/// A lock that is taken between two pieces shifts the rest as well, to the back: one comes twice then, under two numbers, with all who wait for it. Without waiters that harms nobody, since locks that look
/// alike are one.
fn drop_repeated(locks: &mut Vec<Listed>) {
    let mut with_waiters: Vec<&[Listed]> = Vec::new();
    let mut repeated = Vec::new();
    for lock in locks.chunk_by(|a, b| a.number == b.number) {
        if lock.len() == 1 {
            continue;
        }
        let is_it = |other: &&[Listed]| are_alike(other, lock);
        match with_waiters.iter().any(is_it) {
            true => repeated.push(lock[0].number),
            false => with_waiters.push(lock),
        }
    }
    locks.retain(|lock| !repeated.contains(&lock.number));
}

/// What a line means. None: nothing that is known here.
pub(super) fn line(line: &str) -> Option<Listed> {
    let (number, rest) = line.split_once(':')?;
    let number = number.trim().parse().ok()?;
    let (rank, rest) = match rest.split_once("->") {
        // `: ` and a blank for each who is before it.
        Some((indent, rest)) => (Rank::Waits(indent.len().saturating_sub(1)), rest),
        None => (Rank::Held, rest),
    };
    let mut fields = rest.split_ascii_whitespace();
    let kind = match fields.next()? {
        "FLOCK" => Kind::Flock,
        "POSIX" | "ACCESS" => Kind::Posix,
        "OFDLCK" => Kind::Ofd,
        "LEASE" | "DELEG" | "LAYOUT" => Kind::Lease,
        _ => return None,
    };
    let mode = mode(fields.nth(1)?);
    let pid = fields.next()?.parse().ok()?;
    let mut file = fields.next()?.split(':');
    let hexadecimal = |word: Option<&str>| u32::from_str_radix(word?, 16).ok();
    let inode = KernelInode {
        major: hexadecimal(file.next())?,
        minor: hexadecimal(file.next())?,
        number: file.next()?.parse().ok()?,
    };
    let start = fields.next()?.parse().ok()?;
    let end = match fields.next()? {
        "EOF" => None,
        end => Some(end.parse().ok()?),
    };
    Some(Listed {
        number,
        rank,
        kind,
        mode,
        pid,
        inode,
        range: Range { start, end },
    })
}

pub(super) fn mode(word: &str) -> Mode {
    match word {
        "WRITE" => Mode::Exclusive,
        _ => Mode::Shared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Listed {
        line(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn every_kind_of_line_is_read() {
        let flock = read("12: FLOCK  ADVISORY  WRITE 2034 fd:00:13241 0 EOF");
        let inode = KernelInode {
            major: 0xfd,
            minor: 0,
            number: 13241,
        };
        assert_eq!(flock.number, 12);
        assert_eq!(
            (flock.kind, flock.mode, flock.pid, flock.inode, flock.range),
            (Kind::Flock, Mode::Exclusive, 2034, inode, Range::WHOLE)
        );
        let ofd = read("3: OFDLCK ADVISORY  READ -1 fd:00:13242 100 199");
        let range = Range {
            start: 100,
            end: Some(199),
        };
        assert_eq!(
            (ofd.kind, ofd.mode, ofd.pid, ofd.range),
            (Kind::Ofd, Mode::Shared, -1, range)
        );
        let posix = read("2: POSIX  ADVISORY  WRITE 5 fe:1a:7 0 0");
        assert_eq!((posix.kind, posix.range.end), (Kind::Posix, Some(0)));
        assert_eq!(
            read("2: LEASE  BREAKING  READ 5 fe:1a:7 0 EOF").kind,
            Kind::Lease
        );
        for garbage in [
            "",
            "1",
            "1: ",
            "1: FLOCK",
            "1: NEW ADVISORY WRITE 5 1:1:1 0 EOF",
        ] {
            assert!(line(garbage).is_none(), "{garbage}");
        }
    }

    #[test]
    fn what_one_reading_missed_is_had_from_the_one_before_unless_it_went() {
        let locks = |list: &str| list.lines().map(read).collect::<Vec<_>>();
        let older = locks(
            "\
1: FLOCK  ADVISORY  WRITE 5 fe:00:1 0 EOF
1: -> FLOCK  ADVISORY  WRITE 6 fe:00:1 0 EOF
2: FLOCK  ADVISORY  WRITE 7 fe:00:2 0 EOF
2: -> FLOCK  ADVISORY  WRITE 8 fe:00:2 0 EOF
3: POSIX  ADVISORY  WRITE 9 fe:00:3 0 9
4: POSIX  ADVISORY  READ 9 fe:00:4 0 EOF",
        );
        let mut newest = locks(
            "\
1: FLOCK  ADVISORY  WRITE 8 fe:00:2 0 EOF
2: POSIX  ADVISORY  WRITE 10 fe:00:3 10 EOF
3: POSIX  ADVISORY  READ 9 fe:00:4 0 EOF",
        );
        unite(&mut newest, &older);
        let pids: Vec<_> = newest.iter().map(|lock| lock.pid).collect();
        assert_eq!(pids, [8, 10, 9, 5, 6, 9]);
    }

    #[test]
    fn a_lock_that_comes_twice_has_its_waiters_once() {
        let list = "\
1: FLOCK  ADVISORY  WRITE 5 fe:00:1 0 EOF
1: -> FLOCK  ADVISORY  WRITE 6 fe:00:1 0 EOF
1:  -> FLOCK  ADVISORY  WRITE 7 fe:00:1 0 EOF
2: FLOCK  ADVISORY  WRITE 5 fe:00:1 0 EOF
2: -> FLOCK  ADVISORY  WRITE 6 fe:00:1 0 EOF
2:  -> FLOCK  ADVISORY  WRITE 7 fe:00:1 0 EOF
3: FLOCK  ADVISORY  READ 8 fe:00:2 0 EOF
4: FLOCK  ADVISORY  READ 8 fe:00:2 0 EOF
4: -> FLOCK  ADVISORY  WRITE 9 fe:00:2 0 EOF
5: FLOCK  ADVISORY  WRITE 5 fe:00:3 0 EOF
5: -> FLOCK  ADVISORY  WRITE 6 fe:00:3 0 EOF";
        let mut locks = list.lines().map(read).collect();
        drop_repeated(&mut locks);
        let numbers: Vec<_> = locks.iter().map(|lock| lock.number).collect();
        assert_eq!(numbers, [1, 1, 1, 3, 4, 4, 5, 5]);
    }

    #[test]
    fn a_waiter_is_told_from_a_holder_and_its_depth_is_read() {
        let held = read("4: OFDLCK ADVISORY  WRITE -1 fe:00:1 0 EOF");
        let first = read("4: -> OFDLCK ADVISORY  WRITE -1 fe:00:1 0 EOF");
        let second = read("4:  -> OFDLCK ADVISORY  WRITE -1 fe:00:1 0 EOF");
        assert_eq!(held.rank, Rank::Held);
        assert_eq!(first.rank, Rank::Waits(0));
        assert_eq!(second.rank, Rank::Waits(1));
    }
}
