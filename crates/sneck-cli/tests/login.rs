//! The command at a server that keeps it out: which code it ends with, what it says, and that it finds what psql would find.
//!
//! Not for: what can go wrong in a login (`sneck-postgres` has those tests).

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep, write and look at the clock"
)]

mod stage;

use sneck_testkit::authority::Authority;
use sneck_testkit::postgres::{PostgresServer, Setup};
use sneck_testkit::sys::write_secret;
use stage::{Place, text};
use std::path::Path;

/// Runs `true` under the lock with these variables, and a home of its own; the code and what was said.
fn run(place: &Place, lock: &str, env: &[(&str, &str)]) -> (i32, String) {
    let mut command = place.command(&["run", lock, "true"]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("HOME", place.path());
    let output = command.envs(env.iter().copied()).output().unwrap();
    (output.status.code().unwrap(), text(&output.stderr))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn who_is_kept_out_is_told_why_and_ends_with_77_and_without_a_server_with_69() {
    let (authority, others) = (Authority::new("Test CA"), Authority::new("Others"));
    let certificate = authority.server(&["localhost"]);
    let server = PostgresServer::start_as(&Setup {
        hba: "host all keyed all scram-sha-256",
        settings: "max_connections = 3\nsuperuser_reserved_connections = 0\nmax_wal_senders = 0\n",
        certificate: Some((&certificate.certificate, &certificate.key)),
        clients: None,
    });
    let _ = server.psql("CREATE ROLE keyed LOGIN PASSWORD 'right'");
    let lock = |login: &str| format!("postgres://{login}@localhost:{}/postgres/n", server.port());
    let place = Place::new();

    let root = path(authority.root());
    let trusting = [("PGSSLROOTCERT", root)];
    assert_eq!(
        run(&place, &lock("keyed:right"), &trusting),
        (0, String::new())
    );
    let (code, said) = run(&place, &lock("keyed:amiss"), &trusting);
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("28P01") && !said.contains("amiss"), "{said}");
    let (code, said) = run(&place, &lock("keyed"), &trusting);
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("~/.pgpass"), "{said}");
    let (code, said) = run(
        &place,
        &lock("postgres"),
        &[("PGSSLROOTCERT", path(others.root()))],
    );
    assert_eq!(code, 77, "{said}");
    assert!(
        said.contains("is not trusted") && said.contains("Test CA"),
        "{said}"
    );
    let (code, said) = run(
        &place,
        &lock("postgres"),
        &[("PGSSLROOTCERT", "/nowhere.crt")],
    );
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("/nowhere.crt"), "{said}");

    // In a folder each: who holds says so there.
    let places = [Place::new(), Place::new(), Place::new()];
    let held = |n: usize| lock("postgres").replace("/n", &format!("/held-{n}"));
    let room: Vec<_> = (0..3).map(|n| places[n].hold(&held(n))).collect();
    let (code, said) = run(&place, &lock("postgres"), &[]);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("max_connections"), "{said}");
    drop(room);
}

#[test]
fn what_psql_finds_in_files_is_found() {
    let server = PostgresServer::start_with_hba("host all keyed all scram-sha-256");
    let _ = server.psql("CREATE ROLE keyed LOGIN PASSWORD 'right'");
    let port = server.port().to_string();
    let lock = format!("postgres://keyed@localhost:{port}/postgres/n");
    let place = Place::new();
    let passwords = place.path().join(".pgpass");
    write_secret(
        &passwords,
        format!("localhost:{port}:*:keyed:right\n").as_bytes(),
    )
    .unwrap();
    assert_eq!(run(&place, &lock, &[]).0, 0);
    assert_eq!(run(&place, &lock, &[("PGPASSWORD", "amiss")]).0, 77);
    assert_eq!(run(&place, &lock, &[("PGPASSFILE", "/nowhere")]).0, 77);

    let services = place.path().join(".pg_service.conf");
    let text = format!("[locks]\nhost=localhost\nport={port}\nuser=keyed\ndbname=postgres\n");
    std::fs::write(&services, text).unwrap();
    let (code, said) = run(&place, "postgres:///n?service=locks", &[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(run(&place, "postgres:///n", &[("PGSERVICE", "locks")]).0, 0);
    let (code, said) = run(&place, "postgres:///n?service=others", &[]);
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("no service"), "{said}");
}
