//! Claims that are entries in a folder: what `symlink`, `mkdir` and the file protocols have in common.
//!
//! For: publishing a claim, seeing another's, removing exactly the one that was seen, holding. Not for: what a claim looks
//! like (each [`Form`] knows its own), and judging (`stale.rs`).
//!
//! One rule for whoever removes a claim, its holder or a breaker: do it with the *folder* locked by flock(2), after looking again that what stands there is
//! still the claim that was judged. There is no system call that removes a name only if it is a certain inode, so two that remove at
//! one name must exclude each other. A breaker also locks the claim's own inode, where it has one: a claim of ours is locked as long as its
//! maker lives (the *live mark*), whatever its number says.

use super::form::{CHANGING, Form, Found, Made, Seen, Spot, see, unchanged};
use super::{
    Attempt, Busy, Capabilities, Clean, Contender, Endures, Held, Mark, Protocol, Removable,
    Removal, Right, Sighting, Standing, Stop, Wake,
};
use crate::claim::{Claim, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::holder::Holder;
use crate::place::{Place, Registry};
use crate::sys::file::{Meaning, Tried, meaning, try_mark, unmark};
use crate::sys::folder::Directory;
use crate::sys::{locks, process};
use crate::timeout::{Deadline, Timeout};
use crate::wait::{self, Ended};
use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a release waits for a breaker that works in the same folder.
const BREAKER_PATIENCE: Duration = Duration::from_millis(200);

pub(super) fn register<F: Form>(registry: &mut Registry, form: F) {
    registry.register(form.scheme(), move |place| {
        Ok(Arc::new(Entry::new(form.clone(), place.clone())?))
    });
}

/// A protocol whose claims are entries in a folder.
#[derive(Debug)]
pub(super) struct Entry<F> {
    target: Arc<Target<F>>,
}

#[derive(Debug)]
struct Target<F> {
    form: F,
    place: Place,
    path: PathBuf,
    folder: PathBuf,
    name: OsString,
}

impl<F: Form> Entry<F> {
    fn new(form: F, place: Place) -> Result<Entry<F>> {
        let path = place.absolute_path()?;
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        let name = path.file_name().unwrap_or_default().to_owned();
        Ok(Entry {
            target: Arc::new(Target {
                form,
                place,
                path,
                folder,
                name,
            }),
        })
    }
}

impl<F: Form> Target<F> {
    fn failed(&self, doing: &'static str, error: io::Error) -> Error {
        if meaning(&error) == Meaning::Unsupported {
            let (lacks, advice) = self.form.needs();
            return Error::new(ErrorKind::Unsupported, doing, lacks)
                .at(&self.place)
                .advise(advice)
                .because(error);
        }
        Error::os(doing, &error).at(&self.place).because(error)
    }

    fn spot(&self, folder: Directory) -> Spot {
        Spot {
            folder,
            name: self.name.clone(),
        }
    }

    fn open(&self) -> Result<Spot> {
        let folder = match Directory::open(&self.folder) {
            // A folder we may not list is one whose claims we cannot break; making our own works.
            Err(error) if meaning(&error) == Meaning::NoPermission => {
                Directory::open_unlisted(&self.folder)
            }
            other => other,
        };
        let folder = folder.map_err(|e| self.failed("open the folder", e))?;
        Ok(self.spot(folder))
    }

    fn see(&self, spot: &Spot) -> Result<Seen> {
        see(&self.form, spot).map_err(|e| self.failed("look", e))
    }

    fn lost(&self) -> Error {
        let what = "the lock was taken away while it was held; nothing was removed";
        Error::new(ErrorKind::Lost, "release", what)
            .at(&self.place)
            .advise(
                "find out who removed the claim: what the lock guards may have been used by two",
            )
    }

    fn take_down(&self, spot: &Spot, content: &[u8]) -> Result<Removal> {
        match self.form.take_down(spot, content) {
            Ok(()) => Ok(Removal::Removed),
            // Not empty: 1. We remove the file inside a dead holder's directory. 2. Somebody who goes by names removes the directory and makes its own.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Ok(Removal::Changed)
            }
            Err(error) if meaning(&error) == Meaning::NoPermission => Ok(Removal::NotAllowed),
            Err(error) => Err(self.failed("remove", error)),
        }
    }

    /// Compare and remove. The folder is locked, as far as it can be.
    fn remove_seen(&self, spot: &Spot, seen: &Mark, right: Right) -> Result<Removal> {
        let found = match self.see(spot)? {
            Seen::Claim(found) | Seen::Damaged(_, found) if found.mark() == *seen => found,
            _ => return Ok(Removal::Changed),
        };
        let claim = match self.form.open_claim(spot) {
            Ok(claim) => claim,
            // What we may not read we cannot lock. It is no claim of ours, which all may read: it bears no live mark.
            Err(error) if meaning(&error) == Meaning::NoPermission => None,
            Err(error) => return Err(self.failed("open the claim", error)),
        };
        if let Some(claim) = &claim {
            match try_mark(claim) {
                Ok(Tried::Locked) => {}
                Ok(Tried::Busy) if right == Right::Force => {}
                Ok(Tried::Busy) => return Ok(Removal::Marked),
                // Without locks there is no telling whether it bears a live mark.
                Err(_) => return Ok(Removal::Unsupported),
            }
        }
        // After it was judged, and after it was locked. A lock of ours must not outlive this call in a child that is forked just now.
        let removal = match unchanged(spot, &found.look) {
            Ok(true) => self.take_down(spot, &found.content),
            Ok(false) => Ok(Removal::Changed),
            Err(error) => Err(self.failed("look", error)),
        };
        if let Some(claim) = &claim {
            let _ = unmark(claim);
        }
        removal
    }
}

