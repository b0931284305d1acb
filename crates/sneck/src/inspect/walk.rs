//! All entries of folders and of those below, and which of them bear a claim or are locked.
//!
//! No link is followed, and each folder is entered once, however many paths lead there. Left out are file systems that are made of the kernel's own facts (unless a user names one) with all that
//! is mounted below them, and what sneck itself hides beside its claims. What vanishes meanwhile is nothing; what is closed is told, and the walk goes on.
//!
//! It goes by names from folder to folder, so paths may be longer than the system takes them, and keeps no more than [`OPEN`] folders open.
//!
//! Not for: what a claim is (`claims.rs`), which files are locked (whoever calls knows the kernel's list).

use super::claims::{Asked, Claims, failed, ground};
use super::found::Holding;
use crate::error::Error;
use crate::hidden;
use crate::protocol::Ground;
use crate::protocol::written::Spot;
use crate::sys::file::{Inode, Kind, Look, look, look_at_descriptor, look_through};
use crate::sys::folder::Directory;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// How many folders are kept open. Those above are opened again, from the top, once the walk comes back to them.
const OPEN: usize = 32;

/// An entry that bears a claim, or is locked, or both.
#[derive(Debug)]
pub(super) struct Met {
    /// Its path, as the user named the folder.
    pub(super) path: PathBuf,
    /// What it is.
    pub(super) look: Look,
    /// The claim that it bears.
    pub(super) claim: Option<Holding>,
}

/// Walk through these folders and all below, and look at these files. `locked`: whether the kernel's list has a lock on it. Folders that cannot be read and paths that are missing are given back.
pub(super) fn walk(
    paths: &[PathBuf],
    claims: &mut Claims<'_>,
    locked: &dyn Fn(&Look) -> bool,
    met: &mut dyn FnMut(Met),
) -> Vec<Error> {
    let mut walk = Walk {
        claims,
        locked,
        met,
        entered: HashSet::new(),
        errors: Vec::new(),
        path: PathBuf::new(),
    };
    for path in paths {
        walk.path.clone_from(path);
        if let Err(error) = walk.named(path) {
            walk.errors.push(failed(path, error));
        }
    }
    walk.errors
}

struct Walk<'a, 'k> {
    claims: &'a mut Claims<'k>,
    locked: &'a dyn Fn(&Look) -> bool,
    met: &'a mut dyn FnMut(Met),
    /// The folders that were entered.
    entered: HashSet<Inode>,
    errors: Vec<Error>,
    /// Where the walk is.
    path: PathBuf,
}

/// A folder on the way down.
struct Level {
    /// Open, and the name in it that is looked at. None: too far up to be kept open.
    spot: Option<Spot>,
    inode: Inode,
    ground: Ground,
    /// Its name in the folder above.
    name: OsString,
    /// The folders in it that are to be entered yet.
    below: Vec<OsString>,
}

impl Walk<'_, '_> {
    /// What a user named.
    fn named(&mut self, path: &Path) -> io::Result<()> {
        let folder = match Directory::open(path) {
            Err(error) if !leads_to_folder(path) => return self.file(path, error),
            opened => opened?,
        };
        let look = look_at_descriptor(folder.descriptor())?;
        if !self.entered.insert(look.inode) {
            return Ok(());
        }
        // It may be a claim itself.
        self.look_at(path, &look);
        let names = folder.names(usize::MAX)?;
        let ground = ground(&folder);
        let top = Level::new(folder, look.inode, ground, OsString::new());
        self.descend(path, top, names);
        Ok(())
    }

    /// What a user named is no folder.
    fn file(&mut self, path: &Path, error: io::Error) -> io::Result<()> {
        let look = match look(path)? {
            Some(look) if look.kind != Kind::Directory => look,
            _ => return Err(error),
        };
        let is_claim = self.look_at(path, &look);
        // A link that is no claim stands for what it leads to.
        if look.kind == Kind::Symlink && !is_claim {
            if let (Ok(path), Ok(look)) = (path.canonicalize(), look_through(path)) {
                self.path.clone_from(&path);
                self.look_at(&path, &look);
            }
        }
        Ok(())
    }

