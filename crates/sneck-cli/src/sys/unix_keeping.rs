//! The keeper itself: `sneck keeper of PID PLACE`, which sneck starts beside itself. Not for people to call, and not for what sneck says to it (`unix_keeper.rs`).
//!
//! It waits. If sneck ends, or lets the moment pass until which the lock is held, the keeper ends the command's group: TERM (and CONT, lest a stopped process sleeps through it), `--kill-after` later KILL. TERM comes when the
//! lease is over at the latest, so KILL comes before the server lets anybody in: `--kill-after` is shorter than the lock delay. What holds the lock, and would free it when it is closed (a PostgreSQL connection), it has open until nobody is left in the group.
//!
//! No signal but KILL and STOP reaches it. It is one thread, and has one child, the anchor.
//!
//! # The anchor
//!
//! A group is named by a number, and numbers come back:
//!
//! 1. sneck is killed. 2. The command, which leads group 700, has ended and is reaped by init; nobody else is in the group. 3. Somebody else's job gets the number 700. 4. The keeper sends KILL to group 700.
//!
//! So the keeper has a member of its own in the group: a child that does nothing. As long as it has not been *reaped* the kernel gives its group's number to nobody else, and only the keeper can reap it: also when the KILL
//! that ends the group has ended the anchor, it stays as a zombie until the keeper leaves. It ends by itself if the keeper does.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use rustix::process::{Pid, WaitOptions, getppid, waitpid};
use sneck::{Moment, text};

use super::keeper::{LENGTH, VERB, Word};
use super::process::{name_ourselves, open_descriptors, others_in_group};
use super::socket::{self, QUIET};
use super::{Alarm, MOST_DESCRIPTORS, all_signals, change_mask};
use crate::exit::Exit;

/// How often it is looked whether the group is empty. Nothing wakes anybody when that happens.
const TICK: Duration = Duration::from_millis(20);
/// How long processes may take to go once they were killed, where nobody can tell whether they have.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// So long sneck may be late: it ends the command itself when it can, and one TERM is enough.
const SLACK: Duration = Duration::from_millis(200);

/// Does what a keeper does, if this process was started as one. None: it was not.
pub(crate) fn keep() -> Option<Exit> {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let [keeper, of, sneck, place] = words.as_slice() else {
        return None;
    };
    if [keeper.as_str(), of.as_str()] != VERB {
        return None;
    }
    let exit = match Keeping::begin(sneck, place) {
        Ok(Some(keeping)) => keeping.keep().map_or(Exit::Io, |()| Exit::Ok),
        // sneck has gone, or needs none: nothing was begun.
        Ok(None) => Exit::Ok,
        Err(_) => Exit::Usage,
    };
    Some(exit)
}

#[derive(Debug)]
struct Keeping {
    group: i32,
    kill_after: Duration,
    /// Until when the lock is held.
    until: Moment,
    course: Course,
    anchor: Anchor,
    alarm: Alarm,
    /// How messages begin.
    speaker: String,
    /// What holds the lock.
    _open: Vec<OwnedFd>,
}

/// Who ends the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// Nobody has to.
    Watching,
    /// sneck, which has sent TERM; if it does not get to KILL by this moment, we do.
    SneckEnds(Moment),
}

/// What happened.
enum Heard {
    Word(Word),
    /// End of file.
    SneckEnded,
    /// The alarm.
    Time,
}

