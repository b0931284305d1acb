//! `sneck list` on terminals of each width, and in pipes: what fits, what is coloured, and that nothing foreign reaches them raw.
#![allow(clippy::disallowed_methods)]

mod stage;

use stage::locked::{Deadlock, flock, json, of, python, rows};
use stage::terminal::Terminal;
use stage::{Place, text, until};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use unicode_width::UnicodeWidthStr;

#[test]
fn no_row_is_longer_than_the_terminal_and_columns_stand_in_line() {
    let deadlock = Deadlock::new();
    let place = &deadlock.place;
    let name = "ein-ziemlich-langer-Name-日本語-für-eine-Sperre.lock";
    let _child = flock(place, &["--no-fork", name, "sleep", "1000"]);
    until("it is held", || of(place, name).is_some());
    for columns in [200, 80, 40, 20] {
        let screen = Terminal::wide(columns, place, &["sneck", "list", "--held"]).whole();
        assert!(!screen.contains('\x1b'), "{screen}");
        let (table, _) = screen
            .split_once("\n\n")
            .expect("a table, and the deadlock");
        let lines: Vec<&str> = table.lines().collect();
        for line in &lines {
            assert!(line.width() <= usize::from(columns), "{columns}: {line}");
        }
        assert!(lines[0].starts_with("LOCK"), "{screen}");
        let wanted: &[&str] = match columns {
            200 => &[
                "LOCK", "KIND", "MODE", "STATE", "PID", "USER", "SINCE", "WAIT", "COMMAND",
            ],
            80 => &["LOCK", "KIND", "STATE", "PID", "COMMAND"],
            40 => &["LOCK", "STATE", "PID"],
            _ => &["LOCK"],
        };
        let header: Vec<&str> = lines[0].split_whitespace().collect();
        for word in wanted {
            assert!(header.contains(word), "{columns}: {header:?}");
        }
        // The end of a name stays.
        assert!(
            table.contains(if columns > 20 {
                "Sperre.lock"
            } else {
                "rre.lock"
            }),
            "{table}"
        );
        if columns >= 40 {
            let column = |line: &str, word: &str| line.find(word).map(|at| line[..at].width());
            let state = column(lines[0], "STATE").expect("it is there");
            let marked: Vec<_> = lines
                .iter()
                .filter_map(|line| column(line, "deadlock"))
                .collect();
            assert!(
                marked.len() >= 2 && marked.iter().all(|at| *at == state),
                "{table}"
            );
            let number = &deadlock.pids[0];
            let ends = |line: &str, word: &str| column(line, word).map(|at| at + word.len());
            let own = lines
                .iter()
                .find_map(|line| ends(line, &format!(" {number}")));
            assert_eq!(own, ends(lines[0], "PID"), "{table}");
        }
    }
}

#[test]
fn no_line_of_the_tree_is_longer_than_the_terminal() {
    let deadlock = Deadlock::new();
    let words = ["sneck", "list", "--tree", "--pid", &deadlock.pids[0]];
    for columns in [200, 80, 40] {
        let screen = Terminal::wide(columns, &deadlock.place, &words).whole();
        let tree: Vec<&str> = screen
            .lines()
            .take_while(|line| !line.starts_with("sneck: "))
            .collect();
        assert!(tree.len() >= 6, "{screen}");
        for line in &tree {
            assert!(line.width() <= usize::from(columns), "{columns}: {line}");
        }
        // The deadlock is told whole.
        let words = format!("held by pid {}", deadlock.pids[1]);
        let rest = |line: &&str| {
            line.trim_start_matches(['├', '└', '─', '│', ' '])
                .to_owned()
        };
        let joined = tree.iter().map(rest).collect::<Vec<_>>().join(" ");
        assert!(joined.contains(&words), "{columns}: {screen}");
    }
}

