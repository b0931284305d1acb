//! Looking harms nothing: no lock of one's own is lost, no file touched, no lease broken, and nothing waited for.

use crate::actor::{Actor, empty, listed};
use crate::{CHILD_ENTRY, lock_posix, on_machine, seen, told};
use rustix::fs::{Mode, OFlags};
use sneck::inspect::{Inspector, Probe};
use sneck::{Registry, Waiting};
use sneck_testkit::{Folder, PATIENCE, Setup, must_block};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;

/// Every way to look at it.
fn look(path: &Path) {
    for probe in [Probe::Never, Probe::Try] {
        let inspector = Inspector::new().probe(probe);
        inspector.path(path).expect("one can look");
        inspector.machine().expect("one can look");
        let folder = path.parent().expect("it has a folder");
        inspector
            .under(&[folder.to_owned(), path.to_owned()])
            .expect("one can look");
    }
}

#[test]
fn a_posix_lock_of_the_process_that_looks_stays() {
    let folder = Folder::new();
    // What it says may look like a claim: it is not opened for that, either.
    for (name, content) in [("empty", ""), ("number", "4194305\n"), ("app.lock", "1\n")] {
        let path = folder.join(name);
        fs::write(&path, content).expect("our own folder");
        lock_posix(&path);
        let own = std::process::id();
        let is_ours = || {
            let held = told(&path).holdings;
            let kernel = held.into_iter().filter(|h| h.starts_with("posix "));
            let expected = format!("posix x * by {own}: {own} took");
            assert_eq!(kernel.collect::<Vec<_>>(), [expected]);
        };
        is_ours();
        look(&path);
        is_ours();
        // The claim of another path beside which it stands.
        let beside = folder.join("app");
        Inspector::new().path(&beside).expect("one can look");
        is_ours();
    }
}

#[test]
fn no_time_of_a_file_is_changed() {
    let folder = Folder::new();
    let mut actor = Actor::new();
    let path = empty(&folder.join("lock"));
    actor.locks("flock", &path, "");
    let times = || {
        [folder.path(), &path].map(|path| {
            let stat = fs::symlink_metadata(path).expect("it is there");
            let second = [stat.atime(), stat.mtime(), stat.ctime()];
            let part = [stat.atime_nsec(), stat.mtime_nsec(), stat.ctime_nsec()];
            (second, part, stat.ino(), stat.nlink(), stat.mode())
        })
    };
    let before = times();
    look(&path);
    assert_eq!(times()[1], before[1]);
}

#[test]
fn a_pipe_or_a_device_at_the_path_is_not_waited_for() {
    let folder = Folder::new();
    let pipe = folder.join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo(1) is there").success());
    let socket = folder.join("socket");
    let _listens = std::os::unix::net::UnixListener::bind(&socket).expect("our own folder");
    for path in [pipe.clone(), socket, "/dev/tty".into(), "/dev/null".into()] {
        let (sender, looked) = channel();
        thread::spawn(move || {
            for probe in [Probe::Never, Probe::Try] {
                let found = Inspector::new().probe(probe).path(&path);
                let found = found.expect("one can look");
                assert!(!found.is_held(), "{found:?}");
            }
            let _ = sender.send(());
        });
        looked.recv_timeout(PATIENCE).expect("it does not wait");
    }
    let (sender, looked) = channel();
    let own = folder.path().to_owned();
    thread::spawn(move || sender.send(Inspector::new().under(&[own]).is_ok()));
    assert_eq!(looked.recv_timeout(PATIENCE), Ok(true));
    // A pipe can be locked, too, by whoever has it open already.
    let options = OFlags::RDWR | OFlags::CLOEXEC;
    let open = rustix::fs::open(&pipe, options, Mode::empty()).expect("both ends");
    rustix::fs::flock(&open, rustix::fs::FlockOperation::LockExclusive).expect("it is free");
    let own = std::process::id();
    let expected = [format!("flock x * by {own}: {own} took")];
    assert_eq!(told(&pipe).holdings, expected);
}

#[test]
fn a_lease_is_not_broken_by_who_looks() {
    let folder = Folder::new();
    // One that whoever opens it for reading would break.
    let path = folder.join("4194305.lock");
    fs::write(&path, "4194305\n").expect("our own folder");
    let mut actor = Actor::new();
    let pid = actor.pid();
    actor.locks("lease", &path, "");
    let (sender, looked) = channel();
    let there = path.clone();
    thread::spawn(move || {
        look(&there);
        sender.send(())
    });
    looked.recv_timeout(PATIENCE).expect("it does not wait");
    let inode = seen(&path).file.inode.expect("it is there");
    let lines = listed(&path);
    let [line] = &lines[..] else {
        panic!("it is held, and nobody waits: {lines:?}");
    };
    assert!(
        line.contains(&pid.to_string()) && !line.contains("BREAKING"),
        "{line}"
    );
    let held = crate::Told::of(&on_machine(inode)).holdings;
    assert!(
        held.contains(&format!("lease x * by {pid}: {pid} took")),
        "{held:?}"
    );
}

/// Whoever asks for it while it is looked at gets it.
#[test]
fn a_lock_can_be_had_while_it_is_looked_at() {
    let place = |folder: &Path| folder.join("lock").display().to_string();
    let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
    let path = empty(&setup.folder.join("lock"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                Inspector::new().path(&path).expect("one can look");
            }
        });
        let mut child = setup.child();
        for _ in 0..200 {
            child.tell("acquire it once");
            child.hear("held");
            child.release();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// Not even by looking at a lock for which this process itself waits.
#[test]
fn who_looks_keeps_its_own_place_in_the_line() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut actor = Actor::new();
    let descriptor = actor.locks("flock", &path, "");
    let own = fs::File::open(&path).expect("it is there");
    let before = crate::actor::queued(&path);
    let waits = must_block(move || {
        let done = rustix::fs::flock(&own, rustix::fs::FlockOperation::LockExclusive);
        done.map(|()| own)
    });
    sneck_testkit::block::until("it waits", || crate::actor::queued(&path) > before);
    let pid = std::process::id();
    let expected = [format!("{pid} flock x * queued 0 behind [0]")];
    assert_eq!(told(&path).waiters, expected);
    look(&path);
    assert_eq!(told(&path).waiters, expected);
    actor.does(&format!("os.close({descriptor})"));
    let _file = waits.wait().expect("it gets it");
    assert_eq!(
        told(&path).holdings,
        [format!("flock x * by {pid}: {pid} took")]
    );
}
