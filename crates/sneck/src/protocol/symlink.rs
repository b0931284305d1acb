//! `symlink`: a symbolic link whose target is the holder's process number.
//!
//! Downsides. The link outlives its holder: a crash leaves a stale claim, and only the number tells whose it was, so one host and one pid
//! namespace are presumed. There is no room for more. No queue: waiters race. Exclusive only.
//!
//! Bytes: the link's target is the decimal number, no line end, nothing else (Twisted reads ` +12 ` as 12, so this does too). Made by one
//! symlink(2), so it is never seen half-written; removed at release. The link dangles by design.
//!
//! Also spoken by Twisted's `FilesystemLock` and `DeferredFilesystemLock`.
//!
//! A link has no inode that flock(2) works on, so breakers lock the *folder* for the instant in which they compare and remove. Twisted does not: beside it, a
//! claim can still be lost to Twisted's own race.

use super::{
    Attempt, Busy, Capabilities, Contender, Held, Mark, Protocol, Removable, Removal, Sighting,
    Standing, Wake,
};
use crate::claim::Claim;
use crate::error::{Error, ErrorKind, Result};
use crate::holder::{Holder, Source};
use crate::place::Place;
use crate::sys::file::{Directory, Kind, Look, Meaning, Tried, meaning};
use crate::sys::text as os;
use crate::text;
use crate::timeout::Moment;
use crate::wait;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a link that changes under our eyes is read again before a pause.
const CHANGING: usize = 64;
/// How long a release waits for a breaker that works in the same folder.
const BREAKER_PATIENCE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Symlink {
    target: Arc<Target>,
}

#[derive(Debug)]
struct Target {
    place: Place,
    path: PathBuf,
    folder: PathBuf,
    name: OsString,
}

impl Symlink {
    pub(crate) fn new(place: Place) -> Result<Symlink> {
        let path = place.absolute_path()?;
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        let name = path.file_name().unwrap_or_default().to_owned();
        Ok(Symlink {
            target: Arc::new(Target {
                place,
                path,
                folder,
                name,
            }),
        })
    }
}

/// What stands at the name.
#[derive(Debug)]
enum Seen {
    Nothing,
    Claim {
        pid: u32,
        look: Look,
        content: OsString,
    },
    Damaged(OsString),
    Foreign(String),
}

impl Target {
    fn failed(&self, doing: &'static str, error: io::Error) -> Error {
        if meaning(&error) == Meaning::Unsupported {
            return Error::new(
                ErrorKind::Unsupported,
                doing,
                "this file system cannot do symbolic links",
            )
            .at(&self.place)
            .advise("another protocol may work here, `flock:` for instance, if every party uses it")
            .because(error);
        }
        Error::os(doing, &error).at(&self.place).because(error)
    }

    fn open_folder(&self) -> Result<Directory> {
        match Directory::open(&self.folder) {
            Err(error) if meaning(&error) == Meaning::NoPermission => {
                // A folder we may not list is one whose claims we cannot break; making our own works.
                Directory::open_unlisted(&self.folder)
                    .map_err(|e| self.failed("open the folder", e))
            }
            other => other.map_err(|e| self.failed("open the folder", e)),
        }
    }

    /// Read the link; kind, target and inode of one and the same link.
    fn see(&self, folder: &Directory) -> io::Result<Seen> {
        for _ in 0..CHANGING {
            let Some(look) = folder.look(&self.name)? else {
                return Ok(Seen::Nothing);
            };
            if look.kind != Kind::Symlink {
                return Ok(Seen::Foreign(look.kind.words().to_owned()));
            }
            let content = match folder.link_target(&self.name) {
                Ok(Some(content)) => content,
                // Gone, or replaced by something else than a link, between the two looks.
                Ok(None) => continue,
                Err(error) if meaning(&error) == Meaning::Unsupported => continue,
                Err(error) => return Err(error),
            };
            if folder.look(&self.name)? != Some(look) {
                continue;
            }
            return Ok(match number(&content) {
                Number::Pid(pid) => Seen::Claim { pid, look, content },
                Number::Impossible => Seen::Damaged(content),
                Number::No => Seen::Foreign(format!(
                    "a symbolic link to `{}`",
                    text::clean(&content.to_string_lossy())
                )),
            });
        }
        Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "the link changes faster than it can be read",
        ))
    }

    fn foreign(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Foreign,
            "look",
            format!("this is {what}, not a lock of protocol symlink"),
        )
        .at(&self.place)
        .advise("nothing was changed; name another file")
    }

    fn sighting(seen: &Seen) -> Sighting {
        match seen {
            Seen::Nothing => Sighting::Free,
            Seen::Damaged(content) => Sighting::Damaged {
                what: format!(
                    "the link's target `{}` is no process number",
                    text::clean(&content.to_string_lossy())
                ),
            },
            Seen::Foreign(what) => Sighting::Foreign { what: what.clone() },
            Seen::Claim { pid, look, content } => Sighting::Held {
                holders: vec![Holder {
                    mode: Some(crate::Mode::Exclusive),
                    since: Some(look.changed_at()),
                    ..Holder::process(Source::Record, *pid)
                }],
                mark: Some(mark(look, content)),
            },
        }
    }
}

