//! The contract of every protocol, kept by `mkdir`.

sneck_testkit::conformance! {
    registry = sneck::Registry::local,
    place = |folder| format!("mkdir:{}", folder.join("lock").display()),
}
