//! Sessions against real PostgreSQL servers: what is asked, awaited, given up and lost.
//!
//! No test here says how long something takes. Where one waits for something to happen, it
//! polls, and fails only after a time in which any machine would have got there.

#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep and look at the clock"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use sneck::protocol::Wake;
use sneck_postgres::config::Config;
use sneck_postgres::session::{ErrorKind, Session, SessionError};
use sneck_testkit::postgres::PostgresServer;

const LONG: Duration = Duration::from_secs(60);

fn config(place: &str) -> Config {
    Config::parse(place).unwrap()
}

fn try_connect(place: &str) -> Result<Session, SessionError> {
    Session::connect(&config(place), "sneck test", LONG)
}

fn connect(server: &PostgresServer) -> Session {
    try_connect(&server.place("n")).unwrap()
}

fn refused(place: &str) -> SessionError {
    let error = try_connect(place).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    error
}

/// Polls until `done` gives something.
fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(Instant::now() < deadline, "it never came: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The only column of the only row.
fn value(rows: &[Vec<Option<String>>]) -> &str {
    match rows {
        [row] => match &row[..] {
            [Some(text)] => text,
            _ => panic!("one value was expected: {rows:?}"),
        },
        _ => panic!("one row was expected: {rows:?}"),
    }
}

/// Whether a sleeper on this session would be woken.
fn readable(session: &Session, wait: Duration) -> bool {
    let Some(Wake::Ready(socket)) = session.wake().unwrap() else {
        panic!("no descriptor to sleep on");
    };
    let mut fds = [PollFd::new(&socket, PollFlags::IN)];
    poll(&mut fds, Some(&wait.try_into().unwrap())).unwrap() == 1
}

fn waiters(server: &PostgresServer, key: i64) -> String {
    server.psql(&format!(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
         AND (classid::bigint << 32 | objid::bigint) = {key}"
    ))
}

fn wait_for_waiter(server: &PostgresServer, key: i64) {
    eventually("a waiter", || (waiters(server, key) == "1").then_some(()));
}

#[test]
fn a_query_gives_rows_of_text_and_null() {
    let mut session = connect(PostgresServer::shared());
    let rows = session
        .query("SELECT 1, 'ä', NULL, ''; SELECT 2, 'b', 'c', 'd'")
        .unwrap();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        rows,
        [
            vec![text("1"), text("ä"), None, text("")],
            vec![text("2"), text("b"), text("c"), text("d")],
        ]
    );
    assert_eq!(
        session.query("").unwrap(),
        Vec::<Vec<Option<String>>>::new()
    );
}

#[test]
fn a_host_name_is_looked_up_and_each_of_its_addresses_tried() {
    // Often ::1 comes first, where the server does not listen.
    let port = PostgresServer::shared().port();
    let mut session = try_connect(&format!("postgres://postgres@localhost:{port}/n")).unwrap();
    assert_eq!(value(&session.query("SELECT 1").unwrap()), "1");
}

#[test]
fn an_answer_longer_than_a_packet_arrives_whole() {
    let mut session = connect(PostgresServer::shared());
    let rows = session.query("SELECT repeat('x', 3000000)").unwrap();
    assert_eq!(value(&rows).len(), 3_000_000);
}

#[test]
fn a_failed_statement_leaves_the_session_usable() {
    let mut session = connect(PostgresServer::shared());
    let error = session.query("SELECT 1; SELEC 2").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    assert_eq!(error.sqlstate(), Some("42601"));
    let port = PostgresServer::shared().port();
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")));

    let error = session.query("SELECT 'a\0b'").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert_eq!(value(&session.query("SELECT 3").unwrap()), "3");
    assert_eq!(session.is_closed(), None);
}

#[test]
fn notices_and_settings_may_come_at_any_time() {
    let mut session = connect(PostgresServer::shared());
    let rows = session.query(
        "DO $$ BEGIN RAISE NOTICE 'hear, hear'; END $$; SET TimeZone = 'Asia/Tokyo'; LISTEN l; \
         NOTIFY l; SELECT 1",
    );
    assert_eq!(value(&rows.unwrap()), "1");
    assert_eq!(value(&session.query("SELECT 2").unwrap()), "2");
}

