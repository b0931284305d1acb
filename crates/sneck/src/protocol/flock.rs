//! `flock`: flock(2) on a regular file.
//!
//! Downsides. Blind to the other family: a POSIX or OFD lock on the same file is not seen. Removing or replacing the file while it is held splits the lock in two (the
//! holder is told by `standing()`; newcomers use the file that is there; a waiter that sleeps in the kernel on the old file learns at
//! its deadline or when the old holder ends). A child that inherits the descriptor holds it too. Readers that overlap can
//! keep a writer out for ever. On NFS it is a byte-range lock on the server and wants write access; locks taken on the server itself are not seen.
//!
//! Bytes: none; the file's content is never touched. With [`Record::Pid`], `pid\n` while held and an empty file after a release, so that content
//! found by the next holder means that the last one died. The file stays: removing it would need every speaker to check the name.
//!
//! Also spoken by util-linux flock(1), setlock, chpst, locket, PEAK's FLockFile, cargo, uv, filelock. Unlike flock(1), a directory is refused.

use super::{
    Attempt, Blocked, Borrowed, Busy, Capabilities, Clean, Contender, Crash, Held, Modes, Order,
    Protocol, Sighting, Standing, Stop, Unshared, Wake,
};
use crate::claim::Claim;
use crate::error::{Error, ErrorKind, Result};
use crate::inspect;
use crate::place::Place;
use crate::sys::file::{self, Access, Descriptor, Inode, Kind, Look, Meaning, Opened, Tried};
use crate::text;
use crate::wait::{self, Ended};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Whether a holder writes its number into the lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Record {
    /// The content is left alone.
    #[default]
    None,
    /// `pid\n` while held, empty otherwise. A file with other content is refused.
    Pid,
}

/// A number and a line end; nothing longer is a record.
const LONGEST_RECORD: usize = 24;
/// How often a file that is replaced under our hands is opened anew before a pause.
const REPLACED: usize = 64;

#[derive(Debug)]
pub(crate) struct Flock {
    target: Arc<Target>,
}

/// What is to be locked, shared by the protocol, its claimants and holdings.
#[derive(Debug)]
struct Target {
    place: Place,
    path: PathBuf,
    record: Record,
}

impl Flock {
    pub(crate) fn new(place: Place, record: Record) -> Result<Flock> {
        let path = place.absolute_path()?;
        Ok(Flock {
            target: Arc::new(Target {
                place,
                path,
                record,
            }),
        })
    }
}

impl Protocol for Flock {
    fn place(&self) -> &Place {
        &self.target.place
    }

    fn identity(&self) -> String {
        super::file_identity("flock", &self.target.path)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            modes: Modes::SharedToo,
            order: Order::ExclusiveFifo,
            crash: Crash::Free,
            ..Capabilities::LEAST
        }
    }

    fn ground(&self) -> super::Ground {
        super::ground_of(&self.target.path)
    }

    fn contend(&self, claim: &Arc<Claim>) -> Result<Box<dyn Contender>> {
        let mut seat = Seat {
            target: self.target.clone(),
            claim: claim.clone(),
            access: if self.target.record == Record::None {
                Access::Lock
            } else {
                Access::Write
            },
            file: None,
        };
        seat.open()?;
        Ok(Box::new(seat))
    }

    fn inspect(&self) -> Result<Sighting> {
        let target = &self.target;
        match target.look()? {
            None => Ok(Sighting::Free),
            Some(look) if look.kind != Kind::Regular => Ok(Sighting::Foreign {
                what: look.kind.words().to_owned(),
            }),
            Some(look) => inspect::flock_holders(look.inode)
                .map_err(|e| Error::os("look", &e).at(&target.place).because(e)),
        }
    }
}

impl Target {
    fn look(&self) -> Result<Option<Look>> {
        file::look(&self.path).map_err(|e| Error::os("look", &e).at(&self.place).because(e))
    }

    /// Whether the path still names this file.
    fn is_at_path(&self, inode: Inode) -> Result<bool> {
        Ok(self.look()?.is_some_and(|there| there.inode == inode))
    }

