//! The contract of every protocol, kept by `dotlock`.

sneck_testkit::conformance! {
    registry = sneck::Registry::local,
    place = |folder| format!("dotlock:{}", folder.join("lock").display()),
}
