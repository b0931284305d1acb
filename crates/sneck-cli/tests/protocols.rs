//! `sneck protocols`: the table and the JSON of what each protocol says of itself.
#![allow(clippy::disallowed_methods)]

mod stage;

use serde_json::Value;
use stage::{FILES, Place, text};
use std::process::Command;

/// The table's lines, as words.
fn table(place: &Place) -> Vec<Vec<String>> {
    let output = place.output(&["protocols"]);
    assert_eq!(output.status.code(), Some(0));
    let lines = text(&output.stdout);
    let table = lines.lines().take_while(|line| !line.is_empty());
    let words = |line: &str| line.split("  ").map(str::trim).map(str::to_owned).collect();
    table
        .map(words)
        .map(|words: Vec<String>| words.into_iter().filter(|w| !w.is_empty()).collect())
        .collect()
}

fn json(place: &Place) -> Vec<Value> {
    let output = place.output(&["protocols", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn of<'a>(all: &'a [Value], name: &str) -> &'a Value {
    let found = all.iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not listed"))
}

#[test]
fn every_protocol_of_the_build_is_a_row_and_another_name_of_one_is_a_note() {
    let place = Place::new();
    let table = table(&place);
    let listed: Vec<&str> = table[1..].iter().map(|row| row[0].as_str()).collect();
    let mut expected: Vec<&str> = FILES.into();
    expected.extend(["etcd", "fcntl", "flock", "memory", "postgres", "redis"]);
    expected.sort_unstable();
    assert_eq!(listed, expected);
    for row in &table {
        assert_eq!(row.len(), table[0].len(), "{row:?}");
    }
    let output = place.output(&["protocols"]);
    let last = text(&output.stdout);
    assert!(
        last.ends_with("\n\netcds: the same as etcd\npostgresql: the same as postgres\nrediss: the same as redis\n"),
        "{last}"
    );
    assert_eq!(of(&json(&place), "postgres")["also"][0], "postgresql");
}

#[test]
fn the_table_fits_eighty_columns_and_no_line_ends_in_spaces() {
    let output = Place::new().output(&["protocols"]);
    for line in text(&output.stdout).lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert_eq!(line, line.trim_end());
    }
}

#[test]
fn programs_read_what_people_read() {
    let place = Place::new();
    let (table, all) = (table(&place), json(&place));
    assert_eq!(table.len() - 1, all.len());
    let fields = [
        "name",
        "kind",
        "shared",
        "order",
        "reach",
        "crash",
        "removable",
        "mark",
        "tokens",
    ];
    for (row, object) in table[1..].iter().zip(&all) {
        for (field, word) in fields.iter().zip(row) {
            let programs = match &object[field] {
                Value::Bool(true) => "yes",
                Value::Bool(false) => "no",
                Value::String(word) => match (*field, word.as_str()) {
                    ("order", "fifo") => "yes",
                    ("order", "exclusive-fifo") => "exclusive",
                    ("order" | "tokens", "none") => "no",
                    (_, word) => word,
                },
                other => panic!("{field}: {other}"),
            };
            assert_eq!(programs, word, "{row:?} {field}");
        }
        assert!(object["error"].is_null(), "{object}");
    }
}

#[test]
fn what_is_said_is_so() {
    let all = json(&Place::new());
    // As tried where a folder is all it needs.
    for one in all.iter().filter(|one| one["reach"] == "machine") {
        let place = Place::new();
        let lock = format!("{}:l", one["name"].as_str().expect("a name"));
        let code = place.code(&["run", "-n", "-s", &lock, "true"]);
        assert_eq!(code == 0, one["shared"] == true, "{lock}: {code}");
        let stays = place.code(&["acquire", "-n", "--pid", "1", &lock]);
        assert_eq!(stays == 0, one["crash"] == "stale", "{lock}: {stays}");
        if stays == 0 {
            let broken = place.code(&["break", "--force", &lock]);
            assert_eq!(broken == 0, one["removable"] == true, "{lock}: {broken}");
        }
    }
    assert_eq!(of(&all, "memory")["reach"], "process");
    assert_eq!(of(&all, "etcd")["tokens"], "durable");
    assert_eq!(of(&all, "etcd")["order"], "fifo");
    assert_eq!(of(&all, "postgres")["reach"], "network");
    assert_eq!(of(&all, "postgres")["tokens"], "durable");
    assert_eq!(of(&all, "redis")["tokens"], "best-effort");
}

#[test]
fn what_servers_promise_of_leases_stands_in_a_table_of_their_own() {
    let place = Place::new();
    let all = json(&place);
    let shown = text(&place.output(&["protocols"]).stdout);
    let servers: Vec<&str> = shown
        .split("\n\n")
        .nth(1)
        .expect("a table")
        .lines()
        .collect();
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        words(servers[0]),
        ["SERVER", "LEASE", "RESTART", "CONSISTENCY"]
    );
    let names: Vec<String> = servers[1..]
        .iter()
        .map(|line| words(line)[0].clone())
        .collect();
    assert_eq!(names, ["etcd", "postgres", "redis"]);
    for line in &servers[1..] {
        let row = words(line);
        let object = of(&all, &row[0]);
        assert_eq!(object["lease"].is_null(), row[1] == "no", "{row:?}");
        assert_eq!(object["restart"], row[2]);
        assert_eq!(object["consistency"], row[3]);
    }
    assert_eq!(of(&all, "etcd")["lease"], 2.0);
    assert_eq!(of(&all, "etcd")["lease_step"], 1.0);
    assert_eq!(of(&all, "etcd")["restart"], "survives");
    assert_eq!(of(&all, "redis")["consistency"], "until-failover");
    assert!(of(&all, "flock")["lease"].is_null());
    assert_eq!(of(&all, "flock")["restart"], "none");
}

#[test]
fn nothing_is_opened_and_nobody_is_connected_to() {
    let place = Place::new();
    let trace = place.path().join("trace");
    let status = Command::new("strace")
        .args(["-f", "-e", "trace=connect,socket,open,openat,creat"])
        .arg("-o")
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_sneck"))
        .arg("protocols")
        .output()
        .expect("strace(1)")
        .status;
    assert!(status.success());
    let seen = place.text("trace");
    // What starts any program is opened: libraries, and what Rust's runtime reads of itself.
    let foreign: Vec<&str> = seen
        .lines()
        .filter(|line| line.contains('('))
        .filter(|line| !line.contains(".so") && !line.contains("/proc/self/maps"))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[test]
fn a_protocol_that_cannot_be_asked_says_why_and_the_others_are_told() {
    let place = Place::new();
    let mut command = place.command(&["protocols"]);
    let output = command.env("PGPORT", "none").output().expect("sneck runs");
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.lines().any(|line| line == "postgres    ?"), "{said}");
    assert!(said.contains("\npostgres: "), "{said}");
    assert!(said.contains("PGPORT"), "{said}");
    let mut command = place.command(&["protocols", "--json"]);
    let output = command.env("PGPORT", "none").output().expect("sneck runs");
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let postgres = of(&all, "postgres");
    assert!(postgres["kind"].is_null() && postgres["shared"].is_null());
    assert!(postgres["error"].as_str().expect("told").contains("PGPORT"));
    assert_eq!(of(&all, "flock")["kind"], "kernel");
}
