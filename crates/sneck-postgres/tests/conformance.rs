//! The contract of every protocol, kept by `postgres`.

#![cfg(unix)]

use sneck::Registry;
use sneck_testkit::postgres::PostgresServer;

fn registry() -> Registry {
    let mut registry = Registry::local();
    sneck_postgres::register(&mut registry);
    registry
}

sneck_testkit::conformance! {
    registry = registry,
    place = |folder| {
        let name = folder.file_name().expect("a fresh folder has a name");
        PostgresServer::shared().place(&name.to_string_lossy())
    },
}
