//! Nothing is held during a wait, nobody spins, and the killed leave nothing behind.

use super::*;
use sneck::protocol::{Protocol, Stack};
use sneck::{Event, Moment, Reentry, Result, Standing};
use sneck_testkit::{Counts, Through, block, must_block};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn nothing_is_held_while_it_waits() {
    for scheme in SORTS {
        for waiting in WAYS {
            let two = Two::of(scheme, waiting);
            for held in [0, 1] {
                let mut holder = two.setup.child();
                holder.tell(&format!("hold it {}", two.names[held]));
                holder.hear("held");
                let (both, free) = (two.both(), two.one(1 - held));
                let waiter = must_block(move || both.acquire().map(Guard::release));
                let mut other = two.setup.child();
                for _ in 0..20 {
                    drop(taken(&free));
                    other.tell(&format!("hold it {}", two.names[1 - held]));
                    other.hear("held");
                    other.release();
                }
                waiter.still();
                holder.release();
                let released = waiter.wait().expect("it came free");
                released.expect("it was held");
                must_be_free(&two);
            }
        }
    }
}

#[test]
fn the_one_that_is_in_the_way_is_named_and_others_are_not() {
    for scheme in SORTS {
        let two = Two::of(scheme, Waiting::Best);
        let told = Arc::new(Mutex::new(Vec::new()));
        for held in [0, 1] {
            let mut holder = two.setup.child();
            holder.tell(&format!("hold it {}", two.names[held]));
            holder.hear("held");
            let error = must_be_busy(&two.both());
            assert_eq!(error.place(), Some(two.one(held).place()), "{error}");
            assert_eq!(error.holders()[0].pid, Some(holder.pid()), "{error}");
            let hears = told.clone();
            let observed = two.both_with(|b| {
                b.observer(move |event: &Event<'_>| {
                    if let Event::Waiting { place, .. } = event {
                        hears.lock().expect("no panic").push(place.to_string());
                    }
                })
            });
            // Long enough for a look before the time is over, where a look takes long.
            let error = observed.acquire_within(Duration::from_millis(300));
            let error = error.expect_err("it is held");
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            assert_eq!(error.place(), Some(two.one(held).place()), "{error}");
        }
        let places = [0, 1].map(|index| two.one(index).place().to_string());
        assert_eq!(*told.lock().expect("no panic"), places);
    }
}

#[test]
fn whoever_waits_is_told_when_another_one_is_in_the_way() {
    let two = Two::of("flock", Waiting::Best);
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut holders = [two.setup.child(), two.setup.child()];
    for (index, holder) in holders.iter_mut().enumerate() {
        holder.tell(&format!("hold it {}", two.names[index]));
        holder.hear("held");
    }
    let hears = told.clone();
    let both = two.both_with(|b| {
        b.observer(move |event: &Event<'_>| {
            if let Event::Waiting { place, .. } = event {
                hears.lock().expect("no panic").push(place.to_string());
            }
        })
    });
    let waiter = must_block(move || both.acquire().map(drop));
    holders[0].release();
    let (first, second) = (two.a().place().to_string(), two.b().place().to_string());
    block::until("it says that it waits for the other one", || {
        *told.lock().expect("no panic") == [first.clone(), second.clone()]
    });
    waiter.still();
    holders[1].release();
    waiter.wait().expect("both came free");
}

#[test]
fn a_killed_holder_frees_all() {
    for scheme in SORTS {
        let two = Two::of(scheme, Waiting::Best);
        let mut holder = two.setup.child();
        holder.tell(&format!("hold it {} {}", two.names[0], two.names[1]));
        holder.hear("held");
        must_be_busy(&two.a());
        must_be_busy(&two.b());
        let waiters = [two.a(), two.b(), two.both()]
            .map(|lock| must_block(move || lock.acquire_within(PATIENCE).map(drop)));
        holder.kill();
        for waiter in waiters {
            waiter.wait().expect("its holder is dead");
        }
        must_be_free(&two);
    }
}

