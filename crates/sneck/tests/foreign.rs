//! What is no lock is refused at once, named, and left as it was; so are places where no lock can be made.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make and remove what they like"
)]

use sneck::{ErrorKind, Record, Registry, Sighting, Waiting};
use sneck_testkit::child::Start;
use sneck_testkit::{Setup, block, sys};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

sneck_testkit::entry!(Registry::local);

fn setup(scheme: &str) -> (Setup, PathBuf) {
    setup_at(scheme, "lock")
}

fn setup_at(scheme: &str, name: &str) -> (Setup, PathBuf) {
    let place = |folder: &Path| format!("{scheme}:{}", folder.join(name).display());
    let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
    let path = setup.folder.join(name);
    (setup, path)
}

/// Everything about a name that a careless opener changes. Not the time of access, which looking at a link changes.
fn state(path: &Path) -> String {
    let look = fs::symlink_metadata(path).expect("it is there");
    let content = if look.is_file() {
        format!("{:?}", fs::read(path))
    } else if look.is_dir() {
        format!("{}", fs::read_dir(path).expect("a folder").count())
    } else {
        format!("{:?}", fs::read_link(path).ok())
    };
    format!(
        "{:?} {} {} {:o} {} {} {} {} {} {content}",
        look.file_type(),
        look.dev(),
        look.ino(),
        look.mode(),
        look.nlink(),
        look.mtime(),
        look.mtime_nsec(),
        look.ctime(),
        look.ctime_nsec(),
    )
}

/// Refused, however long one is ready to wait; and afterwards all is as before.
#[track_caller]
fn is_refused(setup: &Setup, path: &Path, kind: ErrorKind) -> String {
    let before = state(path);
    let (ready_to_wait, once) = (setup.lock(), setup.lock());
    let waited = block::start(move || ready_to_wait.acquire().map(drop));
    let errors = [once.try_acquire().map(drop), waited.wait()];
    for result in errors {
        let error = result.expect_err("this is no lock");
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()), "{text}");
    }
    let seen = setup.lock().holder().expect("one can look");
    let Sighting::Foreign { what } = seen else {
        panic!("this is no lock: {seen:?}");
    };
    assert_eq!(state(path), before);
    what
}

#[test]
fn what_is_no_regular_file_is_no_kernel_lock() {
    is_no_kernel_lock("flock");
    is_no_kernel_lock("fcntl");
}

fn is_no_kernel_lock(scheme: &str) {
    let (folder, path) = setup(scheme);
    fs::create_dir(&path).expect("our own folder");
    assert_eq!(
        is_refused(&folder, &path, ErrorKind::Foreign),
        "a directory"
    );

    let (fifo, path) = setup(scheme);
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("`mkfifo` is there").success());
    // Whoever opens one end of it lets the other one go on.
    let mut writer = Command::new("sh");
    writer.args(["-c", ": >\"$1\"", "sh"]).arg(&path);
    let mut writer = writer.spawn().expect("`sh` is there");
    thread::sleep(Duration::from_millis(50));
    assert_eq!(is_refused(&fifo, &path, ErrorKind::Foreign), "a FIFO");
    thread::sleep(Duration::from_millis(20));
    let ended = writer.try_wait().expect("our own child");
    assert!(ended.is_none(), "it was let go on");
    writer.kill().expect("our own child");
    writer.wait().expect("our own child");

    let (socket, path) = setup(scheme);
    let _listener = UnixListener::bind(&path).expect("a socket");
    assert_eq!(is_refused(&socket, &path, ErrorKind::Foreign), "a socket");

    for target in ["nowhere", "there", "."] {
        let (link, path) = setup(scheme);
        fs::write(link.folder.join("there"), "content").expect("our own folder");
        symlink(target, &path).expect("our own folder");
        assert_eq!(
            is_refused(&link, &path, ErrorKind::Foreign),
            "a symbolic link"
        );
        assert!(
            !link.folder.join("nowhere").exists(),
            "nothing was made behind the link"
        );
        assert_eq!(
            fs::read(link.folder.join("there")).expect("it is there"),
            b"content"
        );
    }
}

