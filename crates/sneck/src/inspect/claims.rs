//! Claims that stand in the file system, known by their content: what holds here, since when, and whether its holder lives.
//!
//! Not for: how claims look (`protocol/written.rs`), what makes one stale (`stale.rs`), which entries are looked at (`walk.rs`).
//!
//! Not everything with a number in it is a lock file: `debian/compat` holds `12\n`. What is believed to be a claim:
//!
//! | its name | its content |
//! |---|---|
//! | as a user gave it to us | a claim of any protocol, whoever its holder |
//! | like a lock file's ([`is_lockish`]) | the same, and what is damaged |
//! | any other | says more than a bare number: a labm8 claim with a time of our days, a host, `%10d\n`, a link that dangles, a directory with an inner file |
//! | any other | a bare number of a living process, neither 1 nor one of the kernel's, that started before the file was last changed; or of any other living one, if the file is locked |
//!
//! An empty file is no claim, nor is an empty directory, unless it is called `….lock` or `….lck`, or is one of ours: half made.
//!
//! All are judged against one reading of the kernel's list, and a living process is asked for once. Who seems dead is asked for anew, and the claim looked at again: it may have been released, and its number
//! given away, since it was read.

use super::folder_of;
use super::found::{Holding, How, Keeper, KernelInode, Kind, Life, Range, State};
use super::people::People;
use crate::claim::{Mode, Party};
use crate::error::{Error, ErrorKind, Result};
use crate::holder::Holder;
use crate::place::Place;
use crate::protocol::Ground;
use crate::protocol::written::{self, CHANGING, Likeness, Says, Sight, Spot, Written, unchanged};
use crate::stale::{self, CLEARLY_YOUNGER, Judge, Verdict, Witness};
use crate::sys::file::{self, Inode, Look, Meaning, is_network_descriptor, meaning};
use crate::sys::folder::Directory;
use crate::sys::{Namespace, Presence, Rank, Reading, locks, process, text};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// One who looks at claims.
pub(super) struct Claims<'a> {
    kernel: Kernel<'a>,
    people: &'a mut People,
    living: Living,
    again: Option<Again>,
}

/// What the caller read of the kernel's list of locks, once for all claims. Files are named by device and inode, as stat(2) has them.
pub(super) struct Kernel<'a> {
    /// When it began to read the list.
    pub(super) read: SystemTime,
    /// Whether somebody has a flock on this file.
    pub(super) flocked: &'a dyn Fn((u64, u64)) -> bool,
    /// Whether this file must not be opened: closing it drops the POSIX locks that this process has on it, opening it breaks a lease.
    pub(super) untouchable: &'a dyn Fn((u64, u64)) -> bool,
}

/// Who wants a file to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A user named it.
    ByName,
    /// It was met on the way.
    No,
}

/// Times of files come from a clock that ticks up to a hundredth of a second behind.
const COARSE: Duration = Duration::from_millis(50);

