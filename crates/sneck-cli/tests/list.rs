//! `sneck list` beside real holders: what the table, the tree and the JSON say of them, and which of them are asked for.
#![allow(clippy::disallowed_methods)]

mod stage;

use serde_json::Value;
use stage::locked::{Deadlock, flock, json, of, path, python, rows, waits};
use stage::terminal::Terminal;
use stage::{NOBODY, Place, as_nobody, text, until};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

#[test]
fn each_kind_of_lock_is_one_row_with_its_mode_and_who_holds_it() {
    let place = Place::new();
    let child = flock(&place, &["--no-fork", "flocked", "sleep", "1000"]);
    until("it is held", || of(&place, "flocked").is_some());
    let row = &rows(&place, &[], "flocked")[0];
    let user = &row[4];
    assert_eq!(row[..4], ["flock", "exclusive", "held", &child.number()]);
    assert!(row[5].starts_with('<'), "{row:?}");
    assert_eq!(row[row.len() - 3..], ["0", "sleep", "1000"]);
    for (name, call, kind, mode) in [
        (
            "whole",
            "fcntl.lockf(f, fcntl.LOCK_EX)",
            "posix",
            "exclusive",
        ),
        (
            "part",
            "fcntl.lockf(f, fcntl.LOCK_EX, 100, 50)",
            "posix",
            "exclusive 50-149",
        ),
        ("rest", "ofd(f, fcntl.F_WRLCK, 7, 0)", "ofd", "exclusive 7-"),
        ("reader", "ofd(f, fcntl.F_RDLCK, 0, 0)", "ofd", "shared"),
        (
            "leased",
            "fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_WRLCK)",
            "lease",
            "exclusive",
        ),
    ] {
        let script = format!("f = open('{name}', 'w+')\n{call}");
        let child = python(&place, "job", &script);
        let rows = rows(&place, &[], name);
        let number = child.number();
        let expected: Vec<&str> = [kind]
            .into_iter()
            .chain(mode.split(' '))
            .chain(["held", number.as_str(), user.as_str()])
            .collect();
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0][..expected.len()], expected, "{name}");
        assert!(rows[0].contains(&"job".to_owned()), "{rows:?}");
    }
}

#[test]
fn a_thousand_ranges_of_one_process_are_one_row() {
    let place = Place::new();
    let script =
        "f = open('ranges', 'w+')\nfor i in range(1000): fcntl.lockf(f, fcntl.LOCK_EX, 1, 2 * i)";
    let child = python(&place, "job", script);
    let rows = rows(&place, &[], "ranges");
    assert_eq!(rows.len(), 1, "{rows:?}");
    let start = [
        "posix",
        "exclusive",
        "1000",
        "ranges",
        "held",
        &child.number(),
    ];
    assert_eq!(rows[0][..start.len()], start);
    let file = of(&place, "ranges").expect("it is held");
    assert_eq!(file["holdings"].as_array().map(Vec::len), Some(1000));
    let tree = text(
        &place
            .output(&["list", "--tree", "--pid", &child.number()])
            .stdout,
    );
    assert!(
        tree.contains("└─ posix exclusive 1000 ranges: pid "),
        "{tree}"
    );
}

/// Somebody who is no child of the test, and ends with it.
struct Heir(String);

impl Drop for Heir {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(&self.0).status();
    }
}

#[test]
fn who_inherited_a_lock_is_shown_when_its_taker_is_gone() {
    let place = Place::new();
    let child = flock(
        &place,
        &[
            "inherited",
            "sh",
            "-c",
            "sleep 1000 & echo $! > heir.tmp; mv heir.tmp heir; exit 0",
        ],
    );
    until("there is an heir", || place.has("heir"));
    assert_eq!(child.code(), Some(0));
    let heir = Heir(place.text("heir").trim().to_owned());
    let heir = &heir.0;
    let rows = rows(&place, &[], "inherited");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0][..4], ["flock", "exclusive", "inherited", heir]);
    let tree = text(&place.output(&["list", "--tree", "--pid", heir]).stdout);
    assert!(
        tree.contains(&format!(
            "flock exclusive: inherited by pid {heir} (sleep 1000)"
        )),
        "{tree}"
    );
    assert!(tree.contains("odd: pid "), "{tree}");
}

#[test]
fn a_file_that_was_deleted_while_it_is_held_says_so() {
    let place = Place::new();
    let _child = python(
        &place,
        "job",
        "f = open('gone', 'w')\nfcntl.flock(f, fcntl.LOCK_EX)\nos.unlink('gone')",
    );
    let rows = rows(&place, &[], "gone");
    assert_eq!(rows[0][..2], ["(deleted)", "flock"], "{rows:?}");
    assert_eq!(of(&place, "gone").expect("it is held")["name"], "deleted");
}