#[test]
fn a_device_is_no_flock() {
    let path = Path::new("/dev/null");
    assert!(
        fs::metadata(path)
            .expect("it is there")
            .file_type()
            .is_char_device()
    );
    let place = |_: &Path| path.display().to_string();
    let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
    let error = setup.lock().try_acquire().expect_err("this is no lock");
    assert_eq!(error.kind(), ErrorKind::Foreign);
    assert!(
        error.to_string().contains("/dev/null: this is a device"),
        "{error}"
    );
}

#[test]
fn what_is_no_link_to_a_number_is_no_symlink_lock() {
    let (file, path) = setup("symlink");
    fs::write(&path, "twelve").expect("our own folder");
    assert_eq!(
        is_refused(&file, &path, ErrorKind::Foreign),
        "a regular file"
    );

    let (folder, path) = setup("symlink");
    fs::create_dir(&path).expect("our own folder");
    assert_eq!(
        is_refused(&folder, &path, ErrorKind::Foreign),
        "a directory"
    );

    let (fifo, path) = setup("symlink");
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("`mkfifo` is there").success());
    assert_eq!(is_refused(&fifo, &path, ErrorKind::Foreign), "a FIFO");

    for target in ["/etc/passwd", "nowhere", "12a", "1 2", "host:12", "+"] {
        let (link, path) = setup("symlink");
        symlink(target, &path).expect("our own folder");
        let what = is_refused(&link, &path, ErrorKind::Foreign);
        assert_eq!(what, format!("a symbolic link to `{target}`"));
    }
}

#[test]
fn a_number_that_is_no_process_number_is_damage_and_left_alone() {
    for target in ["0", "-5", "-1", "2147483648", "99999999999999999999"] {
        let (setup, path) = setup("symlink");
        symlink(target, &path).expect("our own folder");
        let before = state(&path);
        let seen = setup.lock().holder().expect("one can look");
        assert!(
            matches!(seen, Sighting::Damaged { .. }),
            "{target}: {seen:?}"
        );
        for policy in [sneck::Stale::Dead, sneck::Stale::Likely] {
            for wait in [0, 40] {
                let lock = setup.lock_with(|b| b.stale(policy));
                let error = lock.acquire_within(Duration::from_millis(wait));
                let error = error.expect_err("this makes no sense");
                assert_eq!(error.kind(), ErrorKind::Damaged, "{target}: {error}");
                let text = error.to_string();
                assert!(text.contains(&path.display().to_string()), "{text}");
                assert!(text.contains(target), "{text}");
            }
        }
        assert_eq!(state(&path), before);
    }
}

#[test]
fn the_content_of_a_lock_file_is_never_touched() {
    for scheme in ["flock", "fcntl"] {
        let (setup, path) = setup(scheme);
        fs::write(&path, "somebody's precious content").expect("our own folder");
        let before = state(&path);
        let guard = setup
            .lock()
            .acquire()
            .expect("a regular file can be locked");
        setup.child().must_be_refused();
        assert_eq!(state(&path), before);
        guard.release().expect("it is held");
        assert_eq!(state(&path), before);
    }
}

#[test]
fn a_record_is_not_written_over_other_content() {
    for content in [
        "precious",
        "12 34\n",
        "\n",
        "123456789012345678901234567890\n",
        "-1\n",
    ] {
        let (setup, path) = setup("flock");
        fs::write(&path, content).expect("our own folder");
        let before = state(&path);
        let lock = setup.lock_with(|b| b.record(Record::Pid));
        let error = lock.try_acquire().expect_err("this is no record");
        assert_eq!(error.kind(), ErrorKind::Foreign, "{error}");
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
        assert_eq!(state(&path), before);
        // And it was not kept.
        setup.child().acquire();
    }
}

#[test]
fn a_record_is_there_while_it_is_held_and_what_is_left_tells_of_a_death() {
    let (setup, path) = setup("flock");
    let lock = setup.lock_with(|b| b.record(Record::Pid));
    let guard = lock.try_acquire().expect("it is free");
    let content = || fs::read_to_string(&path).expect("it is there");
    assert_eq!(content(), format!("{}\n", std::process::id()));
    guard.release().expect("it is held");
    assert_eq!(content(), "");
    let mut child = setup.child();
    child.tell("acquire it forever record");
    assert!(child.hear("held").starts_with("Yes"));
    child.kill();
    assert_eq!(content(), format!("{}\n", child.pid()));
    let guard = lock.acquire().expect("its holder is dead");
    assert_eq!(guard.was_clean(), sneck::Clean::No);
}