    /// Look at what a user named. Whether it is a claim.
    fn look_at(&mut self, path: &Path, look: &Look) -> bool {
        let claim = match self.claims.at(path, Asked::ByName) {
            Ok(claim) => claim,
            Err(error) => {
                self.errors.push(error);
                None
            }
        };
        let is_claim = claim.is_some();
        self.report(look, claim);
        is_claim
    }

    fn descend(&mut self, root: &Path, top: Level, names: Vec<OsString>) {
        let mut levels = vec![top];
        let mut names = Some(names);
        while let Some(level) = levels.last_mut() {
            if let Some(names) = names.take() {
                self.look_at_all(level, names);
            }
            let Some(name) = level.below.pop() else {
                levels.pop();
                self.path.pop();
                continue;
            };
            let at = levels.len() - 1;
            if let Err(error) = reopen(root, &mut levels) {
                // It was moved or removed with all that is in it, or closed.
                let level = &mut levels[at];
                level.below.clear();
                self.fail(error);
                continue;
            }
            let Some(Level {
                spot: Some(spot),
                inode,
                ground,
                ..
            }) = levels.last_mut()
            else {
                continue;
            };
            spot.name.clone_from(&name);
            self.path.push(&name);
            match self.enter(spot, *inode, *ground) {
                Ok(Some((level, inside))) => {
                    names = Some(inside);
                    levels.push(level);
                    if let Some(far) = levels.len().checked_sub(OPEN + 1) {
                        levels[far].spot = None;
                    }
                }
                Ok(None) => {
                    self.path.pop();
                }
                Err(error) => {
                    self.fail(error);
                    self.path.pop();
                }
            }
        }
    }

    /// Look at what is in a folder, folders apart.
    fn look_at_all(&mut self, level: &mut Level, names: Vec<OsString>) {
        let Some(spot) = &mut level.spot else {
            return;
        };
        for name in names {
            if hidden::is_hidden(&name) {
                continue;
            }
            spot.name = name;
            match spot.folder.look(&spot.name) {
                Ok(Some(look)) if look.kind == Kind::Directory => {
                    level.below.push(std::mem::take(&mut spot.name));
                }
                Ok(Some(look)) => {
                    self.path.push(&spot.name);
                    match self.claims.met(spot, &look, level.ground, Asked::No) {
                        Ok(claim) => self.report(&look, claim),
                        Err(error) => {
                            self.report(&look, None);
                            self.fail(error);
                        }
                    }
                    self.path.pop();
                }
                Ok(None) => {}
                Err(error) => {
                    self.path.push(&spot.name);
                    self.fail(error);
                    self.path.pop();
                }
            }
        }
    }

    /// A folder that was met: its level, and what is in it. None: there is no more to be done.
    fn enter(
        &mut self,
        spot: &Spot,
        above: Inode,
        mut on: Ground,
    ) -> io::Result<Option<(Level, Vec<OsString>)>> {
        let Some(look) = spot.folder.look(&spot.name)? else {
            return Ok(None);
        };
        let elsewhere = look.inode.device != above.device;
        if look.kind != Kind::Directory || (elsewhere && spot.folder.bears_pseudo(&spot.name)) {
            return Ok(None);
        }
        let folder = match spot.folder.folder(&spot.name) {
            Ok(Some(folder)) => folder,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.report(&look, None);
                return Err(error);
            }
        };
        let look = look_at_descriptor(folder.descriptor())?;
        if !self.entered.insert(look.inode) {
            return Ok(None);
        }
        if elsewhere {
            on = ground(&folder);
        }
        let names = folder.names(usize::MAX)?;
        // A claim has no more in it than one file.
        let claim = match names.len() {
            0 | 1 => self.claims.met(spot, &look, on, Asked::No),
            _ => Ok(None),
        };
        let claim = claim.unwrap_or_else(|error| {
            self.fail(error);
            None
        });
        let is_claim = claim.is_some();
        self.report(&look, claim);
        if is_claim {
            return Ok(None);
        }
        let level = Level::new(folder, look.inode, on, spot.name.clone());
        Ok(Some((level, names)))
    }

    fn report(&mut self, look: &Look, claim: Option<Holding>) {
        if claim.is_some() || (self.locked)(look) {
            (self.met)(Met {
                path: self.path.clone(),
                look: *look,
                claim,
            });
        }
    }

    /// What went meanwhile is no failure.
    fn fail(&mut self, error: io::Error) {
        if error.kind() != io::ErrorKind::NotFound && error.kind() != io::ErrorKind::NotADirectory {
            self.errors.push(failed(&self.path, error));
        }
    }
}

