//! The process that keeps a test's servers: a shell that is their parent, so that it alone can end them by numbers that cannot have been given to other processes yet.
//!
//! It lives as long as its standard input is open, that is, as long as the test process lives, however that ends; then it ends the servers and removes their folder. Signals do not end it before, since it
//! may share a terminal with the tests.
//!
//! Not for: what a server is told, which is each one's own script.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A shell that reads orders, a line each, and answers each by a line. Dropping it lets it clear up.
#[derive(Debug)]
pub(crate) struct Keeper {
    shell: Child,
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Keeper {
    /// Starts it. The script finds the folder as `FOLDER`, and none of the caller's variables that begin so: they are about other servers.
    pub(crate) fn start(
        script: &str,
        folder: &Path,
        strange: &str,
        variables: &[(&str, &Path)],
    ) -> Keeper {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .env("FOLDER", folder)
            .envs(variables.iter().copied())
            .current_dir("/")
            // An interrupt at the terminal is for the tests; the keeper hears of it by their end.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        without_variables(&mut command, strange);
        let mut shell = command.spawn().expect("sh");
        let orders = shell.stdin.take();
        let replies = BufReader::new(shell.stdout.take().expect("a pipe"));
        Keeper {
            shell,
            orders,
            replies,
        }
    }

    /// Gives an order and reads the reply.
    pub(crate) fn order(&mut self, order: &str) -> String {
        let orders = self.orders.as_mut().expect("open until the end");
        writeln!(orders, "{order}").expect("an order to the keeper");
        let mut reply = String::new();
        let read = self.replies.read_line(&mut reply);
        read.expect("a reply of the keeper");
        reply.trim_end().to_owned()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The end of its input is the order to clear up.
        drop(self.orders.take());
        let _ = self.shell.wait();
    }
}

/// Starts a program without those of our variables that begin so.
pub(crate) fn without_variables<'a>(command: &'a mut Command, strange: &str) -> &'a mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(strange) {
            command.env_remove(name);
        }
    }
    command
}

/// A word as the shell reads it.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether a keeper's child has ended: it then is a zombie, since the keeper has not waited for it. Never true where there is no /proc.
pub(crate) fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    after_name.is_some_and(|rest| rest.starts_with('Z'))
}

/// Ports that nobody uses just now, each another one.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let free = || TcpListener::bind("127.0.0.1:0").expect("a free port");
    // All at once, or one could be found twice.
    let listeners = Vec::from_iter((0..count).map(|_| free()));
    let ports = listeners.iter().map(TcpListener::local_addr);
    ports
        .map(|address| address.expect("its number").port())
        .collect()
}
