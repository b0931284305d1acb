//! The contract of every protocol, kept by `flock`.

sneck_testkit::conformance! {
    registry = sneck::Registry::local,
    place = |folder| folder.join("lock").display().to_string(),
}
