//! The contract of every protocol, kept by `etcd`.

#![cfg(unix)]

use sneck::Registry;
use sneck_testkit::etcd::EtcdServer;

fn registry() -> Registry {
    let mut registry = Registry::local();
    sneck_etcd::register(&mut registry);
    registry
}

sneck_testkit::conformance! {
    registry = registry,
    place = |folder| {
        let name = folder.file_name().expect("a fresh folder has a name");
        // Short ones: many of these tests kill a holder.
        let name = format!("{}?ttl=2s&lock-delay=1s", name.to_string_lossy());
        EtcdServer::shared().place(&name)
    },
}