#[test]
fn a_missing_folder_is_named_and_not_made() {
    for scheme in ["flock", "fcntl", "symlink"] {
        let (setup, path) = setup_at(scheme, "missing/lock");
        let error = setup.lock().acquire().expect_err("there is no folder");
        assert_eq!(error.kind(), ErrorKind::CannotCreate, "{error}");
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
        assert!(!setup.folder.join("missing").exists());
        assert_eq!(setup.lock().holder().expect("one can look"), Sighting::Free);

        // A file where the folder should be.
        let (setup, _) = setup_at(scheme, "file/lock");
        fs::write(setup.folder.join("file"), "").expect("our own folder");
        let error = setup.lock().acquire().expect_err("there is no folder");
        assert_eq!(error.kind(), ErrorKind::CannotCreate, "{error}");
    }
}

#[test]
fn a_name_that_is_too_long_cannot_be_made() {
    for scheme in ["flock", "fcntl", "symlink"] {
        for name in ["x".repeat(300), "d/".repeat(3000) + "lock"] {
            let (setup, _) = setup_at(scheme, &name);
            let error = setup
                .lock()
                .acquire()
                .expect_err("no such name is possible");
            assert_eq!(error.kind(), ErrorKind::CannotCreate, "{error}");
        }
    }
}

#[test]
fn a_folder_that_is_not_ours_to_write_is_a_matter_of_permission() {
    for scheme in ["flock", "fcntl", "symlink"] {
        let (setup, path) = setup_at(scheme, "closed/lock");
        let folder = setup.folder.join("closed");
        fs::create_dir(&folder).expect("our own folder");
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o555);
        fs::set_permissions(&folder, closed).expect("our own folder");
        let mut child = setup.child();
        child.order(&format!("user {}", sys::NOBODY));
        let refusal = child.must_be_refused();
        assert!(refusal.starts_with("NoPermission"), "{refusal}");
        assert!(refusal.contains(&path.display().to_string()), "{refusal}");
    }
}

#[test]
fn a_lock_file_that_may_only_be_read_or_only_be_written_can_be_locked() {
    for mode in [0o444, 0o222] {
        let (setup, path) = setup("flock");
        fs::write(&path, "content").expect("our own folder");
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(&path, permissions).expect("our own file");
        let mut child = setup.child();
        child.order(&format!("user {}", sys::NOBODY));
        child.acquire();
        if sys::is_root() {
            assert!(setup.lock().try_acquire().is_err());
        }
        child.release();
    }
    if sys::is_root() {
        let (setup, path) = setup("flock");
        fs::write(&path, "content").expect("our own folder");
        let nothing = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        fs::set_permissions(&path, nothing).expect("our own file");
        let mut child = setup.child();
        child.order(&format!("user {}", sys::NOBODY));
        let refusal = child.must_be_refused();
        assert!(refusal.starts_with("NoPermission"), "{refusal}");
    }
}

#[test]
fn on_a_file_system_that_cannot_be_written_no_lock_is_made() {
    for scheme in ["flock", "fcntl", "symlink"] {
        let (setup, path) = setup_at(scheme, "mount/lock");
        let folder = setup.folder.join("mount");
        fs::create_dir(&folder).expect("our own folder");
        // In a mount namespace of its own: nobody else sees it, and it goes with the child.
        let script = format!(
            "mount -t tmpfs none '{0}' && mount -o remount,ro '{0}' && exec \"$@\"",
            folder.display()
        );
        let mut wrapper = vec!["unshare"];
        if !sys::is_root() {
            wrapper.push("-r");
        }
        wrapper.extend(["-m", "sh", "-c", &script, "sh"]);
        let mut child = Start::wrapped(&setup, &wrapper).child();
        let refusal = child.must_be_refused();
        assert!(refusal.starts_with("CannotCreate"), "{refusal}");
        assert!(refusal.contains(&path.display().to_string()), "{refusal}");
    }
}
