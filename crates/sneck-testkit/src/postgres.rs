//! A real PostgreSQL server of a test's own: started in a fresh folder on a free port, killed and
//! restarted at will, and gone without a trace when the test process ends, however it ends.
//!
//! It is no mock, and not fit for data: nothing is flushed to disk, and everybody on this machine
//! may log in. It knows nothing of locks.

use crate::PATIENCE;
use crate::keeper::{Keeper, free_ports, has_ended, without_variables};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// The caller's `PGHOST`, `PGOPTIONS` and the like are about another server.
const STRANGE: &str = "PG";

/// What the keeper does for it ([`Keeper`]).
///
/// Background commands of a shell ignore INT, and a server heeds it only once it has set up its
/// own handlers. It has done so before it makes its status file, and has no children then; so
/// without that file it is killed. A crash leaves behind a segment of shared memory, which a power
/// failure would not.
const KEEPER: &str = r#"
trap '' HUP INT TERM PIPE
as_postgres() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups "$@"
    else
        "$@"
    fi
}
stop() {
    if [ -e "$STATUS" ]; then signal=INT; else signal=KILL; fi
    # One that stands still would never end, nor would the server wait for less.
    kill -s CONT "$pid" $(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
    kill -s "$signal" "$pid"
    wait "$pid"
    pid=
}
STATUS=$FOLDER/data/postmaster.pid
pid=
while read -r verb argument; do
    case $verb in
    create)
        if [ "$(id -u)" = 0 ]; then chown postgres "$FOLDER" || exit; fi
        if as_postgres "$BIN/initdb" -D "$FOLDER/data" -A trust -U postgres -N --no-locale \
            -E UTF8 >"$FOLDER/log" 2>&1
        then echo created
        else echo failed
        fi
        ;;
    own)
        if [ "$(id -u)" = 0 ]; then chown -R postgres "$FOLDER/data"; fi
        echo owned
        ;;
    start)
        rm -f "$STATUS"
        set -- "$BIN/postgres" -D "$FOLDER/data" -p "$argument" -c listen_addresses=127.0.0.1 \
            -c unix_socket_directories="$FOLDER" -c fsync=off -c shared_buffers=8MB
        if [ "$(id -u)" = 0 ]; then
            set -- setpriv --reuid=postgres --regid=postgres --init-groups --pdeathsig INT "$@"
        elif command -v setpriv >/dev/null; then
            set -- setpriv --pdeathsig INT "$@"
        fi
        # setpriv becomes the server by exec, and the number is the server's.
        "$@" </dev/null >>"$FOLDER/log" 2>&1 &
        pid=$!
        echo "$pid"
        ;;
    stop)
        stop
        echo stopped
        ;;
    signal)
        kill -s "$argument" "$pid" $(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
        echo sent
        ;;
    forget)
        rm -rf "$FOLDER/data"
        echo forgotten
        ;;
    crash)
        children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
        kill -s KILL "$pid" $children
        wait "$pid"
        ipcrm -m "$(sed -n '7s/.* //p' "$STATUS")"
        pid=
        echo stopped
        ;;
    esac
done
if [ -n "$pid" ]; then stop; fi
rm -rf "$FOLDER"
"#;

/// What is different about a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup<'a> {
    /// Lines of `pg_hba.conf`, ahead of the one that lets everybody in.
    pub hba: &'a str,
    /// Lines of `postgresql.conf`.
    pub settings: &'a str,
    /// The files with its certificate and key (PEM): it then encrypts.
    pub certificate: Option<(&'a Path, &'a Path)>,
    /// The file with the authorities whose clients' certificates it believes.
    pub clients: Option<&'a Path>,
}

/// A private PostgreSQL server. Dropping it stops it and removes its folder.
pub struct PostgresServer {
    keeper: Keeper,
    folder: PathBuf,
    bin: PathBuf,
    port: u16,
    running: bool,
}

impl PostgresServer {
    /// Starts a fresh server that lets everybody on this machine log in, and waits until it does.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is not installed, or does not start.
    #[must_use]
    pub fn start() -> PostgresServer {
        PostgresServer::start_with_hba("")
    }

    /// As [`PostgresServer::start`], with these lines of `pg_hba.conf` ahead of the one that lets
    /// everybody in.
    ///
    /// # Panics
    ///
    /// As [`PostgresServer::start`].
    #[must_use]
    pub fn start_with_hba(lines: &str) -> PostgresServer {
        PostgresServer::start_as(&Setup {
            hba: lines,
            ..Setup::default()
        })
    }

    /// As [`PostgresServer::start`], with all of this.
    ///
    /// # Panics
    ///
    /// As [`PostgresServer::start`].
    #[must_use]
    pub fn start_as(setup: &Setup<'_>) -> PostgresServer {
        let bin = find_bin();
        let folder = tempfile::Builder::new()
            .prefix("sneck-postgres-")
            .tempdir()
            .expect("a temporary folder for PostgreSQL")
            .keep();
        let keeper = Keeper::start(KEEPER, &folder, STRANGE, &[("BIN", &bin)]);
        let mut server = PostgresServer {
            keeper,
            folder,
            bin,
            port: 0,
            running: false,
        };
        let created = server.keeper.order("create");
        assert_eq!(created, "created", "initdb failed:\n{}", server.log());

        let hba = server.data().join("pg_hba.conf");
        let trusting = fs::read_to_string(&hba).expect("pg_hba.conf");
        fs::write(&hba, format!("{}\n{trusting}", setup.hba)).expect("pg_hba.conf");
        server.configure(setup);

        // Between our looking for a free port and the server's taking it, another may take it.
        for _ in 0..5 {
            server.port = free_ports(1)[0];
            if server.launch() {
                return server;
            }
        }
        panic!("PostgreSQL did not start:\n{}", server.log());
    }

