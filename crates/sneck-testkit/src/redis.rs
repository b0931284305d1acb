//! A real Redis server of a test's own: started in a fresh folder on a free port, stopped, killed and restarted at will, and gone without a trace when the test process
//! ends, however it ends.
//!
//! It is no mock, and not fit for data: nothing is saved, unless a test asks for it. It knows nothing of locks.

#![cfg(unix)]

use crate::keeper::{Keeper, free_ports, has_ended, quoted};
use crate::{Folder, PATIENCE};
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// The caller's `REDISCLI_AUTH` is about another server.
const STRANGE: &str = "REDIS";

/// What the keeper does for it ([`Keeper`]).
const KEEPER: &str = r#"
trap '' HUP INT TERM PIPE
pid=
while read -r verb argument; do
    case $verb in
    start)
        eval "set -- $argument"
        if command -v setpriv >/dev/null; then set -- setpriv --pdeathsig KILL "$@"; fi
        "$@" </dev/null >>"$FOLDER/out" 2>&1 &
        pid=$!
        echo "$pid"
        ;;
    *)
        kill -s "$verb" "$pid"
        case $verb in KILL|TERM) wait "$pid"; pid= ;; esac
        echo done
        ;;
    esac
done
if [ -n "$pid" ]; then kill -s CONT "$pid"; kill -s KILL "$pid"; wait "$pid"; fi
rm -rf "$FOLDER"
"#;

/// The server's clock, as many seconds away from the true one as the file says. (libfaketime and the allocator of Debian's Redis call each other without end.)
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
int gettimeofday(struct timeval *now, void *zone) {
    char text[32] = {0};
    int file = open(getenv("CLOCK"), O_RDONLY), result = syscall(SYS_gettimeofday, now, zone);
    if (file >= 0 && read(file, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
    if (file >= 0) close(file);
    return result;
}
"#;

/// A private Redis server. Dropping it stops it and removes its folder.
pub struct RedisServer {
    keeper: Keeper,
    folder: Folder,
    options: Vec<String>,
    /// The program that starts it; empty: itself.
    under: Vec<String>,
    port: u16,
    pid: u32,
    running: bool,
}

impl RedisServer {
    /// Starts a fresh server without a password, and waits until it answers.
    ///
    /// # Panics
    /// When Redis is not installed, or does not start.
    #[must_use]
    pub fn start() -> RedisServer {
        RedisServer::start_with(&[])
    }

    /// As [`RedisServer::start`], with these options more, as on the command line of `redis-server`.
    ///
    /// # Panics
    /// As [`RedisServer::start`].
    #[must_use]
    pub fn start_with(options: &[&str]) -> RedisServer {
        let folder = Folder::new();
        let keeper = Keeper::start(KEEPER, folder.path(), STRANGE, &[]);
        let mut server = RedisServer {
            keeper,
            folder,
            options: options.iter().map(ToString::to_string).collect(),
            under: Vec::new(),
            port: 0,
            pid: 0,
            running: false,
        };
        // Between our looking for a free port and the server's taking it, another may take it.
        for _ in 0..5 {
            server.port = free_ports(1)[0];
            if server.launch() {
                return server;
            }
        }
        panic!("redis-server did not start:\n{}", server.log());
    }

    /// One server for all tests of this process that neither stop it nor change its settings.
    ///
    /// # Panics
    /// As [`RedisServer::start`].
    #[must_use]
    pub fn shared() -> &'static RedisServer {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(RedisServer::start)
    }

    /// The place of the lock `name` on this server; `name` is written as it stands.
    #[must_use]
    pub fn place(&self, name: &str) -> String {
        format!("redis://127.0.0.1:{}/{name}", self.port)
    }

    /// The port on 127.0.0.1, which stays the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder: the socket file `socket` stands there.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it at one blow. It stays down until [`RedisServer::restart`].
    ///
    /// # Panics
    /// When it is down already.
    pub fn kill9(&mut self) {
        assert!(self.running, "the server is down already");
        self.keeper.order("KILL");
        self.running = false;
    }

    /// Stops it, unless it is down already, and starts it again. What was not saved is gone.
    ///
    /// # Panics
    /// When it does not start again.
    pub fn restart(&mut self) {
        if self.running {
            self.keeper.order("TERM");
            self.running = false;
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.launch() {
            let in_time = Instant::now() < deadline;
            assert!(in_time, "redis-server did not restart:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Restarts it with a clock of its own, now and from now on: [`RedisServer::set_clock`].
    ///
    /// # Panics
    /// Without a C compiler, or as [`RedisServer::restart`].
    pub fn restart_with_a_clock_of_its_own(&mut self) {
        let in_folder = |name: &str| self.folder().join(name);
        let (source, library) = (in_folder("clock.c"), in_folder("clock.so"));
        self.set_clock(0);
        fs::write(&source, CLOCK).expect("our own folder");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .status();
        assert!(compiled.expect("cc").success(), "cc failed");
        self.under = vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("CLOCK={}", in_folder("clock").display()),
        ];
        self.restart();
    }

    /// Sets the server's own wall clock so many seconds ahead of the true one, at once.
    ///
    /// # Panics
    /// When its folder is gone.
    pub fn set_clock(&self, ahead: i64) {
        let clock = self.folder().join("clock");
        // Whole at any moment: the server reads it all the time.
        let draft = clock.with_extension("new");
        fs::write(&draft, ahead.to_string()).expect("our own folder");
        fs::rename(&draft, &clock).expect("our own folder");
    }

    /// Lets it stand still, or go on (`STOP`, `CONT`).
    pub fn signal(&mut self, signal: &str) {
        self.keeper.order(signal);
    }

    /// What `redis-cli` prints for these words.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn cli(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(words)
            .env_remove("REDISCLI_AUTH")
            .output()
            .expect("redis-cli: install the Debian package redis-tools");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim_end().to_owned()
    }

    /// What the server has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("out")).unwrap_or_default()
    }

    /// How often it has said that it is ready.
    fn times_ready(&self) -> usize {
        self.log().matches("Ready to accept connections").count()
    }

    /// Starts the server on its port; false if it ended instead of answering.
    fn launch(&mut self) -> bool {
        let folder = self.folder.path().display().to_string();
        let port = self.port.to_string();
        let socket = format!("{folder}/socket");
        // Ten more addresses of this machine: as many machines, to one who goes by names. Those that the system has not are left out.
        let others: Vec<String> = (1..=10)
            .map(|number| format!("-127.0.1.{number}"))
            .collect();
        let mut usual = vec![
            "redis-server",
            "--port",
            &port,
            "--dir",
            &folder,
            "--save",
            "",
        ];
        usual.extend([
            "--appendonly",
            "no",
            "--daemonize",
            "no",
            "--unixsocket",
            &socket,
        ]);
        usual.extend(["--bind", "127.0.0.1"]);
        usual.extend(others.iter().map(String::as_str));
        let usual = usual.iter().map(ToString::to_string);
        let words = self.under.iter().cloned().chain(usual);
        let words: Vec<String> = words
            .chain(self.options.clone())
            .map(|w| quoted(&w))
            .collect();
        let times = self.times_ready();
        let pid = self.keeper.order(&format!("start {}", words.join(" ")));
        self.running = true;
        self.pid = pid.parse().expect("the server's number");
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Its own word: whoever takes connections at this port may be another one, which took it before.
            if self.times_ready() > times {
                return true;
            }
            if has_ended(self.pid) {
                self.keeper.order("KILL");
                self.running = false;
                return false;
            }
            let in_time = Instant::now() < deadline;
            assert!(in_time, "redis-server does not answer:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer")
            .field("port", &self.port)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}
