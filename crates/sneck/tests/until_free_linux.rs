//! Waiting until nobody holds a lock, where Linux hides something: namespaces, /proc, no inotify.
//!
//! Not for: what holds everywhere (`until_free.rs`).

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests lock, make and remove what they like"
)]

use sneck::{Event, Mode, Registry, Timeout, Waiting};
use sneck_testkit::child::{Session, Start, say};
use sneck_testkit::{Setup, claims, sys};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// `until-free MS` answers `free` or `kept KIND`.
fn more(session: &mut Session, words: &[&str]) -> bool {
    let lock = session.setup.lock_with(|b| {
        b.observer(|event: &Event<'_>| {
            if matches!(event, Event::Polling { .. }) {
                say("polling");
            }
        })
    });
    match words {
        ["until-free", wait] => {
            let wait = Duration::from_millis(wait.parse().expect("a number"));
            match lock.until_free(Timeout::from(wait)) {
                Ok(()) => say("free"),
                Err(error) => say(&format!("kept {:?} {error}", error.kind())),
            }
        }
        _ => return false,
    }
    true
}

sneck_testkit::entry!(Registry::local, more);

fn setup(scheme: &'static str, waiting: Waiting) -> Setup {
    let place = |folder: &Path| claims::alone(scheme, folder);
    Setup::new(Registry::local, place, waiting, CHILD_ENTRY)
}

/// Where the lock is.
fn path(setup: &Setup) -> std::path::PathBuf {
    setup.folder.join("locks/lock")
}

#[test]
fn inside_a_pid_namespace_what_cannot_be_seen_is_an_error_at_once_and_never_free() {
    assert!(sys::is_root(), "this needs root, for namespaces");
    // On a file system with a device number of its own, and on one without, as containers share it.
    let shared = tempfile::tempdir_in("/dev/shm").expect("a file system in memory");
    for folder in [None, Some(shared.path())] {
        let inside_of = |own: &Path| format!("{}/lock", folder.unwrap_or(own).display());
        let setup = Setup::new(Registry::local, inside_of, Waiting::Best, CHILD_ENTRY);
        fs::write(inside_of(setup.folder.path()), "").expect("our own folder");
        let wrapper = ["unshare", "-fp", "--mount-proc", "--kill-child"];
        let mut inside = Start::wrapped(&setup, &wrapper).child();
        let _guard = setup.lock().try_acquire().expect("it is free");
        for wait in ["0", "60000"] {
            inside.tell(&format!("until-free {wait}"));
            let said = inside.hear_one_of(&["kept", "free"]).1;
            assert!(said.starts_with("Unsupported"), "{said}");
            assert!(said.contains("pid namespace"), "{said}");
        }
    }
}

#[test]
fn a_reader_does_not_take_a_writer_whom_proc_hides_for_a_reader() {
    assert!(
        sys::is_root(),
        "this needs root, to become a user without rights"
    );
    let setup = setup("fcntl", Waiting::Best);
    fs::write(path(&setup), "0123456789").expect("our own folder");
    let python = std::env::var("SNECK_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    // A reader of the first byte that the kernel names, and a writer of the last one that it does not.
    let script = "
import fcntl, os, struct, sys
file = open(sys.argv[1], 'r+')
last = struct.pack('hhqqi4x', fcntl.F_WRLCK, os.SEEK_SET, 9, 1, 0)
fcntl.fcntl(file, getattr(fcntl, 'F_OFD_SETLK', 37), last)
fcntl.lockf(file, fcntl.LOCK_SH, 1)
print('in', flush=True)
sys.stdin.readline()
";
    let mut writer = std::process::Command::new(python)
        .args(["-c", script])
        .arg(path(&setup))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("Python is there");
    let mut output = std::io::BufReader::new(writer.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut output, &mut String::new()).expect("it says that it is in");
    let child = sys::fork(|| {
        sys::become_user(sys::NOBODY);
        let reader = setup.lock_with(|b| b.mode(Mode::Shared));
        i32::from(reader.until_free(Timeout::Once).is_ok())
    });
    let free = child.wait();
    drop(writer.stdin.take());
    writer.wait().expect("our own child");
    assert_eq!(free, 0, "the writer was not seen");
}

#[test]
fn without_inotify_it_looks_again_and_again_and_still_sees_the_end() {
    let setup = setup("symlink", Waiting::Best);
    let inject = "inject=inotify_init1:error=EMFILE";
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject];
    let mut child = Start::wrapped(&setup, &strace).child();
    let guard = setup.lock().try_acquire().expect("it is free");
    child.tell("until-free 60000");
    thread::sleep(Duration::from_millis(100));
    assert!(!child.has_said("free"));
    guard.release().expect("it is held");
    child.hear("free");
    let told = child.said().iter().filter(|line| *line == "polling");
    assert_eq!(told.count(), 1, "{:?}", child.said());
}
