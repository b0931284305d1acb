//! Ctrl-C, on a console of the test's own: while sneck waits, and while its command runs.
//!
//! Not for: Ctrl-Break, which wine 8 refuses to send to anybody (error 6).

use crate::stage::{Place, Running, until};
use std::process::Command;

/// STATUS_CONTROL_C_EXIT
const CONTROL_C: i32 = 0xC000_013A_u32 as i32;

/// This command line, on a console of its own.
fn on_console(place: &Place, command: &Command) -> Running {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().expect("readable")).collect();
    Running::start(place.job("console").env("WORDS", words.join("\t")))
}

#[test]
fn ctrl_c_while_it_waits_ends_sneck_and_leaves_nothing() {
    for lock in ["l", "pidfile:l"] {
        let place = Place::new();
        let holder = Running::start(&mut place.run(&[], lock, "stay"));
        until("it is in", || place.has("in"));
        let waits = on_console(&place, &place.run(&["-v"], lock, "come"));
        until("it waits", || place.text("said").contains("waiting"));
        place.put("now");
        assert_eq!(waits.code(), CONTROL_C, "{lock}");
        assert!(!place.is_free(lock), "{lock}");
        place.put("leave");
        assert_eq!(holder.code(), 3);
        assert!(place.is_free(lock), "{lock}");
        assert!(!place.has("came"), "{lock}");
    }
}

#[test]
fn ctrl_c_while_the_command_runs_is_the_commands() {
    let place = Place::new();
    let mut runs = on_console(&place, &place.run(&[], "l", "survive"));
    until("it is in", || place.has("in"));
    place.put("now");
    until("it was told", || place.has("told"));
    assert!(!place.is_free("l"));
    assert!(!runs.has_ended());
    place.put("leave");
    assert_eq!(runs.code(), 7);
    assert!(place.is_free("l"));
}

#[test]
fn a_command_that_ctrl_c_ends_ends_sneck_with_its_status() {
    let place = Place::new();
    let runs = on_console(&place, &place.run(&[], "l", "stay"));
    until("it is in", || place.has("in"));
    place.put("now");
    let under_sneck = runs.code();

    let place = Place::new();
    let runs = on_console(&place, &place.job("stay"));
    until("it is in", || place.has("in"));
    place.put("now");
    assert_eq!(under_sneck, runs.code());
    assert_ne!(under_sneck, 3);
    assert!(place.is_free("l"));
}
