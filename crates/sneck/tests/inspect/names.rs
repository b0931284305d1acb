//! Files that have lost their name, whose name is another's, or that lie on file systems of every kind.
//!
//! What is mounted is mounted in a mount namespace of the test's own process, and goes with it.

use crate::actor::{Actor, empty};
use crate::{CHILD_ENTRY, Told, must_be_root, on_machine, seen, told};
use sneck::inspect::{Inspection, Inspector, Name, Oddity};
use sneck::{Registry, Waiting};
use sneck_testkit::child::Start;
use sneck_testkit::{Child, Folder, Setup};
use std::fs;
use std::path::{Path, PathBuf};

/// What this test program, run again in the mount namespace of a process, says of the file at a path there.
struct Looker {
    _setup: Setup,
    child: Child,
}

impl Looker {
    fn beside(actor: &Actor) -> Looker {
        let place = |folder: &Path| folder.join("unused").display().to_string();
        let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
        let target = actor.pid().to_string();
        let child = Start::wrapped(&setup, &["nsenter", "-m", "-t", &target]).child();
        Looker {
            _setup: setup,
            child,
        }
    }

    #[track_caller]
    fn must_see(&mut self, path: &Path, expected: &str) {
        for how in ["inspect", "machine"] {
            let said = self.child.order(&format!("{how} {}", path.display()));
            let held = format!("held({expected}) waits() odd()");
            assert!(said.starts_with(&held), "{how}: {said}, and not {held}");
        }
    }
}

/// A process in a mount namespace of its own, where this script was run first; `$M` is the folder.
fn apart(folder: &Folder, script: &str) -> Actor {
    must_be_root();
    let script = format!(
        "M='{}'; set -e; {script}\nexec \"$@\"",
        folder.path().display()
    );
    Actor::by(&["unshare", "-m", "sh", "-c", &script, "sh"])
}

/// The file's path and what is known of its name, as the survey of the machine has it.
#[track_caller]
fn is_called(found: &Inspection, path: &Path, name: Name, odd: &[Oddity]) {
    assert_eq!(found.file.path.as_deref(), Some(path));
    assert_eq!(found.file.name, name);
    assert_eq!(found.oddities, odd);
}

#[test]
fn a_file_that_was_deleted_while_it_is_held_is_said_to_be() {
    let folder = Folder::new();
    for how in ["flock", "posix", "ofd"] {
        let path = empty(&folder.join(how));
        let mut actor = Actor::new();
        actor.locks(how, &path, "");
        let before = seen(&path);
        let inode = before.file.inode.expect("it is there");
        fs::remove_file(&path).expect("our own folder");
        let now = on_machine(inode);
        is_called(&now, &path, Name::Deleted, &[Oddity::Deleted]);
        assert_eq!(Told::of(&now).holdings, Told::of(&before).holdings);
        let there = Inspector::new().path(&path).expect("one can look");
        assert_eq!(there.file.name, Name::Nothing);
        assert!(!there.is_held() && there.holdings.is_empty());
        let pid = actor.pid();
        assert_eq!(there.oddities, [Oddity::Former { pid }]);
    }
}

#[test]
fn a_file_whose_name_was_given_to_another_one_is_said_to_be_replaced() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let (mut first, mut second) = (Actor::new(), Actor::new());
    first.locks("flock", &path, "");
    let inode = seen(&path).file.inode.expect("it is there");
    fs::rename(empty(&folder.join("new")), &path).expect("our own folder");
    // Both get in.
    second.locks("flock", &path, "");
    let old = on_machine(inode);
    is_called(&old, &path, Name::Replaced, &[Oddity::Replaced]);
    let (a, b) = (first.pid(), second.pid());
    assert_eq!(
        Told::of(&old).holdings,
        [format!("flock x * by {a}: {a} took")]
    );
    let new = told(&path);
    assert_eq!(new.holdings, [format!("flock x * by {b}: {b} took")]);
    // Asked by its path, the new one is said to have a predecessor.
    assert_eq!(new.oddities, [format!("Former {{ pid: {a} }}")]);
}

