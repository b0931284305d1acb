//! The contract of every protocol, kept by `labm8`.

sneck_testkit::conformance! {
    registry = sneck::Registry::local,
    place = |folder| format!("labm8:{}", folder.join("lock").display()),
}