#[test]
fn a_killed_waiter_had_nothing() {
    let two = Two::of("pidfile", Waiting::Best);
    let guard = taken(&two.b());
    let mut waiter = two.setup.child();
    let journal = two.path("journal");
    waiter.tell(&two.course(1, &journal, [0, 1]));
    std::thread::sleep(Duration::from_millis(30));
    waiter.kill();
    drop(taken(&two.a()));
    assert_eq!(guard.standing(), Standing::Held);
    drop(guard);
    must_be_free(&two);
}

/// A lock whose tries are counted, and take so long.
fn counted(written: &str, counts: &Arc<Counts>, takes: Duration) -> Result<Arc<dyn Protocol>> {
    let local = Registry::local();
    let inner = local.protocol(&local.place(written)?)?;
    Ok(Arc::new(Through::new(inner, counts).taking(takes)))
}

/// Wait for this place while its `b` is held: how often it was tried, each part counted.
fn tries_of_a_wait(two: &Two, parts: &[&str], wait: Duration) -> usize {
    let tries = Arc::new(Counts::default());
    let (mut registry, tally) = (Registry::local(), tries.clone());
    let written: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
    registry.register("counted", move |place| {
        let part = |written: &String| counted(written, &tally, Duration::ZERO);
        match written.as_slice() {
            [one] => part(one),
            several => {
                let parts: Result<Vec<_>> = several.iter().map(part).collect();
                Ok(Arc::new(Stack::new(place.clone(), parts?)?))
            }
        }
    });
    let place = registry.place("counted:it").expect("a place");
    // This thread holds `b` itself.
    let builder = two
        .setup
        .builder()
        .registry(&registry)
        .reentry(Reentry::Wait);
    let lock = builder.at(&place).expect("a lock");
    let begun = Moment::now();
    let error = lock.acquire_within(wait).expect_err("it is held");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert!(begun.elapsed() >= wait, "gave up too early");
    tries.tries()
}

#[test]
fn whoever_waits_for_both_tries_no_more_often_than_whoever_waits_for_one() {
    for scheme in ["flock", "pidfile", "memory"] {
        for waiting in WAYS {
            let two = Two::of(scheme, waiting);
            let names = [two.names[0].as_str(), two.names[1].as_str()];
            let _guard = taken(&two.b());
            let wait = Duration::from_millis(400);
            // Not in the line behind this thread: through a stack of one.
            let line = format!("memory:{}", two.path("line").display());
            let one = tries_of_a_wait(&two, &[names[1], &line], wait);
            let both = tries_of_a_wait(&two, &names, wait);
            println!("{scheme} {waiting:?}: {one} tries for one, {both} for both");
            // The first round tries both and gives one back; then there is a pause.
            assert!(both <= 2 * one + 4, "{both} tries, and {one} for one lock");
            drop(taken(&two.a()));
        }
    }
}

/// Two who take the same locks in opposite order, in step: each try takes long, and as long as all others.
#[test]
fn two_in_step_part_however_long_a_try_takes() {
    const ROUNDS: usize = 15;
    let two = Two::of("flock", Waiting::Best);
    let tries = Arc::new(Counts::default());
    let journal = two.path("journal");
    std::thread::scope(|scope| {
        for order in [[0, 1], [1, 0]] {
            let mut names = order.map(|index| two.names[index].clone()).to_vec();
            // In lines that have nothing in common.
            names.push(format!("memory:{}-{order:?}", journal.display()));
            let (mut registry, tally) = (Registry::local(), tries.clone());
            registry.register("slow", move |place| {
                let takes = Duration::from_millis(16);
                let parts = names.iter().map(|name| counted(name, &tally, takes));
                let parts: Result<Vec<_>> = parts.collect();
                Ok(Arc::new(Stack::new(place.clone(), parts?)?))
            });
            let place = registry.place("slow:it").expect("a place");
            let lock = two.setup.builder().registry(&registry).at(&place);
            let (lock, journal) = (lock.expect("a lock"), &journal);
            scope.spawn(move || sneck_testkit::child::course(&lock, ROUNDS, 1, journal));
        }
    });
    assert_eq!(Journal::open(&journal).check(), 2 * ROUNDS);
    let tries = tries.tries();
    println!("{tries} tries for {} turns", 2 * ROUNDS);
    // Three parts a turn, and some in vain. Without a pause, or with one that is short beside a try, there are ten or forty.
    assert!(tries <= 2 * ROUNDS * 8, "{tries} tries");
}
