//! Processes come and go by the hundred: no inspection fails, and none says what was never so.

use crate::actor::{Actor, empty, queued};
use sneck::inspect::{Inspection, Inspector, Limit, Oddity};
use sneck_testkit::block::until;
use sneck_testkit::{Folder, PATIENCE};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RAGES: Duration = Duration::from_secs(2);

/// Shells that start flock(1) over and over, on files of their own and on one that all want. What they start writes no number, so whoever is named is asked who he is.
struct Storm {
    shells: Vec<Child>,
    folder: Folder,
}

impl Storm {
    fn new() -> Storm {
        let folder = Folder::new();
        let script = "
while :; do
    flock \"$1/own-$2\" true
    flock \"$1/all\" sleep 0.005
    flock -s \"$1/all\" sleep 0.005
    { flock 9; (true) & wait; } 9>>\"$1/inherited-$2\"
done";
        let shell = |n: usize| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script, "storm"]).arg(folder.path());
            shell.arg(n.to_string()).stdin(Stdio::null());
            shell.stderr(Stdio::null());
            shell.spawn().expect("`sh` is there")
        };
        Storm {
            shells: (0..3).map(shell).collect(),
            folder,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        empty(&self.folder.join(name))
    }
}

/// Until it has raged long enough, and something was seen that would show a mistake.
#[track_caller]
fn rages(start: Instant, seen: bool) -> bool {
    assert!(start.elapsed() < PATIENCE, "nothing was seen");
    start.elapsed() < RAGES || !seen
}

impl Drop for Storm {
    fn drop(&mut self) {
        for shell in &mut self.shells {
            let _ = shell.kill();
            let _ = shell.wait();
        }
    }
}

/// Nothing that only a lock that was handed about can be: here none is.
#[track_caller]
fn is_healthy(found: &Inspection) {
    for odd in &found.oddities {
        let wrong = matches!(
            odd,
            Oddity::Nobody | Oddity::PassedOn { .. } | Oddity::WaitsForItself { .. }
        );
        assert!(!wrong, "{odd:?}: {found:?}");
    }
    for limit in &found.limits {
        let right = matches!(limit, Limit::HiddenDescriptors { .. } | Limit::TooFast);
        assert!(right, "{limit:?}");
    }
}

/// All whose numbers are named at it.
fn named(found: &Inspection) -> BTreeSet<u32> {
    let keepers = found.holdings.iter().flat_map(|h| &h.keepers);
    let keepers = keepers.filter_map(|keeper| keeper.holder.pid);
    let waiters = found.waiters.iter().filter_map(|w| w.holder.pid);
    keepers.chain(waiters).collect()
}

#[test]
fn a_lock_that_is_kept_is_seen_held_by_its_keeper_alone_all_the_time() {
    let storm = Storm::new();
    let mut keeper = Actor::new();
    let mut kept = Vec::new();
    for how in ["flock", "posix", "ofd"] {
        let path = storm.file(&format!("kept-{how}"));
        keeper.locks(how, &path, "");
        kept.push(path);
    }
    let only = BTreeSet::from([keeper.pid()]);
    let start = Instant::now();
    let mut looks = 0;
    while start.elapsed() < RAGES {
        for path in &kept {
            let found = Inspector::new().path(path).expect("one can look");
            is_healthy(&found);
            assert!(found.is_held(), "{}", path.display());
            assert_eq!(named(&found), only, "{found:?}");
        }
        let survey = Inspector::new().machine().expect("one can look");
        for path in &kept {
            let is_it = |file: &&Inspection| file.file.path.as_ref() == Some(path);
            let found = survey.files.iter().find(is_it).expect("it is held");
            assert_eq!(named(found), only, "{found:?}");
        }
        let ours = |file: &&Inspection| {
            let path = file.file.path.as_ref();
            path.is_some_and(|path| path.starts_with(storm.folder.path()))
        };
        survey.files.iter().filter(ours).for_each(is_healthy);
        let is_in = |file: usize| ours(&&survey.files[file]);
        let mut links = survey.cycles.iter().flat_map(|cycle| &cycle.links);
        assert!(!links.any(|link| is_in(link.file)), "{:?}", survey.cycles);
        looks += 1;
    }
    assert!(looks > 0);
}