    /// One server for all tests of this process that neither stop it nor change its settings.
    ///
    /// # Panics
    ///
    /// As [`PostgresServer::start`].
    #[must_use]
    pub fn shared() -> &'static PostgresServer {
        static SHARED: OnceLock<PostgresServer> = OnceLock::new();
        SHARED.get_or_init(PostgresServer::start)
    }

    /// The place of the lock `name` on this server; `name` is written as it stands.
    #[must_use]
    pub fn place(&self, name: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/postgres/{name}",
            self.port
        )
    }

    /// The port on 127.0.0.1, which stays the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the server's Unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.folder
    }

    /// Stops the server as an administrator does, unless it is down already, and starts it again.
    ///
    /// # Panics
    ///
    /// When it does not start again.
    pub fn restart(&mut self) {
        if self.running {
            self.halt("stop");
        }
        // After a crash the kernel may need a moment until the old server's memory is free.
        let deadline = Instant::now() + PATIENCE;
        while !self.launch() {
            let in_time = Instant::now() < deadline;
            assert!(in_time, "PostgreSQL did not restart:\n{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills the server and all its processes at one blow, as if the power failed. It stays down
    /// until [`PostgresServer::restart`].
    ///
    /// # Panics
    ///
    /// When it is down already.
    pub fn kill9(&mut self) {
        assert!(self.running, "the server is down already");
        self.halt("crash");
    }

    /// Lets it stand still with all its processes, or go on (`STOP`, `CONT`).
    ///
    /// # Panics
    ///
    /// When it is down.
    pub fn signal(&mut self, signal: &str) {
        assert!(self.running, "the server is down");
        assert_eq!(self.keeper.order(&format!("signal {signal}")), "sent");
    }

    /// Kills it at one blow, and starts it again without anything that it had.
    ///
    /// # Panics
    ///
    /// When it does not start again.
    pub fn lose_data(&mut self) {
        self.kill9();
        assert_eq!(self.keeper.order("forget"), "forgotten");
        let created = self.keeper.order("create");
        assert_eq!(created, "created", "initdb failed:\n{}", self.log());
        self.restart();
    }

    /// Runs `sql` in the database `postgres` as the superuser, and gives what psql prints: a line
    /// a row, columns separated by `|`.
    ///
    /// # Panics
    ///
    /// When psql or a statement fails.
    #[must_use]
    pub fn psql(&self, sql: &str) -> String {
        let mut command = Command::new(self.bin.join("psql"));
        let output = without_variables(&mut command, STRANGE)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args(["-h", "127.0.0.1", "-U", "postgres", "-d", "postgres"])
            .args(["-p", &self.port.to_string(), "-c", sql])
            .output()
            .expect("psql");
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql, {sql}: {problem}");
        let text = String::from_utf8(output.stdout).expect("UTF-8 from psql");
        text.trim_end().to_owned()
    }

    /// What the server has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn configure(&mut self, setup: &Setup<'_>) {
        let path = self.data().join("postgresql.conf");
        let mut settings = fs::read_to_string(&path).expect("postgresql.conf");
        settings.push_str(setup.settings);
        if let Some((certificate, key)) = setup.certificate {
            // The server's own copies: it wants its key to be its own.
            fs::copy(certificate, self.data().join("server.crt")).expect("a copy");
            fs::copy(key, self.data().join("server.key")).expect("a copy");
            settings.push_str("\nssl = on\n");
        }
        if let Some(clients) = setup.clients {
            fs::copy(clients, self.data().join("clients.crt")).expect("a copy");
            settings.push_str("ssl_ca_file = 'clients.crt'\n");
        }
        fs::write(&path, settings).expect("postgresql.conf");
        assert_eq!(self.keeper.order("own"), "owned");
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn halt(&mut self, order: &str) {
        assert_eq!(self.keeper.order(order), "stopped");
        self.running = false;
    }

    /// Starts the server on its port; `false` if it ended instead of becoming ready.
    fn launch(&mut self) -> bool {
        let pid = self.keeper.order(&format!("start {}", self.port));
        let pid = pid.parse().expect("the server's number");
        self.running = true;
        let status = self.data().join("postmaster.pid");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(&status).unwrap_or_default();
            // The eighth line is the server's own word on how far it has come.
            if text
                .lines()
                .nth(7)
                .is_some_and(|line| line.trim() == "ready")
            {
                return true;
            }
            if has_ended(pid) {
                self.halt("stop");
                return false;
            }
            let in_time = Instant::now() < deadline;
            assert!(in_time, "PostgreSQL does not become ready:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresServer")
            .field("folder", &self.folder)
            .field("port", &self.port)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// The folder of the newest server there is: Debian keeps several side by side.
fn find_bin() -> PathBuf {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = debian
        .flatten()
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").exists() && bin.join("postgres").exists())
        .max();
    if let Some((_, bin)) = newest {
        return bin;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
        .expect("no PostgreSQL server to test against: install the Debian package postgresql-15")
}
