//! Those who take {A, B} and {B, A} get on, and nobody is ever in beside another.

use super::*;
use sneck_testkit::planted::of_these;
use sneck_testkit::sys;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Two processes, so many rounds each.
#[track_caller]
fn in_two_processes(scheme: &str, waiting: Waiting, rounds: usize) {
    let two = Two::of(scheme, waiting);
    let journal = two.path("journal");
    let mut children = [two.setup.child(), two.setup.child()];
    let begun = Instant::now();
    for (child, order) in children.iter_mut().zip([[0, 1], [1, 0]]) {
        child.tell(&two.course(rounds, &journal, order));
    }
    for child in &mut children {
        child.hear("done");
    }
    println!(
        "{scheme} {waiting:?}: 2 x {rounds} rounds in {:?}",
        begun.elapsed()
    );
    assert_eq!(Journal::open(&journal).check(), 2 * rounds);
    must_be_free(&two);
}

#[test]
fn two_processes_in_opposite_order_both_have_ten_thousand_turns() {
    in_two_processes("flock", Waiting::Best, 10_000);
}

#[test]
fn they_get_on_with_file_protocols_and_without_the_kernels_queue_too() {
    in_two_processes("flock", Waiting::Events, 1000);
    in_two_processes("flock", Waiting::Polling, 300);
    for scheme in ["pidfile", "symlink", "mkdir"] {
        in_two_processes(scheme, Waiting::Best, 1000);
        in_two_processes(scheme, Waiting::Polling, 200);
    }
}

/// What a program takes to begin, at least, and the lock is free meanwhile: nobody could get on beside two that never let go.
const BEGINNING: Duration = Duration::from_millis(2);

/// Holds one of them for a moment, again and again, and knows nothing of the other one. How often it did.
fn somebody_else(path: &Path, rest: Duration, stop: &AtomicBool) -> usize {
    let mut turns = 0;
    while !stop.load(Ordering::Relaxed) {
        let chance = RandomState::new().build_hasher().finish();
        let strange = sys::Strange::lock(sys::WAYS_TO_LOCK[0], path, Mode::Exclusive);
        thread::sleep(Duration::from_millis(chance % 10));
        drop(strange);
        thread::sleep(BEGINNING + rest.mul_f64((chance >> 32) as f64 / f64::from(u32::MAX)));
        turns += 1;
    }
    turns
}

#[test]
fn they_have_ten_thousand_turns_beside_others_who_hold_one_of_both_now_and_then() {
    beside_somebody_else(10_000, Duration::from_millis(100));
}

#[test]
fn they_get_on_beside_others_who_hold_one_of_both_again_and_again() {
    beside_somebody_else(300, Duration::ZERO);
}

#[track_caller]
fn beside_somebody_else(rounds: usize, rest: Duration) {
    let two = Two::of("flock", Waiting::Best);
    let (journal, stop) = (two.path("journal"), AtomicBool::new(false));
    let begun = Instant::now();
    thread::scope(|scope| {
        let others = ["a", "b"].map(|name| {
            let path = two.path(name);
            scope.spawn(|| {
                let path = path;
                somebody_else(&path, rest, &stop)
            })
        });
        let ended = std::panic::catch_unwind(|| {
            let mut children = [two.setup.child(), two.setup.child()];
            for (child, order) in children.iter_mut().zip([[0, 1], [1, 0]]) {
                child.tell(&two.course(rounds, &journal, order));
            }
            for child in &mut children {
                child.hear("done");
            }
        });
        stop.store(true, Ordering::Relaxed);
        let turns = others.map(|other| other.join().expect("it ends"));
        ended.expect("both finish");
        println!(
            "2 x {rounds} rounds in {:?} beside {turns:?}",
            begun.elapsed()
        );
        assert!(turns.iter().all(|turns| *turns > 10), "{turns:?}");
    });
    assert_eq!(Journal::open(&journal).check(), 2 * rounds);
    must_be_free(&two);
}

