//! Real holders of kernel locks and claims, and what `sneck list` says of their files.

use super::{Place, Running, text, until};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Python that locks, says so, and stays until it is killed.
pub(crate) fn python(place: &Place, name: &str, locks: &str) -> Running {
    let python = std::env::var("SNECK_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = format!(
        "import fcntl, os, struct, sys, time\n\
         def ofd(file, kind, start, length): fcntl.fcntl(file, 37, struct.pack('hhqqi4x', kind, 0, start, length, 0))\n\
         {locks}\nprint('in', flush=True)\ntime.sleep(1000)"
    );
    let mut child = Command::new(python)
        .arg0(name)
        .args(["-c", &script])
        .current_dir(place.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python");
    let mut line = String::new();
    let output = child.stdout.take().expect("a pipe");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("it speaks");
    let running = Running { child };
    assert_eq!(line, "in\n");
    running
}

/// flock(1) with these words; it execs what it runs.
pub(crate) fn flock(place: &Place, words: &[&str]) -> Running {
    let child = Command::new("flock")
        .args(words)
        .current_dir(place.path())
        .stdin(Stdio::null())
        .spawn();
    Running {
        child: child.expect("flock(1) of util-linux"),
    }
}

pub(crate) fn path(place: &Place, name: &str) -> String {
    let path = fs::canonicalize(place.path()).expect("it is there");
    path.join(name).display().to_string()
}

pub(crate) fn json(place: &Place, words: &[&str]) -> Value {
    let words = [&["list", "--json"], words].concat();
    let output = place.output(&words);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What the JSON of the machine says of a file.
pub(crate) fn of(place: &Place, name: &str) -> Option<Value> {
    let path = path(place, name);
    let all = json(place, &[]);
    let files = all["files"].as_array().expect("a list");
    files
        .iter()
        .find(|file| file["path"] == path.as_str())
        .cloned()
}

/// The file's rows in the table, as words; those of other programs do not matter.
pub(crate) fn rows(place: &Place, options: &[&str], name: &str) -> Vec<Vec<String>> {
    let words = [&["list"], options].concat();
    let output = place.output(&words);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let path = path(place, name);
    let table = text(&output.stdout);
    let table = table.split("\n\n").next().unwrap_or_default();
    let own = table.lines().filter_map(|line| line.strip_prefix(&path));
    // Whatever follows the name, such as another file's longer one.
    own.filter(|rest| rest.starts_with(' '))
        .map(|rest| rest.split_whitespace().map(str::to_owned).collect())
        .collect()
}

pub(crate) fn waits(place: &Place, name: &str, count: usize) {
    until("somebody waits", || {
        of(place, name).is_some_and(|file| {
            file["waiters"]
                .as_array()
                .is_some_and(|waiters| waiters.len() == count)
        })
    });
}

/// Two that wait for each other, of whom the test knows the first ones.
pub(crate) struct Deadlock {
    pub(crate) place: Place,
    _both: [Running; 2],
    pub(crate) pids: [String; 2],
}

impl Deadlock {
    pub(crate) fn new() -> Deadlock {
        let place = Place::new();
        // The one shell waits until the other is in, too.
        let holder = |own: &str, other: &str| {
            let script = format!(
                "touch in-{own}; while [ ! -e in-{other} ]; do sleep 0.01; done; exec flock {other} true"
            );
            // No process is between the two: flock(1) becomes the shell, which becomes flock(1).
            flock(&place, &["--no-fork", own, "sh", "-c", &script])
        };
        let both = [holder("a.lock", "b.lock"), holder("b.lock", "a.lock")];
        waits(&place, "a.lock", 1);
        waits(&place, "b.lock", 1);
        let pids = [both[0].number(), both[1].number()];
        Deadlock {
            place,
            _both: both,
            pids,
        }
    }

    /// In either order: a cycle has no beginning.
    pub(crate) fn told(&self) -> [String; 2] {
        let (a, b) = (path(&self.place, "a.lock"), path(&self.place, "b.lock"));
        let [first, second] = &self.pids;
        let one = format!("pid {first} waits for {b}, held by pid {second}");
        let other = format!("pid {second} waits for {a}, held by pid {first}");
        [
            format!("deadlock: {one}; {other}"),
            format!("deadlock: {other}; {one}"),
        ]
    }
}
