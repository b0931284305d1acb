//! What the command says and does where there is no lock and none can be made: its exit code, the path in its message, and that all stays as it was.
//!
//! The things come from the table that the library's own tests use. Not for: what is waited for, and what the library makes of each (`bad_input` of the
//! library).

#![allow(clippy::disallowed_methods)]

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sneck_testkit::Folder;
use sneck_testkit::planted::{Met, claim_of, protocols, protocols_with_numbers, state, things};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Far longer than anything here takes: only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// No process can have this number.
const NOBODY: &str = "4194305";

fn sneck() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sneck"))
}

fn written(scheme: &str, path: impl AsRef<OsStr>) -> OsString {
    let mut place = OsString::from(format!("{scheme}:"));
    place.push(path);
    place
}

/// What it ended with, and all that it said. It ends by itself.
#[track_caller]
fn ends(command: &mut Command) -> (i32, String) {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("sneck runs");
    let start = Instant::now();
    while child.try_wait().expect("our own child").is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().expect("our own child");
            panic!("{command:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().expect("our own child");
    let said = [&output.stderr[..], &output.stdout[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code().unwrap_or(-1), said)
}

/// `sneck` with these words ends so, and names the place.
#[track_caller]
fn is_refused(words: &[&str], place: &OsStr, code: i32, command: &[&str]) {
    let (ended, said) = ends(sneck().args(words).arg(place).args(command));
    let place = place.to_string_lossy();
    assert_eq!(ended, code, "{words:?} {place}: {said}");
    let path = place.split_once(':').map_or(&*place, |(_, path)| path);
    assert!(said.contains(path), "{words:?} {place}: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn every_thing_at_a_locks_path_has_its_code_and_is_left_as_it_was() {
    for scheme in protocols() {
        for thing in things() {
            let folder = Folder::new();
            let path = folder.join("lock");
            thing.plant(&path);
            let before = state(&path);
            let place = written(scheme, &path);
            // Foreign things are refused even by those who wait for ever; the others have a deadline.
            let (forever, once, look) = match thing.met_by(scheme) {
                Met::Lockable => (0, 0, 0),
                Met::Foreign => (66, 66, 66),
                Met::Damaged => (66, 66, 2),
                Met::Busy(_) | Met::Remains => (75, 75, 1),
            };
            let wait = if forever == 66 && look == 66 {
                "1d"
            } else {
                "0.02"
            };
            is_refused_unless_ok(&["run", "-w", wait], &place, forever);
            is_refused_unless_ok(&["run", "-n"], &place, once);
            is_refused(&["status"], &place, look, &[]);
            assert_eq!(state(&path), before, "{scheme}, {}", thing.name);
        }
    }
}

/// A command that ran says nothing.
#[track_caller]
fn is_refused_unless_ok(words: &[&str], place: &OsStr, code: i32) {
    if code == 0 {
        let (ended, said) = ends(sneck().args(words).arg(place).arg("true"));
        assert_eq!((ended, said), (0, String::new()), "{words:?} {place:?}");
    } else {
        is_refused(words, place, code, &["true"]);
    }
}

#[test]
fn a_folder_that_is_missing_or_none_ends_with_73_and_is_free_to_whoever_looks() {
    for scheme in protocols() {
        let folder = Folder::new();
        let place = written(scheme, folder.join("missing/lock"));
        is_refused(&["run"], &place, 73, &["true"]);
        is_refused(&["status"], &place, 0, &[]);
        fs::write(folder.join("file"), "").expect("our own folder");
        is_refused(
            &["run"],
            &written(scheme, folder.join("file/lock")),
            73,
            &["true"],
        );
        assert!(!folder.join("missing").exists());
    }
}

#[test]
fn a_name_that_is_too_long_ends_with_73() {
    for scheme in protocols() {
        let folder = Folder::new();
        let path = folder.join("x".repeat(256));
        let (ended, said) = ends(sneck().arg("run").arg(written(scheme, &path)).arg("true"));
        assert_eq!(ended, 73, "{scheme}: {said}");
        assert!(
            said.contains(&folder.path().display().to_string()),
            "{said}"
        );
    }
}

#[test]
fn a_name_that_is_no_text_can_be_locked_and_is_shown_safely() {
    for scheme in protocols() {
        let folder = Folder::new();
        let name = OsString::from_vec(b"\xff\x1b[31m\n".to_vec());
        let place = written(scheme, folder.join(name));
        let own = sneck().get_program().to_owned();
        // The inner one is refused, while the outer one holds it.
        let mut outer = sneck();
        outer.arg("run").arg(&place).arg("--").arg(own);
        let (ended, said) = ends(outer.args(["run", "-n"]).arg(&place).arg("true"));
        assert_eq!(ended, 75, "{scheme}: {said}");
        let printable = said.chars().all(|c| c == '\n' || !c.is_control());
        assert!(printable, "{said:?}");
        assert_eq!(said.lines().count(), 1, "{said:?}");
    }
}

#[test]
fn without_permission_it_ends_with_77() {
    let root = rustix::process::geteuid().is_root();
    assert!(root, "this needs root, to become another user");
    for scheme in protocols() {
        // Not to be written; not even to be searched.
        for (mode, looked) in [(0o755, 0), (0o700, 77)] {
            let folder = Folder::new();
            let closed = folder.join("closed");
            fs::create_dir(&closed).expect("our own folder");
            fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).expect("our own");
            // A copy, since the build's own folder may be closed to that user.
            let copy = folder.join("sneck");
            // By another process: a copy that we had open for writing could not be executed while a child has it open too.
            let copied = Command::new("cp")
                .arg(sneck().get_program())
                .arg(&copy)
                .status();
            assert!(copied.expect("`cp` is there").success());
            let ordinary = |words: &[&str], command: &[&str]| {
                let mut sneck = Command::new(&copy);
                sneck.uid(65534).gid(65534).current_dir("/");
                let place = written(scheme, closed.join("lock"));
                ends(sneck.args(words).arg(place).args(command))
            };
            let (ended, said) = ordinary(&["run"], &["true"]);
            assert_eq!(ended, 77, "{scheme} {mode:o}: {said}");
            assert!(said.contains("closed/lock"), "{said}");
            let (ended, said) = ordinary(&["status"], &[]);
            assert_eq!(ended, looked, "{scheme} {mode:o}: {said}");
        }
    }
}

/// In a mount namespace of its own, which goes with the command.
#[track_caller]
fn on_a_file_system(folder: &Path, script: &str, words: &[&OsStr]) -> (i32, String) {
    let root = rustix::process::geteuid().is_root();
    assert!(root, "this needs root, to mount");
    let script = format!("M='{}'; set -e; {script}\nexec \"$@\"", folder.display());
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, "sh"]);
    ends(command.arg(sneck().get_program()).args(words))
}