#[test]
fn waiters_are_counted_and_stand_in_the_tree_in_their_order() {
    let place = Place::new();
    let holder = flock(&place, &["--no-fork", "l", "sleep", "1000"]);
    until("it is held", || of(&place, "l").is_some());
    let next = flock(&place, &["l", "true"]);
    waits(&place, "l", 1);
    let second = flock(&place, &["-s", "l", "true"]);
    waits(&place, "l", 2);
    let row = &rows(&place, &["--waiting"], "l")[0];
    assert_eq!(row[row.len() - 3..], ["2", "sleep", "1000"], "{row:?}");
    let tree = text(
        &place
            .output(&["list", "--tree", "--pid", &second.number()])
            .stdout,
    );
    let lines: Vec<&str> = tree.lines().collect();
    assert_eq!(lines[0], path(&place, "l"));
    let begins = [
        format!(
            "└─ flock exclusive: pid {} (sleep 1000), user ",
            holder.number()
        ),
        format!("   ├─ next: pid {} (flock l true), user ", next.number()),
        format!(
            "   └─ 2nd: pid {} (flock -s l true), user ",
            second.number()
        ),
    ];
    for (line, begin) in lines[1..].iter().zip(&begins) {
        assert!(line.starts_with(begin), "{tree}");
    }
    assert!(lines[3].ends_with(", shared"), "{tree}");
    let waiter = &of(&place, "l").expect("it is held")["waiters"][1];
    assert_eq!(
        (&waiter["before"], &waiter["waits"]),
        (&1.into(), &"queued".into())
    );
    assert_eq!(waiter["behind"], serde_json::json!([0]));
}

#[test]
fn a_deadlock_is_marked_in_the_table_the_tree_and_the_json() {
    let deadlock = Deadlock::new();
    let place = &deadlock.place;
    let [first, second] = &deadlock.pids;
    for (name, holder) in [("a.lock", first), ("b.lock", second)] {
        let rows = rows(place, &["--pid", holder], name);
        assert_eq!(
            rows[0][..4],
            ["flock", "exclusive", "deadlock", holder],
            "{rows:?}"
        );
    }
    let told = deadlock.told();
    let is_told = |line: &str| told.iter().any(|told| line == told);
    let table = text(&place.output(&["list"]).stdout);
    assert_eq!(
        table.lines().filter(|line| is_told(line)).count(),
        1,
        "{table}"
    );
    let tree = text(&place.output(&["list", "--tree", "--pid", first]).stdout);
    let marks = tree
        .lines()
        .filter(|line| line.strip_prefix("└─ ").is_some_and(is_told));
    assert_eq!(marks.count(), 2, "{tree}");
    let all = json(place, &["--pid", first]);
    assert_eq!(all["cycles"].as_array().map(Vec::len), Some(1), "{all}");
    let cycle = &all["cycles"][0];
    assert_eq!(cycle["certainty"], "deadlock");
    assert!(
        is_told(cycle["text"].as_str().unwrap_or_default()),
        "{cycle}"
    );
    let links = cycle["links"].as_array().expect("a list");
    let link = links
        .iter()
        .find(|link| link["waiter"].as_u64() == first.parse().ok())
        .expect("its wait");
    assert_eq!(
        (link["holder"].to_string(), &link["path"]),
        (second.clone(), &path(place, "b.lock").into())
    );
    for file in all["files"].as_array().expect("a list") {
        assert_eq!(file["deadlock"], "deadlock");
    }
    let lines = text(&place.output(&["list", "--ndjson", "--pid", first]).stdout);
    let cycles = lines
        .lines()
        .filter(|line| line.starts_with(r#"{"type":"cycle","#));
    assert_eq!(cycles.count(), 1, "{lines}");
    // One who is not in it sees nothing of it.
    let child = flock(place, &["--no-fork", "other", "sleep", "1000"]);
    until("it is held", || of(place, "other").is_some());
    assert_eq!(
        json(place, &["--pid", &child.number()])["cycles"],
        serde_json::json!([])
    );
}

#[test]
fn of_several_filters_all_must_hold() {
    let place = Place::new();
    let holder = flock(&place, &["--no-fork", "waited", "sleep", "1000"]);
    let other = flock(&place, &["--no-fork", "other", "sleep", "1000"]);
    until("both are held", || {
        of(&place, "waited").is_some() && of(&place, "other").is_some()
    });
    let waiter = flock(&place, &["waited", "true"]);
    waits(&place, "waited", 1);
    let user =
        of(&place, "other").expect("it is held")["holdings"][0]["keepers"][0]["user"].clone();
    let user = user.as_str().expect("known");
    let (holder, other, waiter) = (holder.number(), other.number(), waiter.number());
    for (options, waited, another) in [
        (vec!["--held"], true, true),
        (vec!["--waiting"], true, false),
        (vec!["--stale"], false, false),
        (vec!["--pid", &holder], true, false),
        (vec!["--pid", &waiter], true, false),
        (vec!["--pid", &waiter, "--pid", &other], true, true),
        (vec!["--pid", &other, "--waiting"], false, false),
        (vec!["--user", user], true, true),
        (vec!["--user", "nobody-at-all"], false, false),
        (
            vec!["--held", "--waiting", "--pid", &holder, "--user", user],
            true,
            false,
        ),
    ] {
        assert_eq!(
            !rows(&place, &options, "waited").is_empty(),
            waited,
            "{options:?}"
        );
        assert_eq!(
            !rows(&place, &options, "other").is_empty(),
            another,
            "{options:?}"
        );
    }
    let output = place.output(&["list", "--user", "nobody-at-all"]);
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), String::new())
    );
    assert!(text(&output.stderr).contains("no lock was found that is asked for"));
}

