//! Who holds the lock, and what holds it when processes end, or are ended.

use crate::stage::{LOCKS, Place, Running, until};
use sneck_testkit::Journal;

#[test]
fn many_that_run_at_once_take_turns() {
    for lock in LOCKS {
        let place = Place::new();
        let many: Vec<Running> = (0..4)
            .map(|_| Running::start(&mut place.run(&[], lock, "visit")))
            .collect();
        for one in many {
            assert_eq!(one.code(), 0, "{lock}");
        }
        assert_eq!(Journal::open(&place.path("journal")).check(), 4, "{lock}");
        assert!(place.is_free(lock), "{lock}");
    }
}

#[test]
fn who_does_not_wait_or_not_long_is_refused_with_its_code() {
    for lock in LOCKS {
        let place = Place::new();
        let holder = Running::start(&mut place.run(&[], lock, "stay"));
        until("it is in", || place.has("in"));
        let run = |options: &[&str]| {
            let words = [&["run"], options, &[lock, "--", "cmd", "/c", "exit"]].concat();
            place.said(&words)
        };
        let (code, said) = run(&["-n"]);
        assert_eq!(code, 75, "{lock}: {said}");
        assert_eq!(run(&["-w", "0.1"]).0, 75, "{lock}");
        assert_eq!(run(&["-n", "-E", "9"]).0, 9, "{lock}");
        assert_eq!(run(&["-n", "-q"]).1, "", "{lock}");
        place.put("leave");
        assert_eq!(holder.code(), 3, "{lock}");
        assert_eq!(run(&["-n"]).0, 0, "{lock}");
    }
}

#[test]
fn shared_holders_are_in_at_once_and_keep_others_out() {
    let place = Place::new();
    let reader = Running::start(&mut place.run(&["-s"], "l", "stay"));
    until("it is in", || place.has("in"));
    let run = |option: &str| place.code(&["run", "-n", option, "l", "--", "cmd", "/c", "exit"]);
    assert_eq!(run("-s"), 0);
    assert_eq!(run("-x"), 75);
    place.put("leave");
    assert_eq!(reader.code(), 3);
    assert_eq!(run("-x"), 0);
}

#[test]
fn a_killed_sneck_takes_all_that_ran_under_the_lock_with_it_and_the_next_one_gets_it() {
    for lock in LOCKS {
        let place = Place::new();
        let holder = Running::start(&mut place.run(&[], lock, "parent"));
        until("it ticks", || !place.text("ticks").is_empty());
        let next = Running::start(&mut place.run(&[], lock, "come"));
        assert!(!place.is_free(lock), "{lock}");
        holder.kill();
        assert_eq!(next.code(), 0, "{lock}");
        let came: u64 = place.text("came").parse().expect("a time");
        let ticks = place.text("ticks");
        // One that was being written may be torn.
        let whole = ticks.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let last = whole.lines().last().expect("it ticked");
        let last: u64 = last.parse().expect("a time");
        assert!(last < came, "{lock}: still there {} ns after", last - came);
        assert!(place.is_free(lock), "{lock}");
    }
}

#[test]
fn what_was_left_in_the_background_keeps_the_lock_unless_it_was_given_up() {
    for lock in LOCKS {
        let place = Place::new();
        let mut holder = Running::start(&mut place.run(&[], lock, "background"));
        until("it is in", || place.has("in"));
        assert!(!place.is_free(lock), "{lock}");
        assert!(!holder.has_ended(), "{lock}");
        place.put("leave");
        assert_eq!(holder.code(), 5, "{lock}");
        assert!(place.is_free(lock), "{lock}");

        let place = Place::new();
        let holder = Running::start(&mut place.run(&["-o"], lock, "background"));
        assert_eq!(holder.code(), 5, "{lock}");
        assert!(place.has("in"));
        assert!(place.is_free(lock), "{lock}");
        place.put("leave");
    }
}

#[test]
fn who_holds_it_for_too_long_is_ended_with_all_that_it_started() {
    let place = Place::new();
    let options = ["--max-hold", "1", "--kill-after", "0.1"];
    let holder = Running::start(&mut place.run(&options, "l", "parent"));
    assert_eq!(holder.code(), 124);
    let last = place.text("ticks");
    assert!(place.is_free("l"));
    assert_eq!(place.text("ticks"), last);

    // The limit is for the lock, which sneck keeps for what is in the background too.
    let place = Place::new();
    let holder = Running::start(&mut place.run(&options, "l", "background"));
    assert_eq!(holder.code(), 124);
    assert!(place.is_free("l"));

    let place = Place::new();
    let options = ["--max-hold", "1h"];
    assert_eq!(
        Running::start(&mut place.run(&options, "l", "visit")).code(),
        0
    );
}

#[test]
fn several_are_taken_as_one() {
    let place = Place::new();
    let mut command = place.sneck(&["run", "a", "pidfile:b", "--", "cmd", "/c", "exit 4"]);
    assert_eq!(Running::start(&mut command).code(), 4);
    let holder = Running::start(&mut place.run(&[], "pidfile:b", "stay"));
    until("it is in", || place.has("in"));
    let words = ["run", "-n", "a", "pidfile:b", "--", "cmd", "/c", "exit"];
    assert_eq!(place.code(&words), 75);
    assert!(place.is_free("a"));
    place.put("leave");
    assert_eq!(holder.code(), 3);
}

#[test]
fn waiting_for_it_takes_nothing() {
    let place = Place::new();
    let holder = Running::start(&mut place.run(&[], "l", "stay"));
    until("it is in", || place.has("in"));
    assert_eq!(place.code(&["wait", "-n", "l"]), 75);
    let mut waits = Running::start(&mut place.sneck(&["wait", "l"]));
    assert!(!waits.has_ended());
    place.put("leave");
    assert_eq!(holder.code(), 3);
    assert_eq!(waits.code(), 0);
}