impl<'a> Claims<'a> {
    pub(super) fn new(kernel: Kernel<'a>, people: &'a mut People) -> Claims<'a> {
        Claims {
            kernel,
            people,
            living: Living::default(),
            again: None,
        }
    }

    /// The claim that stands at a path. None: nothing does, or something else.
    ///
    /// # Errors
    /// The folder is closed; or the file is, is called like a lock file, and nobody asked for it.
    pub(super) fn at(&mut self, path: &Path, asked: Asked) -> Result<Option<Holding>> {
        let Some(name) = path.file_name() else {
            return Ok(None);
        };
        let folder = match Directory::open_unlisted(folder_of(path)) {
            Err(error) if meaning(&error) == Meaning::NoParent => return Ok(None),
            opened => opened.map_err(|e| failed(path, e))?,
        };
        let ground = ground(&folder);
        let spot = Spot {
            folder,
            name: name.to_owned(),
        };
        let look = spot.folder.look(&spot.name).map_err(|e| failed(path, e))?;
        let Some(look) = look else {
            return Ok(None);
        };
        let claim = self.met(&spot, &look, ground, asked);
        claim.map_err(|e| failed(path, e))
    }

    /// The claim that is the entry of this name, which was looked at just now. None: it is none, or went.
    pub(super) fn met(
        &mut self,
        spot: &Spot,
        look: &Look,
        ground: Ground,
        asked: Asked,
    ) -> io::Result<Option<Holding>> {
        let mut look = *look;
        for _ in 0..CHANGING {
            if let Ok(holding) = self.once(spot, &look, ground, asked)? {
                return Ok(holding);
            }
            look = match spot.folder.look(&spot.name)? {
                Some(look) => look,
                None => return Ok(None),
            };
        }
        // It is taken and released all the time: somebody holds it, and nobody can say who.
        Ok(None)
    }

    fn once(
        &mut self,
        spot: &Spot,
        look: &Look,
        ground: Ground,
        asked: Asked,
    ) -> io::Result<std::result::Result<Option<Holding>, Changed>> {
        let inode = (look.inode.device, look.inode.number);
        if (self.kernel.untouchable)(inode) {
            return Ok(Ok(None));
        }
        let named = is_lockish(&spot.name);
        let written = match written::see(spot, look) {
            Ok(Sight::Claim(written)) => written,
            Ok(Sight::None) => return Ok(Ok(None)),
            Ok(Sight::Changed) => return Ok(Err(Changed)),
            // What is closed is nothing to us, unless it looks like a claim from outside: then its own protocol takes it for held by somebody, too.
            Err(error) if meaning(&error) == Meaning::NoPermission && asked == Asked::ByName => {
                let verdict = Verdict::Unknown("the file may not be read");
                let state = State::Held(Some(verdict));
                let claim = || bare(Kind::Claim("pidfile"), state, look.changed_at());
                return Ok(Ok(named.then(claim)));
            }
            Err(_) if !named && asked == Asked::No => return Ok(Ok(None)),
            Err(error) => return Err(error),
        };
        let kind = Kind::Claim(written.protocol);
        let changed = look.changed_at();
        let mut holder = match written.says {
            Says::Damaged(what) => {
                let holding = named.then(|| bare(kind, State::Damaged(what), changed));
                return Ok(Ok(holding));
            }
            Says::Nobody => {
                return Ok(Ok(self.of_nobody(spot, look, kind)));
            }
            Says::Holder(ref holder) => holder.clone(),
        };
        let asked_for = named || asked == Asked::ByName;
        if !asked_for && !self.is_believed(&written, &holder, look) {
            return Ok(Ok(None));
        }
        let since = holder.since.unwrap_or(changed);
        holder.mode = Some(Mode::Exclusive);
        // As the acquisition loop judges: by the later of the two.
        holder.since = Some(since.max(changed));
        let verdict = self.judge(&holder, look, ground);
        if verdict.is_gone() && !unchanged(spot, look)? {
            return Ok(Err(Changed));
        }
        holder.since = Some(since);
        Ok(Ok(Some(self.holding(kind, holder, verdict))))
    }

    /// A file that bears a number and a name like any other: is it a claim?
    fn is_believed(&mut self, written: &Written, holder: &Holder, look: &Look) -> bool {
        match written.form {
            Likeness::Loose => false,
            Likeness::Form => true,
            Likeness::Number => {
                let Some(pid) = holder.pid else {
                    return false;
                };
                if self.witness(look).presence(pid) != Presence::Alive {
                    return false;
                }
                if (self.kernel.flocked)((look.inode.device, look.inode.number)) {
                    return true;
                }
                let started = self.living.started(pid);
                let latest = look.changed_at() + CLEARLY_YOUNGER;
                let is_older = started.is_some_and(|started| started <= latest);
                is_older && pid != 1 && !process::is_of_the_kernel(pid)
            }
        }
    }

    /// What stands there names nobody: `0` of dotlockfile, a directory with nothing in it.
    fn of_nobody(&self, spot: &Spot, look: &Look, kind: Kind) -> Option<Holding> {
        let changed = look.changed_at();
        if look.kind == file::Kind::Directory && look.is_ours {
            let flocked = (self.kernel.flocked)((look.inode.device, look.inode.number));
            if flocked {
                return Some(bare(kind, State::Held(Some(Verdict::Marked)), changed));
            }
            let what = "a directory that was half made or half removed, which nobody holds";
            let damaged = || bare(kind, State::Damaged(what.to_owned()), changed);
            return is_lockish(&spot.name).then(damaged);
        }
        let verdict = Verdict::Unknown("the claim names no process");
        let held = || bare(kind, State::Held(Some(verdict)), changed);
        if ends_like_a_lock(&spot.name) {
            return Some(held());
        }
        let is_number = look.kind == file::Kind::Regular && is_lockish(&spot.name);
        let damaged = State::Damaged("`0` is no process number".to_owned());
        is_number.then(|| bare(kind, damaged, changed))
    }

    fn judge(&mut self, holder: &Holder, look: &Look, ground: Ground) -> Verdict {
        let by = Judge {
            party: Party::this_process(),
            holds: false,
        };
        let inode = Some((look.inode.device, look.inode.number));
        let verdict = stale::judge_by(holder, inode, ground, by, &mut self.witness(look));
        let dead = matches!(verdict, Verdict::Gone(_) | Verdict::Younger { .. });
        // 1. A process ends that we remember. 2. Another one gets its number, and makes this claim.
        if !dead || !self.living.forget(holder.pid) {
            return verdict;
        }
        stale::judge_by(holder, inode, ground, by, &mut self.witness(look))
    }

    fn witness(&mut self, look: &Look) -> OfOneClaim<'_> {
        OfOneClaim {
            flocked: self.kernel.flocked,
            changed: look.changed_at(),
            read: self.kernel.read,
            living: &mut self.living,
            again: &mut self.again,
        }
    }

    fn holding(&mut self, kind: Kind, mut holder: Holder, verdict: Verdict) -> Holding {
        let theirs = holder.birth.pid_namespace;
        let here = theirs.is_none_or(|theirs| {
            let ours = self.living.namespace(Namespace::Pid);
            ours.is_none_or(|ours| ours == theirs)
        });
        let taker = holder.pid.filter(|_| here && holder.host.is_none());
        let since = holder.since;
        let state = if verdict.is_gone() {
            State::Stale(verdict)
        } else {
            State::Held(Some(verdict))
        };
        let keeper = match verdict {
            Verdict::Alive | Verdict::Younger { .. } => {
                // Its namespace was compared already, from memory.
                let birth = std::mem::take(&mut holder.birth);
                let mut keeper = self.people.keeper(holder, How::Named, Vec::new());
                keeper.holder.birth = birth;
                keeper
            }
            // Who has its number here, if anybody, is somebody else.
            _ => Keeper {
                holder,
                how: How::Named,
                descriptors: Vec::new(),
                life: Life::default(),
            },
        };
        let named = keeper.holder.pid.is_some() || keeper.holder.host.is_some();
        Holding {
            taker,
            since,
            keepers: Vec::from_iter(named.then_some(keeper)),
            ..bare(kind, state, SystemTime::UNIX_EPOCH)
        }
    }
}

