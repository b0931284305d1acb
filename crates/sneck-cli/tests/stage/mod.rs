//! Where the tests of the command play: a folder, sneck in it, and processes that hold locks there.
#![allow(dead_code, reason = "each test program uses its part of it")]

pub(crate) mod locked;
pub(crate) mod terminal;

use rustix::process::Pid;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The protocols whose claims are entries in a folder.
pub(crate) const FILES: [&str; 6] = ["pidfile", "shlock", "dotlock", "labm8", "mkdir", "symlink"];
/// Far longer than anything here takes: only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Says that it is in, and stays until it is told to leave, or until the test's folder goes.
pub(crate) const STAY: &str = "echo $$ > in.tmp; mv in.tmp in; while [ -e in ] && [ ! -e leave ]; do sleep 0.02; done; rm in; echo left >> log";
/// No process can have this number: it is above the largest pid_max.
pub(crate) const NOBODY: &str = "4194305";

pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path().join(name).exists()
    }

    /// The name is there, be it a link that leads nowhere.
    pub(crate) fn stands(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path().join(name)).is_ok()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sneck"));
        command
            .args(words)
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("sneck runs")
    }

    pub(crate) fn code(&self, words: &[&str]) -> i32 {
        self.output(words)
            .status
            .code()
            .expect("sneck was not killed")
    }

    pub(crate) fn start(&self, words: &[&str]) -> Running {
        let child = self
            .command(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Running {
            child: child.expect("sneck runs"),
        }
    }

    /// A command that holds the lock until [`Place::leave`].
    pub(crate) fn hold(&self, lock: &str) -> Running {
        let running = self.start(&["run", lock, "--", "sh", "-c", STAY]);
        until("the holder is in", || self.has("in"));
        running
    }

    /// How sneck ended, and all that it said.
    pub(crate) fn said(&self, words: &[&str]) -> (i32, String) {
        let output = self.output(words);
        let code = output.status.code().expect("sneck was not killed");
        (code, text(&output.stdout) + &text(&output.stderr))
    }

    /// A shell script in which `sneck` is the command; `exec` what lasts, so that the script itself is what is killed.
    pub(crate) fn script(&self, script: &str) -> Running {
        let sneck = Path::new(env!("CARGO_BIN_EXE_sneck")).parent();
        let folders = std::env::var("PATH").unwrap_or_default();
        let child = Command::new("sh")
            .args(["-c", script])
            .env(
                "PATH",
                format!("{}:{folders}", sneck.expect("a folder").display()),
            )
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Running {
            child: child.expect("sh runs"),
        }
    }

    /// Somebody who lives and does nothing.
    pub(crate) fn somebody(&self) -> Running {
        self.script("exec sleep 1000")
    }

    /// A claim in this process's name.
    pub(crate) fn claim(&self, lock: &str, holder: &Running) {
        assert_eq!(
            self.said(&["acquire", "-n", "--pid", &holder.number(), lock]),
            (0, String::new()),
            "{lock}"
        );
    }

    /// The claim of a process that is no more; its number.
    pub(crate) fn stale_claim(&self, lock: &str) -> String {
        let holder = self.somebody();
        let number = holder.number();
        self.claim(lock, &holder);
        holder.kill();
        number
    }

    /// All that tells one entry from another, or from itself touched.
    pub(crate) fn print_of(&self, name: &str) -> String {
        let path = self.path().join(name);
        let look = fs::symlink_metadata(&path).expect("it is there");
        let content = match look.file_type() {
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path)),
            kind if kind.is_dir() => format!("{:?}", names_in(&path)),
            _ => format!("{:?}", fs::read(&path)),
        };
        let times = (
            look.mtime(),
            look.mtime_nsec(),
            look.ctime(),
            look.ctime_nsec(),
        );
        format!("{} {:o} {times:?} {content}", look.ino(), look.mode())
    }

    /// The names of all that is in the folder.
    pub(crate) fn names(&self) -> Vec<PathBuf> {
        names_in(self.path())
    }

    pub(crate) fn leave(&self) {
        fs::write(self.path().join("leave"), "").expect("written");
    }
}

/// A sneck that is ended and reaped whatever becomes of the test.
pub(crate) struct Running {
    pub(crate) child: Child,
}

impl Running {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn number(&self) -> String {
        self.child.id().to_string()
    }

    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut said).expect("UTF-8");
        }
        (self.code(), said)
    }

    pub(crate) fn code(mut self) -> Option<i32> {
        self.child.wait().expect("reaped").code()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("alive");
        self.child.wait().expect("reaped");
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// The command has been forked and is held, or runs.
    pub(crate) fn has_child(&self) -> bool {
        let pid = self.pid().as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        !children.unwrap_or_default().trim().is_empty()
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
        sleep(Duration::from_millis(5));
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn names_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").file_name().into())
        .collect();
    names.sort();
    names
}

/// The same place by each protocol whose claims are entries.
pub(crate) fn files() -> impl Iterator<Item = String> {
    FILES.iter().map(|protocol| format!("{protocol}:l"))
}

/// sneck as run by another user, in a folder of this mode.
pub(crate) fn as_nobody(place: &Place, mode: u32, words: &[&str]) -> Command {
    // A copy, since the build's own folder may be closed to that user.
    let sneck = place.path().join("sneck");
    if !sneck.exists() {
        // Not by this process: a child that another thread forks meanwhile would have it open for writing, and then nobody can run it.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_sneck"))
            .arg(&sneck)
            .status();
        assert!(copied.expect("`cp` is there").success());
    }
    fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).expect("set");
    let mut command = Command::new(&sneck);
    command.args(words).current_dir(place.path());
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    command
}