fn mark(look: &Look, content: &OsStr) -> Mark {
    Mark {
        inode: (look.inode.device, look.inode.number),
        changed: look.changed,
        content: os::bytes(content).to_vec(),
    }
}

enum Number {
    Pid(u32),
    /// A number, but none that a process can have.
    Impossible,
    No,
}

/// What Python's `int()` accepts of a process number: blanks around it and a sign.
fn number(content: &OsStr) -> Number {
    let Some(text) = content.to_str().map(str::trim) else {
        return Number::No;
    };
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Number::No;
    }
    match text.parse::<i32>() {
        Ok(pid) if pid > 0 => Number::Pid(pid.unsigned_abs()),
        _ => Number::Impossible,
    }
}

impl Protocol for Symlink {
    fn place(&self) -> &Place {
        &self.target.place
    }

    fn identity(&self) -> String {
        super::file_identity("symlink", &self.target.path)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            removal: Removable::Yes,
            ..Capabilities::LEAST
        }
    }

    fn ground(&self) -> super::Ground {
        super::ground_of(&self.target.path)
    }

    fn contend(&self, claim: &Arc<Claim>) -> Result<Box<dyn Contender>> {
        let folder = self.target.open_folder()?;
        Ok(Box::new(Seat {
            target: self.target.clone(),
            claim: claim.clone(),
            folder: Some(folder),
        }))
    }

    fn inspect(&self) -> Result<Sighting> {
        let folder = match Directory::open_unlisted(&self.target.folder) {
            Ok(folder) => folder,
            Err(error) if meaning(&error) == Meaning::NoParent => return Ok(Sighting::Free),
            Err(error) => return Err(self.target.failed("look", error)),
        };
        let seen = self
            .target
            .see(&folder)
            .map_err(|e| self.target.failed("look", e))?;
        Ok(match Target::sighting(&seen) {
            Sighting::Held { holders, mark } => Sighting::Held {
                holders: holders.into_iter().map(Holder::described).collect(),
                mark,
            },
            other => other,
        })
    }

    /// The race that this ends, as it is in Twisted:
    /// 1. The holder dies; A and B read its number and find it dead. 2. A removes the link and makes its own: A holds.
    /// 3. B, still acting on what it read in 1, removes *A's* link and makes its own: both hold.
    ///
    /// Here step 3 compares and removes under a lock that A's step 2 also needs, so B finds that the link is not the one it judged.
    fn remove(&self, seen: &Mark) -> Result<Removal> {
        let folder = match Directory::open(&self.target.folder) {
            Ok(folder) => folder,
            Err(error) if meaning(&error) == Meaning::NoPermission => {
                return Ok(Removal::NotAllowed);
            }
            Err(error) => return Err(self.target.failed("open the folder", error)),
        };
        let locked = folder
            .try_flock()
            .map_err(|e| self.target.failed("lock the folder", e))?;
        if locked == Tried::Busy {
            return Ok(Removal::BreakerBusy);
        }
        let removal = match self.target.see(&folder) {
            Ok(Seen::Claim { look, content, .. }) if mark(&look, &content) == *seen => match folder
                .remove(&self.target.name)
            {
                Ok(()) => Ok(Removal::Removed),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removal::Changed),
                Err(error) if meaning(&error) == Meaning::NoPermission => Ok(Removal::NotAllowed),
                Err(error) => Err(self.target.failed("remove", error)),
            },
            Ok(_) => Ok(Removal::Changed),
            Err(error) => Err(self.target.failed("look", error)),
        };
        folder.unflock();
        removal
    }
}

#[derive(Debug)]
struct Seat {
    target: Arc<Target>,
    claim: Arc<Claim>,
    /// None: the claim was made, and the holding has the folder now.
    folder: Option<Directory>,
}