/// What was looked at changed meanwhile.
struct Changed;

/// A claim of which nothing else is known.
fn bare(kind: Kind, state: State, since: SystemTime) -> Holding {
    Holding {
        kind,
        mode: Mode::Exclusive,
        range: Range::WHOLE,
        state,
        taker: None,
        keepers: Vec::new(),
        since: Some(since),
        beside: None,
    }
}

/// Whether other machines write to the files in this folder: no number found there is judged.
pub(super) fn ground(folder: &Directory) -> Ground {
    if is_network_descriptor(folder.descriptor()) {
        Ground::NetworkFiles
    } else {
        Ground::Local
    }
}

/// Looking at a path did not work.
pub(super) fn failed(path: &Path, error: io::Error) -> Error {
    let place = Place::file("flock", path);
    let (kind, what, advice) = match meaning(&error) {
        Meaning::NoPermission => (
            ErrorKind::NoPermission,
            "this may not be looked at: whether somebody holds a lock here is not known",
            "run it as the owner, or as root",
        ),
        Meaning::NoParent => (
            ErrorKind::Usage,
            "there is no such file or folder",
            "check the path",
        ),
        _ => (
            ErrorKind::Io,
            "this cannot be looked at: whether somebody holds a lock here is not known",
            "name other paths, or try again",
        ),
    };
    let error = Error::new(kind, "look", what).because(error);
    error.at(&place).advise(advice)
}

