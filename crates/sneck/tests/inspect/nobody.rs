//! An ordinary user looks: what the kernel names is named, what is hidden is said to be, and nothing is wrong.

use crate::actor::{Actor, empty};
use crate::{CHILD_ENTRY, must_be_root};
use sneck::{Registry, Waiting};
use sneck_testkit::block::until;
use sneck_testkit::child::Start;
use sneck_testkit::{Child, Setup, sys};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn start(wrapper: &[&str]) -> (Setup, PathBuf, Child) {
    must_be_root();
    let place = |folder: &Path| folder.join("unused").display().to_string();
    let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
    let path = empty(&setup.folder.join("lock"));
    fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("it is ours");
    let mut child = Start::wrapped(&setup, wrapper).child();
    child.order(&format!("user {}", sys::NOBODY));
    (setup, path, child)
}

/// What it says, and how much is hidden, without the number of processes.
#[track_caller]
fn says(child: &mut Child, how: &str, path: &Path) -> (String, bool) {
    let said = child.order(&format!("{how} {}", path.display()));
    let (said, limits) = said.split_once(" limits(").expect("all is said");
    (said.to_owned(), limits.contains("Hidden"))
}

/// A process of that user.
fn ordinary() -> Actor {
    let user = sys::NOBODY.to_string();
    let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
    Actor::by(&["setpriv", &uid, &gid, "--clear-groups"])
}

#[test]
fn holders_of_other_users_are_named_as_far_as_the_kernel_does() {
    let (_setup, path, mut child) = start(&[]);
    for (how, expected) in [
        ("flock", "flock x * by PID: PID listed"),
        ("posix", "posix x * by PID: PID listed"),
        ("lease", "lease x * by PID: PID listed"),
        ("ofd", "ofd x *: ? listed"),
    ] {
        let mut holder = Actor::new();
        holder.locks(how, &path, "");
        let expected = expected.replace("PID", &holder.pid().to_string());
        let expected = (format!("held({expected}) waits() odd()"), true);
        assert_eq!(says(&mut child, "inspect", &path), expected);
    }
    let nothing = ("held() waits() odd()".to_owned(), false);
    assert_eq!(says(&mut child, "inspect", &path), nothing);
}

#[test]
fn a_lock_whose_taker_has_ended_is_held_by_somebody_whom_one_may_not_see() {
    let (_setup, path, mut child) = start(&[]);
    let mut taker = Actor::new();
    let pid = taker.pid();
    taker.locks("flock", &path, "");
    taker.does("child()");
    for reaped in [false, true] {
        match reaped {
            false => taker.kill_without_reaping(),
            true => taker.kill(),
        }
        let (said, hidden) = says(&mut child, "inspect", &path);
        let held = format!("held(flock x * by {pid}: ? listed) waits() odd(");
        assert!(said.starts_with(&held), "{said}");
        assert!(!said.contains("Nobody") && hidden, "{said}");
    }
}

#[test]
fn what_ones_own_processes_hold_is_seen_in_full() {
    let (_setup, path, mut child) = start(&[]);
    let mut holder = ordinary();
    let pid = holder.pid();
    holder.locks("flock", &path, "");
    let heir: u32 = holder.does("child()").parse().expect("a number");
    let held = format!("flock x * by {pid}: {pid} took, {heir} inherited");
    for how in ["inspect", "machine"] {
        let (said, hidden) = says(&mut child, how, &path);
        assert_eq!(said, format!("held({held}) waits() odd()"));
        assert!(hidden, "there are processes of other users");
    }
    // Root waits behind it: the kernel names him.
    let mut waiter = Actor::new();
    waiter.waits("flock", &path, "");
    let waits = format!("{} flock x * queued 0 behind [0]", waiter.pid());
    let (said, _) = says(&mut child, "inspect", &path);
    assert_eq!(said, format!("held({held}) waits({waits}) odd()"));
}

#[test]
fn who_waits_for_an_ofd_lock_and_hides_it_is_somebody() {
    let (_setup, path, mut child) = start(&[]);
    let (mut holder, mut waiter) = (ordinary(), Actor::new());
    let pid = holder.pid();
    holder.locks("ofd", &path, "");
    waiter.waits("ofd", &path, "");
    let (said, _) = says(&mut child, "inspect", &path);
    let expected = format!("held(ofd x *: {pid} has) waits(? ofd x * queued 0 behind [0]) odd()");
    assert_eq!(said, expected);
}

/// `mount -o hidepid=invisible`: not even that there are processes of others.
#[test]
fn where_proc_hides_processes_holders_are_still_named_by_their_number() {
    let script = "mount -t proc -o hidepid=2 proc /proc; exec \"$@\"";
    let wrapper = ["unshare", "-m", "sh", "-c", script, "sh"];
    let (_setup, path, mut child) = start(&wrapper);
    let mut holder = Actor::new();
    let pid = holder.pid();
    holder.locks("flock", &path, "");
    let held = format!("held(flock x * by {pid}: {pid} listed) waits() odd()");
    let said = child.order(&format!("inspect {}", path.display()));
    assert!(said.starts_with(&held), "{said}");
    assert!(said.contains("HiddenProcesses"), "{said}");
}

/// Root's folder, closed: the path is an error, and the machine's survey goes on without a path.
#[test]
fn a_path_in_a_closed_folder_is_an_error_and_the_survey_names_no_path() {
    let (setup, _, mut child) = start(&[]);
    let closed = setup.folder.join("closed");
    fs::create_dir(&closed).expect("our own folder");
    let path = empty(&closed.join("lock"));
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("it is ours");
    let mut holder = Actor::new();
    holder.locks("flock", &path, "");
    let said = child.order(&format!("inspect {}", path.display()));
    assert!(said.starts_with("NoPermission"), "{said}");
    assert!(said.contains("closed/lock"), "{said}");
    let (said, hidden) = says(&mut child, "machine", &path);
    assert_eq!((said.as_str(), hidden), ("held() waits() odd()", true));
    until("it is held", || crate::look(&path).is_held());
}