fn sighting(seen: Seen) -> Sighting {
    match seen {
        Seen::Nothing => Sighting::Free,
        Seen::Foreign(what) => Sighting::Foreign { what },
        Seen::Other(holder) => Sighting::Held {
            holders: vec![holder],
            mark: None,
        },
        Seen::Damaged(what, found) => Sighting::Damaged {
            what,
            mark: Some(found.mark()),
        },
        Seen::Claim(found) => {
            let mark = Some(found.mark());
            let changed = found.look.changed_at();
            let mut holder = found.holder;
            holder.mode = Some(Mode::Exclusive);
            // The later of the two: a record can be older than the claim (a slow writer), and a clock can have been set.
            holder.since = Some(holder.since.map_or(changed, |since| since.max(changed)));
            Sighting::Held {
                holders: vec![holder],
                mark,
            }
        }
    }
}

impl<F: Form> Protocol for Entry<F> {
    fn place(&self) -> &Place {
        &self.target.place
    }

    fn identity(&self) -> String {
        super::file_identity(self.target.form.scheme(), &self.target.path)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            removal: Removable::Yes,
            mark: F::MARK,
            ..Capabilities::LEAST
        }
    }

    fn ground(&self) -> super::Ground {
        super::ground_of(&self.target.path)
    }

    fn contend(&self, claim: &Arc<Claim>) -> Result<Box<dyn Contender>> {
        let spot = self.target.open()?;
        Ok(Box::new(Seat {
            target: self.target.clone(),
            claim: claim.clone(),
            spot: Some(spot),
            draft: F::Draft::default(),
        }))
    }

    fn inspect(&self) -> Result<Sighting> {
        let target = &self.target;
        let folder = match Directory::open_unlisted(&target.folder) {
            Ok(folder) => folder,
            Err(error) if meaning(&error) == Meaning::NoParent => return Ok(Sighting::Free),
            Err(error) => return Err(target.failed("look", error)),
        };
        let spot = target.spot(folder);
        // Closing any descriptor of a file drops the POSIX locks that this process has on it, and reading a claim opens it.
        if let Ok(Some(look)) = spot.folder.look(&target.name) {
            if locks::has_own_posix_lock(look.inode) {
                return Ok(Sighting::Unknown {
                    why: "this process has a POSIX lock on the file, which reading it would drop"
                        .into(),
                });
            }
        }
        Ok(match sighting(target.see(&spot)?) {
            Sighting::Held { holders, mark } => Sighting::Held {
                holders: holders.into_iter().map(Holder::described).collect(),
                mark,
            },
            other => other,
        })
    }

    fn wakes(&self, seen: &Sighting) -> Vec<Wake> {
        let mut wakes = super::exits(seen);
        wakes.push(Wake::Entry(self.target.path.clone()));
        wakes
    }

    /// The race that this ends, as it is in Twisted and PEAK:
    /// 1. The holder dies; A and B read its number and find it dead. 2. A removes the claim and makes its own: A holds.
    /// 3. B, still acting on what it read in 1, removes *A's* claim and makes its own: both hold.
    ///
    /// Here step 3 compares and removes under a lock that A's step 2 also needs, so B finds that the claim is not the one it judged.
    fn remove(&self, seen: &Mark, right: Right) -> Result<Removal> {
        let target = &self.target;
        let folder = match Directory::open(&target.folder) {
            Ok(folder) => folder,
            Err(error) if meaning(&error) == Meaning::NoPermission => {
                return Ok(Removal::NotAllowed);
            }
            Err(error) => return Err(target.failed("open the folder", error)),
        };
        match folder.try_flock() {
            Ok(Tried::Locked) => {}
            Ok(Tried::Busy) => return Ok(Removal::BreakerBusy),
            // Without locks two breakers could not exclude each other.
            Err(_) => return Ok(Removal::Unsupported),
        }
        let spot = target.spot(folder);
        let removal = target.remove_seen(&spot, seen, right);
        spot.folder.unflock();
        removal
    }
}

