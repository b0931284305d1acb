//! What is looked at is not opened: neither a gigabyte, nor a FIFO, nor what lies behind a link.
//!
//! Not for: what is refused and what is waited for (`things`).

use crate::{says, setup};
use sneck::{ErrorKind, Sighting};
use sneck_testkit::planted::{protocols, state, things};
use sneck_testkit::{Setup, block};
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

/// Refused, however long one is ready to wait.
#[track_caller]
fn is_refused(setup: &Setup, path: &Path) -> String {
    let once = setup.lock().try_acquire().map(drop);
    let ready_to_wait = setup.lock();
    let waited = block::start(move || ready_to_wait.acquire().map(drop)).wait();
    for result in [once, waited] {
        let error = result.expect_err("this is no lock");
        says(&error, ErrorKind::Foreign, path);
    }
    match setup.lock().holder().expect("one can look") {
        Sighting::Foreign { what } => what,
        seen => panic!("this is no lock: {seen:?}"),
    }
}

#[test]
fn a_gigabyte_is_not_read_to_find_that_it_is_no_lock() {
    for scheme in protocols() {
        let (setup, path) = setup(scheme);
        let huge = things().find(|t| t.name.starts_with("a gigabyte"));
        huge.expect("it is in the table").plant(&path);
        let mut child = setup.child();
        let read = |pid: u32| {
            let io = fs::read_to_string(format!("/proc/{pid}/io")).expect("/proc is there");
            let line = io.lines().find_map(|l| l.strip_prefix("rchar: "));
            line.and_then(|n| n.parse::<u64>().ok()).expect("a number")
        };
        let before = read(child.pid());
        child.tell("acquire it once");
        block::until("it is held or refused", || {
            child.has_said("held") || child.has_said("refused")
        });
        let more = read(child.pid()) - before;
        assert!(more < 1 << 20, "{scheme} read {more} bytes");
    }
}

/// Writes to a FIFO as soon as somebody reads it. Killed and reaped when dropped.
struct Writer(Child);

impl Writer {
    fn start(path: &Path) -> Writer {
        let mut shell = Command::new("sh");
        shell.args(["-c", ": >\"$1\"", "sh"]).arg(path);
        let writer = Writer(shell.spawn().expect("`sh` is there"));
        thread::sleep(Duration::from_millis(50));
        writer
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whoever opens one end of a FIFO lets the other one go on; a device may do anything.
#[test]
fn nothing_but_a_regular_file_or_a_folder_is_opened() {
    for scheme in protocols() {
        let (fifo, path) = setup(scheme);
        let planted = things().find(|t| t.name == "a FIFO");
        planted.expect("it is in the table").plant(&path);
        let mut writer = Writer::start(&path);
        assert!(is_refused(&fifo, &path).contains("FIFO"));
        thread::sleep(Duration::from_millis(20));
        let ended = writer.0.try_wait().expect("our own child");
        assert!(ended.is_none(), "{scheme}: it was let go on");
    }
}

#[test]
fn nothing_is_made_or_changed_behind_a_link() {
    for scheme in protocols() {
        for target in ["nowhere", "there", "away"] {
            let (setup, path) = setup(scheme);
            let there = setup.folder.join("there");
            fs::write(&there, "content").expect("our own folder");
            fs::create_dir(setup.folder.join("away")).expect("our own folder");
            let before = state(&there);
            std::os::unix::fs::symlink(target, &path).expect("our own folder");
            assert!(is_refused(&setup, &path).contains("link"));
            assert_eq!(state(&there), before);
            assert_eq!(crate::names(&setup.folder.join("away")), [""; 0]);
            assert_eq!(
                crate::names(setup.folder.path()),
                ["away", "lock", "there"],
                "{scheme}: nothing was made"
            );
        }
    }
}
