//! The contract of every protocol, kept by `redis`.

#![cfg(unix)]

use sneck::Registry;
use sneck_testkit::redis::RedisServer;

fn registry() -> Registry {
    let mut registry = Registry::local();
    sneck_redis::register(&mut registry);
    registry
}

sneck_testkit::conformance! {
    registry = registry,
    place = |folder| {
        let name = folder.file_name().expect("a fresh folder has a name");
        RedisServer::shared().place(&name.to_string_lossy())
    },
}
