//! Those who wait for each other, and those who only stand in a line.

use crate::actor::{Actor, empty};
use sneck::inspect::{Certainty, Cycle, Inspector, Survey};
use sneck_testkit::Folder;
use std::path::{Path, PathBuf};

/// The cycles that lead through files below here.
fn cycles(folder: &Path) -> (Survey, Vec<Cycle>) {
    let survey = Inspector::new().machine().expect("one can look");
    let path = |file: usize| survey.files[file].file.path.clone().unwrap_or_default();
    let here = |cycle: &&Cycle| cycle.links.iter().all(|l| path(l.file).starts_with(folder));
    let cycles = survey.cycles.iter().filter(here).cloned().collect();
    (survey, cycles)
}

/// There is one, of these links: who waits, for which file, for whom.
#[track_caller]
fn is_one(folder: &Path, certainty: Certainty, expected: &[(u32, &PathBuf, u32)]) {
    let (survey, cycles) = cycles(folder);
    let [cycle] = &cycles[..] else {
        panic!("one cycle: {cycles:?}");
    };
    let links = cycle.links.iter().map(|link| {
        let path = survey.files[link.file].file.path.as_ref();
        (link.waiter, path.expect("it has one"), link.holder)
    });
    let mut links: Vec<_> = links.collect();
    // It begins anywhere.
    let first = links.iter().position(|link| link.0 == expected[0].0);
    links.rotate_left(first.unwrap_or(0));
    assert_eq!(links, expected);
    assert_eq!(cycle.certainty, certainty);
}

fn paths(folder: &Folder) -> [PathBuf; 3] {
    ["a", "b", "c"].map(|name| empty(&folder.join(name)))
}

#[test]
fn two_who_take_two_flocks_in_opposite_order_wait_for_each_other() {
    let folder = Folder::new();
    let [a, b, _] = paths(&folder);
    let (mut one, mut other) = (Actor::new(), Actor::new());
    one.locks("flock", &a, "");
    other.locks("flock", &b, "");
    one.waits("flock", &b, "");
    assert!(cycles(folder.path()).1.is_empty());
    other.waits("flock", &a, "");
    let (one, other) = (one.pid(), other.pid());
    let expected = [(one, &b, other), (other, &a, one)];
    is_one(folder.path(), Certainty::Deadlock, &expected);
}

#[test]
fn three_can_wait_for_each_other_over_several_kinds() {
    let folder = Folder::new();
    let [a, b, c] = paths(&folder);
    let mut actors = [Actor::new(), Actor::new(), Actor::new()];
    actors[0].locks("posix", &a, ", 'x', 0, 10");
    actors[1].locks("flock", &b, "");
    actors[2].locks("ofd", &c, "");
    actors[0].waits("flock", &b, ", 's'");
    actors[1].waits("ofd", &c, "");
    actors[2].waits("posix", &a, ", 'x', 5, 1");
    // A fourth one waits, too, and nobody waits for it.
    let mut fourth = Actor::new();
    fourth.waits("flock", &b, "");
    let [x, y, z] = actors.each_ref().map(Actor::pid);
    let expected = [(x, &b, y), (y, &c, z), (z, &a, x)];
    is_one(folder.path(), Certainty::Deadlock, &expected);
}

#[test]
fn a_cycle_leads_through_whoever_inherited_the_descriptor() {
    let folder = Folder::new();
    let [a, b, _] = paths(&folder);
    let (mut taker, mut other) = (Actor::new(), Actor::new());
    taker.locks("flock", &a, "");
    other.locks("flock", &b, "");
    let heir: u32 = taker
        .does(&format!("child(lambda: flock({b:?}))"))
        .parse()
        .expect("a number");
    other.waits("flock", &a, "");
    sneck_testkit::block::until("the heir waits, too", || crate::actor::queued(&b) == 1);
    // The taker lives and keeps it as well, and most likely waits for its child, as flock(1) does.
    let expected = [(heir, &b, other.pid()), (other.pid(), &a, heir)];
    is_one(folder.path(), Certainty::Deadlock, &expected);
    taker.kill();
    is_one(folder.path(), Certainty::Deadlock, &expected);
}

#[test]
fn somebody_beside_who_has_the_lock_as_well_may_end_it() {
    let folder = Folder::new();
    let [a, b, _] = paths(&folder);
    let (mut one, mut other) = (Actor::new(), Actor::new());
    one.locks("flock", &a, "");
    one.does("child()");
    other.locks("flock", &b, "");
    one.waits("flock", &b, "");
    other.waits("flock", &a, "");
    let (one, other) = (one.pid(), other.pid());
    let expected = [(one, &b, other), (other, &a, one)];
    is_one(folder.path(), Certainty::Perhaps, &expected);
}

#[test]
fn another_thread_of_one_of_them_may_end_it() {
    let folder = Folder::new();
    let [a, b, _] = paths(&folder);
    let (mut one, mut other) = (Actor::new(), Actor::new());
    one.does("threads(2)");
    one.locks("flock", &a, "");
    other.locks("flock", &b, "");
    one.waits("flock", &b, "");
    other.waits("flock", &a, "");
    let (one, other) = (one.pid(), other.pid());
    let expected = [(one, &b, other), (other, &a, one)];
    is_one(folder.path(), Certainty::Perhaps, &expected);
}

#[test]
fn who_waits_for_itself_is_a_cycle_of_one() {
    let folder = Folder::new();
    let [a, _, _] = paths(&folder);
    let mut actor = Actor::new();
    actor.locks("flock", &a, "");
    actor.waits("flock", &a, "");
    let pid = actor.pid();
    is_one(folder.path(), Certainty::Deadlock, &[(pid, &a, pid)]);
}

#[test]
fn nobody_in_a_mere_line_is_in_a_cycle() {
    let folder = Folder::new();
    let [a, b, c] = paths(&folder);
    let mut actors: Vec<Actor> = (0..5).map(|_| Actor::new()).collect();
    actors[0].locks("flock", &a, "");
    actors[1].locks("flock", &b, "");
    actors[2].locks("ofd", &c, "");
    // The other family of the same file is in nobody's way.
    actors[0].locks("posix", &b, "");
    actors[1].waits("flock", &a, "");
    actors[2].waits("flock", &b, "");
    actors[3].waits("flock", &b, "");
    actors[4].waits("ofd", &c, "");
    let (_, cycles) = cycles(folder.path());
    assert!(cycles.is_empty(), "{cycles:?}");
}

/// Each waits for bytes that nobody in a cycle with it holds: mixed up, they would be one.
#[test]
fn those_who_wait_for_different_bytes_of_one_file_are_in_no_cycle() {
    let folder = Folder::new();
    let [a, b, _] = paths(&folder);
    let mut actors: Vec<Actor> = (0..4).map(|_| Actor::new()).collect();
    // The first two wait at one file by OFD; the second one holds what the third waits for, and the third what the first does.
    actors[2].locks("ofd", &a, ", 'x', 0, 10");
    actors[3].locks("ofd", &a, ", 'x', 10, 10");
    actors[1].locks("flock", &b, "");
    actors[1].waits("ofd", &a, ", 'x', 10, 10");
    actors[0].waits("ofd", &a, ", 'x', 0, 10");
    actors[2].waits("flock", &b, "");
    let (_, cycles) = cycles(folder.path());
    assert!(cycles.is_empty(), "{cycles:?}");
}