/// Whoever is named at a file of the storm is one of those who lock it, as far as he can still be asked.
#[test]
fn nobody_is_named_who_never_had_anything_to_do_with_it() {
    let storm = Storm::new();
    let strangers: Vec<Actor> = (0..3).map(|_| Actor::new()).collect();
    let own = std::process::id();
    let strange: BTreeSet<u32> = strangers.iter().map(Actor::pid).chain([own]).collect();
    let all = storm.file("all");
    let start = Instant::now();
    let mut named_once = BTreeSet::new();
    while rages(start, !named_once.is_empty()) {
        let found = Inspector::new().path(&all).expect("one can look");
        is_healthy(&found);
        let named = named(&found);
        assert!(named.is_disjoint(&strange), "{found:?}");
        for pid in &named {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            // One that has just begun has its parent's words still.
            let folder = storm.folder.path().display().to_string();
            let right = line.is_empty()
                || line.contains(&folder)
                || line.starts_with("true")
                || line.starts_with("sleep");
            assert!(right, "{pid}: {line}");
        }
        named_once.extend(named);
    }
}

/// It is handed from one to the next, in a line. For an instant, until the next one is awake, nobody has it.
#[test]
fn a_lock_that_passes_from_hand_to_hand_is_never_seen_held_by_two() {
    let folder = Folder::new();
    for how in ["flock", "posix"] {
        let path = empty(&folder.join(how));
        let mut line: Vec<Actor> = (0..3).map(|_| Actor::new()).collect();
        for actor in &mut line {
            actor.begins(&spin(how, &path));
        }
        until("they stand in line", || queued(&path) == 2);
        let pids: BTreeSet<u32> = line.iter().map(Actor::pid).collect();
        let start = Instant::now();
        let mut held = false;
        while rages(start, held) {
            let found = Inspector::new().path(&path).expect("one can look");
            is_healthy(&found);
            assert!(found.holdings.len() <= 1, "{found:?}");
            assert!(named(&found).is_subset(&pids), "{found:?}");
            held |= found.is_held();
        }
    }
}

/// A process that locks and unlocks without a pause is caught between two readings all the time.
#[test]
fn one_who_locks_and_unlocks_without_a_pause_never_seems_to_have_handed_it_on() {
    let folder = Folder::new();
    for how in ["flock", "posix", "ofd"] {
        let path = empty(&folder.join(how));
        let mut actor = Actor::new();
        let pid = actor.pid();
        actor.begins(&spin(how, &path));
        let start = Instant::now();
        let mut held = false;
        while rages(start, held) {
            let found = Inspector::new().path(&path).expect("one can look");
            is_healthy(&found);
            held |= found.is_held();
            assert!(named(&found).iter().all(|n| *n == pid), "{found:?}");
        }
    }
}

fn spin(how: &str, path: &Path) -> String {
    let (take, give) = match how {
        "flock" => ("fcntl.LOCK_EX", "fcntl.LOCK_UN"),
        _ => ("'x'", "'-'"),
    };
    let call = match how {
        "flock" => "fcntl.flock",
        _ => how,
    };
    format!(
        "[({call}(fd, {take}), {call}(fd, {give})) for fd in [opened({path:?})] for _ in iter(int, 1)]"
    )
}

/// It has thousands of locks, and is killed while they are looked at: closing them takes a while, in which it has nothing open any more.
#[test]
fn a_process_that_is_killed_with_many_locks_never_seems_to_have_handed_them_on() {
    let folder = Folder::new();
    for _ in 0..5 {
        let mut actor = Actor::new();
        actor.does("resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))");
        let path = folder.join("lock");
        actor.does(&format!(
            "each(flock, [f'{{{path:?}}}-{{n}}' for n in range(2000)])"
        ));
        let pid = actor.pid();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            actor.kill();
        });
        let mut left = true;
        while left {
            let survey = Inspector::new().machine().expect("one can look");
            let its = |file: &&Inspection| file.holdings.iter().any(|h| h.taker == Some(pid));
            let its: Vec<&Inspection> = survey.files.iter().filter(its).collect();
            its.iter().for_each(|found| is_healthy(found));
            left = !its.is_empty();
        }
        killer.join().expect("it is killed");
    }
}
