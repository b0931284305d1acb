//! Getting in, and being kept out: encryption, certificates, passwords from everywhere. All servers are real.
//!
//! Not for: servers that will not do (`unfit.rs`), what a session does then (`session.rs`), where a setting is looked for (`config`'s own tests).

#![cfg(all(unix, feature = "tls"))]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep, write and look at the clock"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use sneck::{Lock, Registry};
use sneck_postgres::config::Config;
use sneck_postgres::session::{ErrorKind, Session, SessionError};
use sneck_testkit::PATIENCE;
use sneck_testkit::authority::{Authority, Issued, Signature, Valid};
use sneck_testkit::block::until;
use sneck_testkit::postgres::{PostgresServer, Setup};
use sneck_testkit::sys::write_secret;

fn try_connect(place: &str) -> Result<Session, SessionError> {
    let config = Config::parse(place).map_err(|error| panic!("{place}: {error}"));
    Session::connect(&config.unwrap(), "sneck test", PATIENCE)
}

fn connect(place: &str) -> Session {
    try_connect(place).unwrap_or_else(|error| panic!("{place}: {error}"))
}

fn fails(place: &str, kind: ErrorKind) -> String {
    let error = try_connect(place).expect_err(place);
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

/// The only column of the only row.
fn ask(session: &mut Session, sql: &str) -> String {
    let rows = session.query(sql).unwrap();
    rows[0][0].clone().unwrap_or_default()
}

/// What the server knows of the encryption of this very session.
fn version(session: &mut Session) -> String {
    ask(
        session,
        "SELECT coalesce(version, 'plain') FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    )
}

/// A server that encrypts, in front of which stand these lines of pg_hba.conf.
fn encrypting(authority: &Authority, certificate: &Issued, hba: &str) -> PostgresServer {
    PostgresServer::start_as(&Setup {
        hba,
        certificate: Some((&certificate.certificate, &certificate.key)),
        clients: Some(authority.root()),
        settings: "",
    })
}

fn place(server: &PostgresServer, login: &str, options: &str) -> String {
    let port = server.port();
    format!("postgres://{login}@localhost:{port}/postgres/n?{options}")
}

fn shown(path: &Path) -> String {
    path.display().to_string().replace('/', "%2F")
}

const HBA: &str = "\
    hostssl all only_tls all trust\n\
    host all only_tls all reject\n\
    hostnossl all never_tls all trust\n\
    host all never_tls all reject\n\
    hostssl all scram all scram-sha-256\n\
    host all scram all scram-sha-256\n\
    hostssl all digest all md5\n\
    hostssl all ada all cert\n";

const ROLES: &str = "\
    CREATE ROLE only_tls LOGIN; CREATE ROLE never_tls LOGIN; CREATE ROLE ada LOGIN; \
    CREATE ROLE scram LOGIN PASSWORD 'open sesame'; \
    SET password_encryption = 'md5'; CREATE ROLE digest LOGIN PASSWORD 'open sesame'";

#[test]
fn each_sslmode_does_what_its_name_says() {
    let (authority, others) = (Authority::new("Test CA"), Authority::new("Others"));
    let certificate = authority.server(&["localhost"]);
    let server = encrypting(&authority, &certificate, HBA);
    let _ = server.psql(ROLES);
    let root = format!("sslrootcert={}", shown(authority.root()));
    let other = format!("sslrootcert={}", shown(others.root()));
    let mut session = connect(&place(&server, "postgres", &root));
    assert_eq!(version(&mut session), "TLSv1.3");
    assert!(session.is_encrypted());
    // Whoever inherits the socket keeps it from ending, and need not speak.
    assert!(session.carried().is_some());

    for (options, expected) in [
        ("sslmode=disable".to_owned(), "plain"),
        ("sslmode=allow".to_owned(), "plain"),
        ("sslmode=prefer".to_owned(), "TLSv1.3"),
        ("sslmode=require".to_owned(), "TLSv1.3"),
        (format!("sslmode=require&{root}"), "TLSv1.3"),
        (format!("sslmode=verify-ca&{root}"), "TLSv1.3"),
        (format!("sslmode=verify-full&{root}"), "TLSv1.3"),
        // As libpq: a root that does not fit is not followed by trust, but by no encryption.
        (format!("sslmode=prefer&{other}"), "plain"),
    ] {
        let mut session = connect(&place(&server, "postgres", &options));
        assert_eq!(version(&mut session), expected, "{options}");
    }

    for mode in ["require", "verify-ca", "verify-full"] {
        let options = format!("sslmode={mode}&{other}");
        let text = fails(&place(&server, "postgres", &options), ErrorKind::Refused);
        assert!(text.contains("no authority in"), "{text}");
        assert!(text.contains("root.crt"), "{text}");
    }
    let by_number = place(&server, "postgres", &root).replace("localhost", "127.0.0.1");
    let text = fails(&by_number, ErrorKind::Refused);
    assert!(
        text.contains("it is for localhost, and not for 127.0.0.1"),
        "{text}"
    );
    connect(&(by_number + "&sslmode=verify-ca"));
    let system = place(&server, "postgres", "sslrootcert=system");
    let text = fails(&system, ErrorKind::Refused);
    assert!(text.contains("the system's roots"), "{text}");
}

#[test]
fn where_the_server_admits_one_way_only_that_one_is_found() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(&["localhost"]);
    let server = encrypting(&authority, &certificate, HBA);
    let _ = server.psql(ROLES);
    for (user, mode, expected) in [
        ("only_tls", "allow", "TLSv1.3"),
        ("only_tls", "prefer", "TLSv1.3"),
        ("never_tls", "allow", "plain"),
        ("never_tls", "prefer", "plain"),
    ] {
        let options = format!("sslmode={mode}");
        let mut session = connect(&place(&server, user, &options));
        assert_eq!(version(&mut session), expected, "{user} {mode}");
    }
    for (user, mode) in [("only_tls", "disable"), ("never_tls", "require")] {
        let options = format!("sslmode={mode}");
        let text = fails(&place(&server, user, &options), ErrorKind::Refused);
        assert!(text.contains("28000"), "{text}");
    }
    // A wrong password is said once, and not a second time in the clear.
    let text = fails(
        &place(&server, "scram:wrong", "sslmode=prefer"),
        ErrorKind::Refused,
    );
    assert!(
        text.contains("28P01") && !text.contains("before that"),
        "{text}"
    );
    assert_eq!(
        server
            .log()
            .matches("password authentication failed")
            .count(),
        1
    );
}

#[test]
fn a_server_that_does_not_encrypt_is_refused_where_encryption_is_asked_for() {
    let server = PostgresServer::shared();
    assert_eq!(
        version(&mut connect(&place(server, "postgres", ""))),
        "plain"
    );
    let text = fails(
        &place(server, "postgres", "sslmode=require"),
        ErrorKind::Refused,
    );
    assert!(text.contains("does not encrypt"), "{text}");
}

#[test]
fn our_certificate_is_shown_and_must_be_the_right_one_and_a_secret() {
    let (authority, others) = (Authority::new("Test CA"), Authority::new("Others"));
    let certificate = authority.server(&["localhost"]);
    let server = encrypting(&authority, &certificate, HBA);
    let _ = server.psql(ROLES);
    let options = |issued: &Issued| {
        format!(
            "sslrootcert={}&sslcert={}&sslkey={}",
            shown(authority.root()),
            shown(&issued.certificate),
            shown(&issued.key)
        )
    };
    let ada = authority.client("ada");
    let mut session = connect(&place(&server, "ada", &options(&ada)));
    assert_eq!(ask(&mut session, "SELECT current_user"), "ada");

    let none = format!("sslrootcert={}", shown(authority.root()));
    let text = fails(&place(&server, "ada", &none), ErrorKind::Refused);
    assert!(text.contains("certificate"), "{text}");
    let bob = authority.client("bob");
    let text = fails(&place(&server, "ada", &options(&bob)), ErrorKind::Refused);
    assert!(text.contains("28000"), "{text}");
    let eve = others.client("ada");
    let text = fails(&place(&server, "ada", &options(&eve)), ErrorKind::Refused);
    assert!(text.contains("does not accept our certificate"), "{text}");

    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&ada.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = fails(&place(&server, "ada", &options(&ada)), ErrorKind::Setup);
    assert!(
        text.contains("others may read it") && text.contains("ada-0.key"),
        "{text}"
    );
    std::fs::remove_file(&ada.key).unwrap();
    let text = fails(&place(&server, "ada", &options(&ada)), ErrorKind::Setup);
    assert!(text.contains("cannot be read"), "{text}");
}

#[test]
fn a_login_is_bound_to_the_certificate_where_the_server_offers_it() {
    for signature in [Signature::Sha256, Signature::Sha384] {
        let authority = Authority::signing_with("Test CA", signature);
        let certificate = authority.server(&["localhost"]);
        let server = encrypting(&authority, &certificate, HBA);
        let _ = server.psql(ROLES);
        let login = "scram:open%20sesame";
        for options in [
            "sslmode=require",
            "sslmode=require&channel_binding=require",
            "sslmode=require&channel_binding=disable",
            "sslmode=disable",
        ] {
            let mut session = connect(&place(&server, login, options));
            assert_eq!(ask(&mut session, "SELECT current_user"), "scram");
        }
        for (login, options) in [
            (login, "sslmode=disable&channel_binding=require"),
            (
                "digest:open%20sesame",
                "sslmode=require&channel_binding=require",
            ),
            ("only_tls", "sslmode=require&channel_binding=require"),
        ] {
            let text = fails(&place(&server, login, options), ErrorKind::Refused);
            assert!(text.contains("channel_binding"), "{text}");
        }
    }
}

/// Who stands in between has a certificate that we do not look at, and the password goes on to the real server: the binding gives him away.
#[test]
fn a_login_that_is_bound_does_not_pass_through_somebody_in_between() {
    let (authority, others) = (Authority::new("Test CA"), Authority::new("Others"));
    let certificate = authority.server(&["localhost"]);
    let server = encrypting(&authority, &certificate, HBA);
    let _ = server.psql(ROLES);
    let port = between(server.port(), &others.server(&["localhost"]));
    let place = |options: &str| {
        format!(
            "postgres://scram:open%20sesame@localhost:{port}/postgres/n?sslmode=require&{options}"
        )
    };
    connect(&place("channel_binding=disable"));
    let text = fails(&place("channel_binding=prefer"), ErrorKind::Refused);
    assert!(text.contains("28"), "{text}");
}

/// Speaks TLS with each client as `shows` and, as somebody else, with the server.
fn between(server: u16, shows: &Issued) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (certificate, key) = (shows.certificate.clone(), shows.key.clone());
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut request = [0; 8];
            client.read_exact(&mut request).unwrap();
            client.write_all(b"S").unwrap();
            let (certificate, key) = (certificate.clone(), key.clone());
            thread::spawn(move || relay(client, &certificate, &key, server));
        }
    });
    port
}