impl Level {
    fn new(folder: Directory, inode: Inode, ground: Ground, name: OsString) -> Level {
        Level {
            spot: Some(Spot::new(folder)),
            inode,
            ground,
            name,
            below: Vec::new(),
        }
    }
}

/// Whether a path leads to a folder, through links.
fn leads_to_folder(path: &Path) -> bool {
    look_through(path).is_ok_and(|look| look.kind == Kind::Directory)
}

/// Open the last folder again, if it was too far up to be kept open, and with it those just above: from the top, by names. `NotFound`: it is not the one any more that we were in.
fn reopen(root: &Path, levels: &mut [Level]) -> io::Result<()> {
    if levels.last().is_none_or(|level| level.spot.is_some()) {
        return Ok(());
    }
    let kept = levels.len().saturating_sub(OPEN);
    let mut folder = Directory::open(root)?;
    for at in 0..levels.len() {
        let (above, below) = levels.split_at_mut(at);
        let Some(level) = below.first_mut() else {
            break;
        };
        if let Some(above) = above.last_mut() {
            let inside = folder.folder(&level.name)?;
            let inside = inside.ok_or(io::ErrorKind::NotFound)?;
            let left = std::mem::replace(&mut folder, inside);
            above.spot = (at > kept).then(|| Spot::new(left));
        }
        if look_at_descriptor(folder.descriptor())?.inode != level.inode {
            return Err(io::ErrorKind::NotFound.into());
        }
    }
    if let Some(last) = levels.last_mut() {
        last.spot = Some(Spot::new(folder));
    }
    Ok(())
}

#[cfg(all(test, unix, not(sneck_unsupported)))]
mod tests {
    use super::super::claims::Kernel;
    use super::super::found::{Kind as By, State};
    use super::super::people::People;
    use super::*;
    use crate::ErrorKind;
    use crate::sys::text;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    type Tested = Result<(), Box<dyn std::error::Error>>;

    /// What a walk meets, by path, and what it could not look at.
    fn walked(
        paths: &[&Path],
        locked: &dyn Fn(&Look) -> bool,
    ) -> (Vec<(PathBuf, Option<By>)>, Vec<Error>) {
        let mut people = People::default();
        let kernel = Kernel {
            read: SystemTime::now(),
            flocked: &|_| false,
            untouchable: &|_| false,
        };
        let mut claims = Claims::new(kernel, &mut people);
        let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
        let mut all = Vec::new();
        let errors = walk(&paths, &mut claims, locked, &mut |met| {
            all.push((met.path, met.claim.map(|claim| claim.kind)));
        });
        all.sort_by(|a, b| a.0.cmp(&b.0));
        (all, errors)
    }

    fn paths(paths: &[&Path]) -> Vec<PathBuf> {
        let (met, errors) = walked(paths, &|_| false);
        assert!(errors.is_empty(), "{errors:?}");
        met.into_iter().map(|(path, _)| path).collect()
    }