#[test]
fn a_session_knows_its_server_process_and_bears_its_name() {
    let server = PostgresServer::shared();
    let config = config(&server.place("n"));
    let mut session = Session::connect(&config, "night shift", LONG).unwrap();
    let pid = session.query("SELECT pg_backend_pid()").unwrap();
    assert_eq!(value(&pid), session.pid().to_string());
    assert!(!session.on_standby());
    let named = server.psql(&format!(
        "SELECT application_name FROM pg_stat_activity WHERE pid = {}",
        session.pid()
    ));
    assert_eq!(named, "night shift");
}

#[test]
fn what_the_role_sets_does_not_count_where_it_would_harm() {
    let server = PostgresServer::shared();
    let _ = server.psql(
        "CREATE ROLE hasty LOGIN; ALTER ROLE hasty SET statement_timeout = '20ms'; \
         ALTER ROLE hasty SET lock_timeout = '20ms'; \
         ALTER ROLE hasty SET idle_session_timeout = '20ms'; \
         ALTER ROLE hasty SET idle_in_transaction_session_timeout = '20ms'; \
         ALTER ROLE hasty SET client_connection_check_interval = '0'; \
         ALTER ROLE hasty SET synchronous_commit = off",
    );
    let place = format!("postgres://hasty@127.0.0.1:{}/postgres/n", server.port());
    let mut session = try_connect(&place).unwrap();
    for (setting, expected) in [
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_session_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("client_connection_check_interval", "1s"),
        ("tcp_keepalives_idle", "15"),
        ("synchronous_commit", "local"),
    ] {
        let rows = session.query(&format!("SHOW {setting}")).unwrap();
        assert_eq!(value(&rows), expected, "{setting}");
    }
}

#[test]
fn a_unix_socket_works_as_well() {
    let server = PostgresServer::shared();
    let place = format!(
        "postgres://postgres@:{}/postgres/n?host={}",
        server.port(),
        server.socket_dir().display()
    );
    let mut session = try_connect(&place).unwrap();
    assert_eq!(value(&session.query("SELECT 1").unwrap()), "1");
    assert_eq!(session.is_closed(), None);

    session.send("SELECT pg_sleep(3600)").unwrap();
    session.give_up(LONG).unwrap();

    let _ = server.psql(&format!("SELECT pg_terminate_backend({})", session.pid()));
    let reason = eventually("the end", || session.is_closed());
    assert!(reason.contains("57P01"), "{reason}");
}

#[test]
fn a_wait_is_answered_when_the_lock_is_granted() {
    let server = PostgresServer::shared();
    let mut holder = connect(server);
    let mut waiter = connect(server);
    holder.query("SELECT pg_advisory_lock(11)").unwrap();
    waiter.send("SELECT pg_advisory_lock(11)").unwrap();
    wait_for_waiter(server, 11);
    assert_eq!(waiter.try_read().unwrap(), None);
    assert_eq!(waiter.is_closed(), None);

    let freed = holder.query("SELECT pg_advisory_unlock(11)").unwrap();
    assert_eq!(value(&freed), "t");
    let rows = eventually("the grant", || waiter.try_read().unwrap());
    assert_eq!(value(&rows), "");
    let freed = waiter.query("SELECT pg_advisory_unlock(11)").unwrap();
    assert_eq!(value(&freed), "t");
}

#[test]
fn the_socket_wakes_a_poll_when_the_lock_is_granted() {
    let server = PostgresServer::shared();
    let mut holder = connect(server);
    let mut waiter = connect(server);
    holder.query("SELECT pg_advisory_lock(12)").unwrap();
    waiter.send("SELECT pg_advisory_lock(12)").unwrap();
    wait_for_waiter(server, 12);

    assert!(!readable(&waiter, Duration::ZERO));
    holder.close();
    assert!(readable(&waiter, LONG));
    assert!(eventually("the grant", || waiter.try_read().unwrap()).len() == 1);
}