fn relay(client: TcpStream, certificate: &Path, key: &Path, server: u16) {
    use sneck_net::{Address, Connection, Deadline, Received, Tls, Trust};
    let mut client = party::accept(client, certificate, key);
    let deadline = Deadline::after(PATIENCE);
    let address = Address::Tcp {
        host: "127.0.0.1".into(),
        port: server,
    };
    let mut server = Connection::dial(&address, &deadline).unwrap();
    server
        .write_all(&[0, 0, 0, 8, 4, 210, 22, 47], &deadline)
        .unwrap();
    let mut yes = [0];
    assert_eq!(
        server.read_within(&mut yes, &deadline).unwrap(),
        Received::Bytes(1)
    );
    let tls = Tls::new(&Trust::Anybody, None).unwrap();
    server.start_tls(&tls, "localhost", &deadline).unwrap();
    let mut chunk = [0; 4096];
    let short = Duration::from_millis(20);
    client.sock.set_read_timeout(Some(short)).unwrap();
    loop {
        match client.read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => server.write_all(&chunk[..count], &deadline).unwrap(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        match server.read_within(&mut chunk, &Deadline::after(short)) {
            Ok(Received::Bytes(count)) if client.write_all(&chunk[..count]).is_ok() => {}
            Ok(Received::Nothing) => {}
            _ => return,
        }
    }
}

mod party {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use std::net::TcpStream;
    use std::path::Path;
    use std::sync::Arc;

    pub(super) fn accept(
        socket: TcpStream,
        certificate: &Path,
        key: &Path,
    ) -> StreamOwned<ServerConnection, TcpStream> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap());
        let mut config = config.unwrap();
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), socket)
    }
}