#[test]
fn on_a_read_only_or_full_file_system_it_ends_with_73() {
    for scheme in protocols() {
        for script in [
            "mount -t tmpfs none $M; mount -o remount,ro $M",
            "mount -t tmpfs -o nr_inodes=2 none $M; touch $M/1 $M/2 2>/dev/null || true",
        ] {
            let folder = Folder::new();
            let place = written(scheme, folder.join("lock"));
            let words = ["run".as_ref(), place.as_os_str(), "true".as_ref()];
            let (ended, said) = on_a_file_system(folder.path(), script, &words);
            assert_eq!(ended, 73, "{scheme}, {script}: {said}");
            assert!(
                said.contains(&folder.join("lock").display().to_string()),
                "{said}"
            );
        }
    }
}

/// It can open so many descriptors, the usual three among them.
fn with_descriptors(most: u64) -> Command {
    let mut command = sneck();
    let limit = Rlimit {
        current: Some(most),
        ..getrlimit(Resource::Nofile)
    };
    let lower = move || Ok(setrlimit(Resource::Nofile, limit)?);
    // SAFETY: one system call, which is async-signal-safe and touches nothing that the parent's threads may have locked.
    unsafe { command.pre_exec(lower) };
    command
}

#[test]
fn with_too_few_descriptors_it_says_so_and_leaves_nothing_behind() {
    // With fewer its libraries cannot be loaded.
    let starts = |most: &u64| ends(with_descriptors(*most).arg("--version")).0 == 0;
    let least = (3..=24).find(starts).expect("24 are enough to start");
    for scheme in protocols() {
        let mut codes = Vec::new();
        for most in least..=24 {
            let folder = Folder::new();
            let path = folder.join("lock");
            let mut command = with_descriptors(most);
            let (ended, said) = ends(command.arg("run").arg(written(scheme, &path)).arg("true"));
            let what = format!("{scheme} with {most}: {ended} {said}");
            match ended {
                0 => {}
                // What it cannot open may also be means of its own, for the command.
                74 => assert!(!said.is_empty(), "{what}"),
                73 => assert!(said.contains(&path.display().to_string()), "{what}"),
                _ => panic!("{what}"),
            }
            let kernel = !protocols_with_numbers().contains(&scheme);
            for entry in fs::read_dir(folder.path()).expect("a folder") {
                let name = entry.expect("an entry").file_name();
                assert!(
                    kernel && name.as_bytes() == b"lock",
                    "{what}: left {name:?}"
                );
            }
            codes.push(ended);
        }
        assert_eq!(codes.last(), Some(&0), "{scheme}: {codes:?}");
        assert_ne!(codes[0], 0, "{scheme} opens nothing at all?");
    }
}

#[test]
fn a_stale_claim_is_told_apart_from_a_held_one_and_broken_by_run_alone() {
    for scheme in protocols_with_numbers() {
        let folder = Folder::new();
        let path = folder.join("lock");
        claim_of(scheme, &path, NOBODY);
        let before = state(&path);
        let place = written(scheme, &path);
        is_refused(&["status"], &place, 2, &[]);
        is_refused(&["run", "-n", "--stale", "never"], &place, 75, &["true"]);
        assert_eq!(state(&path), before);
        let (ended, said) = ends(sneck().args(["run", "-n"]).arg(&place).arg("true"));
        assert_eq!(ended, 0, "{scheme}: {said}");
        assert!(said.contains(NOBODY), "who was robbed is said: {said}");
        assert!(path.symlink_metadata().is_err());
    }
}