#[derive(Debug)]
struct Seat<F: Form> {
    target: Arc<Target<F>>,
    claim: Arc<Claim>,
    /// None: the claim was made, and the holding has the folder now.
    spot: Option<Spot>,
    draft: F::Draft,
}

impl<F: Form> Contender for Seat<F> {
    fn attempt(&mut self) -> Result<Attempt> {
        let target = self.target.clone();
        let spot = match self.spot.take() {
            Some(spot) => spot,
            None => target.open()?,
        };
        let wakes = || vec![Wake::Entry(target.path.clone())];
        for _ in 0..CHANGING {
            let made = target.form.publish(&spot, &self.claim, &mut self.draft);
            match made.map_err(|e| target.failed("make the claim", e))? {
                Some(made) => {
                    return Ok(Attempt::Held(Box::new(Holding {
                        target,
                        spot,
                        made,
                        own: self.claim.party().pid() == process::own_pid(),
                        state: State::New,
                        lost: AtomicBool::new(false),
                    })));
                }
                None => {
                    let seen = target.see(&spot)?;
                    let mut wakes = wakes();
                    match &seen {
                        Seen::Nothing => continue,
                        Seen::Foreign(what) => {
                            return Err(Error::foreign("look", what, &target.place));
                        }
                        Seen::Claim(Found { holder, .. }) | Seen::Other(holder) => {
                            let pid = holder.pid.filter(|_| holder.host.is_none());
                            wakes.extend(pid.map(Wake::Exit));
                        }
                        Seen::Damaged(..) => {}
                    }
                    self.spot = Some(spot);
                    return Ok(Attempt::Busy(Busy::new(sighting(seen), wakes)));
                }
            }
        }
        self.spot = Some(spot);
        let seen = Sighting::held_by_somebody();
        Ok(Attempt::Busy(Busy::new(seen, wakes())))
    }
}

