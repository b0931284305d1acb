//! Stale claims of `symlink`: whose are broken, whose are not, and that two breakers never let two parties in.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make and remove what they like"
)]

use sneck::{Clean, ErrorKind, Registry, Sighting, Stale, Verdict, Waiting};
use sneck_testkit::child::{Session, Start, say};
use sneck_testkit::{Child, Journal, PATIENCE, Setup, sys};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

sneck_testkit::entry!(Registry::local, race_commands);

fn setup() -> Setup {
    setup_with(Waiting::Best)
}

fn setup_with(waiting: Waiting) -> Setup {
    let place = |folder: &Path| format!("symlink:{}/lock", folder.display());
    Setup::new(Registry::local, place, waiting, CHILD_ENTRY)
}

/// A claim of this number stands at the place; where it does.
fn claim(setup: &Setup, number: impl ToString) -> PathBuf {
    let path = setup.folder.join("lock");
    symlink(number.to_string(), &path).expect("our own folder");
    path
}

/// The number of a process that is no more.
fn dead() -> u32 {
    let mut process = Command::new("true").spawn().expect("`true` is there");
    process.wait().expect("one's own child");
    process.id()
}

/// The claim is broken, by the usual policy.
#[track_caller]
fn is_broken(setup: &Setup, number: u32, grounds: &str) {
    let lock = setup.lock();
    let seen = lock.holder().expect("one can look");
    let verdict = lock.verdict(&seen).expect("a claim is judged");
    assert!(verdict.is_gone(), "{verdict}");
    assert!(verdict.to_string().contains(grounds), "{verdict}");
    let guard = lock.try_acquire().expect("its holder is gone");
    assert_eq!(guard.was_clean(), Clean::No);
    assert_eq!(guard.broken()[0].pid, Some(number));
    guard.release().expect("it is held");
    let guard = lock.try_acquire().expect("it was released");
    assert_eq!(guard.was_clean(), Clean::Yes);
    assert!(guard.broken().is_empty());
}

/// The claim is left alone, and stands as it was.
#[track_caller]
fn is_left_alone(setup: &Setup, policy: Stale) -> sneck::Error {
    let path = setup.folder.join("lock");
    let before = (fs::read_link(&path).ok(), changed(&path));
    let lock = setup.lock_with(|b| b.stale(policy));
    for wait in [0, 30] {
        let error = lock.acquire_within(Duration::from_millis(wait));
        assert!(
            error.as_ref().is_err_and(sneck::Error::is_held),
            "{error:?}"
        );
    }
    assert_eq!((fs::read_link(&path).ok(), changed(&path)), before);
    lock.try_acquire().expect_err("it is left alone")
}

fn changed(path: &Path) -> (i64, i64) {
    use std::os::unix::fs::MetadataExt;
    let look = fs::symlink_metadata(path).expect("it is there");
    (look.ctime(), look.ctime_nsec())
}

#[test]
fn the_claim_of_a_process_that_is_no_more_is_broken() {
    let setup = setup();
    let dead = dead();
    claim(&setup, dead);
    is_broken(&setup, dead, "no such process");
}

#[test]
fn a_number_that_no_process_can_have_is_a_dead_process() {
    for number in [4_194_304 + 1, i32::MAX.unsigned_abs()] {
        let setup = setup();
        claim(&setup, number);
        is_broken(&setup, number, "no such process");
    }
}

#[test]
fn the_claim_of_a_process_that_nobody_has_reaped_is_broken() {
    let setup = setup();
    let mut zombie = setup.child();
    zombie.kill_without_reaping();
    claim(&setup, zombie.pid());
    is_broken(&setup, zombie.pid(), "waits to be reaped");
}

#[test]
fn a_number_that_names_a_mere_thread_is_a_dead_process() {
    let setup = setup();
    let (told, number) = channel();
    let (stop, stopped) = channel::<()>();
    let thread = thread::spawn(move || {
        told.send(sys::thread_number()).expect("the test listens");
        let _ = stopped.recv();
    });
    let number = number.recv().expect("the thread runs").unsigned_abs();
    claim(&setup, number);
    is_broken(&setup, number, "thread");
    drop(stop);
    thread.join().expect("no panic");
}

#[test]
fn a_process_that_may_not_be_signalled_is_alive() {
    let setup = setup();
    let path = claim(&setup, 1);
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(setup.folder.path(), everybody).expect("our own folder");
    let mut child = setup.child();
    child.order(&format!("user {}", sys::NOBODY));
    for policy in ["dead", "likely"] {
        child.tell(&format!("acquire it once {policy}"));
        let refusal = child.hear("refused");
        assert!(refusal.starts_with("Busy [1]"), "{refusal}");
    }
    assert_eq!(fs::read_link(path).expect("it stands").as_os_str(), "1");
}

