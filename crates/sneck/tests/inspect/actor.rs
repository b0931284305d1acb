//! Processes that lock as they are told, in Python: one thread each, and every call of the kernel's that locks.
//!
//! Not for: processes that look (those are this test program, run again).

use sneck_testkit::Child;
use sneck_testkit::block::until;
use sneck_testkit::child::Start;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = include_str!("actor.py");

/// One such process.
pub(crate) struct Actor(Child);

impl Actor {
    pub(crate) fn new() -> Actor {
        Actor::by(&[])
    }

    /// Started by another program, `unshare …` for instance.
    pub(crate) fn by(wrapper: &[&str]) -> Actor {
        let python = env::var("SNECK_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let mut command = match wrapper {
            [] => Command::new(&python),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&python);
                command
            }
        };
        command.arg("-c").arg(SCRIPT);
        Actor(Start::program(command).child())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Have it do this, in Python, and wait until it has: the result.
    #[track_caller]
    pub(crate) fn does(&mut self, what: &str) -> String {
        self.0.order(what)
    }

    /// Have it do what ends only when somebody else does something.
    #[track_caller]
    pub(crate) fn begins(&mut self, what: &str) {
        self.0.tell(what);
    }

    /// The same of something at this path: `flock`, `posix`, … with more arguments.
    #[track_caller]
    pub(crate) fn locks(&mut self, how: &str, path: &Path, more: &str) -> String {
        self.does(&format!("{how}({path:?}{more})"))
    }

    /// Have it do what it must wait for, and wait until it stands in the kernel's queue.
    #[track_caller]
    pub(crate) fn waits(&mut self, how: &str, path: &Path, more: &str) {
        let before = queued(path);
        self.0.tell(&format!("{how}({path:?}{more})"));
        until("it stands in the queue", || queued(path) > before);
    }

    /// Wait until it has done what it waited for.
    #[track_caller]
    pub(crate) fn has_done(&mut self) -> String {
        self.0.hear("done")
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill();
    }

    pub(crate) fn kill_without_reaping(&mut self) {
        self.0.kill_without_reaping();
    }
}

/// The lines of the kernel's list about this file, without their numbers. Only on file systems whose numbers are those of `stat`.
pub(crate) fn listed(path: &Path) -> Vec<String> {
    let inode = sneck_testkit::sys::file_number(path).expect("it is there");
    let file = format!(":{inode} ");
    let lines = || -> Vec<String> {
        let list = fs::read_to_string("/proc/locks").expect("/proc is there");
        let those = list.lines().filter(|line| line.contains(&file));
        let those = those.filter_map(|line| line.split_once(':'));
        those.map(|(_, line)| line.to_owned()).collect()
    };
    // The list comes in pieces: a line can be missed, or come twice, while other locks come and go.
    loop {
        let [one, again, more, last] = [lines(), lines(), lines(), lines()];
        if one == again && again == more && more == last {
            return one;
        }
    }
}

/// How many wait for this file.
pub(crate) fn queued(path: &Path) -> usize {
    let lines = listed(path);
    lines.iter().filter(|line| line.contains("->")).count()
}

/// A file of this test's own, empty.
pub(crate) fn empty(path: &Path) -> std::path::PathBuf {
    fs::write(path, "").expect("our own folder");
    path.to_owned()
}
