//! A kernel lock on a regular file: what `flock` and `fcntl` share. Open, lock, look whether the path still names what was locked, hold, unlock, close.
//!
//! Not for: what differs between the two families ([`Family`]): `flock.rs` and `fcntl.rs` say it, and begin with their downsides.

use super::stranger::{self, Stranger};
use super::{
    Attempt, Blocked, Borrowed, Busy, Capabilities, Clean, Contender, Crash, Held, Modes, Order,
    Protocol, Queue, Sighting, Standing, Stop, Unshared, Wake,
};
use crate::claim::{Claim, Mode, Party};
use crate::error::{Error, ErrorKind, Result};
use crate::holder::{Holder, Source};
use crate::inspect;
use crate::place::Place;
use crate::sys::KernelFamily;
use crate::sys::file::{
    self, Access, Asleep, Descriptor, Inode, Kind, Look, Meaning, Opened, Tried,
};
use crate::wait::{self, Ended};
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often a file that is replaced under our hands is opened anew before a pause.
const REPLACED: usize = 64;

/// What differs between the families of kernel locks.
pub(crate) trait Family: Debug + Send + Sync + Sized + 'static {
    /// The protocol's name.
    const NAME: &'static str;
    /// The call that a file system may not know.
    const CALL: &'static str;
    /// Which locks of the kernel's list exclude this one.
    const LISTED: KernelFamily;

    /// What the file is opened for.
    fn access(&self, mode: Mode) -> Access;

    /// What to open it for instead, once the lock was refused on it.
    fn instead(&self, access: Access, error: &io::Error) -> Option<Access> {
        let _ = (access, error);
        None
    }

    /// Why the file that stands there cannot be opened, where this family has a reason of its own: what is wrong, and what to do.
    fn denied(mode: Mode, error: &io::Error) -> Option<(String, &'static str)> {
        let _ = (mode, error);
        None
    }

    /// One try.
    fn try_lock(file: &Descriptor, mode: Mode) -> io::Result<Tried>;

    /// Sleep in the kernel's queue. Interrupted: `ErrorKind::Interrupted`.
    fn lock(file: &Descriptor, mode: Mode, asleep: &Asleep<'_>) -> io::Result<()>;

    /// Give it up, for every copy of the descriptor.
    fn unlock(file: &Descriptor) -> io::Result<()>;

    /// It is ours: write down whose, and say how the last holder left it. After an error nothing is written.
    fn sign(target: &Target<Self>, file: &Descriptor, party: Party) -> Result<Clean> {
        let _ = (target, file, party);
        Ok(Clean::Unknown)
    }

    /// Before it is given up: take back what [`Family::sign`] wrote, if it said how it was left.
    fn strike(&self, file: &Descriptor) -> io::Result<()> {
        let _ = file;
        Ok(())
    }
}

/// A lock file.
#[derive(Debug)]
pub(crate) struct LockFile<F> {
    target: Arc<Target<F>>,
}

/// What is to be locked, shared by the protocol, its claimants and holdings.
#[derive(Debug)]
pub(crate) struct Target<F> {
    place: Place,
    path: PathBuf,
    pub(crate) family: F,
}

impl<F: Family> LockFile<F> {
    pub(crate) fn new(place: Place, family: F) -> Result<LockFile<F>> {
        let path = place.absolute_path()?;
        Ok(LockFile {
            target: Arc::new(Target {
                place,
                path,
                family,
            }),
        })
    }
}

impl<F: Family> Protocol for LockFile<F> {
    fn place(&self) -> &Place {
        &self.target.place
    }