#[test]
fn the_fields_of_the_json_are_these_and_the_help_has_them_all() {
    let place = Place::new();
    let holder = flock(&place, &["--no-fork", "l", "sleep", "1000"]);
    until("it is held", || of(&place, "l").is_some());
    let _waiter = flock(&place, &["l", "true"]);
    waits(&place, "l", 1);
    let all = json(&place, &["--pid", &holder.number()]);
    let keys = |value: &Value| {
        let object = value.as_object().expect("an object");
        object.keys().cloned().collect::<Vec<_>>().join(" ")
    };
    let file = &all["files"][0];
    let holding = &file["holdings"][0];
    let process =
        "command container host inner_pid label pace pid since source started threads token user";
    let with = |more: &str| {
        let mut words: Vec<&str> = process.split(' ').chain(more.split(' ')).collect();
        words.sort_unstable();
        words.join(" ")
    };
    let documented = [
        (keys(&all), "cycles errors files limits".to_owned()),
        (
            keys(file),
            "deadlock device holdings inode limits mount name name_pid oddities path path_bytes state waiters".to_owned(),
        ),
        (
            keys(holding),
            "beside beside_bytes end keepers kind mode protocol since start state taker text verdict".to_owned(),
        ),
        (keys(&holding["keepers"][0]), with("descriptors how")),
        (
            keys(&file["waiters"][0]),
            with("before behind end kind mode protocol start waits"),
        ),
    ];
    let help = text(&place.output(&["list", "--help"]).stdout);
    let (_, help) = help.split_once("JSON:").expect("it is documented");
    for (fields, expected) in &documented {
        assert_eq!(fields, expected);
        for field in fields.split(' ') {
            let words = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            assert!(words.into_iter().any(|word| word == field), "{field}");
        }
    }
    assert_eq!(holding["taker"], holder.child.id());
    assert_eq!(holding["keepers"][0]["how"], "took");
    // One a line, each with its type.
    let output = place.output(&["list", "--ndjson", "--pid", &holder.number()]);
    let lines = text(&output.stdout);
    let mut types = Vec::new();
    for line in lines.lines() {
        let mut object: Value = serde_json::from_str(line).expect("JSON in one line");
        let kind = object
            .as_object_mut()
            .and_then(|object| object.remove("type"));
        let kind = kind
            .and_then(|kind| kind.as_str().map(str::to_owned))
            .expect("a type");
        if kind == "file" {
            assert_eq!(keys(&object), documented[1].1);
        }
        types.push(kind);
    }
    assert_eq!(
        types.iter().filter(|kind| *kind == "file").count(),
        1,
        "{lines}"
    );
}

