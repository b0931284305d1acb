//! The contract of every protocol, kept by `symlink`.

sneck_testkit::conformance! {
    registry = sneck::Registry::local,
    place = |folder| format!("symlink:{}", folder.join("lock").display()),
}