/// PostgreSQL 17 and newer understand it; here something that speaks TLS stands in front of an older one.
#[test]
fn direct_negotiation_begins_with_tls_and_names_the_protocol() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(&["localhost"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = PostgresServer::shared().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client =
                party::accept(client.unwrap(), &certificate.certificate, &certificate.key);
            let mut server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let short = Some(Duration::from_millis(20));
            client.sock.set_read_timeout(short).unwrap();
            server.set_read_timeout(short).unwrap();
            thread::spawn(move || {
                let mut chunk = [0; 4096];
                loop {
                    match client.read(&mut chunk) {
                        Ok(count @ 1..) => server.write_all(&chunk[..count]).unwrap(),
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        _ => return,
                    }
                    assert_eq!(client.conn.alpn_protocol(), Some(&b"postgresql"[..]));
                    match server.read(&mut chunk) {
                        Ok(count @ 1..) => client.write_all(&chunk[..count]).unwrap(),
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        _ => return,
                    }
                }
            });
        }
    });
    let root = shown(authority.root());
    let mut session = connect(&format!(
        "postgres://postgres@localhost:{port}/postgres/n?sslnegotiation=direct&sslrootcert={root}"
    ));
    assert_eq!(ask(&mut session, "SELECT 1"), "1");
    // A cancel goes the same way.
    session.send("SELECT pg_sleep(3600)").unwrap();
    session.give_up(PATIENCE).unwrap();
}

