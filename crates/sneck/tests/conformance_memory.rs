//! The contract of every protocol, kept by `memory`.

sneck_testkit::conformance! {
    registry = sneck::Registry::local,
    place = |folder| format!("memory:{}", folder.display()),
}
