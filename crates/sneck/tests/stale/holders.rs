//! What became of the process that a claim names: gone, ended, a mere thread, or alive though it does not look so.
//!
//! Not for: a number that was given to a younger process (`times.rs`).

use crate::{claimed, dead, is_broken, is_left_alone, must_be_root, setup};
use sneck::{Sighting, Stale, Verdict, Waiting};
use sneck_testkit::planted::{claim_of, protocols_with_numbers, state};
use sneck_testkit::{PATIENCE, block, must_block, sys};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Child, Command};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

const NO_PROOF: [Stale; 3] = [Stale::Never, Stale::Dead, Stale::Likely];

/// A process that is none of ours. Killed and reaped when dropped.
struct Stranger(Child);

impl Stranger {
    fn start(command: &mut Command) -> Stranger {
        Stranger(command.spawn().expect("it can be started"))
    }

    fn sleeping() -> Stranger {
        Stranger::start(Command::new("sleep").arg("600"))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_claim_of_a_process_that_is_no_more_is_broken() {
    for scheme in protocols_with_numbers() {
        let dead = dead();
        let (setup, _) = claimed(scheme, dead);
        is_broken(&setup, dead, "no such process");
    }
}

#[test]
fn a_number_that_no_process_can_have_is_a_dead_process() {
    for scheme in protocols_with_numbers() {
        for number in [4_194_304 + 1, i32::MAX.unsigned_abs()] {
            let (setup, _) = claimed(scheme, number);
            is_broken(&setup, number, "no such process");
        }
    }
}

#[test]
fn the_claim_of_a_process_that_nobody_has_reaped_is_broken() {
    for scheme in protocols_with_numbers() {
        let mut zombie = setup(scheme).child();
        zombie.kill_without_reaping();
        let (setup, _) = claimed(scheme, zombie.pid());
        is_broken(&setup, zombie.pid(), "waits to be reaped");
    }
}

#[test]
fn a_process_whose_first_thread_is_gone_is_alive_until_its_last_one_is() {
    for scheme in protocols_with_numbers() {
        let leader = sys::zombie_leader();
        let pid = leader.pid();
        let (setup, _) = claimed(scheme, pid);
        for policy in NO_PROOF {
            let error = is_left_alone(&setup, policy);
            assert_eq!(error.holders()[0].pid, Some(pid));
        }
        let lock = setup.lock();
        let waiter = must_block(move || lock.acquire());
        // Ended, not reaped.
        sys::signal_process(pid, rustix::process::Signal::KILL);
        let guard = waiter.wait().expect("its holder is gone");
        assert_eq!(guard.broken()[0].pid, Some(pid));
    }
}

#[test]
fn a_number_that_names_a_mere_thread_is_a_dead_process() {
    let (told, number) = channel();
    let (stop, stopped) = channel::<()>();
    let thread = thread::spawn(move || {
        told.send(sys::thread_number()).expect("the test listens");
        let _ = stopped.recv();
    });
    let number = number.recv().expect("the thread runs").unsigned_abs();
    for scheme in protocols_with_numbers() {
        let (setup, _) = claimed(scheme, number);
        is_broken(&setup, number, "thread");
    }
    drop(stop);
    thread.join().expect("no panic");
}

#[test]
fn a_process_that_may_not_be_signalled_is_alive() {
    must_be_root();
    for scheme in protocols_with_numbers() {
        let (setup, path) = claimed(scheme, 1);
        chown(setup.folder.path(), Some(sys::NOBODY), Some(sys::NOBODY)).expect("root may");
        let before = state(&path);
        let mut child = setup.child();
        child.order(&format!("user {}", sys::NOBODY));
        for policy in ["never", "dead", "likely"] {
            child.tell(&format!("acquire it once {policy}"));
            let refusal = child.hear("refused");
            assert!(refusal.starts_with("Busy [1]"), "{scheme}: {refusal}");
        }
        assert_eq!(state(&path), before);
    }
}

#[test]
fn a_live_holder_is_left_alone_and_so_is_our_own_number() {
    for scheme in protocols_with_numbers() {
        let holder = Stranger::sleeping();
        let (setup, path) = claimed(scheme, holder.0.id());
        for policy in [
            Stale::Never,
            Stale::Dead,
            Stale::Likely,
            Stale::After(PATIENCE * 60),
        ] {
            let error = is_left_alone(&setup, policy);
            assert_eq!(error.holders()[0].pid, Some(holder.0.id()));
        }
        fs::rename(&path, setup.folder.join("away")).expect("our own folder");

        // A child's own number, at which it did not put the claim: somebody else may have, in its name.
        let mut child = setup.child();
        claim_of(scheme, &path, child.pid());
        for policy in ["dead", "likely"] {
            child.tell(&format!("acquire it once {policy}"));
            let refusal = child.hear("refused");
            assert!(refusal.starts_with("Busy"), "{scheme}: {refusal}");
        }
    }
}

/// As scripts do it: `shlock -f LOCK -p $$`, and then the real work in the same process.
#[test]
fn a_shell_that_claims_in_its_own_name_and_becomes_another_program_holds_until_that_ends() {
    for scheme in protocols_with_numbers() {
        let setup = setup(scheme);
        let path = setup.folder.join("lock");
        let (program, go) = (setup.folder.join("program"), setup.folder.join("go"));
        // Not by this process: a child that another thread forks meanwhile would have it open for writing, and then nobody can run it.
        let copied = Command::new("cp").arg("/bin/sleep").arg(&program).status();
        assert!(copied.expect("`cp` is there").success());
        let script = "until [ -e \"$1\" ]; do sleep 0.02; done; exec \"$2\" 600";
        let mut shell = Stranger::start(
            Command::new("sh")
                .args(["-c", script, "sh"])
                .args([&go, &program]),
        );
        let pid = shell.0.id();
        claim_of(scheme, &path, pid);
        is_left_alone(&setup, Stale::Likely);
        fs::write(&go, "").expect("our own folder");
        block::until("it is another program", || {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program)
        });
        for policy in NO_PROOF {
            is_left_alone(&setup, policy);
        }
        let lock = setup.lock();
        let waiter = must_block(move || lock.acquire());
        shell.0.kill().expect("our own child");
        let guard = waiter.wait().expect("its holder is gone");
        assert_eq!(guard.broken()[0].pid, Some(pid));
    }
}

#[test]
fn no_policy_breaks_more_than_it_says() {
    for scheme in protocols_with_numbers() {
        let (never, _) = claimed(scheme, dead());
        let error = is_left_alone(&never, Stale::Never);
        let text = error.to_string();
        assert!(
            text.contains("no such process") && text.contains("policy"),
            "{text}"
        );
        is_broken(&never, error.holders()[0].pid.expect("a number"), "no such");

        // By age, the living too: that is what it says.
        let holder = Stranger::sleeping();
        let (setup, _) = claimed(scheme, holder.0.id());
        thread::sleep(Duration::from_millis(60));
        is_left_alone(&setup, Stale::After(PATIENCE * 60));
        let lock = setup.lock_with(|b| b.stale(Stale::After(Duration::from_millis(50))));
        let guard = lock.try_acquire().expect("it is too old");
        assert_eq!(guard.broken()[0].pid, Some(holder.0.id()));
        assert_eq!(guard.was_clean(), sneck::Clean::No);
    }
}

#[test]
fn a_waiter_sees_the_end_of_the_holder_that_it_waits_for() {
    for scheme in protocols_with_numbers() {
        for waiting in [Waiting::Events, Waiting::Polling] {
            let setup = crate::setup_with(scheme, waiting);
            // A holder that knows nothing of this library and cleans nothing up.
            let mut holder = Stranger::sleeping();
            claim_of(scheme, &setup.folder.join("lock"), holder.0.id());
            let lock = setup.lock();
            let waiter = must_block(move || lock.acquire());
            holder.0.kill().expect("one's own child");
            // Not reaped: a zombie is dead enough.
            let guard = waiter.wait().expect("its holder is gone");
            assert_eq!(guard.broken()[0].pid, Some(holder.0.id()));
        }
    }
}

#[test]
fn looking_judges_and_breaks_nothing() {
    for scheme in protocols_with_numbers() {
        let (setup, path) = claimed(scheme, dead());
        let before = state(&path);
        let lock = setup.lock();
        let seen = lock.holder().expect("one can look");
        assert!(matches!(seen, Sighting::Held { .. }));
        assert!(matches!(lock.verdict(&seen), Some(Verdict::Gone(_))));
        assert_eq!(state(&path), before);
    }
}

/// Elsewhere only the owner of the folder may remove it; in a folder like /tmp, only the owner of the claim.
#[test]
fn a_stale_claim_that_may_not_be_removed_here_is_named_as_such() {
    must_be_root();
    for scheme in protocols_with_numbers() {
        for mode in [0o755, 0o1777] {
            let (setup, path) = claimed(scheme, dead());
            let folder = fs::Permissions::from_mode(mode);
            fs::set_permissions(setup.folder.path(), folder).expect("our own folder");
            let before = state(&path);
            let mut child = setup.child();
            child.order(&format!("user {}", sys::NOBODY));
            for how in ["once", "30"] {
                child.tell(&format!("acquire it {how}"));
                let refusal = child.hear("refused");
                // Where no claim can be made at all, that comes first.
                let told = refusal.contains("stale") && refusal.contains("no right");
                let cannot = mode == 0o755 && refusal.starts_with("NoPermission");
                assert!(told || cannot, "{scheme} {mode:o}: {refusal}");
            }
            assert_eq!(state(&path), before);
        }
    }
}
