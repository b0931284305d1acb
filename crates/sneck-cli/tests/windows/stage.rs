//! Where the tests play: a folder, sneck in it, and commands that are jobs of this very program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A place by each protocol that this system has.
pub(crate) const LOCKS: [&str; 5] = ["l", "pidfile:l", "labm8:l", "mkdir:l", "symlink:l"];
/// Far longer than anything here takes: only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn put(&self, name: &str) {
        fs::write(self.path(name), "").expect("written");
    }

    fn at(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    pub(crate) fn sneck(&self, words: &[&str]) -> Command {
        let mut command = self.at(Path::new(env!("CARGO_BIN_EXE_sneck")));
        command.args(words);
        command
    }

    /// sneck, told to run a job.
    pub(crate) fn run(&self, options: &[&str], lock: &str, job: &str) -> Command {
        let mut command = self.sneck(&["run"]);
        command.args(options).args([lock, "--"]).args(words_of(job));
        command
    }

    /// A job without sneck.
    pub(crate) fn job(&self, job: &str) -> Command {
        let mut command = self.at(&program());
        command.args(&words_of(job)[1..]);
        command
    }

    /// Its code, and all that it said.
    pub(crate) fn said(&self, words: &[&str]) -> (i32, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self
            .sneck(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .expect("sneck runs");
        let said = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
        (status.code().expect("it ended"), said.into_owned())
    }

    pub(crate) fn code(&self, words: &[&str]) -> i32 {
        self.said(words).0
    }

    /// Whether somebody could have it at once.
    pub(crate) fn is_free(&self, lock: &str) -> bool {
        match self.code(&["run", "-n", "-q", lock, "--", "cmd", "/d", "/c", "exit"]) {
            0 => true,
            75 => false,
            other => panic!("{lock}: {other}"),
        }
    }
}

pub(crate) fn program() -> PathBuf {
    std::env::current_exe().expect("this program has a path")
}

fn words_of(job: &str) -> Vec<String> {
    let path = format!("jobs::job_{job}");
    let flags = ["--exact", "--ignored", "--nocapture", "--test-threads=1"];
    let words = [program().to_str().expect("readable").to_owned(), path];
    words.into_iter().chain(flags.map(str::to_owned)).collect()
}

/// A process that is ended and reaped whatever becomes of the test.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        Running {
            child: command.spawn().expect("it runs"),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn code(mut self) -> i32 {
        let ended = self.child.wait().expect("reaped");
        ended.code().expect("a code")
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("alive");
        self.child.wait().expect("reaped");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let start = Instant::now();
    while !seen() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(10));
    }
}