    fn foreign(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Foreign,
            "open",
            format!("this is {what}, not a lock file of protocol flock"),
        )
        .at(&self.place)
        .advise("nothing was changed; name another file")
    }

    fn failed(&self, doing: &'static str, error: io::Error) -> Error {
        match file::meaning(&error) {
            Meaning::WrongKind => self.foreign(match file::look(&self.path) {
                Ok(Some(look)) => look.kind.words(),
                _ => "no regular file",
            }),
            Meaning::Unsupported if doing == "lock" => Error::new(
                ErrorKind::Unsupported,
                doing,
                "this file system cannot do flock(2)",
            )
            .at(&self.place)
            .advise(
                "another protocol may work here, `symlink:` for instance, if every party uses it",
            )
            .because(error),
            _ => Error::os(doing, &error).at(&self.place).because(error),
        }
    }
}

/// One claimant: the open file, before it is locked.
#[derive(Debug)]
struct Seat {
    target: Arc<Target>,
    claim: Arc<Claim>,
    access: Access,
    file: Option<(Unshared<Descriptor>, Inode)>,
}

impl Seat {
    fn open(&mut self) -> Result<()> {
        let target = &self.target;
        // Opening a device or a FIFO can do something (rewind a tape, start a watchdog): look before.
        if let Some(look) = target.look()? {
            if look.kind != Kind::Regular {
                return Err(target.foreign(look.kind.words()));
            }
        }
        let (Opened::Existing(file) | Opened::Created(file)) =
            file::open_lock_file(&target.path, self.access)
                .map_err(|e| target.failed("open", e))?;
        let look = file::look_at_descriptor(&file).map_err(|e| target.failed("look", e))?;
        if look.kind != Kind::Regular {
            return Err(target.foreign(look.kind.words()));
        }
        self.file = Some((Unshared::new(file), look.inode));
        Ok(())
    }

    /// The lock was taken on the open file. Held, if the path still names that file.
    fn taken(&mut self) -> Result<Option<Box<dyn Held>>> {
        let (file, inode) = self
            .file
            .take()
            .expect("a file is open whenever a lock was taken");
        let mut holding = Holding {
            file: Some(file),
            inode,
            target: self.target.clone(),
            found: Clean::Unknown,
        };
        // 1. A opens file 1. 2. B, the holder of file 1, ends; somebody removes the path. 3. C makes file 2 and locks it.
        // 4. A locks file 1. Without this look A and C both hold.
        if !self.target.is_at_path(inode)? {
            holding.free()?;
            return Ok(None);
        }
        if self.target.record == Record::Pid {
            if let Err(error) = holding.write_record(self.claim.party().pid()) {
                let _ = holding.free();
                return Err(error);
            }
        }
        Ok(Some(Box::new(holding)))
    }

    /// Network file systems want write access for an exclusive lock.
    fn reopen_for_writing(&mut self, error: &io::Error) -> bool {
        if self.access == Access::Lock && file::meaning(error) == Meaning::WantsWrite {
            self.access = Access::Write;
            self.file = None;
            return true;
        }
        false
    }

    fn busy() -> Attempt {
        Attempt::Busy(Busy {
            seen: Sighting::held_by_somebody(),
            wakes: Vec::new(),
        })
    }
}

impl Contender for Seat {
    fn attempt(&mut self) -> Result<Attempt> {
        for _ in 0..REPLACED {
            if self.file.is_none() {
                self.open()?;
            }
            let Some((file, inode)) = &self.file else {
                continue;
            };
            match file::try_flock(&**file, self.claim.mode()) {
                Ok(Tried::Locked) => {
                    if let Some(held) = self.taken()? {
                        return Ok(Attempt::Held(held));
                    }
                }
                Ok(Tried::Busy) => {
                    if self.target.is_at_path(*inode)? {
                        let wakes = vec![Wake::Entry(self.target.path.clone())];
                        return Ok(Attempt::Busy(Busy {
                            seen: Sighting::held_by_somebody(),
                            wakes,
                        }));
                    }
                    self.file = None;
                }
                Err(error) => {
                    if !self.reopen_for_writing(&error) {
                        return Err(self.target.failed("lock", error));
                    }
                }
            }
        }
        Ok(Seat::busy())
    }

