//! The keeper, as sneck sees it: a small process beside it that ends the command in time when sneck itself cannot.
//!
//! For: starting it, telling it until when the lock is held, saying goodbye. Not for: what it does (`unix_keeping.rs`).
//!
//! # What is said
//!
//! ```text
//!   sneck                                          the keeper
//!   starts it, waits for the lock (hours)          a group of its own, nothing open but the socket and stderr
//!   watch this group, until then ────────────────▶ makes the anchor a member of the group
//!   keep these open (what holds the lock) ───────▶ has them open from now on
//!        ◀──────────────── the anchor's number ─── or why it cannot
//!   lets the command go
//!   until then (each time the lease is renewed) ─▶ waits for that moment, and somewhat longer
//!   ending it, KILL at this moment ──────────────▶ sends KILL then, if sneck does not
//!   goodbye ─────────────────────────────────────▶ ends, and with it the anchor
//! ```
//!
//! End of file is the end of sneck, however it came; silence beyond the moment is a sneck that does not run (SIGSTOP). Moments are of the clock that counts suspend, the same in both processes: a message that is read
//! late says what it said when it was written.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use sneck::{Moment, Place};

use super::process::own_program;
use super::socket::{self, QUIET};
use super::{HeldCommand, MOST_DESCRIPTORS};

/// How long it may take to answer. It has nothing to do but that; a busy machine may let it wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often one that was killed is replaced.
const REPLACED: usize = 3;

/// The words by which sneck is started as a keeper; its number and the place follow, for people who look at `ps`.
pub(super) const VERB: [&str; 2] = ["keeper", "of"];

/// One message. All have the same length, so none is ever read in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Watch this group, from TERM to KILL so long, until this moment.
    Watch {
        group: i32,
        kill_after: Duration,
        until: Moment,
    },
    /// Keep these descriptors open: so many come with it.
    Keep(usize),
    /// The lock is held until this moment.
    Until(Moment),
    /// sneck has sent TERM; KILL at this moment.
    Ending(Moment),
    Goodbye,
}

pub(super) const LENGTH: usize = 4 * size_of::<u64>();

impl Word {
    pub(super) fn written(self) -> [u8; LENGTH] {
        let moment = |moment: Moment| nanoseconds(moment.since_boot());
        let numbers = match self {
            Word::Watch {
                group,
                kill_after,
                until,
            } => [
                1 | u64::from(group.unsigned_abs()) << 8,
                nanoseconds(kill_after),
                moment(until),
                0,
            ],
            Word::Keep(count) => [2, count as u64, 0, 0],
            Word::Until(until) => [3, moment(until), 0, 0],
            Word::Ending(kill) => [4, moment(kill), 0, 0],
            Word::Goodbye => [5, 0, 0, 0],
        };
        let mut bytes = [0; LENGTH];
        for (place, number) in bytes.chunks_exact_mut(size_of::<u64>()).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    pub(super) fn read(bytes: &[u8; LENGTH]) -> Option<Word> {
        let mut numbers = [0; 4];
        for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(size_of::<u64>())) {
            *number = u64::from_ne_bytes(bytes.try_into().ok()?);
        }
        let [kind, one, two, _] = numbers;
        let moment = |number| Moment::from_boot(Duration::from_nanos(number));
        Some(match kind & 0xff {
            1 => Word::Watch {
                group: i32::try_from(kind >> 8).ok()?,
                kill_after: Duration::from_nanos(one),
                until: moment(two),
            },
            2 => Word::Keep(usize::try_from(one).ok()?),
            3 => Word::Until(moment(one)),
            4 => Word::Ending(moment(one)),
            5 => Word::Goodbye,
            _ => return None,
        })
    }
}

/// Five hundred years of them fit.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What sneck says to its keeper, from whichever thread.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// The present keeper's.
    socket: Arc<Mutex<Arc<OwnedFd>>>,
}

impl Line {
    fn to(socket: OwnedFd) -> Line {
        Line {
            socket: Arc::new(Mutex::new(Arc::new(socket))),
        }
    }

    fn socket(&self) -> Arc<OwnedFd> {
        let socket = self.socket.lock();
        socket.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn leads_to(&self, socket: Arc<OwnedFd>) {
        let mut present = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        *present = socket;
    }

    /// Never waits: a keeper that does not read has room for thousands of words, and if it is gone there is nobody to tell.
    pub(crate) fn say(&self, word: Word) {
        let flags = QUIET | SendFlags::DONTWAIT;
        let _ = retry_on_intr(|| rustix::net::send(&*self.socket(), &word.written(), flags));
    }
}

/// A keeper that was started. Dropping it says goodbye, and waits until it has gone.
#[derive(Debug)]
pub(crate) struct Keeper {
    process: Child,
    line: Line,
    place: Place,
    /// The member of the command's group that belongs to it.
    anchor: Option<i32>,
    replaced: usize,
}

impl Keeper {
    /// Starts it. It does nothing before it is told what to watch, and ends with sneck.
    pub(crate) fn start(place: &Place) -> io::Result<Keeper> {
        let (process, socket) = spawn(place)?;
        Ok(Keeper {
            process,
            line: Line::to(socket),
            place: place.clone(),
            anchor: None,
            replaced: 0,
        })
    }