#[test]
fn a_cancelled_wait_leaves_no_waiter() {
    let server = PostgresServer::shared();
    let mut holder = connect(server);
    let mut waiter = connect(server);
    holder.query("SELECT pg_advisory_lock(13)").unwrap();
    waiter.send("SELECT pg_advisory_lock(13)").unwrap();
    wait_for_waiter(server, 13);

    waiter.give_up(LONG).unwrap();
    assert_eq!(waiters(server, 13), "0");
    assert_eq!(value(&waiter.query("SELECT 1").unwrap()), "1");
    let freed = holder.query("SELECT pg_advisory_unlock(13)").unwrap();
    assert_eq!(value(&freed), "t");
}

#[test]
fn a_wait_given_up_at_once_ends_even_if_the_first_cancel_comes_too_early() {
    let server = PostgresServer::shared();
    let mut holder = connect(server);
    let mut waiter = connect(server);
    holder.query("SELECT pg_advisory_lock(18)").unwrap();
    for _ in 0..50 {
        waiter.send("SELECT pg_advisory_lock(18)").unwrap();
        waiter.give_up(LONG).unwrap();
    }
    assert_eq!(waiters(server, 18), "0");
    assert_eq!(value(&waiter.query("SELECT 1").unwrap()), "1");
}

#[test]
fn a_cancel_that_comes_too_late_harms_nothing() {
    let server = PostgresServer::shared();
    let mut session = connect(server);
    for _ in 0..50 {
        session.send("SELECT pg_advisory_lock(14)").unwrap();
        session.give_up(LONG).unwrap();
        // Were the cancel still under way, it would hit this question. A lock that was granted
        // before the cancel came is kept.
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                   AND pid = pg_backend_pid()";
        assert!(["0", "1"].contains(&value(&session.query(sql).unwrap())));
        session.query("SELECT pg_advisory_unlock_all()").unwrap();
    }
}

#[test]
fn an_answer_that_does_not_come_in_time_ends_the_session() {
    let config = config(&PostgresServer::shared().place("n"));
    let brief = Duration::from_secs(1);
    let mut session = Session::connect(&config, "sneck test", brief).unwrap();
    let error = session.query("SELECT pg_sleep(3600)").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert_eq!(session.query("SELECT 1").unwrap_err(), error);
    assert!(session.is_closed().is_some());
}