/// It was moved: the holder's descriptor knows where.
#[test]
fn a_file_that_was_moved_is_called_by_its_new_name() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut actor = Actor::new();
    actor.locks("flock", &path, "");
    let moved = folder.join("moved");
    fs::rename(&path, &moved).expect("our own folder");
    let inode = seen(&moved).file.inode.expect("it is there");
    is_called(&on_machine(inode), &moved, Name::Leads, &[]);
}

#[test]
fn a_file_whose_real_name_ends_as_the_kernel_marks_deleted_ones_is_not_deleted() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock (deleted)"));
    let mut actor = Actor::new();
    actor.locks("flock", &path, "");
    let inode = seen(&path).file.inode.expect("it is there");
    is_called(&on_machine(inode), &path, Name::Leads, &[]);
}

#[test]
fn all_kinds_are_seen_on_a_file_system_in_memory() {
    let memory = tempfile::tempdir_in("/dev/shm").expect("a file system in memory");
    for how in ["flock", "posix"] {
        let path = empty(&memory.path().join(how));
        let mut actor = Actor::new();
        let pid = actor.pid();
        actor.locks(how, &path, "");
        assert_eq!(
            told(&path).holdings,
            [format!("{how} x * by {pid}: {pid} took")]
        );
    }
}

#[test]
fn a_symbolic_link_is_looked_at_as_what_it_leads_to() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let link = folder.join("link");
    std::os::unix::fs::symlink("lock", &link).expect("our own folder");
    let mut actor = Actor::new();
    let pid = actor.pid();
    actor.locks("flock", &link, "");
    let expected = [format!("flock x * by {pid}: {pid} took")];
    assert_eq!(told(&path).holdings, expected);
    let found = Inspector::new().path(&link).expect("one can look");
    assert_eq!(found.file.path.as_deref(), Some(&*link));
    let kernel = |text: &String| text.starts_with("flock");
    let holdings = Told::of(&found).holdings;
    let kernels: Vec<String> = holdings.into_iter().filter(kernel).collect();
    assert_eq!(kernels, expected);
}

/// The layers lie on two file systems: `stat` has the numbers of a layer there, the kernel's list those of the whole.
#[test]
fn locks_on_files_of_every_layer_of_an_overlay_are_seen() {
    let folder = Folder::new();
    let script = "
mount -t tmpfs none $M; mkdir $M/low $M/up $M/work $M/all; mount -t tmpfs none $M/low
echo low > $M/low/below; echo low > $M/low/copied; echo up > $M/up/above
mount -t overlay none -o lowerdir=$M/low,upperdir=$M/up,workdir=$M/work $M/all
";
    let mut actor = apart(&folder, script);
    let mut looker = Looker::beside(&actor);
    let pid = actor.pid();
    let at = |name: &str| folder.join("all").join(name);
    // Opened for reading, a file of the lower layer stays there.
    actor.does(&format!(
        "fcntl.flock(os.open({:?}, os.O_RDONLY), fcntl.LOCK_EX)",
        at("below")
    ));
    for name in ["copied", "above", "new"] {
        actor.locks("flock", &at(name), "");
    }
    for name in ["below", "copied", "above", "new"] {
        looker.must_see(&at(name), &format!("flock x * by {pid}: {pid} took"));
    }
    // It is another file below, for whoever locks that.
    looker
        .child
        .order(&format!("inspect {}", folder.join("up/above").display()));
    // Waiters, too; those for an OFD lock are found by what they have open.
    let mut waiter = Actor::by(&["nsenter", "-m", "-t", &pid.to_string()]);
    let ofd = at("ofd");
    actor.locks("ofd", &ofd, "");
    let sleeps = waiter.pid();
    waiter.begins(&format!("ofd({ofd:?})"));
    let expected = format!("waits({sleeps} ofd x * queued 0 behind [0])");
    let inspect = format!("inspect {}", ofd.display());
    sneck_testkit::block::until("it waits, and is named", || {
        looker.child.order(&inspect).contains(&expected)
    });
}

