//! Example programs of a crate, run as their users run them: what they print line by line, stopped and let go on, and how they end.
//!
//! Not for: what the programs do.

use crate::{PATIENCE, sys};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// An example that runs. It is killed with the test.
#[derive(Debug)]
pub struct Example {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The example of this name, of the package that is tested: `env!("CARGO_PKG_NAME")`. `cargo test` builds it together with the tests; where it did not (`--test …`), it is built
/// now, if there is none or its own file is younger.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn example(package: &str, name: &str) -> Command {
    // The tests stand in `deps`, and the examples beside that.
    let own = std::env::current_exe().expect("this program has a path");
    let folder = own.parent().and_then(|deps| deps.parent());
    let name_there = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path: PathBuf = folder
        .expect("a folder above")
        .join("examples")
        .join(name_there);
    let made = |path: &Path| path.metadata().and_then(|known| known.modified()).ok();
    let source = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let source = source.map(|folder| folder.join("examples").join(format!("{name}.rs")));
    if made(&path).is_none() || source.and_then(|source| made(&source)) > made(&path) {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args([
                "build",
                "--offline",
                "--package",
                package,
                "--example",
                name,
            ])
            .status();
        assert!(built.expect("cargo").success(), "{name} cannot be built");
    }
    Command::new(path)
}

impl Example {
    /// Start it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut command: Command, arguments: &[impl AsRef<OsStr>]) -> Example {
        command.args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it was built");
        let said = child.stdout.take().expect("a pipe");
        Example {
            child,
            lines: BufReader::new(said).lines(),
        }
    }

    /// The next line that it prints. None: it prints no more.
    pub fn line(&mut self) -> Option<String> {
        self.lines.next().map(|line| line.expect("text"))
    }

    /// Let it stand still.
    pub fn stop(&self) {
        sys::stop(self.child.id());
    }

    /// Let it go on.
    pub fn go_on(&self) {
        sys::go_on(self.child.id());
    }

    /// How it ends: its code, and what it says on standard error.
    ///
    /// # Panics
    /// When it does not end, or not by itself.
    #[must_use]
    pub fn end(mut self) -> (i32, String) {
        let mut told = String::new();
        let mut stderr = self.child.stderr.take().expect("a pipe");
        // It ends with the program, or with the patience of `line`'s caller.
        stderr.read_to_string(&mut told).expect("text");
        let deadline = sneck::Moment::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return (status.code().expect("it ends by itself"), told);
            }
            assert!(deadline.elapsed() < PATIENCE, "it does not end: {told}");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The code blocks of this language in a section of PROTOCOLS.md: what is written there is what is tested.
///
/// # Panics
/// When the document is not there.
#[must_use]
pub fn snippets(heading: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../PROTOCOLS.md");
    let document = std::fs::read_to_string(path).expect("PROTOCOLS.md");
    let section = document.split(&format!("\n## {heading}\n")).nth(1);
    let section = section.expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    let fence = format!("```{language}\n");
    let blocks = section.split(&fence).skip(1);
    let block = |block: &str| block.split("```").next().unwrap_or_default().to_owned();
    blocks.map(block).collect()
}