/// Whether a name is that of a lock file: `lock`, `lck` or `pid` in it, whatever the case (`app.lock`, `LCK..ttyS0`, `httpd.pid`, `PidFile`, `lockfile`), or `.#` before it. Not `clock` and `block`, nor `rapid`: there it is the
/// rest of another word.
pub(super) fn is_lockish(name: &OsStr) -> bool {
    let name = text::bytes(name).to_ascii_lowercase();
    let has = |word: &[u8], apart: &dyn Fn(u8) -> bool| {
        let found = name.windows(word.len()).enumerate();
        let mut found = found.filter(|(_, part)| *part == word);
        found.any(|(at, _)| at == 0 || apart(name[at - 1]))
    };
    name.starts_with(b".#")
        || has(b"lock", &|before| !matches!(before, b'b' | b'c'))
        || has(b"lck", &|_| true)
        || has(b"pid", &|before| !before.is_ascii_alphabetic())
}

/// Whether a name says that what it names exists while a lock is held.
fn ends_like_a_lock(name: &OsStr) -> bool {
    let name = text::bytes(name).to_ascii_lowercase();
    name.ends_with(b".lock") || name.ends_with(b".lck")
}

/// Processes that were found alive, and our namespaces.
#[derive(Debug, Default)]
struct Living {
    known: HashMap<u32, Process>,
    namespaces: [Option<Option<u64>>; 2],
}

/// One of them. None: not asked yet.
#[derive(Debug, Default)]
struct Process {
    ticks: Option<Option<u64>>,
    started: Option<Option<SystemTime>>,
}

impl Living {
    fn started(&mut self, pid: u32) -> Option<SystemTime> {
        let process = self.known.entry(pid).or_default();
        *process.started.get_or_insert_with(|| process::started(pid))
    }

    fn namespace(&mut self, kind: Namespace) -> Option<u64> {
        let at = match kind {
            Namespace::Pid => 0,
            Namespace::Time => 1,
        };
        *self.namespaces[at].get_or_insert_with(|| process::namespace(kind))
    }

    /// Whether it was known.
    fn forget(&mut self, pid: Option<u32>) -> bool {
        pid.is_some_and(|pid| self.known.remove(&pid).is_some())
    }
}

/// The files that somebody has a flock on, as the kernel's list had them later than the caller read it.
#[derive(Debug)]
struct Again {
    read: SystemTime,
    flocked: HashSet<KernelInode>,
}

impl Again {
    fn read() -> Again {
        let read = SystemTime::now();
        let listed = locks::listed(&|lock| lock.kind == Kind::Flock);
        let locks = listed.as_ref().map_or(&[][..], Reading::locks).iter();
        let held = locks.filter(|lock| lock.rank == Rank::Held);
        let flocked = held.map(|lock| lock.inode).collect();
        Again { read, flocked }
    }
}

/// What is told of the holder of one claim.
struct OfOneClaim<'a> {
    flocked: &'a dyn Fn((u64, u64)) -> bool,
    /// When the claim was changed, and the list was read.
    changed: SystemTime,
    read: SystemTime,
    living: &'a mut Living,
    again: &'a mut Option<Again>,
}

impl OfOneClaim<'_> {
    fn is_on_a_list_of(&self, read: SystemTime) -> bool {
        self.changed + COARSE < read
    }

    /// A claim that was made since the list was read may be locked, and not be on it.
    fn is_flocked_since(&mut self, (device, number): (u64, u64)) -> bool {
        // Where there is no list, each file is asked about by itself.
        let Some(there) = locks::of_stat(Inode { device, number }) else {
            return locks::is_flocked((device, number));
        };
        let known = self.again.as_ref().map(|again| again.read);
        if !known.is_some_and(|read| self.is_on_a_list_of(read)) {
            *self.again = Some(Again::read());
        }
        // Devices without a number of their own may have another one on the list (btrfs, overlayfs): rather one lock too many.
        let is_it = |again: &Again| match there.major {
            0 => again.flocked.iter().any(|f| f.number == there.number),
            _ => again.flocked.contains(&there),
        };
        self.again.as_ref().is_some_and(is_it)
    }
}

