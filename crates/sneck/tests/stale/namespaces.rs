//! Numbers that mean another process elsewhere: pid namespaces, time namespaces, and a number that is given away anew, which only in a namespace of one's own
//! is known beforehand.
//!
//! A claim that is a bare number presumes one namespace; PROTOCOLS.md says so. Not for: other hosts (a record that names one is never judged).

use crate::{claimed, is_left_alone, must_be_root, setup};
use sneck::Stale;
use sneck_testkit::child::Start;
use sneck_testkit::planted::{claim_of, protocols_with_numbers, state};
use sneck_testkit::{Child, Setup, sys};
use std::fs;
use std::os::unix::fs::chown;
use std::thread;
use std::time::Duration;

/// More than the two seconds by which a process must be younger than a claim.
const CLEARLY: Duration = Duration::from_millis(2600);

/// In a pid namespace of its own a process has a number that is known beforehand: 1, and the one that it started before is 2.
fn start_in_namespace(setup: &Setup) -> Child {
    must_be_root();
    let script = "sleep 600 <&- >&- & exec \"$@\"";
    let wrapper = [
        "unshare",
        "-fp",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
        script,
        "sh",
    ];
    let child = Start::wrapped(setup, &wrapper).child();
    assert_eq!(child.pid(), 1, "it runs in a pid namespace of its own");
    child
}

/// Each protocol with a claim of this number that is older than any process that is started now.
fn old_claims(pid: u32) -> Vec<(&'static str, Setup)> {
    let all = protocols_with_numbers();
    let all = all
        .into_iter()
        .map(|scheme| (scheme, claimed(scheme, pid).0));
    let all = all.collect();
    thread::sleep(CLEARLY);
    all
}

#[test]
fn our_own_number_at_a_claim_that_is_older_than_we_are_was_an_earlier_processs() {
    for (scheme, setup) in old_claims(1) {
        let mut child = start_in_namespace(&setup);
        child.tell("acquire it once");
        assert_eq!(child.hear("held"), "No broken=[1]", "{scheme}");
        assert_eq!(child.ask("standing it"), "Held");
        // Held by this very process, it is not dead.
        child.tell("acquire again once likely");
        child.hear("refused");
        assert_eq!(child.ask("standing it"), "Held");
        child.release();
    }
}

#[test]
fn anothers_number_at_a_claim_that_is_older_than_its_process_is_evidence_and_no_proof() {
    for (scheme, setup) in old_claims(2) {
        let mut child = start_in_namespace(&setup);
        for policy in ["never", "dead"] {
            child.tell(&format!("acquire it once {policy}"));
            let refusal = child.hear("refused");
            assert!(
                refusal.starts_with("Busy [2]") && refusal.contains("likely gone"),
                "{scheme}: {refusal}"
            );
        }
        child.tell("acquire it once likely");
        assert_eq!(child.hear("held"), "No broken=[2]", "{scheme}");
        child.release();
    }
}

#[test]
fn our_own_number_at_a_claim_that_is_younger_than_we_are_is_left_alone() {
    for scheme in protocols_with_numbers() {
        let setup = setup(scheme);
        let mut child = start_in_namespace(&setup);
        let path = setup.folder.join("lock");
        claim_of(scheme, &path, 1);
        let before = state(&path);
        for policy in ["dead", "likely"] {
            child.tell(&format!("acquire it once {policy}"));
            let refusal = child.hear("refused");
            assert!(refusal.starts_with("Busy [1]"), "{scheme}: {refusal}");
        }
        assert_eq!(state(&path), before);
    }
}

/// A container that is killed and started again over a kept folder: the next one is process 1 again.
#[test]
fn whoever_starts_anew_with_the_same_number_over_a_kept_folder_gets_the_lock_back() {
    for scheme in protocols_with_numbers() {
        let setup = setup(scheme);
        let mut first = start_in_namespace(&setup);
        first.acquire();
        first.kill();
        let path = setup.folder.join("lock");
        assert!(path.symlink_metadata().is_ok(), "its claim stays behind");
        thread::sleep(CLEARLY);
        let mut second = start_in_namespace(&setup);
        second.tell("acquire it once");
        assert_eq!(second.hear("held"), "No broken=[1]", "{scheme}");
        second.release();
    }
}