    fn block(&mut self, stop: &Stop) -> Result<Blocked> {
        let Some((file, _)) = &self.file else {
            return Ok(Blocked::Again);
        };
        let mode = self.claim.mode();
        match wait::in_kernel(stop.deadline, || file::flock(&**file, mode)) {
            Ok(Ended::Done(())) => Ok(self.taken()?.map_or(Blocked::Again, Blocked::Held)),
            Ok(Ended::TimedOut) => Ok(Blocked::Stopped),
            Ok(Ended::Interrupted) => Ok(Blocked::Interrupted),
            Ok(Ended::NoTimer) => Ok(Blocked::NoTimer),
            Err(error) => {
                if self.reopen_for_writing(&error) {
                    return Ok(Blocked::Again);
                }
                Err(self.target.failed("lock", error))
            }
        }
    }
}

#[derive(Debug)]
struct Holding {
    /// None: released.
    file: Option<Unshared<Descriptor>>,
    inode: Inode,
    target: Arc<Target>,
    found: Clean,
}

impl Holding {
    fn write_record(&mut self, pid: u32) -> Result<()> {
        let target = &self.target;
        let Some(file) = &self.file else {
            return Ok(());
        };
        let content = file::read_start(&**file, LONGEST_RECORD)
            .map_err(|e| target.failed("read the record", e))?;
        if !is_record(&content) {
            let what = format!(
                "a file with other content ({})",
                text::clean(&String::from_utf8_lossy(&content[..content.len().min(16)]))
            );
            return Err(target.foreign(&what));
        }
        self.found = if content.is_empty() {
            Clean::Yes
        } else {
            Clean::No
        };
        file::write_record(&**file, format!("{pid}\n").as_bytes()).map_err(|e| {
            let _ = file::write_record(&**file, b"");
            target.failed("write the record", e)
        })
    }

    fn free(&mut self) -> Result<()> {
        let Some(file) = self.file.take().filter(Unshared::is_ours) else {
            return Ok(());
        };
        let emptied = match self.target.record {
            Record::Pid if self.found != Clean::Unknown => file::write_record(&*file, b""),
            _ => Ok(()),
        };
        // Unlock, then close: a child that inherited the descriptor would keep the lock after a mere close.
        file::unflock(&*file).map_err(|e| self.target.failed("unlock", e))?;
        emptied.map_err(|e| self.target.failed("empty the record", e))
    }
}

/// Empty, or a number and perhaps a line end.
fn is_record(content: &[u8]) -> bool {
    let number = content.strip_suffix(b"\n").unwrap_or(content);
    content.is_empty()
        || (content.len() < LONGEST_RECORD
            && !number.is_empty()
            && number.iter().all(u8::is_ascii_digit))
}

impl Held for Holding {
    fn release(&mut self) -> Result<()> {
        self.free()
    }

    fn standing(&self) -> Standing {
        if self.file.is_none() {
            return Standing::Released;
        }
        match file::look(&self.target.path) {
            Ok(Some(look)) if look.inode == self.inode => Standing::Held,
            Ok(Some(_)) => Standing::Lost("the lock file was replaced by another one".into()),
            Ok(None) => Standing::Lost("the lock file was removed".into()),
            // A path that cannot be looked at right now (a permission taken away, say) proves nothing.
            Err(_) => Standing::Held,
        }
    }

    fn carry(&self) -> Vec<Borrowed<'_>> {
        self.file
            .iter()
            .filter(|f| f.is_ours())
            .map(|f| file::borrow(f))
            .collect()
    }

    fn found(&self) -> Clean {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_or_nothing_is_a_record() {
        for record in ["", "1\n", "4194304\n", "12"] {
            assert!(is_record(record.as_bytes()), "{record:?}");
        }
        for other in [
            "\n",
            "1 2\n",
            "-1\n",
            "pid\n",
            "111111111111111111111111\n",
            "1\n\n",
        ] {
            assert!(!is_record(other.as_bytes()), "{other:?}");
        }
    }
}
