//! Two families at once, holders that stand still, and those who wait for themselves.

use crate::actor::{Actor, empty};
use crate::{look, told};
use sneck::inspect::Pace;
use sneck_testkit::block::until;
use sneck_testkit::{Folder, sys};

#[test]
fn two_families_of_different_processes_do_not_see_each_other() {
    let folder = Folder::new();
    for other in ["posix", "ofd"] {
        for (first, second, odd) in [("x", "x", true), ("s", "x", true), ("s", "s", false)] {
            let path = empty(&folder.join("lock"));
            let mut actors = [Actor::new(), Actor::new()];
            actors[0].locks("flock", &path, &format!(", {first:?}"));
            actors[1].locks(other, &path, &format!(", {second:?}"));
            let now = told(&path);
            assert_eq!(now.holdings.len(), 2);
            let expected = if odd { vec!["TwoFamilies"] } else { vec![] };
            assert_eq!(now.oddities, expected, "{other} {first} {second}");
        }
    }
}

#[test]
fn one_who_holds_by_both_families_is_not_odd_nor_are_his_children() {
    let folder = Folder::new();
    for other in ["posix", "ofd"] {
        let path = empty(&folder.join("lock"));
        let mut actor = Actor::new();
        let descriptor = actor.locks("flock", &path, "");
        actor.does(&format!("{other}({descriptor})"));
        actor.does("child()");
        let now = told(&path);
        assert_eq!((now.holdings.len(), now.oddities), (2, vec![]));
    }
}

/// Neither is a lease: it excludes no lock.
#[test]
fn a_lease_beside_a_lock_is_not_odd() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut actors = [Actor::new(), Actor::new()];
    actors[0].does(&format!(
        "fcntl.flock(os.open({path:?}, os.O_RDONLY), fcntl.LOCK_EX)"
    ));
    actors[1].locks("lease", &path, ", 's'");
    let now = told(&path);
    assert_eq!((now.holdings.len(), now.oddities), (2, vec![]));
}

#[test]
fn a_holder_that_is_stopped_is_told_until_it_goes_on() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut actor = Actor::new();
    let pid = actor.pid();
    actor.locks("flock", &path, "");
    let is_stopped = || {
        let found = look(&path);
        let stopped = found.holdings[0].keepers[0].life.pace == Pace::Stopped;
        let odd: Vec<String> = found.oddities.iter().map(|o| format!("{o:?}")).collect();
        let expected = format!("Stopped {{ pid: {pid} }}");
        assert_eq!(odd, if stopped { vec![expected] } else { vec![] });
        stopped
    };
    assert!(!is_stopped());
    sys::stop(pid);
    until("it stands still", is_stopped);
    sys::go_on(pid);
    until("it goes on", || !is_stopped());
}

#[test]
fn a_process_that_waits_for_a_lock_of_its_own_is_told() {
    let folder = Folder::new();
    for how in ["flock", "ofd"] {
        let path = empty(&folder.join(how));
        let mut actor = Actor::new();
        actor.locks(how, &path, "");
        actor.waits(how, &path, "");
        let odd = format!("WaitsForItself {{ pid: {} }}", actor.pid());
        assert_eq!(told(&path).oddities, [odd]);
    }
}

/// Its child holds what it waits for, and it does not.
#[test]
fn a_process_that_waits_for_its_child_does_not_wait_for_itself() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut actor = Actor::new();
    actor.does(&format!("child(lambda: flock({path:?}))"));
    until("the child holds it", || look(&path).is_held());
    actor.waits("flock", &path, "");
    let now = told(&path);
    assert_eq!((now.waiters.len(), now.oddities), (1, vec![]));
}