#[test]
fn waiting_cancelling_and_looking_work_on_an_encrypted_session() {
    let authority = Authority::new("Test CA");
    let own = authority.self_signed(&["localhost"], Valid::Now);
    let server = encrypting(
        &authority,
        &own,
        "hostssl all all all trust\nhost all all 127.0.0.1/32 trust",
    );
    let place = place(
        &server,
        "postgres",
        &format!("sslrootcert={}", shown(&own.certificate)),
    );
    let mut holder = connect(&place);
    holder.query("SELECT pg_advisory_lock(1)").unwrap();
    let mut waiter = connect(&place);
    waiter.send("SELECT pg_advisory_lock(1)").unwrap();
    let waiting =
        || server.psql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
    until("it waits", || waiting() == "1");
    assert_eq!(waiter.try_read().unwrap(), None);
    waiter.give_up(PATIENCE).unwrap();
    assert_eq!(waiting(), "0");
    waiter.send("SELECT pg_advisory_lock(1)").unwrap();
    assert_eq!(waiter.is_closed(), None);
    holder.query("SELECT pg_advisory_unlock(1)").unwrap();
    // Looking decrypts; what it found is still there for who reads.
    let mut granted = None;
    until("the grant", || {
        assert_eq!(waiter.is_closed(), None);
        granted = waiter.try_read().unwrap();
        granted.is_some()
    });
    let large = ask(&mut waiter, "SELECT repeat('x', 3000000)");
    assert_eq!(large.len(), 3_000_000);

    let _ = server.psql(&format!("SELECT pg_terminate_backend({})", holder.pid()));
    until("the end", || holder.is_closed().is_some());
    let reason = holder.is_closed().unwrap();
    assert!(reason.contains("57P01"), "{reason}");
    let error = holder.query("SELECT 1").unwrap_err();
    assert!(error.to_string().contains("57P01"), "{error}");
}

#[test]
fn a_lock_over_tls_is_a_lock() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(&["localhost"]);
    let server = encrypting(&authority, &certificate, "");
    let lock = || {
        let mut registry = Registry::local();
        sneck_postgres::register(&mut registry);
        let root = format!("sslrootcert={}", shown(authority.root()));
        let place = registry.place(place(&server, "postgres", &root)).unwrap();
        Lock::builder()
            .registry(&registry)
            .timeout(PATIENCE)
            .at(&place)
            .unwrap()
    };
    let guard = lock().acquire().unwrap();
    assert_eq!(
        lock().try_acquire().unwrap_err().kind(),
        sneck::ErrorKind::Busy
    );
    let waiter = sneck_testkit::block::must_block({
        let lock = lock();
        move || lock.acquire().unwrap()
    });
    guard.release().unwrap();
    waiter.wait().release().unwrap();
}

#[test]
fn a_password_comes_from_the_file_of_passwords_and_from_a_service() {
    let server = PostgresServer::start_with_hba("host all keyed all scram-sha-256");
    let _ = server.psql("CREATE ROLE keyed LOGIN PASSWORD 'open: sesame'");
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    let line = format!(
        "localhost:{}:postgres:keyed:open\\: sesame\n",
        server.port()
    );
    write_secret(&passwords, line.as_bytes()).unwrap();
    let options = format!("passfile={}", shown(&passwords));
    let mut session = connect(&place(&server, "keyed", &options));
    assert_eq!(ask(&mut session, "SELECT current_user"), "keyed");

    let text = fails(
        &place(&server, "keyed", "passfile=%2Fnowhere"),
        ErrorKind::Refused,
    );
    assert!(text.contains("~/.pgpass"), "{text}");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&passwords, std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = fails(&place(&server, "keyed", &options), ErrorKind::Refused);
    assert!(
        text.contains("chmod 600") && !text.contains("sesame"),
        "{text}"
    );
}

#[test]
fn a_role_whose_defaults_would_end_every_session_can_hold_and_wait() {
    let server = PostgresServer::shared();
    let _ = server.psql(
        "CREATE ROLE fleeting LOGIN; ALTER ROLE fleeting SET statement_timeout = '1ms'; \
         ALTER ROLE fleeting SET lock_timeout = '1ms'; \
         ALTER ROLE fleeting SET idle_session_timeout = '1ms'; \
         ALTER ROLE fleeting SET idle_in_transaction_session_timeout = '1ms'",
    );
    let place = place(server, "fleeting", "");
    let mut holder = connect(&place);
    holder.query("SELECT pg_advisory_lock(77)").unwrap();
    let mut waiter = connect(&place);
    waiter
        .send("SELECT pg_advisory_lock(77), pg_sleep(0.3)")
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(waiter.try_read().unwrap(), None);
    assert_eq!(holder.is_closed(), None);
    holder.query("SELECT pg_advisory_unlock(77)").unwrap();
    until("the grant", || waiter.try_read().unwrap().is_some());
}
