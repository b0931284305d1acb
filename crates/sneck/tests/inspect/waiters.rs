//! Who waits, in which order, behind whom; and who was said to be next gets in next.

use crate::actor::{Actor, empty, listed};
use crate::{look, seen, told};
use sneck_testkit::Folder;
use sneck_testkit::block::until;

#[test]
fn who_waits_for_a_flock_is_told_in_order_and_gets_in_in_that_order() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut line: Vec<Actor> = (0..5).map(|_| Actor::new()).collect();
    let mut descriptor = line[0].locks("flock", &path, "");
    for waiter in &mut line[1..] {
        waiter.waits("flock", &path, "");
    }
    while line.len() > 1 {
        let now = told(&path);
        let pid = line[0].pid();
        assert_eq!(now.holdings, [format!("flock x * by {pid}: {pid} took")]);
        let waits = line[1..].iter().enumerate().map(|(place, waiter)| {
            let pid = waiter.pid();
            format!("{pid} flock x * queued {place} behind [0]")
        });
        assert_eq!(now.waiters, waits.collect::<Vec<_>>());
        line[0].does(&format!("os.close({descriptor})"));
        line.remove(0);
        // Who was said to be next is next.
        descriptor = line[0].has_done();
    }
    assert_eq!(told(&path).waiters, [""; 0]);
}

#[test]
fn who_waits_for_a_posix_lock_is_told_in_order_and_gets_in_in_that_order() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut line: Vec<Actor> = (0..4).map(|_| Actor::new()).collect();
    let mut descriptor = line[0].locks("posix", &path, ", 'x', 10, 10");
    for waiter in &mut line[1..] {
        waiter.waits("posix", &path, ", 'x', 0, 15");
    }
    while line.len() > 1 {
        let waits = line[1..].iter().enumerate().map(|(place, waiter)| {
            let pid = waiter.pid();
            format!("{pid} posix x 0-14 queued {place} behind [0]")
        });
        assert_eq!(told(&path).waiters, waits.collect::<Vec<_>>());
        line[0].does(&format!("os.close({descriptor})"));
        line.remove(0);
        descriptor = line[0].has_done();
    }
}

/// Only those holdings that the wait would end with are in the way.
#[test]
fn a_waiter_is_behind_what_keeps_it_out_and_nothing_else() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut holders = [Actor::new(), Actor::new(), Actor::new(), Actor::new()];
    holders[0].locks("posix", &path, ", 'x', 0, 10");
    holders[1].locks("posix", &path, ", 's', 10, 10");
    holders[2].locks("ofd", &path, ", 'x', 30, 10");
    holders[3].locks("flock", &path, "");
    let place = |kind: &str, start: u64| {
        let found = seen(&path);
        let holding = found.holdings.iter();
        let mut at = holding.map(|h| (h.kind.to_string(), h.range.start));
        at.position(|at| at == (kind.to_owned(), start))
            .expect("it is held")
    };
    let (first, second, third) = (place("posix", 0), place("posix", 10), place("ofd", 30));
    for (mode, start, length, expected) in [
        ("x", 5, 1, vec![first]),
        ("s", 5, 10, vec![first]),
        ("x", 5, 10, vec![first, second]),
        ("x", 15, 100, vec![second, third]),
        ("s", 15, 0, vec![third]),
    ] {
        let mut waiter = Actor::new();
        waiter.waits("posix", &path, &format!(", {mode:?}, {start}, {length}"));
        let mut waiters = seen(&path).waiters;
        let one = waiters.pop().expect("it waits");
        assert!(waiters.is_empty());
        assert_eq!(one.holder.pid, Some(waiter.pid()));
        assert_eq!(one.behind, expected, "{mode} {start} {length}");
        waiter.kill();
        until("it is gone", || look(&path).waiters.is_empty());
    }
    let mut waiter = Actor::new();
    waiter.waits("flock", &path, ", 's'");
    assert_eq!(seen(&path).waiters[0].behind, [place("flock", 0)]);
}

