//! What a pid namespace hides, how that is said, and how asking for it finds out.

use crate::actor::{Actor, empty};
use crate::{CHILD_ENTRY, must_be_root, seen, told};
use sneck::{Registry, Waiting};
use sneck_testkit::child::Start;
use sneck_testkit::{Child, Setup};
use std::fs;
use std::path::{Path, PathBuf};

/// This test program, run again in a pid namespace of its own, a lock file, and a process outside.
struct Inside {
    setup: Setup,
    child: Child,
    path: PathBuf,
    outside: Actor,
}

fn setup() -> (Setup, PathBuf) {
    let place = |folder: &Path| folder.join("unused").display().to_string();
    let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
    let path = empty(&setup.folder.join("lock"));
    (setup, path)
}

impl Inside {
    fn new() -> Inside {
        must_be_root();
        let (setup, path) = setup();
        let wrapper = ["unshare", "-fp", "--mount-proc", "--kill-child"];
        let child = Start::wrapped(&setup, &wrapper).child();
        Inside {
            setup,
            child,
            path,
            outside: Actor::new(),
        }
    }

    /// What is said of the file, in there.
    #[track_caller]
    fn says(&mut self, how: &str, expected: &str) {
        let said = self.child.order(&format!("{how} {}", self.path.display()));
        assert_eq!(said, expected, "{how}");
    }
}

const HIDDEN: &str = "held() waits() odd() limits(PidNamespace)";

#[test]
fn a_holder_in_another_pid_namespace_is_named_by_its_number_out_here() {
    must_be_root();
    let (_setup, path) = setup();
    for (how, end) in [("flock", "took"), ("posix", "took"), ("ofd", "has")] {
        let mut actor = Actor::by(&["unshare", "-fp", "--kill-child"]);
        let pid = actor.pid();
        actor.locks(how, &path, "");
        let found = seen(&path);
        let keeper = &found.holdings[0].keepers[0];
        assert_eq!(keeper.holder.pid, Some(pid), "{how}");
        assert_eq!(keeper.life.inner_pid, Some(1));
        let holding = crate::holding(&found.holdings[0]);
        assert!(holding.ends_with(&format!("{pid} {end}")), "{holding}");
    }
}

/// In there nobody has the number that the list would have to name.
#[test]
fn from_inside_what_others_hold_is_unknown_and_never_free() {
    let mut inside = Inside::new();
    inside.says("inspect", HIDDEN);
    for how in ["flock", "posix"] {
        let path = inside.path.clone();
        let descriptor = inside.outside.locks(how, &path, "");
        inside.says("inspect", HIDDEN);
        inside.says("machine", HIDDEN);
        inside.outside.does(&format!("os.close({descriptor})"));
    }
    // An OFD lock is nobody's, and shown to everybody.
    let path = inside.path.clone();
    inside.outside.locks("ofd", &path, "");
    let held = "held(ofd x *: ? listed) waits() odd() limits(PidNamespace)";
    inside.says("inspect", held);
}

#[test]
fn asking_finds_out_what_is_hidden() {
    let mut inside = Inside::new();
    let path = inside.path.clone();
    inside.says("ask", "held() waits() odd() limits()");
    for (how, more, expected) in [
        ("flock", "", "flock x *: ? listed"),
        ("posix", "", "posix x *: ? listed"),
        ("posix", ", 'x', 10, 10", "posix x 10-19: ? listed"),
        ("ofd", ", 'x', 10, 10", "ofd x 10-19: ? listed"),
    ] {
        let descriptor = inside.outside.locks(how, &path, more);
        let expected = format!("held({expected}) waits() odd() limits()");
        inside.says("ask", &expected);
        inside.says("ask", &expected);
        // It was asked for, and not taken.
        assert_eq!(told(&path).holdings.len(), 1);
        inside.outside.does(&format!("os.close({descriptor})"));
        inside.says("ask", "held() waits() odd() limits()");
        assert!(!seen(&path).is_held(), "what was had is given back");
    }
}

/// There may be more readers than the one that is seen or answers.
#[test]
fn asking_finds_readers_and_leaves_open_how_many() {
    let mut inside = Inside::new();
    let path = inside.path.clone();
    for (how, more, expected) in [
        ("flock", ", 's'", "flock s *: ? listed"),
        ("posix", ", 's', 0, 5", "posix s 0-4: ? listed"),
    ] {
        let descriptor = inside.outside.locks(how, &path, more);
        let expected = format!("held({expected}) waits() odd() limits(PidNamespace)");
        inside.says("ask", &expected);
        inside.outside.does(&format!("os.close({descriptor})"));
    }
}

#[test]
fn asking_finds_each_range_of_several() {
    let mut inside = Inside::new();
    let path = inside.path.clone();
    let descriptor = inside.outside.locks("posix", &path, ", 'x', 0, 10");
    for more in ["'x', 20, 10", "'x', 100"] {
        inside.outside.does(&format!("posix({descriptor}, {more})"));
    }
    let all = ["0-9", "20-29", "100-"].map(|range| format!("posix x {range}: ? listed"));
    let expected = format!("held({}) waits() odd() limits()", all.join("; "));
    inside.says("ask", &expected);
}

/// It sees its own, and asks for the rest.
#[test]
fn whoever_holds_in_there_is_named_and_who_holds_outside_as_well_is_found() {
    let mut inside = Inside::new();
    let path = inside.path.clone();
    let target = outer(&inside.setup).to_string();
    let mut beside = Actor::by(&["nsenter", "-p", "-m", "-t", &target]);
    let pid = beside.pid();
    beside.locks("posix", &path, ", 'x', 10, 10");
    inside.outside.locks("posix", &path, ", 'x', 50, 10");
    let held = format!("posix x 10-19 by {pid}: {pid} took");
    let expected = format!("held({held}) waits() odd() limits(PidNamespace)");
    inside.says("inspect", &expected);
    let expected = format!("held({held}; posix x 50-59: ? listed) waits() odd() limits()");
    inside.says("ask", &expected);
}

/// Asking opens the file, and closing it would drop its own POSIX lock.
#[test]
fn a_lock_of_ones_own_is_not_risked_by_asking() {
    must_be_root();
    let (setup, path) = setup();
    let wrapper = ["unshare", "-fp", "--mount-proc", "--kill-child"];
    let mut child = Start::wrapped(&setup, &wrapper).child();
    child.order(&format!("lock-posix {}", path.display()));
    let before = told(&path);
    assert_eq!(before.holdings.len(), 1);
    let said = child.order(&format!("ask {}", path.display()));
    assert!(said.contains("NotProbed"), "{said}");
    assert!(said.contains("PidNamespace"), "{said}");
    assert_eq!(told(&path).holdings, before.holdings);
}

/// The number out here of the process in the namespace: it alone has this test's folder in its environment, and two numbers.
fn outer(setup: &Setup) -> u32 {
    let folder = setup.folder.path().display().to_string();
    let is_it = |pid: &u32| {
        let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let text = |name: &str| String::from_utf8_lossy(&read(name)).into_owned();
        let status = text("status");
        let numbers = status.lines().find_map(|l| l.strip_prefix("NSpid:"));
        numbers.is_some_and(|n| n.split_whitespace().count() == 2)
            && text("environ").contains(&folder)
    };
    let pids = fs::read_dir("/proc").expect("/proc is there");
    let mut pids = pids.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    pids.find(is_it).expect("it runs")
}