/// Its number means nothing out here, or worse: somebody else. The live mark does.
#[test]
fn a_claim_of_ours_from_another_pid_namespace_is_alive_as_long_as_its_maker() {
    for scheme in protocols_with_numbers() {
        if scheme == "symlink" {
            // A link has no inode that could be locked.
            continue;
        }
        let setup = setup(scheme);
        let mut child = start_in_namespace(&setup);
        // In there it is not 1 but a number that nobody has out here.
        child.acquire();
        for policy in [Stale::Dead, Stale::Likely] {
            is_left_alone(&setup, policy);
        }
        assert_eq!(child.ask("standing it"), "Held", "{scheme}");
        child.release();
    }
}

/// The other way round: from in there neither the process nor its lock can be seen.
#[test]
fn a_claim_of_ours_is_not_broken_from_a_pid_namespace_that_cannot_see_its_maker() {
    for scheme in protocols_with_numbers() {
        if scheme == "symlink" {
            continue;
        }
        let setup = setup(scheme);
        let guard = setup.lock().try_acquire().expect("it is free");
        let path = setup.folder.join("lock");
        let before = state(&path);
        let mut child = start_in_namespace(&setup);
        for policy in ["dead", "likely"] {
            for how in ["once", "50"] {
                child.tell(&format!("acquire it {how} {policy}"));
                let refusal = child.hear("refused");
                let kind = if how == "once" { "Busy" } else { "TimedOut" };
                assert!(refusal.starts_with(kind), "{scheme}: {refusal}");
            }
        }
        assert_eq!(state(&path), before);
        assert_eq!(guard.standing(), sneck::Standing::Held);
        guard.release().expect("it is held");
        child.acquire();
    }
}

/// A time namespace shifts what /proc says of the start of a process.
#[test]
fn a_live_process_is_neither_younger_nor_replaced_in_a_time_namespace() {
    must_be_root();
    for scheme in protocols_with_numbers() {
        for offset in ["1000000", "-1"] {
            let setup = setup(scheme);
            let holder = setup.child();
            let path = setup.folder.join("lock");
            claim_of(scheme, &path, holder.pid());
            look_from_a_time_namespace(&setup, offset);
            if scheme == "labm8" {
                // With all the facts that we write ourselves, but nothing that keeps it locked.
                fs::remove_file(&path).expect("our own folder");
                let record = record_of(&setup);
                fs::write(&path, record).expect("our own folder");
                look_from_a_time_namespace(&setup, offset);
            }
        }
    }
}

fn look_from_a_time_namespace(setup: &Setup, offset: &str) {
    let path = setup.folder.join("lock");
    let before = state(&path);
    let wrapper = ["unshare", "-fT", "--boottime", offset];
    let mut child = Start::wrapped(setup, &wrapper).child();
    for policy in ["dead", "likely"] {
        child.tell(&format!("acquire it once {policy}"));
        let refusal = child.hear("refused");
        assert!(refusal.starts_with("Busy"), "{refusal}");
        assert!(!refusal.contains("gone"), "{refusal}");
    }
    assert_eq!(state(&path), before);
}

/// What we write ourselves for this very process.
fn record_of(setup: &Setup) -> Vec<u8> {
    let guard = setup.lock().try_acquire().expect("it is free");
    let record = fs::read(setup.folder.join("lock")).expect("a file");
    guard.release().expect("it is held");
    record
}

/// /proc can be told to hide the processes of other users. They live all the same.
#[test]
fn a_process_that_proc_hides_is_alive() {
    must_be_root();
    for scheme in protocols_with_numbers() {
        let holder = setup(scheme).child();
        let (setup, path) = claimed(scheme, holder.pid());
        chown(setup.folder.path(), Some(sys::NOBODY), Some(sys::NOBODY)).expect("root may");
        let before = state(&path);
        let script = "mount -t proc -o hidepid=2 none /proc && exec \"$@\"";
        let wrapper = ["unshare", "-m", "sh", "-c", script, "sh"];
        let mut child = Start::wrapped(&setup, &wrapper).child();
        child.order(&format!("user {}", sys::NOBODY));
        for policy in ["dead", "likely"] {
            child.tell(&format!("acquire it once {policy}"));
            let refusal = child.hear("refused");
            assert!(refusal.starts_with("Busy"), "{scheme}: {refusal}");
            assert!(!refusal.contains("gone"), "{scheme}: {refusal}");
        }
        assert_eq!(state(&path), before);
    }
}