#[test]
fn threads_of_one_process_get_on_in_any_order() {
    const ROUNDS: usize = 300;
    for scheme in of_these(&["flock", "memory", "pidfile", "flock+fcntl", "flock+pidfile"]) {
        let two = Two::of(scheme, Waiting::Best);
        let path = two.path("journal");
        thread::scope(|scope| {
            for order in [[0, 1], [1, 0], [0, 1], [1, 0]] {
                // Through handles that have nothing in common, and thus in no common line: as two copies of this library would.
                let names = order.map(|index| &two.names[index]);
                let mut locks = names.map(|name| lock(two.setup.builder(), name)).to_vec();
                locks.push(lock(
                    two.setup.builder(),
                    &format!("memory:{}{order:?}", path.display()),
                ));
                let (path, builder) = (&path, two.setup.builder());
                scope.spawn(move || {
                    let both = builder.all(&locks).expect("locks");
                    sneck_testkit::child::course(&both, ROUNDS, 1, path);
                });
            }
        });
        assert_eq!(Journal::open(&path).check(), 4 * ROUNDS, "{scheme}");
        must_be_free(&two);
    }
}

/// Whoever takes both, and in other processes one who takes A alone, again and again, and one for B.
#[test]
fn nobody_starves_who_takes_both_beside_those_who_take_one() {
    const TURNS: usize = 300;
    for scheme in SORTS {
        let two = Two::of(scheme, Waiting::Best);
        let journals = ["of a", "of b"].map(|name| two.path(&name.replace(' ', "-")));
        let mut children = [two.setup.child(), two.setup.child()];
        for (index, child) in children.iter_mut().enumerate() {
            let (journal, name) = (journals[index].display(), &two.names[index]);
            child.tell(&format!("single {journal} {name}"));
            child.hear("turn");
        }
        let (both, own) = (
            two.both(),
            journals.each_ref().map(|path| Journal::open(path)),
        );
        let begun = Instant::now();
        for _ in 0..TURNS {
            let guard = both.acquire_within(PATIENCE).expect("it gets a turn");
            own.iter().for_each(|journal| journal.stay(Mode::Exclusive));
            guard.release().expect("it is held");
        }
        let took = begun.elapsed();
        // And they had theirs meanwhile, and have after it.
        for child in &mut children {
            child.hear("turn");
            child.kill();
        }
        let others = own.each_ref().map(|journal| journal.stays() - TURNS);
        println!("{scheme}: {TURNS} turns in {took:?} beside {others:?}");
        assert!(others.iter().all(|turns| *turns >= 200), "{others:?}");
        for journal in &own {
            assert_eq!(journal.overlaps(), "", "{scheme}");
        }
    }
}

#[test]
fn threads_that_take_one_do_not_starve_one_that_takes_both() {
    for scheme in ["memory", "flock"] {
        let two = Two::of(scheme, Waiting::Best);
        let (stop, turns) = (AtomicBool::new(false), [0, 1].map(|_| AtomicUsize::new(0)));
        let journals = ["a", "b"].map(|name| two.path(&format!("journal-{name}")));
        thread::scope(|scope| {
            for index in [0, 1, 0, 1] {
                let (one, stop, turns) = (two.one(index), &stop, &turns[index]);
                let journal = &journals[index];
                scope.spawn(move || {
                    let journal = Journal::open(journal);
                    while !stop.load(Ordering::Relaxed) {
                        journal.visit(one.acquire_within(PATIENCE).expect("it gets a turn"));
                        turns.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_micros(100));
                    }
                });
            }
            let ended = std::panic::catch_unwind(|| {
                let both = two.both();
                let own = journals.each_ref().map(|path| Journal::open(path));
                let begun = Instant::now();
                for _ in 0..200 {
                    let guard = both.acquire_within(PATIENCE).expect("it gets a turn");
                    own.iter().for_each(|journal| journal.stay(Mode::Exclusive));
                    guard.release().expect("it is held");
                }
                println!(
                    "{scheme}: 200 turns in {:?} beside {turns:?}",
                    begun.elapsed()
                );
            });
            stop.store(true, Ordering::Relaxed);
            ended.expect("it gets its turns");
        });
        for (journal, turns) in journals.iter().zip(turns) {
            let turns = turns.into_inner();
            assert!(turns >= 20, "{turns}");
            assert_eq!(Journal::open(journal).check(), turns + 200, "{scheme}");
        }
    }
}
