//! How `sneck run` ends, and what it refuses.

use crate::stage::{Place, Running};
use std::fs;

#[test]
fn the_commands_status_is_passed_on_whole() {
    let place = Place::new();
    for status in [0, 1, 75, 255, 256, 70_000, -1, 0xC000_0005_u32 as i32] {
        let exit = format!("exit {status}");
        assert_eq!(
            place.code(&["run", "l", "--", "cmd", "/d", "/c", &exit]),
            status
        );
    }
}

#[test]
fn a_command_that_crashed_ends_sneck_in_the_same_way() {
    let place = Place::new();
    let alone = Running::start(&mut place.job("crash")).code();
    assert!(alone < 0, "{alone:x} is no NTSTATUS of a fault");
    assert_eq!(
        Running::start(&mut place.run(&[], "l", "crash")).code(),
        alone
    );
    assert!(place.is_free("l"));
}

#[test]
fn what_cannot_be_run_is_said_and_leaves_nothing() {
    let place = Place::new();
    for lock in ["l", "pidfile:p"] {
        let (code, said) = place.said(&["run", lock, "no-such-program"]);
        assert_eq!(code, 127);
        assert!(said.contains("cannot run `no-such-program`"), "{said}");
        fs::write(place.path("text.exe"), "no program").expect("written");
        assert_eq!(place.code(&["run", lock, r".\text.exe"]), 126);
        assert!(place.is_free(lock));
    }
}

#[test]
fn batch_files_are_run_and_found_without_the_end_of_their_name() {
    let place = Place::new();
    fs::write(place.path("two words.cmd"), "@exit /b %~1\r\n").expect("written");
    assert_eq!(place.code(&["run", "l", "--", r".\two words.cmd", "4"]), 4);
    assert_eq!(place.code(&["run", "l", "--", r".\two words", "5"]), 5);
}

#[test]
fn what_this_system_has_not_is_refused_by_name() {
    let place = Place::new();
    for protocol in ["fcntl", "shlock", "dotlock", "flock+fcntl", "memory"] {
        let lock = format!("{protocol}:l");
        let (code, said) = place.said(&["run", &lock, "--", "cmd", "/c", "exit"]);
        assert_eq!(code, 64, "{said}");
        let name = protocol.rsplit('+').next().expect("a name");
        assert!(said.contains(name), "{said}");
        assert!(!place.has("l"), "{protocol}");
    }
}

#[test]
fn what_is_printed_about_sneck_itself() {
    let place = Place::new();
    let (code, said) = place.said(&["protocols", "--json"]);
    assert_eq!(code, 0);
    let list: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    for protocol in list.as_array().expect("a list") {
        let name = protocol["name"].as_str().expect("a name");
        let lacks = ["fcntl", "shlock", "dotlock"].contains(&name);
        assert_eq!(protocol["error"].is_string(), lacks, "{name}");
    }
    for (words, has) in [
        (
            &["completions", "powershell"][..],
            "Register-ArgumentCompleter",
        ),
        (&["man", "run"], "Ctrl\\-Break"),
        (&["run", "--help"], "LockFileEx"),
    ] {
        let (code, said) = place.said(words);
        assert_eq!(code, 0);
        assert!(said.contains(has), "{words:?}: {said}");
    }
}