impl Witness for OfOneClaim<'_> {
    fn presence(&mut self, pid: u32) -> Presence {
        if self.living.known.contains_key(&pid) {
            return Presence::Alive;
        }
        let presence = process::presence(pid);
        if presence == Presence::Alive {
            self.living.known.insert(pid, Process::default());
        }
        presence
    }

    fn start_ticks(&mut self, pid: u32) -> Option<u64> {
        let process = self.living.known.entry(pid).or_default();
        *process
            .ticks
            .get_or_insert_with(|| process::start_ticks(pid))
    }

    fn started(&mut self, pid: u32) -> Option<SystemTime> {
        self.living.started(pid)
    }

    fn namespace(&mut self, kind: Namespace) -> Option<u64> {
        self.living.namespace(kind)
    }

    fn is_flocked(&mut self, claim: (u64, u64)) -> bool {
        let is_new = !self.is_on_a_list_of(self.read);
        (self.flocked)(claim) || (is_new && self.is_flocked_since(claim))
    }
}

// Processes are started by what every Unix has.
#[cfg(all(test, unix, not(sneck_unsupported)))]
mod tests {
    use super::*;
    use crate::stale::Grounds;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::process::{Child, Command};

    type Tested = std::result::Result<(), Box<dyn std::error::Error>>;

    /// A process that runs until it is dropped.
    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> io::Result<Sleeper> {
            let sleeper = Command::new("sleep").arg("600").spawn().map(Sleeper)?;
            // It has its own memory before its arguments are in there.
            while process::command(sleeper.pid()).is_none_or(|line| line != "sleep 600") {
                std::thread::yield_now();
            }
            Ok(sleeper)
        }

        fn pid(&self) -> u32 {
            self.0.id()
        }