    /// A claim of a process that nobody bears the number of.
    fn claim(path: &Path) -> std::io::Result<()> {
        fs::write(path, format!("{}\n", u32::MAX >> 1))
    }

    #[test]
    fn claims_are_found_in_all_folders_below_by_content_and_locked_files_by_the_list() -> Tested {
        let temp = tempfile::tempdir()?;
        let path = |name: &str| temp.path().join(name);
        fs::create_dir_all(path("a/b/c"))?;
        fs::create_dir(path("claim"))?;
        fs::write(path(&format!("claim/host.{}", u32::MAX >> 1)), "")?;
        claim(&path("a/one.pid"))?;
        claim(&path("a/b/c/two.lock"))?;
        symlink((u32::MAX >> 1).to_string(), path("a/b/three"))?;
        fs::write(path("a/b/held"), "")?;
        fs::write(path("a/b/text"), "text\n")?;
        fs::write(path("a/compat"), "12\n")?;
        let held = look(&path("a/b/held"))?.ok_or("it was made")?.inode;
        let (met, errors) = walked(&[temp.path()], &|look| look.inode == held);
        let expected = [
            ("a/b/c/two.lock", Some(By::Claim("pidfile"))),
            ("a/b/held", None),
            ("a/b/three", Some(By::Claim("symlink"))),
            ("a/one.pid", Some(By::Claim("pidfile"))),
            ("claim", Some(By::Claim("mkdir"))),
        ];
        let expected = expected.map(|(name, kind)| (path(name), kind));
        assert_eq!((met.as_slice(), errors.len()), (&expected[..], 0));
        Ok(())
    }

    #[test]
    fn each_folder_is_entered_once_and_no_link_is_followed() -> Tested {
        let temp = tempfile::tempdir()?;
        let path = |name: &str| temp.path().join(name);
        fs::create_dir_all(path("a/b"))?;
        claim(&path("a/b/x.lock"))?;
        symlink(temp.path(), path("a/b/up"))?;
        symlink("b/x.lock", path("a/y.lock"))?;
        let once = [path("a/b/x.lock")];
        assert_eq!(paths(&[temp.path()]), once);
        assert_eq!(paths(&[temp.path(), &path("a"), &path("a/b")]), once);
        assert_eq!(paths(&[&path("a/b"), temp.path()]), once);
        // What a user names may lead there.
        let through = path("a/b/up/a/b/x.lock");
        assert_eq!(paths(&[&path("a/b/up/a")]), [through]);
        Ok(())
    }

    #[test]
    fn a_path_that_is_a_file_is_looked_at_whatever_it_is_called() -> Tested {
        let temp = tempfile::tempdir()?;
        let path = |name: &str| temp.path().join(name);
        claim(&path("compat"))?;
        symlink("compat", path("link"))?;
        fs::write(path("text"), "text")?;
        assert_eq!(paths(&[temp.path()]), [""; 0].map(PathBuf::from));
        assert_eq!(paths(&[&path("compat")]), [path("compat")]);
        let real = path("compat").canonicalize()?;
        assert_eq!(paths(&[&path("link")]), [real]);
        assert_eq!(paths(&[&path("text")]), [""; 0].map(PathBuf::from));
        Ok(())
    }

    #[test]
    fn what_is_missing_or_too_long_is_told_and_the_walk_goes_on() -> Tested {
        let temp = tempfile::tempdir()?;
        claim(&temp.path().join("x.lock"))?;
        let (missing, long) = (temp.path().join("none"), temp.path().join("n".repeat(300)));
        let (met, errors) = walked(&[&missing, &long, temp.path()], &|_| false);
        assert_eq!(met.len(), 1);
        let [first, second] = errors.as_slice() else {
            panic!("{errors:?}");
        };
        assert_eq!(
            (first.kind(), second.kind()),
            (ErrorKind::Usage, ErrorKind::Io)
        );
        let shown = first.to_string();
        assert!(shown.starts_with(&*missing.to_string_lossy()), "{shown}");
        assert!(first.advice().is_some() && second.advice().is_some());
        Ok(())
    }