    /// Tells it what to watch, and gives it what holds the lock. To be called when the command leads its group, and before it is let go.
    pub(super) fn watch(
        &mut self,
        command: &HeldCommand,
        kill_after: Duration,
        until: Moment,
        holding: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let socket = self.line.socket();
        let watch = Word::Watch {
            group: command.pid(),
            kill_after,
            until,
        };
        send_with(&socket, watch, &[])?;
        send_with(&socket, Word::Keep(holding.len()), holding)?;
        self.anchor = Some(answer(&socket)?);
        Ok(())
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    pub(super) fn anchor(&self) -> Option<i32> {
        self.anchor
    }

    /// Whether somebody has ended it.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Another one, if it can be had: one that is killed again and again is not meant to be.
    pub(super) fn replace(
        &mut self,
        command: &HeldCommand,
        kill_after: Duration,
        until: Moment,
        holding: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        if self.replaced == REPLACED {
            return Err(io::Error::other("it is ended again and again"));
        }
        self.replaced += 1;
        let (process, socket) = spawn(&self.place)?;
        self.process = process;
        self.line.leads_to(Arc::new(socket));
        self.watch(command, kill_after, until, holding)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.line.say(Word::Goodbye);
        // Stopped, it would not read it; it has done all it was for. Killed before it was told what to watch, it leaves nothing; later, its anchor sees the end of it.
        let gone = until_end_of_file(&self.line.socket());
        if !gone {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn spawn(place: &Place) -> io::Result<(Child, OwnedFd)> {
    let (ours, theirs) = socket::pair()?;
    let process = Command::new(own_program()?)
        .arg0("sneck")
        .args(VERB)
        .arg(std::process::id().to_string())
        .arg(place.to_string())
        .current_dir("/")
        // What the terminal sends to our group, and what is sent to it by `kill 0`, is not for it.
        .process_group(0)
        .stdin(theirs)
        .stdout(Stdio::null())
        .spawn()?;
    Ok((process, ours))
}

fn send_with(socket: &OwnedFd, word: Word, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let rights = SendAncillaryMessage::ScmRights(descriptors);
    let mut space = vec![MaybeUninit::uninit(); rights.size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if descriptors.len() > MOST_DESCRIPTORS || (!descriptors.is_empty() && !ancillary.push(rights))
    {
        return Err(Errno::INVAL.into());
    }
    let bytes = word.written();
    let message = [io::IoSlice::new(&bytes)];
    retry_on_intr(|| sendmsg(socket, &message, &mut ancillary, QUIET))?;
    Ok(())
}

/// The anchor's number.
fn answer(socket: &OwnedFd) -> io::Result<i32> {
    if !readable(socket)? {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the keeper does not answer",
        ));
    }
    let mut number = [0; size_of::<i32>()];
    let (_, length) = retry_on_intr(|| recv(socket, &mut number[..], RecvFlags::empty()))?;
    match i32::from_ne_bytes(number) {
        _ if length < number.len() => Err(io::Error::other("the keeper ended")),
        number if number > 0 => Ok(number),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// Whether it hangs up, as its end makes it.
fn until_end_of_file(socket: &OwnedFd) -> bool {
    let mut left = [0; 64];
    while readable(socket).unwrap_or(false) {
        match retry_on_intr(|| recv(socket, &mut left[..], RecvFlags::empty())) {
            Ok((_, 1..)) => {}
            _ => return true,
        }
    }
    false
}

/// Whether there is something to read in time.
fn readable(socket: impl AsFd) -> io::Result<bool> {
    let patience = Timespec::try_from(PATIENCE).map_err(|_| io::Error::from(Errno::INVAL))?;
    let mut one = [PollFd::new(&socket, PollFlags::IN)];
    Ok(retry_on_intr(|| poll(&mut one, Some(&patience)))? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let until = Moment::from_boot(Duration::new(86_400, 7));
        let words = [
            Word::Watch {
                group: i32::MAX,
                kill_after: Duration::from_millis(2500),
                until,
            },
            Word::Keep(253),
            Word::Until(until),
            Word::Ending(until),
            Word::Goodbye,
        ];
        for word in words {
            assert_eq!(Word::read(&word.written()), Some(word));
        }
        assert_eq!(Word::read(&[0; LENGTH]), None);
    }
}
