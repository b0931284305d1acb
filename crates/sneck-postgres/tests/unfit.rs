//! Servers that will not do for locks: full ones, old ones, and poolers that stand in between. All are real, but for those that say they are old.
//!
//! Not for: logins (`login.rs`).

#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep, write and look at the clock"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use sneck_postgres::config::Config;
use sneck_postgres::session::{ErrorKind, Session, SessionError};
use sneck_testkit::PATIENCE;
use sneck_testkit::block::until;
use sneck_testkit::postgres::{PostgresServer, Setup};

fn try_connect(place: &str) -> Result<Session, SessionError> {
    Session::connect(&Config::parse(place).unwrap(), "sneck test", PATIENCE)
}

fn connect(place: &str) -> Session {
    try_connect(place).unwrap_or_else(|error| panic!("{place}: {error}"))
}

fn fails(place: &str, kind: ErrorKind) -> String {
    let error = try_connect(place).expect_err(place);
    assert_eq!(error.kind(), kind, "{error}");
    error.to_string()
}

#[test]
fn a_full_table_of_connections_is_said_to_be_full() {
    let server = PostgresServer::start_as(&Setup {
        settings: "max_connections = 4\nsuperuser_reserved_connections = 0\nmax_wal_senders = 0\n",
        ..Setup::default()
    });
    let place = server.place("n");
    let sessions: Vec<Session> = (0..4).map(|_| connect(&place)).collect();
    let text = fails(&place, ErrorKind::Unreachable);
    assert!(
        text.contains("53300") && text.contains("max_connections"),
        "{text}"
    );
    drop(sessions);
    until("there is room", || try_connect(&place).is_ok());
}

/// A server that says of itself that it is another version: what a real one of that age is not at hand for.
fn aged(version: &'static [u8; 6]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = PostgresServer::shared();
    let number = server.psql("SELECT current_setting('server_version_num')");
    let server = server.port();
    thread::spawn(move || {
        let mut client = listener.accept().unwrap().0;
        let mut server = TcpStream::connect(("127.0.0.1", server)).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from, &mut to));
        let mut chunk = vec![0; 65536];
        while let Ok(count @ 1..) = server.read(&mut chunk) {
            let bytes = &mut chunk[..count];
            let at = bytes
                .windows(6)
                .position(|window| window == number.as_bytes());
            if let Some(at) = at {
                bytes[at..at + 6].copy_from_slice(version);
            }
            if client.write_all(bytes).is_err() {
                return;
            }
        }
    });
    format!("postgres://postgres@127.0.0.1:{port}/postgres/n?sslmode=disable")
}

#[test]
fn a_server_older_than_14_is_refused() {
    let text = fails(&aged(b"130011"), ErrorKind::TooOld);
    assert!(text.contains("it is 13.11, and 14 is the oldest"), "{text}");
    connect(&aged(b"140000"));
    // Really old ones do not know one of the settings that the startup asks for.
    let place =
        refusing("C42704\0Munrecognized configuration parameter \"idle_session_timeout\"\0");
    let text = fails(&place, ErrorKind::TooOld);
    assert!(text.contains("14 is the oldest"), "{text}");
}

/// Something that answers each startup with this error.
fn refusing(fields: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut client = listener.accept().unwrap().0;
        let _ = client.read(&mut [0; 4096]);
        let body = format!("SFATAL\0VFATAL\0{fields}\0");
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        let _ = client.write_all(&[b"E", &length[..], body.as_bytes()].concat());
        let _ = client.read_to_end(&mut Vec::new());
    });
    format!("postgres://u@127.0.0.1:{port}/n?sslmode=disable")
}

/// PgBouncer in front of the shared server, as long as this lives.
struct Pooler {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Pooler {
    fn start(mode: &str, ignores: &str) -> Pooler {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let settings = folder.path().join("pgbouncer.ini");
        let server = PostgresServer::shared().port();
        let text = format!(
            "[databases]\npostgres = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n\
             ignore_startup_parameters = {ignores}\n"
        );
        let text = text.replace("port=", "user=postgres port=");
        std::fs::write(&settings, text).unwrap();
        sneck_testkit::sys::let_others_in(folder.path());
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if sneck_testkit::sys::is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        }
        let child = command
            .arg(if Path::new("/usr/sbin/pgbouncer").exists() {
                "/usr/sbin/pgbouncer"
            } else {
                "pgbouncer"
            })
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv, and PgBouncer: install the Debian package pgbouncer");
        until("PgBouncer listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Pooler {
            child,
            port,
            _folder: folder,
        }
    }

    fn place(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres/n", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn pgbouncer_is_refused_however_it_is_set_up() {
    let lenient = "extra_float_digits, statement_timeout, lock_timeout, idle_session_timeout, \
                   idle_in_transaction_session_timeout";
    for (mode, ignores) in [
        ("transaction", ""),
        ("session", ""),
        ("transaction", lenient),
        ("session", lenient),
        ("statement", lenient),
    ] {
        let pooler = Pooler::start(mode, ignores);
        let text = fails(&pooler.place(), ErrorKind::Protocol);
        assert!(text.contains("pooler"), "{mode}, {ignores}: {text}");
        assert!(text.contains("connect to PostgreSQL directly"), "{text}");
    }
}
