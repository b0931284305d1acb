//! The contract of every protocol, kept by `shlock`.

sneck_testkit::conformance! {
    registry = sneck::Registry::local,
    place = |folder| format!("shlock:{}", folder.join("lock").display()),
}