#[test]
fn a_live_holder_is_left_alone_and_so_is_our_own_number() {
    let setup = setup();
    let mut child = setup.child();
    claim(&setup, child.pid());
    for policy in [
        Stale::Never,
        Stale::Dead,
        Stale::Likely,
        Stale::After(PATIENCE * 60),
    ] {
        let error = is_left_alone(&setup, policy);
        assert_eq!(error.holders()[0].pid, Some(child.pid()));
    }
    // The child's own number, at which it did not put the claim: somebody else may have, in its name.
    let refusal = child.must_be_refused();
    assert!(refusal.starts_with("Busy"), "{refusal}");
}

#[test]
fn no_policy_breaks_more_than_it_says() {
    let never = setup();
    claim(&never, dead());
    let error = is_left_alone(&never, Stale::Never);
    let text = error.to_string();
    assert!(
        text.contains("no such process") && text.contains("policy"),
        "{text}"
    );
    is_broken(&never, error.holders()[0].pid.expect("a number"), "no such");

    // By age, the living too: that is what it says.
    let setup = setup();
    let child = setup.child();
    claim(&setup, child.pid());
    thread::sleep(Duration::from_millis(60));
    is_left_alone(&setup, Stale::After(PATIENCE * 60));
    let lock = setup.lock_with(|b| b.stale(Stale::After(Duration::from_millis(50))));
    let guard = lock.try_acquire().expect("it is too old");
    assert_eq!(guard.broken()[0].pid, Some(child.pid()));
    assert_eq!(guard.was_clean(), Clean::No);
}

#[test]
fn a_waiter_sees_the_end_of_the_holder_that_it_waits_for() {
    for waiting in [Waiting::Events, Waiting::Polling] {
        let setup = setup_with(waiting);
        // A holder that knows nothing of this library and cleans nothing up.
        let mut holder = Command::new("sleep").arg("600").spawn().expect("`sleep`");
        claim(&setup, holder.id());
        let lock = setup.lock();
        let waiter = sneck_testkit::must_block(move || lock.acquire());
        holder.kill().expect("one's own child");
        // Not reaped: a zombie is dead enough.
        let guard = waiter.wait().expect("its holder is gone");
        assert_eq!(guard.broken()[0].pid, Some(holder.id()));
        holder.wait().expect("one's own child");
    }
}

// 1. A polls, and finds a dead claim that B is about to remove. 2. B removes it and makes its own, which lives. 3. A goes on polling, and must do so in
// steps of polling: with those of the net below events it slept ten times as long each time.
#[test]
fn whoever_polls_and_meets_another_breaker_goes_on_polling() {
    let setup = setup_with(Waiting::Polling);
    let path = claim(&setup, dead());
    let folder = fs::File::open(setup.folder.path()).expect("our own folder");
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).expect("our own folder");
    let lock = setup.lock();
    let waiter = sneck_testkit::must_block(move || lock.acquire());
    let spare = setup.folder.join("spare");
    symlink("1", &spare).expect("our own folder");
    fs::rename(&spare, &path).expect("our own folder");
    drop(folder);
    let held = Duration::from_millis(1500);
    thread::sleep(held);
    fs::remove_file(&path).expect("our own folder");
    let start = Instant::now();
    drop(waiter.wait().expect("it is free"));
    assert!(start.elapsed() < held, "{:?}", start.elapsed());
}

/// In a pid namespace of its own a process has a number that is known beforehand: 1, and the one that it started before is 2.
fn start_in_namespace(setup: &Setup) -> Child {
    let mut wrapper = vec!["unshare"];
    if !sys::is_root() {
        wrapper.push("-r");
    }
    let script = "sleep 600 <&- >&- & exec \"$@\"";
    wrapper.extend([
        "-fp",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
        script,
        "sh",
    ]);
    let child = Start::wrapped(setup, &wrapper).child();
    assert_eq!(child.pid(), 1, "it runs in a pid namespace of its own");
    child
}

#[test]
fn a_number_that_was_given_away_anew_is_told_by_the_times() {
    let (ours, other, fresh) = (setup(), setup(), setup());
    claim(&ours, 1);
    claim(&other, 2);
    thread::sleep(Duration::from_millis(2600));

    // Our own number, at a claim that is older than we are: an earlier process had it.
    let mut child = start_in_namespace(&ours);
    child.tell("acquire it once");
    assert_eq!(child.hear("held"), "No broken=[1]");
    assert_eq!(child.ask("standing it"), "Held");
    // Held by this very process, it is not dead.
    child.tell("acquire again once");
    child.hear("refused");
    child.release();

    // Another's: evidence, no proof.
    let mut child = start_in_namespace(&other);
    child.tell("acquire it once dead");
    let refusal = child.hear("refused");
    assert!(
        refusal.starts_with("Busy [2]") && refusal.contains("likely gone"),
        "{refusal}"
    );
    child.tell("acquire it once likely");
    assert_eq!(child.hear("held"), "No broken=[2]");
    child.release();

    // Our own number at a claim that is younger than we are: not ours, but who knows.
    let mut child = start_in_namespace(&fresh);
    claim(&fresh, 1);
    for policy in ["dead", "likely"] {
        child.tell(&format!("acquire it once {policy}"));
        child.hear("refused");
    }
}