    fn identity(&self) -> String {
        super::file_identity(F::NAME, &self.target.path)
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
            access: self.target.family.access(claim.mode()),
            file: None,
        };
        seat.open()?;
        Ok(Box::new(seat))
    }

    fn inspect(&self) -> Result<Sighting> {
        let target = &self.target;
        match target.look()? {
            None => Ok(Sighting::Free),
            Some(look) if look.kind != Kind::Regular => Ok(match target.stranger(&look)? {
                Stranger::Claim(holder) => Sighting::Held {
                    holders: vec![holder.described()],
                    mark: None,
                },
                Stranger::Gone => Sighting::Free,
                Stranger::None => Sighting::Foreign {
                    what: look.kind.words().to_owned(),
                },
            }),
            Some(look) => inspect::kernel::holders(Some(&target.path), look.inode, F::LISTED)
                .map_err(|e| Error::os("look", &e).at(&target.place).because(e)),
        }
    }

    fn wakes(&self, seen: &Sighting) -> Vec<Wake> {
        let mut wakes = super::exits(seen);
        let path = self.target.path.clone();
        // A look at another protocol's claim may open it.
        wakes.push(match seen.holders() {
            [holder, ..] if holder.protocol.is_some() => Wake::Entry(path),
            _ => Wake::Closed(path),
        });
        wakes
    }
}

impl<F: Family> Target<F> {
    fn look(&self) -> Result<Option<Look>> {
        file::look(&self.path).map_err(|e| Error::os("look", &e).at(&self.place).because(e))
    }

    /// Whether the path still names this file.
    fn is_at_path(&self, inode: Inode) -> Result<bool> {
        Ok(self.look()?.is_some_and(|there| there.inode == inode))
    }

    /// The holder of another protocol's claim that stands where our file should be.
    fn stranger(&self, look: &Look) -> Result<Stranger> {
        stranger::at(&self.path, look).map_err(|e| self.failed("look", e))
    }

    pub(crate) fn foreign(&self, what: &str) -> Error {
        Error::foreign("open", what, &self.place)
    }

    fn not_opened(&self, mode: Mode, error: io::Error) -> Error {
        let stands = file::look(&self.path).is_ok_and(|look| look.is_some());
        match F::denied(mode, &error).filter(|_| stands) {
            Some((what, advice)) => Error::new(ErrorKind::NoPermission, "open", what)
                .at(&self.place)
                .advise(advice)
                .because(error),
            None => self.failed("open", error),
        }
    }