#[test]
fn a_file_is_the_same_by_each_path_of_a_bind_mount() {
    let folder = Folder::new();
    for name in ["here", "there"] {
        fs::create_dir(folder.join(name)).expect("our own folder");
    }
    let (here, there) = (folder.join("here/lock"), folder.join("there/lock"));
    let mut actor = apart(&folder, "mount --bind $M/here $M/there");
    let mut looker = Looker::beside(&actor);
    let pid = actor.pid();
    let expected = format!("flock x * by {pid}: {pid} took");
    actor.locks("flock", &there, "");
    for path in [&here, &there] {
        let said = looker.child.order(&format!("inspect {}", path.display()));
        assert!(said.starts_with(&format!("held({expected})")), "{said}");
    }
    // Out here the other path leads nowhere, and the file is the same.
    let found = Inspector::new().path(&here).expect("one can look");
    assert_eq!(Told::of(&found).holdings, std::slice::from_ref(&expected));
    let elsewhere = on_machine(found.file.inode.expect("it is there"));
    is_called(&elsewhere, &there, Name::Elsewhere(pid), &[]);
    assert_eq!(Told::of(&elsewhere).holdings, [expected]);
}

/// A path there, and none here; or here another file's.
#[test]
fn a_file_in_another_mount_namespace_is_called_by_its_path_there() {
    let folder = Folder::new();
    let path = folder.join("lock");
    let mut actor = apart(&folder, "mount -t tmpfs none $M; : > $M/lock");
    let pid = actor.pid();
    let file = |actor: &mut Actor| -> Inspection {
        let descriptor = actor.locks("flock", &path, "");
        actor.begins(&format!("os.fstat({descriptor}).st_ino"));
        let inode: u64 = actor.has_done().parse().expect("a number");
        let survey = Inspector::new().machine().expect("one can look");
        let is_it = |file: &Inspection| {
            let by = file.holdings.iter().filter_map(|h| h.taker);
            let mut by = by.filter(|by| *by == pid);
            file.file.inode.is_some_and(|i| i.number == inode) && by.next().is_some()
        };
        let mut those = survey.files.into_iter().filter(is_it);
        those.next().expect("it is held")
    };
    let found = file(&mut actor);
    is_called(&found, &path, Name::Elsewhere(pid), &[]);
    empty(&path);
    let found = file_again(&found);
    is_called(&found, &path, Name::Elsewhere(pid), &[]);
    // Deleted there: what stands here did not take its place.
    actor.does(&format!("os.remove({path:?})"));
    let found = file_again(&found);
    is_called(&found, &path, Name::Deleted, &[Oddity::Deleted]);
    actor.does(&format!("os.close(opened({path:?}))"));
    let found = file_again(&found);
    is_called(&found, &path, Name::Replaced, &[Oddity::Replaced]);
    assert!(!seen(&path).is_held());
}

fn file_again(found: &Inspection) -> Inspection {
    on_machine(found.file.inode.expect("it is known"))
}

/// A path that is too long to be told, and one that nobody can search.
#[test]
fn a_path_that_cannot_be_looked_at_is_an_error_that_names_it() {
    let long = PathBuf::from(format!("/tmp/{}", "x".repeat(300)));
    let error = Inspector::new().path(&long).expect_err("no such name");
    assert!(error.to_string().contains("xxx"), "{error}");
    let missing = Path::new("/nowhere/at/all");
    match Inspector::new().path(missing) {
        Ok(found) => assert_eq!(found.file.name, Name::Nothing),
        Err(error) => assert!(error.to_string().contains("/nowhere/at/all"), "{error}"),
    }
}
