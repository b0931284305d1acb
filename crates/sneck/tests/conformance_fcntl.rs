//! The contract of every protocol, kept by `fcntl`.

sneck_testkit::conformance! {
    registry = sneck::Registry::local,
    place = |folder| format!("fcntl:{}/lock", folder.display()),
}