#[test]
fn questions_do_not_mix() {
    let mut session = connect(PostgresServer::shared());
    assert_eq!(session.try_read().unwrap_err().kind(), ErrorKind::Protocol);
    let error = session.give_up(LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    session.send("SELECT 1").unwrap();
    assert_eq!(
        session.send("SELECT 2").unwrap_err().kind(),
        ErrorKind::Protocol
    );
    assert_eq!(
        session.query("SELECT 2").unwrap_err().kind(),
        ErrorKind::Protocol
    );
    let rows = eventually("the answer", || session.try_read().unwrap());
    assert_eq!(value(&rows), "1");
}

#[test]
fn a_closed_session_gives_its_locks_back_although_a_copy_of_the_socket_is_open() {
    let server = PostgresServer::shared();
    let mut first = connect(server);
    let mut second = connect(server);
    first.query("SELECT pg_advisory_lock(15)").unwrap();
    let copy = first.wake().unwrap();
    first.close();
    second.send("SELECT pg_advisory_lock(15)").unwrap();
    eventually("the grant", || second.try_read().unwrap());
    drop(copy);
}

#[test]
fn a_killed_waiter_leaves_the_queue_before_its_turn() {
    let server = PostgresServer::shared();
    let mut holder = connect(server);
    holder.query("SELECT pg_advisory_lock(16)").unwrap();
    let mut waiter = connect(server);
    waiter.send("SELECT pg_advisory_lock(16)").unwrap();
    wait_for_waiter(server, 16);
    drop(waiter);
    eventually("its leaving", || (waiters(server, 16) == "0").then_some(()));
}

#[test]
fn an_ended_session_says_who_ended_it() {
    let server = PostgresServer::shared();
    let mut session = connect(server);
    assert_eq!(session.is_closed(), None);
    let _ = server.psql(&format!("SELECT pg_terminate_backend({})", session.pid()));
    let reason = eventually("the end", || session.is_closed());
    assert!(reason.contains("57P01"), "{reason}");
    assert_eq!(session.is_closed(), Some(reason), "looking changes nothing");

    let error = session.query("SELECT 1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("57P01"), "{error}");
}

#[test]
fn a_wait_ended_by_the_server_is_an_error_and_no_grant() {
    let server = PostgresServer::shared();
    let mut holder = connect(server);
    let mut waiter = connect(server);
    holder.query("SELECT pg_advisory_lock(17)").unwrap();
    waiter.send("SELECT pg_advisory_lock(17)").unwrap();
    wait_for_waiter(server, 17);
    let _ = server.psql(&format!("SELECT pg_terminate_backend({})", waiter.pid()));
    eventually("the end", || waiter.is_closed());
    let error = waiter.try_read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert_eq!(error.sqlstate(), Some("57P01"));
}

#[test]
fn an_idle_session_that_expires_says_so() {
    let mut session = connect(PostgresServer::shared());
    session.query("SET idle_session_timeout = '1ms'").unwrap();
    let reason = eventually("the end", || session.is_closed());
    assert!(reason.contains("57P05"), "{reason}");
}

#[test]
fn a_server_killed_at_one_blow_is_seen_to_be_gone_and_comes_back() {
    let mut server = PostgresServer::start();
    let mut idle = connect(&server);
    let mut waiter = connect(&server);
    idle.query("SELECT pg_advisory_lock(1)").unwrap();
    waiter.send("SELECT pg_advisory_lock(1)").unwrap();
    wait_for_waiter(&server, 1);

    // News that nobody reads stands before the end of the third connection.
    let mut listener = connect(&server);
    listener.query("LISTEN news").unwrap();
    let _ = server.psql("NOTIFY news");
    assert!(readable(&listener, LONG));
    assert_eq!(listener.is_closed(), None);

    server.kill9();
    eventually("the end", || idle.is_closed());
    eventually("the end", || listener.is_closed());
    eventually("the end", || waiter.is_closed());
    assert_eq!(
        waiter.try_read().unwrap_err().kind(),
        ErrorKind::Unreachable
    );
    let error = idle.query("SELECT 1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let error = try_connect(&server.place("n")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");

    server.restart();
    let mut fresh = connect(&server);
    assert_eq!(
        value(&fresh.query("SELECT pg_try_advisory_lock(1)").unwrap()),
        "t"
    );
    server.restart();
    let reason = eventually("the end", || fresh.is_closed());
    assert!(reason.contains("57P01"), "{reason}");
}

#[test]
fn passwords_open_the_door_in_each_of_the_three_ways() {
    let server = PostgresServer::start_with_hba(
        "host all scram 127.0.0.1/32 scram-sha-256\n\
         host all digest 127.0.0.1/32 md5\n\
         host all plain 127.0.0.1/32 password\n\
         host all nobody 127.0.0.1/32 reject\n",
    );
    let _ = server.psql(
        "CREATE ROLE scram LOGIN PASSWORD 'ein Geheimnis / ünd so'; \
         CREATE ROLE plain LOGIN PASSWORD 'ein Geheimnis / ünd so'; \
         CREATE ROLE nobody LOGIN; \
         SET password_encryption = 'md5'; \
         CREATE ROLE digest LOGIN PASSWORD 'ein Geheimnis / ünd so'",
    );
    let place = |login: &str| format!("postgres://{login}@127.0.0.1:{}/postgres/n", server.port());
    for user in ["scram", "digest", "plain"] {
        let right = place(&format!("{user}:ein%20Geheimnis%20%2F%20%C3%BCnd%20so"));
        let mut session = try_connect(&right).unwrap();
        let rows = session.query("SELECT current_user").unwrap();
        assert_eq!(value(&rows), user);

        let error = refused(&place(&format!("{user}:ein%20Irrtum")));
        assert_eq!(error.sqlstate(), Some("28P01"), "{error}");
        assert!(!error.to_string().contains("Irrtum"), "{error}");

        let error = refused(&place(user));
        assert!(error.to_string().contains("PGPASSWORD"), "{error}");
    }
    let error = refused(&place("nobody"));
    assert_eq!(error.sqlstate(), Some("28000"), "{error}");
}

#[test]
fn a_missing_database_and_a_missing_user_are_refusals() {
    let port = PostgresServer::shared().port();
    let error = refused(&format!("postgres://postgres@127.0.0.1:{port}/nowhere/n"));
    assert_eq!(error.sqlstate(), Some("3D000"), "{error}");
    assert!(
        error.to_string().contains("postgres://host/database/name"),
        "{error}"
    );
    let error = refused(&format!("postgres://ghost@127.0.0.1:{port}/postgres/n"));
    assert_eq!(error.sqlstate(), Some("28000"), "{error}");
}

#[test]
fn nobody_listening_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for host in ["127.0.0.1", "localhost"] {
        let error = try_connect(&format!("postgres://u@{host}:{port}/n")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(
            error.to_string().contains(&format!("{host}:{port}")),
            "{error}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let place = format!("postgres://u@/n?host={}", folder.path().display());
    let error = try_connect(&place).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains(".s.PGSQL.5432"), "{error}");
}

#[test]
fn a_host_without_an_address_is_unreachable() {
    let error = try_connect("postgres://u@no-such-host.invalid/n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

/// Something that listens, and does this with its first connection.
fn stub(act: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || act(listener.accept().unwrap().0));
    format!("postgres://u@127.0.0.1:{port}/n")
}

#[test]
fn a_listener_that_never_answers_is_given_up() {
    // One that is accepted and one that stays in the backlog.
    let backlog = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = backlog.local_addr().unwrap().port();
    let accepting = stub(|mut socket| {
        let _ = socket.read_to_end(&mut Vec::new());
    });
    for place in [format!("postgres://u@127.0.0.1:{port}/n"), accepting] {
        let brief = Duration::from_millis(50);
        let error = Session::connect(&config(&place), "n", brief).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    }
}

#[test]
fn the_places_own_time_limit_counts_if_it_is_shorter() {
    let place = stub(|mut socket| {
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let config = config(&format!("{place}?connect_timeout=1"));
    let error = Session::connect(&config, "n", Duration::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("1s"), "{error}");
}

#[test]
fn what_is_not_postgresql_is_told_apart() {
    for options in ["", "?sslmode=require", "?sslmode=disable"] {
        let place = stub(|mut socket| {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = socket.read_to_end(&mut Vec::new());
        });
        let error = try_connect(&(place + options)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        assert!(
            error
                .to_string()
                .contains("does not speak as PostgreSQL does"),
            "{error}"
        );
    }

    let error = try_connect(&stub(drop)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[test]
fn a_server_that_breaks_off_the_proof_is_not_believed() {
    let place = stub(|mut socket| {
        let _ = socket.read(&mut [0; 512]);
        let offer = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";
        let _ = socket.write_all(offer);
        let _ = socket.read(&mut [0; 512]);
        let _ = socket.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I");
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let place = place.replace("u@", "u:pw@") + "?sslmode=disable";
    let error = refused(&place);
    assert!(error.to_string().contains("prove"), "{error}");
}

/// Passes one connection on to a server, with cancel keys of its own, as poolers do.
fn pooler(server_port: u16) -> String {
    stub(move |mut client| {
        let mut server = TcpStream::connect(("127.0.0.1", server_port)).unwrap();
        let mut from_client = client.try_clone().unwrap();
        let mut to_server = server.try_clone().unwrap();
        thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
        let mut head = [0; 5];
        while server.read_exact(&mut head).is_ok() {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let mut body = vec![0; usize::try_from(length).unwrap() - 4];
            server.read_exact(&mut body).unwrap();
            if head[0] == b'K' {
                body[..4].copy_from_slice(&(-1_179_397_397_i32).to_be_bytes());
            }
            if client.write_all(&[&head[..], &body].concat()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_pooler_in_between_is_refused() {
    let place = pooler(PostgresServer::shared().port());
    let place = place
        .replace("u@", "postgres@")
        .replace("/n", "/postgres/n?sslmode=disable");
    let error = try_connect(&place).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.to_string().contains("pooler"), "{error}");
    assert!(error.to_string().contains("directly"), "{error}");
}