impl Keeping {
    /// Becomes what a keeper is, and hears what there is to watch.
    fn begin(sneck: &str, place: &str) -> io::Result<Option<Keeping>> {
        change_mask(libc::SIG_BLOCK, Some(&all_signals()));
        close_others();
        name_ourselves(c"sneck-keeper");
        let line = line();
        let (word, _) = match hear(line)? {
            Some(heard) => heard,
            None => return Ok(None),
        };
        let Word::Watch {
            group,
            kill_after,
            until,
        } = word
        else {
            return Ok(None);
        };
        // Before anything else is open that the anchor would inherit.
        let anchor = Anchor::in_group(group, sneck);
        let Some((Word::Keep(count), open)) = hear(line)? else {
            return Ok(None);
        };
        let anchor = match anchor {
            _ if open.len() != count => Err(Errno::MFILE.into()),
            anchor => anchor,
        };
        let number = match &anchor {
            Ok(anchor) => anchor.pid.as_raw_nonzero().get(),
            Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
        };
        retry_on_intr(|| rustix::net::send(line, &number.to_ne_bytes(), QUIET))?;
        Ok(Some(Keeping {
            group,
            kill_after,
            until,
            course: Course::Watching,
            anchor: anchor?,
            alarm: Alarm::new()?,
            speaker: format!("sneck: {place}: the keeper of pid {sneck}"),
            _open: open,
        }))
    }

    fn keep(mut self) -> io::Result<()> {
        loop {
            let slack = SLACK.min(self.kill_after / 4);
            let due = match self.course {
                Course::Watching => self.until.after(slack),
                Course::SneckEnds(kill) => Some(kill),
            };
            self.alarm.set(due.map(Moment::until))?;
            match self.listen()? {
                Heard::Word(Word::Until(until)) => self.until = until,
                Heard::Word(Word::Ending(kill)) => self.course = Course::SneckEnds(kill),
                Heard::Word(Word::Goodbye) => return Ok(()),
                Heard::Word(Word::Watch { .. } | Word::Keep(_)) => {}
                Heard::SneckEnded => return self.end_group("sneck was killed"),
                Heard::Time if due.is_none_or(|due| !due.until().is_zero()) => {}
                Heard::Time => return self.end_group("sneck does not run and has not renewed it"),
            }
        }
    }

    fn listen(&self) -> io::Result<Heard> {
        if !self.alarm.wait(line())? {
            return Ok(Heard::Time);
        }
        Ok(match hear(line())? {
            Some((word, _)) => Heard::Word(word),
            None => Heard::SneckEnded,
        })
    }

    /// Returns when nobody is left.
    fn end_group(self, why: &str) -> io::Result<()> {
        let kill = match self.course {
            Course::SneckEnds(kill) => kill,
            Course::Watching => {
                // Others may get in from the lease's end and the lock delay on, whatever we do: KILL never waits for longer than that.
                let told = Moment::now().min(self.until);
                self.send(libc::SIGTERM);
                self.send(libc::SIGCONT);
                self.say(&format!(
                    "{why}: TERM to process group {}, KILL {} later",
                    self.group,
                    text::span(self.kill_after)
                ));
                told.after(self.kill_after).unwrap_or(told)
            }
        };
        let mut killed = None;
        loop {
            let others = self.others();
            if others.as_deref() == Some(&[]) {
                return Ok(());
            }
            match killed {
                None if kill.until().is_zero() => {
                    self.send(libc::SIGKILL);
                    killed = Some(Moment::now());
                    // Otherwise sneck says it, or is not there to be believed.
                    if self.course == Course::Watching {
                        self.say(&format!("KILL to process group {}", self.group));
                    }
                    continue;
                }
                Some(killed) if others.is_none() && killed.elapsed() >= LAST_WAIT => return Ok(()),
                _ => {}
            }
            let rest = match killed {
                None => kill.until(),
                Some(_) => TICK,
            };
            pause(rest.clamp(Duration::from_millis(1), TICK));
        }
    }

    /// Who is in the group beside the anchor, the command itself too; None: it cannot be told.
    fn others(&self) -> Option<Vec<i32>> {
        // There is no process 0: all are asked for.
        let mut members = others_in_group(self.group, None)?;
        members.retain(|pid| *pid != self.anchor.pid.as_raw_nonzero().get());
        Some(members)
    }