impl Contender for Seat {
    fn attempt(&mut self) -> Result<Attempt> {
        let target = &self.target;
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => target.open_folder()?,
        };
        let content = self.claim.party().pid().to_string();
        for _ in 0..CHANGING {
            match folder.link(&content, &target.name) {
                Ok(()) => {
                    let Some(look) = folder
                        .look(&target.name)
                        .map_err(|e| target.failed("look", e))?
                    else {
                        continue;
                    };
                    let (target, content) = (target.clone(), OsString::from(content));
                    return Ok(Attempt::Held(Box::new(Holding {
                        target,
                        folder,
                        look,
                        content,
                        released: false,
                        lost: AtomicBool::new(false),
                    })));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(target.failed("make the link", error)),
            }
            let seen = target.see(&folder).map_err(|e| target.failed("look", e))?;
            let mut wakes = vec![Wake::Entry(target.path.clone())];
            match &seen {
                Seen::Nothing => continue,
                Seen::Foreign(what) => return Err(target.foreign(what)),
                Seen::Claim { pid, .. } => wakes.push(Wake::Exit(*pid)),
                Seen::Damaged(_) => {}
            }
            self.folder = Some(folder);
            return Ok(Attempt::Busy(Busy {
                seen: Target::sighting(&seen),
                wakes,
            }));
        }
        self.folder = Some(folder);
        Ok(Attempt::Busy(Busy {
            seen: Sighting::held_by_somebody(),
            wakes: vec![Wake::Entry(target.path.clone())],
        }))
    }
}

#[derive(Debug)]
struct Holding {
    target: Arc<Target>,
    folder: Directory,
    look: Look,
    content: OsString,
    released: bool,
    /// Once lost, always lost. The file system gives the number of a removed link away again, and the next claim of this very process has the same
    /// content: it looks like ours. But it is made only after the line in the process was told that ours is lost.
    lost: AtomicBool,
}

impl Holding {
    /// Whether the link is still ours: same inode, our number. Not its times, which `touch -h` changes.
    fn is_there(&self) -> io::Result<bool> {
        let ours = match self.target.see(&self.folder)? {
            Seen::Claim { look, content, .. } => {
                look.inode == self.look.inode && content == self.content
            }
            _ => false,
        };
        let lost = self.lost.fetch_or(!ours, Ordering::AcqRel) || !ours;
        Ok(!lost)
    }

    /// Compare and remove under the folder's lock, so that nobody forces our link away in between and has theirs removed by us.
    /// Somebody who locks the folder for long (`flock folder command` does) must not keep us from releasing: after some patience the
    /// link is removed without it, which can go wrong only beside somebody who forces live claims away at that very moment.
    fn lock_folder(&self) -> Option<&Directory> {
        let start = Moment::now();
        let mut pause = Duration::from_micros(100);
        loop {
            match self.folder.try_flock() {
                Ok(Tried::Locked) => return Some(&self.folder),
                Ok(Tried::Busy) if start.elapsed() < BREAKER_PATIENCE => wait::pause(pause),
                _ => return None,
            };
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

impl Held for Holding {
    fn release(&mut self) -> Result<()> {
        if self.released || !self.folder.is_ours() {
            return Ok(());
        }
        let target = &self.target;
        let locked = self.lock_folder();
        let result = match self.is_there() {
            Ok(true) => self
                .folder
                .remove(&target.name)
                .map_err(|e| target.failed("remove the link", e)),
            Ok(false) => Err(lost(target)),
            Err(error) => Err(target.failed("look", error)),
        };
        if let Some(folder) = locked {
            folder.unflock();
        }
        self.released = true;
        result
    }

    fn standing(&self) -> Standing {
        if self.released {
            return Standing::Released;
        }
        match self.is_there() {
            Ok(false) => Standing::Lost("the link was removed or is another's".into()),
            Ok(true) | Err(_) => Standing::Held,
        }
    }

    fn found(&self) -> super::Clean {
        // Nothing stood there when the link was made: whoever held it last removed it, or somebody did for it. The loop knows if it was us.
        super::Clean::Yes
    }
}

fn lost(target: &Target) -> Error {
    Error::new(
        ErrorKind::Lost,
        "release",
        "the lock was taken away while it was held; nothing was removed",
    )
    .at(&target.place)
    .advise("find out who removed the link: what the lock guards may have been used by two")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_twisted_reads_them_but_impossible_ones_are_nobody() {
        let read = |s: &str| match number(OsStr::new(s)) {
            Number::Pid(pid) => i64::from(pid),
            Number::Impossible => -1,
            Number::No => -2,
        };
        assert_eq!([read("12"), read(" +12 "), read("0012\n")], [12, 12, 12]);
        assert_eq!(
            [read("0"), read("-5"), read("99999999999999999999")],
            [-1, -1, -1]
        );
        assert_eq!(
            [
                read(""),
                read("12a"),
                read("/etc/passwd"),
                read("1 2"),
                read("+")
            ],
            [-2; 5]
        );
    }
}
