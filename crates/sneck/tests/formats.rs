//! What the lock files of other programs look like, by their bytes: every form that is in use is a live claim to the protocols that read it, another
//! protocol's claim to the rest, and nothing of it is ever touched.
//!
//! Not for: the programs themselves (`company/`), what is nobody's claim (refused: see the tests of bad input).

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make and remove what they like"
)]

use sneck::{Clean, ErrorKind, Registry, Sighting, Stale, Waiting};
use sneck_testkit::{Setup, block, must_block};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

sneck_testkit::entry!(Registry::local);

const FILES: [&str; 6] = ["pidfile", "shlock", "dotlock", "labm8", "symlink", "mkdir"];

/// What a claim looks like.
struct Form {
    what: &'static str,
    /// Makes it, in the name of this process.
    make: fn(&Path, u32),
    /// The protocols whose claim it is.
    read_by: &'static [&'static str],
    /// Whose claim the others say that it is.
    seen_as: &'static str,
}

/// Protocols whose claims begin with a number on a line of its own.
const NUMBERS: [&str; 3] = ["pidfile", "shlock", "dotlock"];

const FORMS: [Form; 12] = [
    Form {
        what: "a number and a newline: daemons, caterpillar, pylockfile, PEAK, dotlockfile -p, INN 1",
        make: |path, pid| write(path, format!("{pid}\n")),
        read_by: &NUMBERS,
        seen_as: "pidfile",
    },
    Form {
        what: "a number alone",
        make: |path, pid| write(path, format!("{pid}")),
        read_by: &NUMBERS,
        seen_as: "pidfile",
    },
    Form {
        what: "ten columns: INN 2, UUCP",
        make: |path, pid| write(path, format!("{pid:10}\n")),
        read_by: &NUMBERS,
        seen_as: "pidfile",
    },
    Form {
        what: "four bytes in the machine's order: shlock -b, older UUCP",
        make: |path, pid| write(path, pid.to_ne_bytes()),
        read_by: &NUMBERS,
        seen_as: "pidfile",
    },
    Form {
        what: "more lines: daemons",
        make: |path, pid| write(path, format!("{pid}\n/usr/sbin/daemon\n--quiet\neth0\n")),
        read_by: &NUMBERS,
        seen_as: "pidfile",
    },
    Form {
        what: "host on the second line: filelock where the start is not known",
        make: |path, pid| write(path, format!("{pid}\n{}\n", host())),
        read_by: &NUMBERS,
        seen_as: "pidfile",
    },
    Form {
        what: "host, and the start in ticks: filelock where the boot is not known",
        make: |path, pid| write(path, format!("{pid}\n{}\n{}\n", host(), ticks(pid))),
        read_by: &NUMBERS,
        seen_as: "pidfile",
    },
    Form {
        what: "a number and a time: labm8",
        make: |path, pid| write(path, format!("{pid} {}.5779793\n", seconds())),
        read_by: &["labm8"],
        seen_as: "labm8",
    },
    Form {
        what: "a number, a time, and more: labm8 reads two fields",
        make: |path, pid| write(path, format!("{pid} {} and more of it\n", seconds())),
        read_by: &["labm8"],
        seen_as: "labm8",
    },
    Form {
        what: "names and values: labm8 of 2020",
        make: |path, pid| {
            let text = format!(
                "owner_process_id: {pid}\nowner_process_argv: \"x\"\ndate_acquired_unix_epoch_ms: {}123\n\
                 owner_hostname: \"{}\"\nowner_user: \"root\"\n",
                seconds(),
                host()
            );
            write(path, text);
        },
        read_by: &["labm8"],
        seen_as: "labm8",
    },
    Form {
        what: "a link to a number: Twisted",
        make: |path, pid| symlink(pid.to_string(), path).expect("our own folder"),
        read_by: &["symlink"],
        seen_as: "symlink",
    },
    Form {
        what: "a directory with an empty file: MkdirLockFile without threads",
        make: |path, pid| {
            fs::create_dir(path).expect("our own folder");
            write(&path.join(format!("{}.{pid}", host())), "");
        },
        read_by: &["mkdir"],
        seen_as: "mkdir",
    },
];

fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).expect("our own folder");
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("it is Linux");
    name.trim_end().to_owned()
}

/// The start of a process, in clock ticks since boot; 1 for the dead.
fn ticks(pid: u32) -> u64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return 1;
    };
    let after = stat.rsplit_once(')').expect("the name in parentheses").1;
    let field = after.split_ascii_whitespace().nth(19);
    field.and_then(|f| f.parse().ok()).expect("a number")
}

/// Now, in seconds since 1970. A claim made now.
fn seconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("the clock is right").as_secs()
}

fn setup(scheme: &str, waiting: Waiting) -> (Setup, PathBuf) {
    let place = |folder: &Path| format!("{scheme}:{}", folder.join("lock").display());
    let setup = Setup::new(Registry::local, place, waiting, CHILD_ENTRY);
    let path = setup.folder.join("lock");
    (setup, path)
}

/// A process that lives until it is dropped.
struct Living(Child);

impl Living {
    fn new() -> Living {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Living(command.spawn().expect("`cat` is there"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The number of a process that was.
fn dead() -> u32 {
    let living = Living::new();
    living.pid()
}

/// Everything about a name, and about what is in it if it is a directory.
fn state(path: &Path) -> String {
    let look = fs::symlink_metadata(path).expect("it is there");
    let (inode, mode, links) = (look.ino(), look.mode(), look.nlink());
    let modified = (look.mtime(), look.mtime_nsec());
    let changed = (look.ctime(), look.ctime_nsec());
    let content = if look.is_dir() {
        let entries = fs::read_dir(path).expect("a folder");
        let inside = entries.map(|e| state(&e.expect("an entry").path()));
        format!("{:?}", inside.collect::<Vec<_>>())
    } else if look.is_symlink() {
        format!("{:?}", fs::read_link(path))
    } else {
        let mut bytes = Vec::new();
        let mut file = fs::File::open(path).expect("it can be read");
        file.read_to_end(&mut bytes).expect("it can be read");
        format!("{bytes:?}")
    };
    format!("{path:?} {inode} {mode:o} {links} {modified:?} {changed:?} {content}")
}

/// What a person does.
fn clear(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).expect("our own folder");
    } else {
        fs::remove_file(path).expect("our own folder");
    }
}

/// It is in the way, of this process and by this protocol, whether one waits or not; once it is removed the lock is free, and until then nothing about it changes.
#[track_caller]
fn is_in_the_way(
    setup: &Setup,
    path: &Path,
    pid: Option<u32>,
    protocol: Option<&str>,
    words: &str,
) {
    let before = state(path);
    let seen = setup.lock().holder().expect("one can look");
    let [holder] = seen.holders() else {
        panic!("{words}: {seen:?}");
    };
    assert_eq!((holder.pid, holder.protocol), (pid, protocol), "{words}");
    let once = setup.lock().try_acquire();
    let short = setup.lock().acquire_within(Duration::from_millis(20));
    for (refusal, kind) in [(once, ErrorKind::Busy), (short, ErrorKind::TimedOut)] {
        let error = refusal.map(drop).expect_err(words);
        assert_eq!(error.kind(), kind, "{words}: {error}");
        assert_eq!(error.holders()[0].pid, pid, "{words}: {error}");
        assert_eq!(error.holders()[0].protocol, protocol, "{words}: {error}");
        if let Some(protocol) = protocol {
            assert!(error.to_string().contains(protocol), "{words}: {error}");
        }
    }
    let lock = setup.lock();
    let waiter = must_block(move || lock.acquire());
    assert_eq!(state(path), before, "{words}");
    clear(path);
    let guard = waiter.wait().expect(words);
    guard.release().expect(words);
    assert!(fs::symlink_metadata(path).is_err(), "{words}");
}

#[test]
fn every_form_of_a_live_claim_is_waited_for_by_the_protocols_that_read_it() {
    let living = Living::new();
    for form in &FORMS {
        for scheme in form.read_by {
            for waiting in [Waiting::Best, Waiting::Polling] {
                let (setup, path) = setup(scheme, waiting);
                (form.make)(&path, living.pid());
                let words = format!("{scheme} at {}", form.what);
                is_in_the_way(&setup, &path, Some(living.pid()), None, &words);
            }
        }
    }
}

#[test]
fn every_form_of_a_dead_claim_is_broken_by_the_protocols_that_read_it() {
    for form in &FORMS {
        for scheme in form.read_by {
            let words = format!("{scheme} at {}", form.what);
            let (setup, path) = setup(scheme, Waiting::Best);
            let pid = dead();
            (form.make)(&path, pid);
            let before = state(&path);
            let refusal = setup.lock_with(|b| b.stale(Stale::Never)).try_acquire();
            refusal.map(drop).expect_err(&words);
            assert_eq!(state(&path), before, "{words}");
            let guard = setup.lock().try_acquire().expect(&words);
            assert_eq!(guard.was_clean(), Clean::No, "{words}");
            assert_eq!(guard.broken()[0].pid, Some(pid), "{words}");
            guard.release().expect(&words);
            assert!(fs::symlink_metadata(&path).is_err(), "{words}");
        }
    }
}

#[test]
fn a_claim_of_another_protocol_is_waited_for_and_named_as_such() {
    let living = Living::new();
    for form in &FORMS {
        for scheme in FILES.iter().filter(|s| !form.read_by.contains(s)) {
            let (setup, path) = setup(scheme, Waiting::Best);
            (form.make)(&path, living.pid());
            let words = format!("{scheme} at {}", form.what);
            let protocol = Some(form.seen_as);
            is_in_the_way(&setup, &path, Some(living.pid()), protocol, &words);
        }
    }
}

/// Its holder may be dead by this protocol's rules and not by its own.
#[test]
fn a_claim_of_another_protocol_is_never_removed_however_dead_or_old() {
    for form in &FORMS {
        for scheme in FILES.iter().filter(|s| !form.read_by.contains(s)) {
            let words = format!("{scheme} at {}", form.what);
            let (setup, path) = setup(scheme, Waiting::Best);
            (form.make)(&path, dead());
            let before = state(&path);
            for stale in [Stale::Dead, Stale::Likely, Stale::After(Duration::ZERO)] {
                let lock = setup.lock_with(|b| b.stale(stale));
                let error = lock.try_acquire().map(drop).expect_err(&words);
                assert_eq!(error.kind(), ErrorKind::Busy, "{words}: {error}");
                assert_eq!(state(&path), before, "{words}");
            }
            let Sighting::Held { mark, .. } = setup.lock().holder().expect("one can look") else {
                panic!("{words}");
            };
            assert!(mark.is_none(), "{words}: it could be removed");
        }
    }
}

#[test]
fn mail_programs_that_write_no_number_are_waited_for_by_dotlock() {
    for (content, mode) in [("0\n", 0o644), ("0", 0o444), ("", 0o000)] {
        for waiting in [Waiting::Best, Waiting::Polling] {
            let (setup, path) = setup("dotlock", waiting);
            write(&path, content);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own");
            is_in_the_way(&setup, &path, None, None, content);
        }
    }
}

/// A number 0 kills nobody and asks nobody: to a protocol whose claims have a number it is a mistake. An empty file may be one that is just being written.
#[test]
fn what_names_nobody_is_damaged_where_claims_have_a_number() {
    for (scheme, content) in [
        ("pidfile", "0\n"),
        ("shlock", "0\n"),
        ("pidfile", ""),
        ("shlock", ""),
        ("labm8", ""),
    ] {
        let words = format!("{scheme} at {content:?}");
        let (setup, path) = setup(scheme, Waiting::Best);
        write(&path, content);
        let before = state(&path);
        for wait in [Duration::ZERO, Duration::from_millis(20)] {
            let error = setup.lock().acquire_within(wait).map(drop);
            let error = error.expect_err(&words);
            assert_eq!(error.kind(), ErrorKind::Damaged, "{words}: {error}");
        }
        let lock = setup.lock();
        let waiter = must_block(move || lock.acquire());
        assert_eq!(state(&path), before, "{words}");
        // Its maker finishes, and removes it.
        let living = Living::new();
        write(&path, format!("{} {}\n", living.pid(), seconds()));
        waiter.still();
        clear(&path);
        waiter.wait().expect(&words).release().expect(&words);
    }
}

#[test]
fn a_claim_of_another_host_is_never_judged() {
    type Make = fn(u32) -> String;
    let soft: Make = |pid| format!("{pid}\nelsewhere.example\n");
    let soft_started: Make = |pid| format!("{pid}\nelsewhere.example\n1\n");
    let labm8: Make = |pid| format!("owner_process_id: {pid}\nowner_hostname: \"elsewhere\"\n");
    for (scheme, make) in [
        ("pidfile", soft),
        ("pidfile", soft_started),
        ("shlock", soft),
        ("dotlock", soft),
        ("labm8", labm8),
    ] {
        let (setup, path) = setup(scheme, Waiting::Best);
        write(&path, make(dead()));
        let before = state(&path);
        for stale in [Stale::Dead, Stale::Likely] {
            let lock = setup.lock_with(|b| b.stale(stale));
            let error = lock.try_acquire().map(drop).expect_err(scheme);
            assert_eq!(error.kind(), ErrorKind::Busy, "{scheme}: {error}");
            let host = error.holders()[0].host.as_deref().unwrap_or_default();
            assert!(host.starts_with("elsewhere"), "{scheme}: {error}");
        }
        assert_eq!(state(&path), before, "{scheme}");
    }
}

/// What filelock writes down beside the number tells a process from the next one that gets it.
#[test]
fn a_start_that_is_not_that_of_the_process_proves_another() {
    let living = Living::new();
    let (setup, path) = setup("pidfile", Waiting::Best);
    let start = ticks(living.pid());
    write(&path, format!("{}\n{}\n{start}\n", living.pid(), host()));
    let error = setup.lock().try_acquire().expect_err("that is it");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    write(
        &path,
        format!("{}\n{}\n{}\n", living.pid(), host(), start + 1),
    );
    let guard = setup.lock().try_acquire().expect("that is another");
    assert_eq!(guard.broken()[0].pid, Some(living.pid()));
    guard.release().expect("it is held");
}

/// pylockfile's SymlinkLockFile: its target is no number, so to `symlink` it is somebody's link, and is left alone.
#[test]
fn a_link_to_a_name_is_nobodys_claim() {
    let living = Living::new();
    for scheme in FILES {
        let (setup, path) = setup(scheme, Waiting::Best);
        let target = format!("{}-7f12a740.{}1234567", host(), living.pid());
        symlink(target, &path).expect("our own folder");
        let before = state(&path);
        let once = setup.lock().try_acquire().map(drop);
        let waiting = setup.lock();
        let waited = block::start(move || waiting.acquire().map(drop)).wait();
        for result in [once, waited] {
            let error = result.expect_err(scheme);
            assert_eq!(error.kind(), ErrorKind::Foreign, "{scheme}: {error}");
        }
        assert_eq!(state(&path), before, "{scheme}");
    }
}

/// The two ways a lock file is held: it exists, or it is locked. Whoever relies on the first must not take what belongs to the second.
#[test]
fn a_file_that_is_locked_with_flock_is_no_claim_of_a_file_protocol_and_left_alone() {
    for scheme in FILES {
        let (setup, path) = setup(scheme, Waiting::Best);
        write(&path, "somebody's content\n");
        let flock = sneck::Lock::new(&path).expect("a path");
        let guard = flock.try_acquire().expect("it is free");
        let before = state(&path);
        let error = setup.lock().try_acquire().map(drop).expect_err(scheme);
        assert!(
            error.is_held() || error.kind() == ErrorKind::Foreign,
            "{scheme}: {error}"
        );
        assert_eq!(state(&path), before, "{scheme}");
        guard.release().expect("it is held");
    }
}