/// Readers get in together, so they stand at one place.
#[test]
fn readers_who_wait_stand_together_and_a_writer_behind_them() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut holder = Actor::new();
    let descriptor = holder.locks("flock", &path, "");
    let mut readers = [Actor::new(), Actor::new()];
    let mut writer = Actor::new();
    for reader in &mut readers {
        reader.waits("flock", &path, ", 's'");
    }
    writer.waits("flock", &path, "");
    let [a, b] = readers.each_ref().map(Actor::pid);
    let last = writer.pid();
    let waits = [
        format!("{a} flock s * queued 0 behind [0]"),
        format!("{b} flock s * queued 0 behind [0]"),
        format!("{last} flock x * queued 1 behind [0]"),
    ];
    assert_eq!(told(&path).waiters, waits);
    holder.does(&format!("os.close({descriptor})"));
    for reader in &mut readers {
        reader.has_done();
    }
    let now = told(&path);
    assert_eq!(now.holdings.len(), 2);
    assert_eq!(
        now.waiters,
        [format!("{last} flock x * queued 0 behind [0, 1]")]
    );
}

/// The kernel's list has -1 for all of them.
#[test]
fn who_waits_for_an_ofd_lock_is_named() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut holder = Actor::new();
    holder.locks("ofd", &path, "");
    let mut waiters = [Actor::new(), Actor::new()];
    let [a, b] = waiters.each_ref().map(Actor::pid);
    waiters[0].waits("ofd", &path, "");
    assert_eq!(
        told(&path).waiters,
        [format!("{a} ofd x * queued 0 behind [0]")]
    );
    // Two: both are named, and nobody tells who is first.
    waiters[1].waits("ofd", &path, "");
    let mut waits = told(&path).waiters;
    waits.sort();
    let mut expected = [a, b].map(|pid| format!("{pid} ofd x * somewhere behind [0]"));
    expected.sort();
    assert_eq!(waits, expected);
}

/// Each waits for bytes of its own, held by another one: they must not be mixed up.
#[test]
fn those_who_wait_for_different_bytes_by_ofd_are_each_behind_their_own_holder() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut holders = [Actor::new(), Actor::new(), Actor::new()];
    let mut waiters = [Actor::new(), Actor::new(), Actor::new()];
    // The younger ones wait for what comes first in the file.
    for (n, (holder, waiter)) in holders.iter_mut().zip(waiters.iter_mut().rev()).enumerate() {
        let bytes = format!(", 'x', {}, 10", 10 * n);
        holder.locks("ofd", &path, &bytes);
        waiter.waits("ofd", &path, &bytes);
    }
    let found = seen(&path);
    assert_eq!(found.waiters.len(), 3);
    for (n, waiter) in waiters.iter().rev().enumerate() {
        let its = found
            .waiters
            .iter()
            .find(|w| w.holder.pid == Some(waiter.pid()));
        let its = its.expect("it is named");
        assert_eq!(its.range.start, 10 * n as u64);
        let behind = its
            .behind
            .iter()
            .flat_map(|at| &found.holdings[*at].keepers);
        let behind: Vec<_> = behind.map(|keeper| keeper.holder.pid).collect();
        assert_eq!(behind, [Some(holders[n].pid())]);
    }
}

/// A thread of a process that has others, of which one holds it by another descriptor.
#[test]
fn who_waits_in_a_second_thread_is_the_process() {
    let folder = Folder::new();
    let (mut holder, mut waiter) = (Actor::new(), Actor::new());
    for how in ["flock", "ofd", "posix"] {
        let path = empty(&folder.join(how));
        holder.locks(how, &path, "");
        let before = crate::actor::queued(&path);
        waiter.does(&format!(
            "threading.Thread(target={how}, args=({path:?},), daemon=True).start()"
        ));
        until("it waits", || crate::actor::queued(&path) > before);
        let found = seen(&path);
        assert_eq!(found.waiters[0].holder.pid, Some(waiter.pid()), "{how}");
        assert!(found.waiters[0].life.threads > Some(1));
    }
}

/// The list does not tell who waits for it, nor what it was.
#[test]
fn a_lease_that_is_asked_back_is_told_until_it_is_given_back() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let (mut holder, mut other) = (Actor::new(), Actor::new());
    let descriptor = holder.locks("lease", &path, "");
    other.begins(&format!("opened({path:?})"));
    let asked_back = || listed(&path).iter().any(|line| line.contains("BREAKING"));
    until("it is asked back", asked_back);
    let now = told(&path);
    let pid = holder.pid();
    assert_eq!(now.holdings.len(), 1, "{now}");
    assert!(now.holdings[0].ends_with(&format!("by {pid}: {pid} took")));
    assert_eq!(now.oddities, [""; 0]);
    holder.does(&format!("os.close({descriptor})"));
    other.has_done();
    assert!(!seen(&path).is_held());
}
