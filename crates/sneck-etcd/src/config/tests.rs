//! Places as people write them, and the environment that etcdctl's users have.

use super::*;
use std::time::Duration;

fn read(scheme: &str, rest: &str, environment: &[(&str, &str)]) -> Result<Config, PlaceError> {
    let variable = |name: &str| {
        let found = environment.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Config::parse_with(scheme, rest, &variable)
}

fn plain(rest: &str) -> Config {
    read("etcd", rest, &[]).expect("it makes sense")
}

fn members(config: &Config) -> Vec<String> {
    config.endpoints().iter().map(Endpoint::to_string).collect()
}

#[test]
fn a_place_reads_as_people_write_it() {
    let config = plain("//a,b:2400,[::1]:1/team/deploy%20all");
    assert_eq!(members(&config), ["a:2379", "b:2400", "[::1]:1"]);
    assert_eq!(config.name(), "team/deploy all");
    assert_eq!((config.login(), config.encryption()), (None, None));
    assert_eq!(config.terms(), Terms::USUAL);
    assert_eq!(members(&plain("///x")), ["127.0.0.1:2379"]);
    // A name that begins with a slash, as many have in etcd.
    assert_eq!(plain("//a//deploy").name(), "/deploy");
    assert_eq!(plain("//a/deploy?prefix=team1/").name(), "team1/deploy");
    assert_eq!(
        plain("//b,a/x").identity(),
        plain("//u:p@a:2379,b/x?ttl=9s").identity()
    );
    let terms = plain("//a/x?ttl=1500ms&lock-delay=1").terms();
    assert_eq!(
        (terms.ttl(), terms.delay()),
        (Duration::from_millis(1500), Duration::from_secs(1))
    );
}

#[test]
fn the_environment_of_etcdctl_fills_in_what_the_place_leaves_out() {
    let environment = [
        ("ETCDCTL_ENDPOINTS", "https://a:1,https://b:2/"),
        ("ETCDCTL_USER", "ada:enigma"),
        ("ETCDCTL_CACERT", "/ca"),
        ("ETCDCTL_CERT", "/cert"),
        ("ETCDCTL_KEY", "/key"),
    ];
    let config = read("etcd", "///x", &environment).expect("it makes sense");
    assert_eq!(members(&config), ["a:1", "b:2"]);
    let encryption = config.encryption().expect("https");
    assert_eq!(encryption.trust, Trust::Named(Roots::File("/ca".into())));
    let credential = encryption.credential.clone().expect("both are there");
    assert_eq!(credential.key, PathBuf::from("/key"));
    let login = config.login().expect("a user");
    assert_eq!((&*login.user, &*login.password), ("ada", "enigma"));

    // What the place says counts.
    let config = read("etcd", "//bob@c/x", &environment).expect("it makes sense");
    assert_eq!(members(&config), ["c:2379"]);
    assert_eq!(config.encryption(), None, "nothing there says https");
    assert_eq!(config.login().map(|l| &*l.password), Some(""));
    let config = read("etcds", "//ada@c/x?cacert=/other", &environment).expect("it makes sense");
    assert_eq!(config.login().map(|l| &*l.password), Some("enigma"));
    let trust = config.encryption().map(|e| e.trust.clone());
    assert_eq!(trust, Some(Trust::Named(Roots::File("/other".into()))));
}

#[test]
fn what_says_tls_encrypts() {
    for (scheme, rest) in [
        ("etcds", "//a/x"),
        ("etcd", "//a/x?tls"),
        ("etcd", "//a/x?cacert=/ca"),
        ("etcd", "//a/x?insecure-skip-tls-verify=true"),
    ] {
        let config = read(scheme, rest, &[]).expect("it makes sense");
        assert!(config.encryption().is_some(), "{scheme}:{rest}");
    }
    assert_eq!(plain("//a/x?tls=false").encryption(), None);
}

#[test]
fn what_makes_no_sense_is_refused_and_never_quoted() {
    for bad in [
        "a/x",
        "//a",
        "//a/",
        "//a:b:c/x",
        "//a:0/x",
        "//a:+1/x",
        "//a:65536/x",
        "//[::1/x",
        "//[::1]2/x",
        "//,a/x",
        "//:secret@a/x",
        "//ada:sec%zzret@a/x",
        "//ada:sec%ffret@a/x",
        "//ada:secret:more@a:b:c/x",
        "//a/%00",
        "//ada:1/x?secret@a/x",
        "//a/x?other",
        "//a/x?ttl=soon",
        "//a/x?ttl=1ms",
        "//a/x?ttl=9999999h",
        "//a/x?ttl=5s&ttl=5s",
        "//a/x?prefix=",
        "//a/x?cert=/c",
        "//a/x?tls&key=/k",
        "//a/x?tls=perhaps",
    ] {
        let error = read("etcd", bad, &[]).expect_err(bad).to_string();
        assert!(!error.contains("secret"), "{bad}: {error}");
    }
    let bad = [("ETCDCTL_ENDPOINTS", "unix://x")];
    assert!(read("etcd", "///x", &bad).is_err());
}

#[test]
fn a_password_is_not_in_debug() {
    let config = plain("//ada:secret@a/x");
    assert!(!format!("{config:?}").contains("secret"));
}