    fn send(&self, signal: i32) {
        // SAFETY: kill touches no memory. The number is the group's for as long as the anchor is not reaped (see above), which happens when `self` is dropped.
        if unsafe { libc::kill(-self.group, signal) } != 0 {
            let error = io::Error::last_os_error();
            self.say(&format!("cannot end process group {}: {error}", self.group));
        }
    }

    /// Only where it can be written at once: somebody who does not read must not keep us from what comes next.
    fn say(&self, what: &str) {
        let stderr = rustix::stdio::stderr();
        let mut one = [PollFd::new(&stderr, PollFlags::OUT)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if poll(&mut one, Some(&at_once)).is_ok_and(|ready| ready > 0) {
            crate::waiting::tell(&format!("{}: {what}", self.speaker));
        }
    }
}

/// The socket to sneck is our standard input.
fn line() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

/// The next word, and what came with it. None: end of file.
fn hear(line: impl AsFd) -> io::Result<Option<(Word, Vec<OwnedFd>)>> {
    let mut bytes = [0; LENGTH];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let answer = retry_on_intr(|| {
        let mut message = [io::IoSliceMut::new(&mut bytes)];
        recvmsg(&line, &mut message, &mut ancillary, RecvFlags::empty())
    });
    let answer = match answer {
        Ok(answer) if answer.bytes > 0 => answer,
        // It ended with our answer unread.
        Ok(_) | Err(Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut open = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            open.extend(descriptors);
        }
    }
    let whole = answer.bytes == LENGTH && !answer.flags.contains(ReturnFlags::CTRUNC);
    let word = Word::read(&bytes).filter(|_| whole);
    let word = word.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Some((word, open)))
}

fn close_others() {
    for number in open_descriptors() {
        if number > 2 {
            // SAFETY: nothing in this process has it open for its own use: it was inherited, and this is the first thing that is done here.
            unsafe { libc::close(number) };
        }
    }
}

/// Signals are blocked: nothing wakes it before.
fn pause(time: Duration) {
    let time = Timespec::try_from(time).ok();
    let _ = poll(&mut [], time.as_ref());
}

/// A member of the command's group that is ours. Dropping it lets it go.
#[derive(Debug)]
struct Anchor {
    pid: Pid,
    /// It lives as long as this is open.
    life: Option<OwnedFd>,
}

impl Anchor {
    /// The group is there: sneck has made it, and its leader is not reaped as long as sneck lives.
    fn in_group(group: i32, sneck: &str) -> io::Result<Anchor> {
        let (end, life) = socket::pair()?;
        // SAFETY: this process has one thread: its copy finds everything as it is.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => stay(&end, life),
            pid => {
                let pid = Pid::from_raw(pid).ok_or(Errno::CHILD)?;
                let anchor = Anchor {
                    pid,
                    life: Some(life),
                };
                let group = Pid::from_raw(group).ok_or(Errno::INVAL)?;
                // Our own child, which executes nothing, in the session of both: it may be moved.
                rustix::process::setpgid(Some(pid), Some(group))?;
                // Before we were in it nothing but sneck held the group's number: if sneck has ended meanwhile, it may be another's, and nothing is done to it.
                if getppid().is_none_or(|parent| parent.to_string() != sneck) {
                    return Err(Errno::SRCH.into());
                }
                Ok(anchor)
            }
        }
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        drop(self.life.take());
        let _ = retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()));
    }
}

/// The anchor's life. All signals are blocked already.
fn stay(end: &OwnedFd, life: OwnedFd) -> ! {
    name_ourselves(c"sneck-anchor");
    drop(life);
    for number in 0..end.as_raw_fd() {
        // SAFETY: these are the standard ones, which are not used here any more.
        unsafe { libc::close(number) };
    }
    // Nobody writes: this returns when the keeper has gone.
    let _ = retry_on_intr(|| rustix::io::read(end, &mut [0_u8; 1]));
    super::leave(0)
}