#[test]
fn looking_judges_and_breaks_nothing() {
    let setup = setup();
    let path = claim(&setup, dead());
    let lock = setup.lock();
    let seen = lock.holder().expect("one can look");
    assert!(matches!(seen, Sighting::Held { .. }));
    assert!(matches!(lock.verdict(&seen), Some(Verdict::Gone(_))));
    assert!(fs::read_link(path).is_ok());
}

#[test]
fn a_stale_claim_that_may_not_be_removed_here_is_named_as_such() {
    if !sys::is_root() {
        eprintln!("left out: only root can become another user");
        return;
    }
    let setup = setup();
    let path = claim(&setup, dead());
    let mut child = setup.child();
    child.order(&format!("user {}", sys::NOBODY));
    child.tell("acquire it 30");
    let refusal = child.hear("refused");
    assert!(
        refusal.contains("stale") && refusal.contains("no right"),
        "{refusal}"
    );
    assert!(fs::read_link(path).is_ok());
}

const RACERS: usize = 4;
const ROUNDS: usize = 60;

/// The two sides of the race below, as commands of child processes.
fn race_commands(session: &mut Session, words: &[&str]) -> bool {
    let [who @ ("race" | "race-naively"), dead, journal] = words else {
        return false;
    };
    let journal = Journal::open(Path::new(journal));
    let path = session.setup.folder.join("lock");
    let spare = session
        .setup
        .folder
        .join(format!("spare-{}", std::process::id()));
    // Inside, long enough for another one to come in wrongly; and then die without a release: the claim of a dead process stands there again.
    let visit_and_die = || {
        journal.enter(sneck::Mode::Exclusive);
        thread::sleep(Duration::from_micros(300));
        journal.leave(sneck::Mode::Exclusive);
        symlink(dead, &spare).expect("our own folder");
        fs::rename(&spare, &path).expect("our own folder");
    };
    let lock = session.setup.lock();
    for _ in 0..ROUNDS {
        if *who == "race" {
            let guard = lock
                .acquire_within(PATIENCE)
                .expect("everybody gets a turn");
            visit_and_die();
            let error = guard.release().expect_err("another claim stands there");
            assert_eq!(error.kind(), ErrorKind::Lost);
        } else {
            break_naively(&path);
            visit_and_die();
        }
    }
    say("done");
    true
}

/// As it is often done: read, find dead, remove, make one's own.
fn break_naively(path: &Path) {
    let start = Instant::now();
    while symlink(std::process::id().to_string(), path).is_err() {
        assert!(start.elapsed() < PATIENCE, "everybody gets a turn");
        let number = fs::read_link(path).unwrap_or_default();
        if !Path::new("/proc").join(number).exists() {
            thread::sleep(Duration::from_micros(500));
            let _ = fs::remove_file(path);
        }
    }
}

/// All break the same dead claim, round by round; who was inside with whom.
fn race(command: &str, waiting: Waiting) -> (Setup, Journal) {
    let setup = setup_with(waiting);
    let dead = dead();
    claim(&setup, dead);
    let path = setup.folder.join("journal");
    let mut racers: Vec<Child> = (0..RACERS).map(|_| setup.child()).collect();
    for racer in &mut racers {
        racer.tell(&format!("{command} {dead} {}", path.display()));
    }
    for racer in &mut racers {
        racer.hear("done");
    }
    (setup, Journal::open(&path))
}

#[test]
fn of_many_breakers_of_one_dead_claim_only_one_gets_in() {
    for waiting in [Waiting::Best, Waiting::Polling] {
        let (setup, journal) = race("race", waiting);
        assert_eq!(journal.overlaps(), "");
        let lines = fs::read_to_string(setup.folder.join("journal"));
        assert_eq!(
            lines.expect("it is there").lines().count(),
            RACERS * ROUNDS * 2
        );
    }
}

#[test]
fn a_naive_breaker_is_caught_by_this_very_check() {
    let start = Instant::now();
    while race("race-naively", Waiting::Best).1.overlaps().is_empty() {
        assert!(start.elapsed() < PATIENCE, "the check is blind");
    }
}