        fn end(&mut self) -> io::Result<()> {
            self.0.kill()?;
            self.0.wait().map(drop)
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.end();
        }
    }

    fn dead() -> io::Result<u32> {
        let mut sleeper = Sleeper::start()?;
        sleeper.end()?;
        Ok(sleeper.pid())
    }

    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(60)
    }

    /// What a look at a path gives to one whose list is of that time, and has these files in it.
    fn look_with(
        path: &Path,
        asked: Asked,
        read: SystemTime,
        flocked: &dyn Fn((u64, u64)) -> bool,
    ) -> Result<Option<Holding>> {
        let mut people = People::default();
        let kernel = Kernel {
            read,
            flocked,
            untouchable: &|_| false,
        };
        Claims::new(kernel, &mut people).at(path, asked)
    }

    fn asked(path: &Path) -> Result<Option<Holding>> {
        look_with(path, Asked::ByName, later(), &|_| false)
    }

    fn met(path: &Path) -> Result<Option<Holding>> {
        look_with(path, Asked::No, later(), &|_| false)
    }

    fn inner(pid: u32) -> String {
        format!("{}.{pid}", process::host_name())
    }

    /// A claim of this process in every form there is.
    fn plant(folder: &Path, pid: u32) -> io::Result<Vec<(&'static str, std::path::PathBuf)>> {
        let path = |name: &str| folder.join(name);
        let host = process::host_name();
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = seconds.map_err(io::Error::other)?.as_secs_f64();
        fs::write(path("a.pid"), format!("{pid}\n"))?;
        fs::write(path("LCK..tty"), format!("{pid:10}\n"))?;
        fs::write(path("b.lock"), (pid as i32).to_ne_bytes())?;
        fs::write(path("soft"), format!("{pid}\n{host}\n"))?;
        fs::write(path("daemon.pid"), format!("{pid}\nmore\nof it\n"))?;
        fs::write(path("build"), format!("{pid} {seconds}\n"))?;
        symlink(pid.to_string(), path("link"))?;
        fs::create_dir(path("folder"))?;
        File::create(path("folder").join(inner(pid)))?;
        Ok(vec![
            ("pidfile", path("a.pid")),
            ("pidfile", path("LCK..tty")),
            ("pidfile", path("b.lock")),
            ("pidfile", path("soft")),
            ("pidfile", path("daemon.pid")),
            ("labm8", path("build")),
            ("symlink", path("link")),
            ("mkdir", path("folder")),
        ])
    }

    #[test]
    fn a_claim_of_every_form_is_held_by_the_process_that_it_names() -> Tested {
        let (temp, sleeper) = (tempfile::tempdir()?, Sleeper::start()?);
        for (protocol, path) in plant(temp.path(), sleeper.pid())? {
            let seen = met(&path)?.ok_or(protocol)?;
            assert_eq!(seen.kind, Kind::Claim(protocol), "{path:?}");
            assert_eq!(seen.state, State::Held(Some(Verdict::Alive)), "{path:?}");
            assert_eq!(seen.taker, Some(sleeper.pid()));
            let [keeper] = seen.keepers.as_slice() else {
                panic!("{path:?}: {seen:?}");
            };
            let words = (keeper.how, keeper.holder.command.as_deref());
            assert_eq!(words, (How::Named, Some("sleep 600")));
            assert!(seen.since.is_some_and(|s| s <= later()), "{seen:?}");
        }
        Ok(())
    }

    #[test]
    fn a_claim_of_every_form_is_stale_once_its_process_is_gone_and_names_no_other() -> Tested {
        let temp = tempfile::tempdir()?;
        for (protocol, path) in plant(temp.path(), dead()?)? {
            let seen = met(&path)?.ok_or(protocol)?;
            let gone = Verdict::Gone(Grounds::Absent);
            assert_eq!(seen.state, State::Stale(gone), "{path:?}");
            assert!(seen.keepers.iter().all(|k| k.holder.command.is_none()));
        }
        // The number was given away again.
        let (path, living) = (temp.path().join("x.lock"), Sleeper::start()?);
        fs::write(&path, format!("{} 1605226671.5 ticks=1\n", living.pid()))?;
        let seen = met(&path)?.ok_or("a claim")?;
        assert_eq!(seen.state, State::Stale(Verdict::Gone(Grounds::Replaced)));
        assert!(seen.keepers.iter().all(|k| k.holder.command.is_none()));
        Ok(())
    }

    #[test]
    fn a_bare_number_in_a_file_of_any_name_is_no_claim_unless_it_is_of_a_living_process() -> Tested
    {
        let temp = tempfile::tempdir()?;
        let path = temp.path().join("compat");
        let living = Sleeper::start()?;
        fs::write(&path, format!("{}\n", living.pid()))?;
        assert!(met(&path)?.is_some());
        for number in [dead()?, 1] {
            fs::write(&path, format!("{number}\n"))?;
            assert!(met(&path)?.is_none(), "{number}");
            assert!(asked(&path)?.is_some(), "{number}");
            let named = temp.path().join("compat.lock");
            fs::copy(&path, &named)?;
            assert!(met(&named)?.is_some(), "{number}");
        }
        // Whatever begins with a number is data.
        for data in ["\n1 2\n", "\nmore\nand more\n", " 640\n", "\n99\n"] {
            fs::write(&path, format!("{}{data}", living.pid()))?;
            assert!(met(&path)?.is_none(), "{data:?}");
        }
        Ok(())
    }

    #[test]
    fn a_number_that_is_older_than_its_process_is_no_claim_unless_the_file_is_locked() -> Tested {
        let (temp, living) = (tempfile::tempdir()?, Sleeper::start()?);
        let name = "compat";
        fs::write(temp.path().join(name), format!("{}\n", living.pid()))?;
        let spot = Spot {
            folder: Directory::open(temp.path())?,
            name: name.into(),
        };
        let look = spot.folder.look(&spot.name)?.ok_or("it was made")?;
        let Sight::Claim(written) = written::see(&spot, &look)? else {
            panic!("a number");
        };
        // Nobody can set that time back.
        let old = Look { changed: 0, ..look };
        let holder = Holder::process(crate::holder::Source::Record, living.pid());
        let believed = |look: &Look, locked: bool| {
            let (mut people, flocked) = (People::default(), |_| locked);
            let kernel = Kernel {
                read: later(),
                flocked: &flocked,
                untouchable: &|_| false,
            };
            Claims::new(kernel, &mut people).is_believed(&written, &holder, look)
        };
        assert!(believed(&look, false));
        assert!(!believed(&old, false));
        assert!(believed(&old, true));
        Ok(())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_of_the_kernel_claims_nothing() {
        assert!(!process::is_of_the_kernel(process::own_pid()));
        assert!(!process::is_of_the_kernel(1));
        // In a pid namespace there is none.
        let second = fs::read_to_string("/proc/2/comm").unwrap_or_default();
        assert_eq!(process::is_of_the_kernel(2), second == "kthreadd\n");
    }

    #[test]
    fn what_is_damaged_is_one_only_if_its_name_says_so() -> Tested {
        let temp = tempfile::tempdir()?;
        for content in ["-5\n", "99999999999\n", "0\n", "0 1605226671.5\n"] {
            let (named, other) = (temp.path().join("x.pid"), temp.path().join("x"));
            for path in [&named, &other] {
                fs::write(path, content)?;
            }
            for look in [met, asked] {
                let seen = look(&named)?.ok_or(content)?;
                assert!(matches!(seen.state, State::Damaged(_)), "{seen:?}");
                assert!(look(&other)?.is_none(), "{content:?}");
            }
        }
        symlink("0", temp.path().join("lock"))?;
        let seen = asked(&temp.path().join("lock"))?.ok_or("a link")?;
        assert!(matches!(seen.state, State::Damaged(_)), "{seen:?}");
        Ok(())
    }

    #[test]
    fn what_is_empty_or_has_other_content_is_no_claim() -> Tested {
        let temp = tempfile::tempdir()?;
        let path = |name: &str| temp.path().join(name);
        fs::write(path("empty.lock"), "")?;
        fs::write(path("text.lock"), "no number\n")?;
        fs::write(path("long.lock"), "7\n".repeat(5000))?;
        fs::write(path("12"), "")?;
        symlink("12", path("latest"))?;
        symlink("app", path("app.lock"))?;
        fs::create_dir(path("folder"))?;
        fs::create_dir(path("lock"))?;
        fs::create_dir(path("full.lock"))?;
        for name in ["a.1", "b.2"] {
            File::create(path("full.lock").join(name))?;
        }
        for name in [
            "empty.lock",
            "text.lock",
            "long.lock",
            "app.lock",
            "folder",
            "lock",
            "full.lock",
            "none",
            "none/none",
        ] {
            assert!(asked(&path(name))?.is_none(), "{name}");
        }
        assert!(met(&path("latest"))?.is_none());
        Ok(())
    }

    #[test]
    fn who_names_nobody_holds_where_the_name_says_so() -> Tested {
        let temp = tempfile::tempdir()?;
        let (file, folder) = (temp.path().join("box.lock"), temp.path().join("app.lock"));
        fs::write(&file, "0")?;
        fs::create_dir(&folder)?;
        for path in [file, folder] {
            let seen = met(&path)?.ok_or("somebody holds it")?;
            let unknown = matches!(seen.state, State::Held(Some(Verdict::Unknown(_))));
            assert!(unknown && seen.keepers.is_empty(), "{seen:?}");
        }
        Ok(())
    }

    #[test]
    fn a_claim_of_another_host_is_not_judged_and_its_number_is_nobodys_here() -> Tested {
        let (temp, sleeper) = (tempfile::tempdir()?, Sleeper::start()?);
        let path = temp.path().join("soft");
        fs::write(&path, format!("{}\nelse.where\n", sleeper.pid()))?;
        let seen = met(&path)?.ok_or("a claim")?;
        let unknown = matches!(seen.state, State::Held(Some(Verdict::Unknown(_))));
        assert!(unknown && seen.taker.is_none(), "{seen:?}");
        let holder = seen.keepers.first().map(|k| &k.holder).ok_or("named")?;
        assert_eq!(holder.host.as_deref(), Some("else.where"));
        assert_eq!((holder.pid, &holder.command), (Some(sleeper.pid()), &None));
        Ok(())
    }

    #[test]
    fn a_locked_claim_is_held_whatever_its_number_says() -> Tested {
        let temp = tempfile::tempdir()?;
        let path = temp.path().join("x.lock");
        fs::write(&path, format!("{}\n", dead()?))?;
        let seen = look_with(&path, Asked::No, later(), &|_| true)?.ok_or("a claim")?;
        assert_eq!(seen.state, State::Held(Some(Verdict::Marked)));
        Ok(())
    }

    // Elsewhere there is no list.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_claim_that_is_younger_than_the_list_is_looked_for_in_a_new_one() -> Tested {
        let temp = tempfile::tempdir()?;
        let path = temp.path().join("x.lock");
        let list = SystemTime::now();
        fs::write(&path, format!("{}\n", dead()?))?;
        let file = std::os::fd::OwnedFd::from(File::open(&path)?);
        assert_eq!(file::try_mark(&file)?, file::Tried::Locked);
        let state = |read| -> Result<Option<State>> {
            Ok(look_with(&path, Asked::No, read, &|_| false)?.map(|seen| seen.state))
        };
        assert_eq!(state(list)?, Some(State::Held(Some(Verdict::Marked))));
        // A list of after it was made is believed.
        let stale = State::Stale(Verdict::Gone(Grounds::Absent));
        assert_eq!(state(later())?, Some(stale));
        Ok(())
    }

    #[test]
    fn a_claim_that_goes_while_it_is_judged_is_none() -> Tested {
        let temp = tempfile::tempdir()?;
        let path = temp.path().join("x.lock");
        fs::write(&path, format!("{}\n", dead()?))?;
        // The last thing that is asked for.
        let release = |_| fs::remove_file(&path).is_err() && path.exists();
        let seen = look_with(&path, Asked::No, later(), &release)?;
        assert!(seen.is_none(), "{seen:?}");
        Ok(())
    }

    #[test]
    fn what_is_remembered_of_a_process_proves_no_other_one_gone() -> Tested {
        let (temp, sleeper) = (tempfile::tempdir()?, Sleeper::start()?);
        let pid = sleeper.pid();
        let path = temp.path().join("x.lock");
        let ticks = process::start_ticks(pid).ok_or("it lives")?;
        fs::write(&path, format!("{pid} 1605226671.5 ticks={ticks}\n"))?;
        let mut people = People::default();
        let kernel = Kernel {
            read: later(),
            flocked: &|_| false,
            untouchable: &|_| false,
        };
        let mut claims = Claims::new(kernel, &mut people);
        // One that had the number before.
        let earlier = Process {
            ticks: Some(Some(ticks - 1)),
            started: None,
        };
        claims.living.known.insert(pid, earlier);
        let seen = claims.at(&path, Asked::No)?.ok_or("a claim")?;
        assert_eq!(seen.state, State::Held(Some(Verdict::Alive)));
        Ok(())
    }

    #[test]
    fn what_must_not_be_opened_is_not_read() -> Tested {
        let temp = tempfile::tempdir()?;
        let path = temp.path().join("x.lock");
        fs::write(&path, "1\n")?;
        let mut people = People::default();
        let kernel = Kernel {
            read: later(),
            flocked: &|_| false,
            untouchable: &|_| true,
        };
        let seen = Claims::new(kernel, &mut people).at(&path, Asked::ByName)?;
        assert!(seen.is_none(), "{seen:?}");
        Ok(())
    }

    #[test]
    fn half_made_directories_of_ours_are_held_by_nobody_unless_somebody_has_them_locked() -> Tested
    {
        let temp = tempfile::tempdir()?;
        let path = temp.path().join("lock");
        fs::create_dir(&path)?;
        let folder = Directory::open(&path)?;
        if !folder.keeps_ours()? {
            return Ok(());
        }
        folder.make_ours()?;
        let state = |locked: bool| -> Result<Option<State>> {
            Ok(look_with(&path, Asked::No, later(), &|_| locked)?.map(|seen| seen.state))
        };
        assert_eq!(state(true)?, Some(State::Held(Some(Verdict::Marked))));
        assert!(matches!(state(false)?, Some(State::Damaged(_))));
        Ok(())
    }

    #[test]
    fn names_of_lock_files_are_told_from_other_words() {
        for name in [
            "app.lock",
            "LCK..ttyS0",
            "lockfile",
            "PidFile",
            "httpd.pid",
            "run_pid",
            ".#notes",
            "db-LOCK",
            "lock",
            ".lck",
        ] {
            assert!(is_lockish(OsStr::new(name)), "{name}");
        }
        for name in ["clock.c", "blocks", "rapid", "notes#", "compat", "loc", ""] {
            assert!(!is_lockish(OsStr::new(name)), "{name}");
        }
    }
}