#[derive(Debug)]
struct Holding<F: Form> {
    target: Arc<Target<F>>,
    spot: Spot,
    made: Made,
    /// In our own name, not in another process's.
    own: bool,
    state: State,
    /// Once lost, always lost. Without a live mark the file system gives the number of a removed claim away again, and the next claim of this very
    /// process has the same content: it looks like ours. But it is made only after the line in the process was told that ours is lost.
    lost: AtomicBool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// As made; not yet due to be touched.
    New,
    Held,
    Released,
}

impl<F: Form> Holding<F> {
    /// Whether the claim is still ours: same inode, same content. Not its times, which anybody may touch.
    fn is_there(&self) -> io::Result<bool> {
        let ours = self.target.form.stands(&self.spot, &self.made)?;
        let lost = self.lost.fetch_or(!ours, Ordering::AcqRel) || !ours;
        Ok(!lost)
    }

    /// Compare and remove under the folder's lock, so that nobody forces our claim away in between and has theirs removed by us.
    /// Somebody who locks the folder for long (`flock folder command` does) must not keep us from releasing: after some patience the
    /// claim is removed without it, which can go wrong only beside somebody who forces live claims away at that very moment.
    fn lock_folder(&self) -> Option<&Directory> {
        let folder = &self.spot.folder;
        let mut deadline = None;
        loop {
            match folder.try_flock() {
                Ok(Tried::Locked) => return Some(folder),
                Ok(Tried::Busy) => {}
                Err(_) => return None,
            }
            let deadline =
                *deadline.get_or_insert_with(|| Deadline::from(Timeout::After(BREAKER_PATIENCE)));
            if deadline.has_passed() {
                return None;
            }
            match wait::in_kernel(&Stop::at(deadline), |asleep| folder.flock(asleep)) {
                Ok(Ended::Done(())) => return Some(folder),
                Ok(Ended::TimedOut | Ended::Interrupted) => {}
                Ok(Ended::NoTimer) => {
                    wait::pause(Duration::from_micros(200));
                }
                Err(_) => return None,
            }
        }
    }
}

impl<F: Form> Held for Holding<F> {
    fn release(&mut self) -> Result<()> {
        if self.state == State::Released || !self.spot.folder.is_ours() {
            return Ok(());
        }
        let target = self.target.clone();
        let locked = self.lock_folder();
        let result = match self.is_there() {
            Ok(true) => match target.take_down(&self.spot, &self.made.content) {
                Ok(Removal::Removed) => Ok(()),
                Ok(Removal::Changed) => Err(target.lost()),
                Ok(_) => {
                    let what = "there is no right to remove the claim any more";
                    Err(Error::new(ErrorKind::NoPermission, "release", what)
                        .at(&target.place)
                        .advise("remove it by hand; the lock stays taken until then"))
                }
                Err(error) => Err(error),
            },
            Ok(false) => Err(target.lost()),
            Err(error) => Err(target.failed("look", error)),
        };
        if let Some(folder) = locked {
            folder.unflock();
        }
        self.state = State::Released;
        self.made.mark = None;
        result
    }

    fn standing(&self) -> Standing {
        if self.state == State::Released {
            return Standing::Released;
        }
        match self.is_there() {
            Ok(false) => Standing::Lost("the claim was removed or is another's".into()),
            Ok(true) | Err(_) => Standing::Held,
        }
    }

    fn found(&self) -> Clean {
        // Nothing stood there when the claim was made: whoever held it last removed it, or somebody did for it. The loop knows if it was us.
        Clean::Yes
    }

    fn tend(&mut self) -> Option<Duration> {
        let every = self.target.form.renewal()?;
        match self.state {
            State::Released => return None,
            State::New => self.state = State::Held,
            State::Held => self.target.form.renew(&self.made),
        }
        Some(every)
    }

    fn leave(&mut self) -> Endures {
        if let Some(mark) = self.made.mark.take().filter(|_| self.own) {
            // In our own name it lasts as long as we do, and so does its mark: open until the process ends.
            std::mem::forget(mark);
        }
        self.state = State::Released;
        Endures::Yes
    }
}