    pub(crate) fn failed(&self, doing: &'static str, error: io::Error) -> Error {
        match file::meaning(&error) {
            Meaning::WrongKind => self.foreign(match file::look(&self.path) {
                Ok(Some(look)) => look.kind.words(),
                _ => "no regular file",
            }),
            Meaning::Unsupported if doing == "lock" => Error::new(
                ErrorKind::Unsupported,
                doing,
                format!("this file system cannot do {}", F::CALL),
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
struct Seat<F> {
    target: Arc<Target<F>>,
    claim: Arc<Claim>,
    access: Access,
    file: Option<(Unshared<Descriptor>, Inode)>,
}

impl<F: Family> Seat<F> {
    /// Open the file, unless another protocol's claim stands in its place: its holder, then.
    fn open(&mut self) -> Result<Option<Holder>> {
        let target = &self.target;
        // Opening a device or a FIFO can do something (rewind a tape, start a watchdog): look before.
        if let Some(look) = target.look()?.filter(|l| l.kind != Kind::Regular) {
            match target.stranger(&look)? {
                Stranger::Claim(holder) => return Ok(Some(*holder)),
                Stranger::Gone => {}
                Stranger::None => return Err(target.foreign(look.kind.words())),
            }
        }
        let opened = match file::open_lock_file(&target.path, self.access) {
            // Windows: somebody has it open and shares it with nobody, which is a lock too.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                return Ok(Some(Holder::unknown(Source::Kernel)));
            }
            other => other.map_err(|e| target.not_opened(self.claim.mode(), e))?,
        };
        let (Opened::Existing(file) | Opened::Created(file)) = opened;
        let look = file::look_at_descriptor(&file).map_err(|e| target.failed("look", e))?;
        if look.kind != Kind::Regular {
            return Err(target.foreign(look.kind.words()));
        }
        self.file = Some((Unshared::new(file), look.inode));
        Ok(None)
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
        if let Err(error) = holding.sign(self.claim.party()) {
            let _ = holding.free();
            return Err(error);
        }
        Ok(Some(Box::new(holding)))
    }

    /// Whether the refused lock may be granted on a file that is opened for something else.
    fn opens_otherwise(&mut self, error: &io::Error) -> bool {
        let Some(access) = self.target.family.instead(self.access, error) else {
            return false;
        };
        self.access = access;
        self.file = None;
        true
    }
}

fn busy(wakes: Vec<Wake>, queue: Queue) -> Attempt {
    Attempt::Busy(Busy {
        queue,
        ..Busy::new(Sighting::held_by_somebody(), wakes)
    })
}

/// By another protocol's claim.
fn held_by(stranger: Holder, path: &Path) -> Attempt {
    let mut wakes = vec![Wake::Entry(path.to_owned())];
    wakes.extend(
        stranger
            .pid
            .filter(|_| stranger.host.is_none())
            .map(Wake::Exit),
    );
    let seen = Sighting::Held {
        holders: vec![stranger],
        mark: None,
    };
    Attempt::Busy(Busy::new(seen, wakes))
}

impl<F: Family> Contender for Seat<F> {
    fn attempt(&mut self) -> Result<Attempt> {
        for _ in 0..REPLACED {
            let fresh = self.file.is_none();
            if fresh {
                if let Some(stranger) = self.open()? {
                    return Ok(held_by(stranger, &self.target.path));
                }
            }
            let Some((file, inode)) = &self.file else {
                continue;
            };
            match F::try_lock(file, self.claim.mode()) {
                Ok(Tried::Locked) => {
                    if let Some(held) = self.taken()? {
                        return Ok(Attempt::Held(held));
                    }
                }
                // The path named it a moment ago; whoever locks it looks again. On the way of each hand-over a look is dear.
                Ok(Tried::Busy) => {
                    if fresh || self.target.is_at_path(*inode)? {
                        let wakes = vec![Wake::Closed(self.target.path.clone())];
                        return Ok(busy(wakes, Queue::Kernel));
                    }
                    self.file = None;
                }
                Err(error) => {
                    if !self.opens_otherwise(&error) {
                        return Err(self.target.failed("lock", error));
                    }
                }
            }
        }
        Ok(busy(Vec::new(), Queue::None))
    }

    fn block(&mut self, stop: &Stop) -> Result<Blocked> {
        // None: another protocol's claim stands in its place.
        let Some((file, _)) = &self.file else {
            return Ok(Blocked::NoQueue);
        };
        let mode = self.claim.mode();
        match wait::in_kernel(stop, |asleep| F::lock(file, mode, asleep)) {
            Ok(Ended::Done(())) => Ok(self.taken()?.map_or(Blocked::Again, Blocked::Held)),
            Ok(Ended::TimedOut) => Ok(Blocked::Stopped),
            Ok(Ended::Interrupted) => Ok(Blocked::Interrupted),
            Ok(Ended::NoTimer) => Ok(Blocked::NoTimer),
            Err(error) => {
                if self.opens_otherwise(&error) {
                    return Ok(Blocked::Again);
                }
                Err(self.target.failed("lock", error))
            }
        }
    }
}

#[derive(Debug)]
struct Holding<F: Family> {
    /// None: released.
    file: Option<Unshared<Descriptor>>,
    inode: Inode,
    target: Arc<Target<F>>,
    found: Clean,
}

impl<F: Family> Holding<F> {
    fn sign(&mut self, party: Party) -> Result<()> {
        if let Some(file) = &self.file {
            self.found = F::sign(&self.target, file, party)?;
        }
        Ok(())
    }

    fn free(&mut self) -> Result<()> {
        let Some(file) = self.file.take().filter(Unshared::is_ours) else {
            return Ok(());
        };
        let struck = match self.found {
            Clean::Unknown => Ok(()),
            Clean::Yes | Clean::No => self.target.family.strike(&file),
        };
        // Unlock, then close: a child that inherited the descriptor would keep the lock after a mere close.
        F::unlock(&file).map_err(|e| self.target.failed("unlock", e))?;
        struck.map_err(|e| self.target.failed("empty the record", e))
    }
}

impl<F: Family> Held for Holding<F> {
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
            .filter_map(|f| file::lend(f))
            .collect()
    }

    fn found(&self) -> Clean {
        self.found
    }
}
