//! What `fcntl` does beside other locks on the same file: a process's own POSIX locks, flocks, locks that cannot be seen; and which rights it wants.
//! Not for: POSIX locks of other processes (`company.rs`).

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests lock as they like"
)]

use rustix::fs::{FlockOperation, fcntl_lock};
use sneck::{ErrorKind, Lock, Mode, Registry, Sighting, Waiting};
use sneck_testkit::child::{Start, say};
use sneck_testkit::{Session, Setup, sys};
use std::env;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

sneck_testkit::entry!(Registry::local, more);

/// `look` says what is seen at the place; `lockf PATH` tries for a POSIX lock, and keeps it.
fn more(session: &mut Session, words: &[&str]) -> bool {
    match words {
        ["look"] => {
            let seen = session.setup.lock().holder().expect("one can look");
            say(&format!("look {seen:?}"));
        }
        ["lockf", path] => say(&format!("lockf {}", lockf(Path::new(path)))),
        _ => return false,
    }
    true
}

/// Whether this process got a POSIX lock on the file. The descriptor stays open.
fn lockf(path: &Path) -> bool {
    let file = File::options().write(true).open(path).expect("it is there");
    let got = fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    std::mem::forget(file);
    got
}

fn setup() -> (Setup, PathBuf) {
    let place = |folder: &Path| format!("fcntl:{}", folder.join("lock").display());
    let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
    let path = setup.folder.join("lock");
    (setup, path)
}

#[test]
fn looking_loses_no_posix_lock_of_this_process() {
    let (setup, path) = setup();
    fs::write(&path, "").expect("our own folder");
    assert!(lockf(&path), "nobody holds it");
    for _ in 0..3 {
        let seen = setup.lock().holder().expect("one can look");
        let pids: Vec<_> = seen.holders().iter().map(|h| h.pid).collect();
        assert_eq!(pids, [Some(std::process::id())], "{seen:?}");
    }
    let mut child = setup.child();
    assert_eq!(child.ask(&format!("lockf {}", path.display())), "false");
    let said = child.must_be_refused();
    assert!(
        said.contains(&format!("[{}]", std::process::id())),
        "{said}"
    );
}

#[test]
fn a_posix_lock_of_this_very_process_is_somebody_else_s() {
    let (setup, path) = setup();
    fs::write(&path, "").expect("our own folder");
    assert!(lockf(&path), "nobody holds it");
    let error = setup.lock().try_acquire().expect_err("it is held");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
}

#[test]
fn flock_and_fcntl_on_one_file_know_nothing_of_each_other() {
    let (setup, path) = setup();
    let other = Lock::new(&path).expect("a path");
    let ours = setup.lock().try_acquire().expect("it is free");
    assert_eq!(other.holder().expect("one can look"), Sighting::Free);
    let theirs = other.try_acquire().expect("it is another lock");
    drop(ours);
    assert_eq!(setup.lock().holder().expect("one can look"), Sighting::Free);
    let ours = setup.lock().try_acquire().expect("it is another lock");
    theirs.release().expect("it is held");
    setup.child().must_be_refused();
    ours.release().expect("it is held");
}

#[test]
fn a_file_that_may_only_be_read_can_be_locked_shared_and_nothing_more() {
    for (mode, granted, refused) in [
        (0o444, "shared", ""),
        (0o222, "", "shared"),
        (0o666, "shared", "none"),
    ] {
        let (setup, path) = setup();
        fs::write(&path, "content").expect("our own folder");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("our own file");
        let mut child = setup.child();
        child.order(&format!("user {}", sys::NOBODY));
        child.tell(format!("acquire it once {granted}").trim());
        child.hear("held");
        child.release();
        if refused == "none" {
            continue;
        }
        child.tell(format!("acquire it once {refused}").trim());
        let said = child.hear("refused");
        assert!(said.starts_with("NoPermission"), "{said}");
        assert!(said.contains(&path.display().to_string()), "{said}");
        let right = if mode == 0o444 { "write" } else { "read" };
        assert!(
            said.contains(&format!("the right to {right} the file")),
            "{said}"
        );
        assert_eq!(setup.lock().holder().expect("one can look"), Sighting::Free);
    }
}

#[test]
fn whoever_inherited_the_descriptor_is_named_as_the_holder() {
    let (setup, path) = setup();
    // An OFD lock taken by a process that ends; its child lives on.
    let script = "
import fcntl, os, struct, sys
file = open(sys.argv[1], 'a+')
whole = struct.pack('hhqqi4x', fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
fcntl.fcntl(file, getattr(fcntl, 'F_OFD_SETLK', 37), whole)
if os.fork(): os._exit(0)
print(os.getpid(), flush=True)
sys.stdin.readline()
";
    let python = env::var("SNECK_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut process = Command::new(python)
        .arg("-c")
        .arg(script)
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python is there");
    // Kept open: waiting for the first process would close it, and its end sends the second one away.
    let input = process.stdin.take();
    let mut heir = String::new();
    let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
    output.read_line(&mut heir).expect("it says its number");
    process.wait().expect("our own child");
    let error = setup.lock().try_acquire().expect_err("the child holds it");
    let pid = heir.trim().parse().expect("a number");
    assert_eq!(error.holders()[0].pid, Some(pid), "{error}");
    assert_eq!(error.holders()[0].mode, Some(Mode::Exclusive), "{error}");
    drop(input);
    let guard = setup.lock().acquire_within(sneck_testkit::PATIENCE);
    let guard = guard.expect("the child has ended");
    guard.release().expect("it is held");
}

#[test]
fn a_lock_held_outside_of_the_pid_namespace_is_never_seen_free() {
    let (setup, path) = setup();
    fs::write(&path, "").expect("our own folder");
    let mut wrapper = vec!["unshare"];
    if !sys::is_root() {
        wrapper.push("-r");
    }
    wrapper.extend(["-p", "-f", "--kill-child", "--mount-proc"]);
    let mut inside = Start::wrapped(&setup, &wrapper).child();
    let seen = inside.ask("look");
    assert!(seen.starts_with("Unknown"), "{seen}");
    // The kernel hides a POSIX lock of a process outside, and shows an OFD lock.
    assert!(lockf(&path), "nobody holds it");
    let seen = inside.ask("look");
    assert!(seen.starts_with("Unknown"), "{seen}");
    inside.must_be_refused();

    let (setup, _) = self::setup();
    let mut inside = Start::wrapped(&setup, &wrapper).child();
    let guard = setup.lock().try_acquire().expect("it is free");
    let seen = inside.ask("look");
    assert!(seen.starts_with("Held"), "{seen}");
    inside.must_be_refused();
    guard.release().expect("it is held");
}
