//! Giving up and being killed leave nothing behind.
//! Not for: holders that release as they should (`exclusion.rs`).

use super::*;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Nothing of a wait in vain stays: no place in a queue, no descriptor, no thread.
pub fn whoever_gives_up_leaves_nothing_behind(setup: &Setup) {
    let guard = taken(&setup.lock());
    for _ in 0..3 {
        let short = Timeout::After(Duration::from_millis(10));
        let waiter = begin_to_wait(setup, Mode::Exclusive, short, |r| r.map(drop));
        let error = waiter.wait().expect_err("it is held");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
    guard.release().expect("it is held");
    drop(taken(&setup.lock()));
    if !reaches_other_processes(setup) {
        return;
    }
    let guard = taken(&setup.lock());
    let mut child = setup.child();
    let give_up = |child: &mut crate::Child| {
        child.tell("acquire it 10");
        let refusal = child.hear("refused");
        assert!(refusal.starts_with("TimedOut"), "{refusal}");
    };
    // What the first wait that comes to sleep sets up for good does not count; on a busy machine it can be a later one.
    let (mut before, mut same) = (String::new(), 0);
    for _ in 0..40 {
        give_up(&mut child);
        child.must_be_refused();
        let now = child.ask("count");
        same = if now == before { same + 1 } else { 0 };
        before = now;
        if same == 5 {
            break;
        }
    }
    assert_eq!(same, 5, "descriptors and threads grow: {before}");
    guard.release().expect("it is held");
    // At once: whoever gave up has no claim in the way.
    drop(taken(&setup.lock()));
    drop(taken(&setup.lock()));
    must_come_free(setup);
}

/// The line inside the process closes up.
pub fn whoever_gives_up_in_the_line_lets_the_next_one_pass(setup: &Setup) {
    let guard = taken(&setup.lock());
    let short = Timeout::After(Duration::from_millis(60));
    let first = begin_to_wait(setup, Mode::Exclusive, short, |r| r.map(drop));
    let second = begin_to_wait(setup, Mode::Exclusive, Timeout::Forever, |r| r.map(drop));
    let error = first.wait().expect_err("it is held");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    second.still();
    drop(guard);
    second.wait().expect("it came free");
    drop(taken(&setup.lock()));
}

/// A wait that ends in the very moment of the grant holds the lock or does not: never neither.
pub fn a_grant_that_comes_late_is_given_back(setup: &Setup) {
    let path = setup.folder.join("journal");
    let stop = AtomicBool::new(false);
    if setup.lock().capabilities().reach == Reach::Process {
        thread::scope(|scope| {
            scope.spawn(|| {
                let (lock, journal) = (setup.lock(), Journal::open(&path));
                while !stop.load(Ordering::Relaxed) {
                    journal.visit(lock.acquire().expect("the lock can be had"));
                }
            });
            // It stops, whatever comes: the scope waits for it.
            let _stop = OnDrop(|| stop.store(true, Ordering::Relaxed));
            beside_one_that_takes_turns(setup, &path);
        });
    } else {
        let mut child = setup.child();
        child.tell(&format!("take-turns {}", path.display()));
        child.hear("turn");
        beside_one_that_takes_turns(setup, &path);
        child.kill();
    }
    assert_eq!(Journal::open(&path).overlaps(), "");
    must_come_free(setup);
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn beside_one_that_takes_turns(setup: &Setup, path: &Path) {
    let (lock, journal) = (setup.lock(), Journal::open(path));
    let mut held = 0;
    for round in 0..150_u64 {
        match lock.acquire_within(Duration::from_micros(1 + round * 37 % 1500)) {
            Ok(guard) => {
                journal.visit(guard);
                held += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}"),
        }
    }
    let stays = std::fs::read_to_string(path).unwrap_or_default();
    assert!(stays.lines().count() >= held, "the journal has it all");
}

/// `kill -9` in the middle of a wait.
pub fn a_killed_waiter_leaves_nothing_behind(setup: &Setup) {
    if !reaches_other_processes(setup) {
        return;
    }
    let guard = taken(&setup.lock());
    let mut waiters = [setup.child(), setup.child()];
    waiters.iter_mut().for_each(|w| w.begin_to_wait());
    // So that they sleep by now, most likely.
    thread::sleep(Duration::from_millis(20));
    waiters.iter_mut().for_each(crate::Child::kill);
    assert_eq!(guard.standing(), Standing::Held);
    setup.child().must_be_refused();
    guard.release().expect("it is held");
    must_come_free(setup);
}

/// `kill -9` of the holder.
pub fn a_killed_holder_frees_the_lock_and_a_waiter_gets_it(setup: &Setup) {
    if !reaches_other_processes(setup) {
        return;
    }
    let crash = setup.lock().capabilities().crash;
    let (mut holder, mut waiter) = (setup.child(), setup.child());
    holder.acquire();
    waiter.begin_to_wait();
    holder.kill();
    let said = waiter.hear("held");
    if crash == Crash::Stale {
        let removable = |part: &Lock| part.capabilities().removal == Removable::Yes;
        let claims = setup.lock().parts().into_iter().filter(removable).count();
        let claims = format!("[{}]", holder.pid()).repeat(claims);
        let expected = format!("{:?} broken={claims}", Clean::No);
        assert_eq!(said, expected);
    }
    must_be_busy(&setup.lock());

    let own = begin_to_wait(setup, Mode::Exclusive, Timeout::Forever, |r| r);
    waiter.kill();
    let guard = own.wait().expect("the holder is dead");
    if crash == Crash::Stale {
        assert_eq!(guard.was_clean(), Clean::No);
        assert_eq!(guard.broken()[0].pid, Some(waiter.pid()));
    }
    guard.release().expect("it is held");
    let guard = taken(&setup.lock());
    assert_ne!(guard.was_clean(), Clean::No, "it was released this time");
    drop(guard);
    must_come_free(setup);
}

/// `kill -9`, again and again, of holders and waiters alike.
pub fn processes_killed_at_any_moment_never_let_two_in(setup: &Setup) {
    if !reaches_other_processes(setup) {
        return;
    }
    let path = setup.folder.join("journal");
    let start = || {
        let mut child = setup.child();
        child.tell(&format!("take-turns {}", path.display()));
        child.hear("turn");
        child
    };
    let mut children = vec![start(), start(), start()];
    for round in 0..9_u64 {
        thread::sleep(Duration::from_micros(500 + round * 1700 % 4000));
        children.remove(0).kill();
        children.push(start());
    }
    children.iter_mut().for_each(crate::Child::kill);
    assert_eq!(Journal::open(&path).overlaps(), "");
    must_come_free(setup);
}