#[test]
fn a_pipe_gets_whole_lines_unless_somebody_says_how_wide_it_is() {
    let place = Place::new();
    let name = "x".repeat(200);
    let command = format!("exec sleep 1000 # {}", "y".repeat(300));
    let _child = flock(
        &place,
        &["--no-fork", &name, "sh", "-c", &format!("{command}; exit")],
    );
    until("it is held", || of(&place, &name).is_some());
    assert_eq!(rows(&place, &[], &name).len(), 1);
    let output = place
        .command(&["list"])
        .env("COLUMNS", "40")
        .output()
        .expect("sneck runs");
    for line in text(&output.stdout)
        .lines()
        .take_while(|line| !line.is_empty())
    {
        assert!(line.width() <= 40, "{line}");
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let deadlock = Deadlock::new();
    let place = &deadlock.place;
    let shown = |variables: &[&str]| {
        let words = [
            &[
                "env",
                "-u",
                "CLICOLOR",
                "-u",
                "CLICOLOR_FORCE",
                "-u",
                "NO_COLOR",
            ],
            variables,
            &["sneck", "list"],
        ]
        .concat();
        Terminal::start(place, &words).whole()
    };
    let screen = shown(&["TERM=xterm"]);
    assert!(screen.contains("\x1b[1mLOCK"), "{screen}");
    assert!(screen.contains("\x1b[31mdeadlock\x1b[0m"), "{screen}");
    assert!(screen.contains("\x1b[31mdeadlock: pid "), "{screen}");
    for variables in [
        &["TERM=dumb"][..],
        &["TERM=xterm", "NO_COLOR=1"],
        &["TERM=xterm", "CLICOLOR=0"],
        &["TERM=xterm", "NO_COLOR=1", "CLICOLOR_FORCE=1"],
    ] {
        let screen = shown(variables);
        assert!(screen.contains("deadlock: pid "), "{screen}");
        assert!(!screen.contains('\x1b'), "{variables:?}: {screen}");
    }
    // A pipe is no terminal.
    for options in [&["list"][..], &["list", "--tree"], &["list", "--json"]] {
        let output = place
            .command(options)
            .env("TERM", "xterm")
            .output()
            .expect("sneck runs");
        assert!(!output.stdout.contains(&0x1b));
    }
    // Unless somebody wants them there.
    let output = place
        .command(&["list"])
        .env("CLICOLOR_FORCE", "1")
        .env_remove("NO_COLOR")
        .output();
    assert!(output.expect("sneck runs").stdout.contains(&0x1b));
}

/// What a terminal would do something at: control characters (but line ends), those of C1, and what turns text around.
fn is_raw(screen: &str) -> bool {
    screen
        .chars()
        .any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c))
}

#[test]
fn nothing_foreign_reaches_a_terminal_raw_and_json_stays_valid() {
    let place = Place::new();
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}31m\n\u{202e}evil\u{7f}";
    let mut name = hostile.as_bytes().to_vec();
    name.extend_from_slice(b"\xff\xfe.lock");
    let name = OsStr::from_bytes(&name);
    let script = "f = os.open(os.listdir(b'.')[0], os.O_RDWR)\nfcntl.flock(f, fcntl.LOCK_EX)";
    fs::write(place.path().join(name), "").expect("written");
    let child = python(&place, hostile, script);
    let number = child.number();
    let inode = fs::metadata(place.path().join(name))
        .expect("it is there")
        .ino();
    for options in [
        &["list"][..],
        &["list", "--tree"],
        &["list", "--json"],
        &["list", "--ndjson"],
    ] {
        let words = [&["sneck"], options, &["--pid", &number]].concat();
        for columns in [200, 80, 40] {
            let screen = Terminal::wide(columns, &place, &words).whole();
            assert!(
                screen.contains("xfe.lock") || screen.contains("path_bytes"),
                "{screen:?}"
            );
            assert!(!is_raw(&screen), "{options:?}: {screen:?}");
        }
        let output = place.output(&[options, &["--pid", &number]].concat());
        assert!(!is_raw(&text(&output.stdout)), "{options:?}");
    }
    for options in [&["status"][..], &["status", "--json"]] {
        let mut command = place.command(options);
        let output = command.arg(name).output().expect("sneck runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!is_raw(&text(&output.stdout)), "{options:?}: {output:?}");
    }
    let table = text(&place.output(&["list", "--pid", &number]).stdout);
    assert!(
        table.contains(r"\u{1b}]0;owned\u{7}\u{9b}31m\n\u{202e}evil\u{7f}\xff\xfe.lock"),
        "{table}"
    );
    let file = &json(&place, &["--pid", &number])["files"][0];
    assert_eq!(file["inode"], inode);
    let said = file["path"].as_str().expect("text");
    assert!(
        said.ends_with("evil\u{7f}\u{fffd}\u{fffd}.lock"),
        "{said:?}"
    );
    let bytes = file["path_bytes"].as_str().expect("in hexadecimal");
    assert!(bytes.ends_with("6576696c7ffffe2e6c6f636b"), "{bytes}");
    let command = file["holdings"][0]["keepers"][0]["command"]
        .as_str()
        .expect("text");
    assert!(command.starts_with(hostile), "{command:?}");
}
