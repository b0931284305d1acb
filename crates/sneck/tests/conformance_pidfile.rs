//! The contract of every protocol, kept by `pidfile`.

sneck_testkit::conformance! {
    registry = sneck::Registry::local,
    place = |folder| format!("pidfile:{}", folder.join("lock").display()),
}