#[test]
fn under_a_folder_claims_are_found_by_their_content_whatever_their_names() {
    let place = Place::new();
    let holder = place.somebody();
    fs::create_dir(place.path().join("deep")).expect("made");
    place.claim("pidfile:deep/job", &holder);
    place.claim("mkdir:folder", &holder);
    let gone = place.stale_claim("labm8:old");
    symlink(NOBODY, place.path().join("link")).expect("made");
    fs::write(place.path().join("prose"), "no claim at all\n").expect("written");
    let locked = flock(&place, &["--no-fork", "locked", "sleep", "1000"]);
    until("it is held", || of(&place, "locked").is_some());
    let table = text(&place.output(&["list", "."]).stdout);
    let start = |line: &str| {
        let words = line.split_whitespace().take(5);
        words.collect::<Vec<_>>().join(" ")
    };
    let lines: Vec<String> = table.lines().skip(1).map(start).collect();
    let (holder, locked) = (holder.number(), locked.number());
    assert_eq!(
        lines,
        [
            format!("./deep/job pidfile exclusive held {holder}"),
            format!("./folder mkdir exclusive held {holder}"),
            format!("./link symlink exclusive stale {NOBODY}"),
            format!("./locked flock exclusive held {locked}"),
            format!("./old labm8 exclusive stale {gone}"),
        ],
        "{table}"
    );
    let stale = text(&place.output(&["list", "--stale", "."]).stdout);
    let lines: Vec<String> = stale.lines().skip(1).map(start).collect();
    assert_eq!(lines.len(), 2, "{stale}");
    let tree = text(&place.output(&["list", "--tree", "--stale", "."]).stdout);
    let told = format!("└─ labm8 exclusive, stale (gone: no such process): pid {gone}");
    assert!(tree.contains(&told), "{tree}");
    let all = json(&place, &["--stale", "."]);
    let holding = &all["files"][1]["holdings"][0];
    assert_eq!(
        (&holding["kind"], &holding["protocol"]),
        (&"claim".into(), &"labm8".into())
    );
    assert_eq!(
        (&holding["state"], &holding["verdict"]),
        (&"stale".into(), &"gone".into())
    );
    assert!(
        holding["since"]
            .as_str()
            .is_some_and(|since| since.ends_with('Z')),
        "{holding}"
    );
    assert_eq!(all["files"][1]["state"], "stale");
    let words = [
        "env",
        "-u",
        "NO_COLOR",
        "-u",
        "CLICOLOR",
        "TERM=xterm",
        "sneck",
        "list",
        "--stale",
        ".",
    ];
    let screen = Terminal::start(&place, &words).whole();
    assert_eq!(
        screen.matches("\x1b[33mstale\x1b[0m").count(),
        2,
        "{screen}"
    );
}

#[test]
fn a_claim_and_the_lock_that_marks_it_as_alive_are_one_row() {
    let place = Place::new();
    // This very process is the holder: its claim names it, and it keeps the claim's file locked.
    let lock = sneck::Lock::builder().at(&sneck::Place::file("pidfile", path(&place, "l")));
    let guard = lock.and_then(|lock| lock.try_acquire()).expect("free");
    let own = std::process::id().to_string();
    // A child that another test begins to start has the descriptor, too, until it runs its program.
    let mut seen = Vec::new();
    until("there is one row", || {
        seen = rows(&place, &[], "l");
        seen.len() == 1
    });
    assert_eq!(seen[0][..4], ["pidfile", "exclusive", "held", &own]);
    let file = of(&place, "l").expect("it is held");
    assert_eq!(file["holdings"].as_array().map(Vec::len), Some(2), "{file}");
    drop(guard);
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_shown() {
    let place = Place::new();
    fs::write(place.path().join("claim.pid"), format!("{NOBODY}\n")).expect("written");
    let output = place.output(&["list", ".", "missing"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stdout).contains("./claim.pid "), "{output:?}");
    let said = text(&output.stderr);
    let told: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("sneck: missing: "))
        .collect();
    assert_eq!(told.len(), 1, "{said}");
    let output = place.output(&["list", "--json", ".", "missing"]);
    assert_eq!(output.status.code(), Some(64));
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let error = &all["errors"][0];
    assert_eq!(
        (&error["path"], &error["kind"]),
        (&"missing".into(), &"usage".into()),
        "{all}"
    );
    assert!(
        error["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("missing: ")),
        "{error}"
    );
    let lines = text(&place.output(&["list", "--ndjson", ".", "missing"]).stdout);
    let errors = lines
        .lines()
        .filter(|line| line.starts_with(r#"{"type":"error","path":"missing","#));
    assert_eq!(errors.count(), 1, "{lines}");
}

#[test]
fn a_folder_that_is_closed_to_its_reader_is_named_and_the_rest_is_shown() {
    let place = Place::new();
    fs::write(place.path().join("claim.pid"), format!("{NOBODY}\n")).expect("written");
    let closed = place.path().join("closed");
    fs::create_dir(&closed).expect("made");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).expect("set");
    let output = as_nobody(&place, 0o755, &["list", "."])
        .output()
        .expect("sneck runs");
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(text(&output.stdout).contains("./claim.pid "), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("sneck: ./closed: "), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let script = "for i in range(2000):\n  f = os.open('%04d%s' % (i, 'x' * 100), os.O_RDWR | os.O_CREAT)\n  fcntl.flock(f, fcntl.LOCK_EX)";
    let script = format!(
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n{script}"
    );
    let _child = python(&place, "job", &script);
    for option in ["--held", "--tree", "--json", "--ndjson"] {
        let mut child = place
            .command(&["list", option])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sneck runs");
        let mut reader = BufReader::with_capacity(16, child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        drop(reader);
        let mut said = String::new();
        let mut errors = child.stderr.take().expect("a pipe");
        errors.read_to_string(&mut said).expect("UTF-8");
        assert_eq!(
            child.wait().expect("reaped").code(),
            Some(0),
            "{option}: {said}"
        );
        assert!(!said.contains("panic"), "{option}: {said}");
    }
}
