//! The contract of every protocol, kept by several locks that are taken as one.

mod flock_and_fcntl {
    sneck_testkit::conformance! {
        registry = sneck::Registry::local,
        place = |folder| format!("flock+fcntl:{}/lock", folder.display()),
    }
}

mod fcntl_and_dotlock {
    sneck_testkit::conformance! {
        registry = sneck::Registry::local,
        place = |folder| format!("fcntl+dotlock:{}/lock", folder.display()),
    }
}

mod flock_and_pidfile {
    sneck_testkit::conformance! {
        registry = sneck::Registry::local,
        place = |folder| format!("flock+pidfile:{}/lock", folder.display()),
    }
}

/// Two files in a folder, under a name of their own.
fn two(scheme: &'static str) -> sneck::Registry {
    let mut registry = sneck::Registry::local();
    registry.register("two", move |place| {
        let part = |name: &str| {
            let path = std::path::Path::new(place.rest()).join(name);
            sneck::Registry::local().protocol(&sneck::Place::file(scheme, path))
        };
        let parts = [part("a")?, part("b")?];
        let stack = sneck::protocol::Stack::new(place.clone(), parts);
        Ok(std::sync::Arc::new(stack?))
    });
    registry
}

mod two_files {
    sneck_testkit::conformance! {
        registry = || super::two("flock"),
        place = |folder| format!("two:{}", folder.display()),
    }
}

mod two_links {
    sneck_testkit::conformance! {
        registry = || super::two("symlink"),
        place = |folder| format!("two:{}", folder.display()),
    }
}