    // A thread of root becomes an ordinary user, as far as files go: Linux's own.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_closed_folder_is_told_and_the_others_are_looked_at() -> Tested {
        use std::os::unix::fs::PermissionsExt as _;
        let temp = tempfile::tempdir()?;
        let path = |name: &str| temp.path().join(name);
        let set_mode =
            |name: &str, mode| fs::set_permissions(path(name), fs::Permissions::from_mode(mode));
        fs::create_dir(path("closed"))?;
        claim(&path("closed/x.lock"))?;
        for name in ["hidden", "hidden.lock", "y.lock"] {
            claim(&path(name))?;
        }
        for (name, mode) in [
            ("", 0o755),
            ("closed", 0o000),
            ("hidden", 0o000),
            ("hidden.lock", 0o000),
        ] {
            set_mode(name, mode)?;
        }
        let ((met, errors), named) = std::thread::scope(|scope| {
            let ordinary = scope.spawn(|| {
                // SAFETY: takes no pointer, and changes this thread alone.
                unsafe { libc::setfsuid(65534) };
                let below = walked(&[temp.path()], &|_| false);
                let named = [path("hidden.lock"), path("hidden")];
                let named = walked(&[&named[0], &named[1]], &|_| false);
                (below, named)
            });
            ordinary.join().map_err(|_| "it panicked")
        })?;
        // As its own protocol sees it: somebody holds it.
        let unread = [(path("hidden.lock"), Some(By::Claim("pidfile")))];
        assert_eq!((named.0.as_slice(), named.1.len()), (&unread[..], 0));
        set_mode("closed", 0o755)?;
        assert_eq!(met, [(path("y.lock"), Some(By::Claim("pidfile")))]);
        let mut shown: Vec<String> = errors.iter().map(Error::to_string).collect();
        shown.sort();
        let [folder, file] = shown.as_slice() else {
            panic!("{shown:?}");
        };
        assert!(
            folder.starts_with(&*path("closed").to_string_lossy()),
            "{folder}"
        );
        assert!(
            file.starts_with(&*path("hidden.lock").to_string_lossy()),
            "{file}"
        );
        assert!(errors.iter().all(|e| e.kind() == ErrorKind::NoPermission));
        Ok(())
    }

    #[test]
    fn names_that_are_no_text_are_names() -> Tested {
        let temp = tempfile::tempdir()?;
        let folder = temp.path().join(text::from_bytes(b"f\xff\x1b"));
        // macOS has no such names.
        if fs::create_dir(&folder).is_err() {
            return Ok(());
        }
        let file = folder.join(text::from_bytes(b"\xfe\n.lock"));
        claim(&file)?;
        assert_eq!(paths(&[temp.path()]), [file]);
        Ok(())
    }

    #[test]
    fn what_sneck_hides_beside_its_claims_is_left_out() -> Tested {
        let temp = tempfile::tempdir()?;
        let hidden = hidden::name_beside("x.lock".as_ref());
        claim(&temp.path().join(hidden))?;
        claim(&temp.path().join("x.lock"))?;
        assert_eq!(paths(&[temp.path()]), [temp.path().join("x.lock")]);
        Ok(())
    }

    #[test]
    fn paths_may_be_longer_than_the_system_takes_them_and_folders_more_than_are_kept_open() -> Tested
    {
        // Longer than PATH_MAX, and in each folder two more.
        const DEEP: usize = 100;
        let temp = tempfile::tempdir()?;
        let mut folder = Directory::open(temp.path())?;
        let mut made = 0;
        for depth in 0..DEEP {
            for side in ["a", "b", "c"] {
                folder.make_folder(format!("{side}{depth:090}").as_ref())?;
            }
            for side in ["a", "c"] {
                let inside = folder.folder(format!("{side}{depth:090}").as_ref())?;
                let inside = inside.ok_or("it was made")?;
                let pid = (u32::MAX >> 1).to_string();
                inside.make_link(pid.as_ref(), "lock".as_ref())?;
                made += 1;
            }
            let next = folder.folder(format!("b{depth:090}").as_ref())?;
            folder = next.ok_or("it was made")?;
        }
        let (met, errors) = walked(&[temp.path()], &|_| false);
        assert_eq!((met.len(), errors.len()), (made, 0), "{errors:?}");
        let deepest = met.iter().map(|(path, _)| path.as_os_str().len()).max();
        assert!(deepest > Some(DEEP * 91), "{deepest:?}");
        let mut unlike: Vec<_> = met.iter().map(|(path, _)| path).collect();
        unlike.dedup();
        assert_eq!(unlike.len(), made);
        Ok(())
    }

    #[test]
    fn what_goes_meanwhile_is_no_failure() -> Tested {
        let temp = tempfile::tempdir()?;
        for name in ["a", "b", "c"] {
            fs::create_dir(temp.path().join(name))?;
            claim(&temp.path().join(name).join("x.lock"))?;
        }
        let top = look(temp.path())?.ok_or("it was made")?.inode;
        // Asked of the first of them, once what is in it was listed.
        let (met, errors) = walked(&[temp.path()], &|look| {
            if look.kind == Kind::Directory && look.inode != top {
                for name in ["a", "b", "c"] {
                    let _ = fs::remove_dir_all(temp.path().join(name));
                }
            }
            false
        });
        assert_eq!((met.len(), errors.len()), (0, 0), "{met:?} {errors:?}");
        Ok(())
    }

    #[test]
    fn a_folder_that_is_moved_away_with_the_walk_in_it_is_no_failure() -> Tested {
        let temp = tempfile::tempdir()?;
        let top = temp.path().join("top");
        let mut deepest = top.clone();
        // In each two more, so that the walk comes back: some are listed before the one that goes on, some after it.
        for depth in 0..2 * OPEN {
            for side in ["a", "b"] {
                fs::create_dir_all(deepest.join(format!("{side}{depth}")))?;
            }
            deepest.push(if depth == 0 {
                "deep".into()
            } else {
                format!("c{depth}")
            });
        }
        fs::create_dir(&deepest)?;
        let last = look(&deepest)?.ok_or("it was made")?.inode;
        let (_, errors) = walked(&[&top], &|look| {
            let away = top.with_file_name("away");
            look.inode == last && fs::rename(top.join("deep"), away).is_err()
        });
        assert!(
            !top.join("deep").exists() && errors.is_empty(),
            "{errors:?}"
        );
        Ok(())
    }

    #[test]
    fn stale_claims_are_met_as_such() -> Tested {
        let temp = tempfile::tempdir()?;
        claim(&temp.path().join("x.lock"))?;
        let mut people = People::default();
        let kernel = Kernel {
            read: SystemTime::now(),
            flocked: &|_| false,
            untouchable: &|_| false,
        };
        let mut claims = Claims::new(kernel, &mut people);
        let mut states = Vec::new();
        walk(
            &[temp.path().to_owned()],
            &mut claims,
            &|_| true,
            &mut |met| {
                states.push(met.claim.map(|claim| claim.state));
            },
        );
        // The folder and the file.
        let [None, Some(State::Stale(_))] = states.as_slice() else {
            panic!("{states:?}");
        };
        Ok(())
    }

    // Where it is mounted.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_made_of_the_kernels_facts_is_left_out_unless_it_is_named() -> Tested {
        let root = Directory::open(Path::new("/"))?;
        assert!(root.bears_pseudo("proc".as_ref()));
        assert!(!root.bears_pseudo("tmp".as_ref()));
        let named = Path::new("/proc/sys/kernel/random");
        let (met, _) = walked(&[named], &|_| true);
        assert!(
            met.iter().any(|(path, _)| path.ends_with("boot_id")),
            "{met:?}"
        );
        Ok(())
    }
}
