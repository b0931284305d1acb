//! Reads a Redis place: which server, which database, which lock, and how to log in.
//!
//! ```text
//! redis://[[user]:password@][host][:port][/database]/name[?option=value&…]
//! rediss://…                       the same, encrypted
//! redis:///name?socket=/run/redis/redis.sock
//! ```
//!
//! The last segment of the path is the lock's name, which is the key; one before it is the database's number. What is left out is
//! `127.0.0.1`, `6379`, database 0, and the user `default` without a password, unless `REDISCLI_AUTH` has one, as for `redis-cli`. A password
//! alone is the default user's: `redis://:secret@host/name`.
//!
//! | option | for |
//! |---|---|
//! | `socket` | the server's socket file, instead of host and port |
//! | `ttl`, `lock-delay` | the usual terms, as in `15s`, `1500ms`; whoever acquires may say otherwise |
//! | `wait` | how many replicas must have taken note of a grant before it counts |
//! | `cacert`, `cert`, `key`, `sni` | TLS: the authorities that are trusted (PEM; usually the system's), our own certificate and its key, the name to verify |
//! | `verify` | TLS: `full` (usual), `ca` (for whatever name), `none` |
//!
//! `sneck_net::place` reads the text; this file makes sense of it. Nothing here connects anywhere.

use sneck::lease::Terms;
use sneck_net::place::{Form, Options, PlaceError, Written, decode, fail, not_empty};
use sneck_net::{Address, Credential, Roots, Trust};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

const HOST: &str = "127.0.0.1";
const PORT: u16 = 6379;

const FORM: Form = Form {
    usual: "redis://host/name or redis://host/database/name",
    bracketed: "redis://[::1]:6379/name",
};

const OPTIONS: &[&str] = &[
    "cacert",
    "cert",
    "key",
    "lock-delay",
    "sni",
    "socket",
    "ttl",
    "verify",
    "wait",
];

/// What the keys beside the lock's own begin with. No lock may be named so.
pub(crate) const FAMILY: &str = "sneck:{";

/// One Redis place, complete.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    address: Address,
    encryption: Option<Encryption>,
    user: Option<String>,
    password: Option<String>,
    database: u32,
    name: String,
    replicas: u32,
    terms: Terms,
}

/// How it is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// Whom to trust.
    pub trust: Trust,
    /// What to show.
    pub credential: Option<Credential>,
    /// The name that the server's certificate must be for.
    pub name: String,
}

impl Config {
    /// Parses a place with its scheme.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to write it. It never quotes the place, since a misplaced character can make any part of it a piece of the
    /// password; only names of options are quoted.
    pub fn parse(place: &str) -> Result<Config, PlaceError> {
        Config::parse_in(place, &|name| std::env::var_os(name))
    }

    fn parse_in(place: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, PlaceError> {
        let (encrypted, rest) = if let Some(rest) = place.strip_prefix("rediss://") {
            (true, rest)
        } else if let Some(rest) = place.strip_prefix("redis://") {
            (false, rest)
        } else {
            return fail("a Redis place is written redis://host/name");
        };
        let written = Written::parse(rest, &FORM)?;
        let server = written.only_host()?;
        let (database, name) = split_path(written.path)?;
        let mut options = written.options;

        if name.starts_with(FAMILY) {
            return fail(
                "names that begin with sneck:{ are taken: the queues of other locks have them",
            );
        }
        let socket = options.take("socket")?;
        let address = match (socket, not_empty(server.name), server.port) {
            (Some(path), None, None) => Address::File(PathBuf::from(path)),
            (Some(_), _, _) => {
                return fail("the server is given twice: before the path and as the option socket");
            }
            (None, Some(host), None) if host.starts_with('/') => Address::File(PathBuf::from(host)),
            (None, host, port) => Address::Tcp {
                host: host.unwrap_or_else(|| HOST.to_owned()),
                port: port.unwrap_or(PORT),
            },
        };
        let encryption = encryption(encrypted, &address, &mut options)?;
        let replicas = match options.take("wait")? {
            None => 0,
            Some(text) => match text.parse() {
                Ok(count) if count <= 100 => count,
                _ => return fail("the option wait is no number of replicas"),
            },
        };
        let terms = options.take_terms()?;
        options.none_left(OPTIONS)?;
        let password = match written.password.and_then(not_empty) {
            Some(password) => Some(password),
            None => match env("REDISCLI_AUTH").map(OsString::into_string) {
                None => None,
                Some(Ok(password)) => Some(password).filter(|text| !text.is_empty()),
                Some(Err(_)) => return fail("the environment variable REDISCLI_AUTH is not UTF-8"),
            },
        };
        Ok(Config {
            address,
            encryption,
            user: written.user,
            password,
            database,
            name,
            replicas,
            terms,
        })
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How the connection is encrypted; None: it is not.
    #[must_use]
    pub fn encryption(&self) -> Option<&Encryption> {
        self.encryption.as_ref()
    }

    /// User and password, if there are any.
    pub(crate) fn login(&self) -> Option<(&str, &str)> {
        match (self.user.as_deref(), self.password.as_deref()) {
            (None, None) => None,
            // One that needs no password takes any.
            (user, password) => Some((user.unwrap_or("default"), password.unwrap_or(""))),
        }
    }

    /// The number of the database.
    #[must_use]
    pub fn database(&self) -> u32 {
        self.database
    }

    /// The lock's name, which is its key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the names of all other keys and channels of this lock begin with. What stands in the braces decides on the slot, so that all are of one.
    #[must_use]
    pub fn family(&self) -> String {
        format!("{FAMILY}{}}}:", self.name)
    }

    /// How many replicas must have taken note of a grant.
    #[must_use]
    pub fn replicas(&self) -> u32 {
        self.replicas
    }

    /// How long a holding lasts without a word from its holder, unless whoever acquires says otherwise.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// The same for every way of writing this lock.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("redis:{}/{}/{}", self.address, self.database, self.name)
    }
}

/// The database and the name.
fn split_path(path: &str) -> Result<(u32, String), PlaceError> {
    let segments: Vec<&str> = path.split('/').collect();
    let (database, name) = match segments[..] {
        [name] => ("0", name),
        [database, name] => (database, name),
        _ => {
            return fail(
                "the place has too many parts: it is host/name or host/database/name, and a slash inside a name is written %2F",
            );
        }
    };
    let Ok(database) = database.parse() else {
        return fail(
            "what stands before the name is no number of a database; a slash inside a name is written %2F",
        );
    };
    let name = decode(name, "lock's name")?;
    if name.is_empty() {
        return fail(format!("the place names no lock: write {}", FORM.usual));
    }
    Ok((database, name))
}

fn encryption(
    encrypted: bool,
    address: &Address,
    options: &mut Options,
) -> Result<Option<Encryption>, PlaceError> {
    let roots = options.take("cacert")?.map(|path| Roots::File(path.into()));
    let credential = match (options.take("cert")?, options.take("key")?) {
        (Some(certificate), Some(key)) => Some(Credential {
            certificate: certificate.into(),
            key: key.into(),
        }),
        (None, None) => None,
        _ => return fail("the options cert and key go together"),
    };
    let (name, verify) = (options.take("sni")?, options.take("verify")?);
    if !encrypted {
        // A wish for encryption is never ignored.
        if roots.is_some() || credential.is_some() || name.is_some() || verify.is_some() {
            return fail(
                "cacert, cert, key, sni and verify are for encrypted connections: write rediss://",
            );
        }
        return Ok(None);
    }
    let roots = roots.unwrap_or(Roots::System);
    let trust = match verify.as_deref() {
        None | Some("full") => Trust::Named(roots),
        Some("ca") => Trust::Signed(roots),
        Some("none") => Trust::Anybody,
        Some(_) => return fail("the option verify is none of full, ca, none"),
    };
    let name = match (name, address) {
        (Some(name), _) => name,
        (None, Address::Tcp { host, .. }) => host.clone(),
        (None, Address::File(_)) => "localhost".to_owned(),
    };
    Ok(Some(Encryption {
        trust,
        credential,
        name,
    }))
}

/// Everything but the password, of which it says only whether there is one.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.address)
            .field("encryption", &self.encryption)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("database", &self.database)
            .field("name", &self.name)
            .field("replicas", &self.replicas)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn parse(place: &str, password: Option<&str>) -> Result<Config, PlaceError> {
        Config::parse_in(place, &|name| {
            password
                .filter(|_| name == "REDISCLI_AUTH")
                .map(OsString::from)
        })
    }

    fn parsed(place: &str) -> Config {
        parse(place, None).expect("it makes sense")
    }

    fn sentence(place: &str) -> String {
        parse(place, None)
            .expect_err("it makes no sense")
            .to_string()
    }

    fn tcp(host: &str, port: u16) -> Address {
        let host = host.to_owned();
        Address::Tcp { host, port }
    }

    #[test]
    fn a_full_place_gives_every_part() {
        let config = parsed("redis://ann:p%40ss@cache.example:6000/3/jobs%2Fnightly?wait=2");
        assert_eq!(config.address(), &tcp("cache.example", 6000));
        assert_eq!(config.login(), Some(("ann", "p@ss")));
        assert_eq!(config.database(), 3);
        assert_eq!(config.name(), "jobs/nightly");
        assert_eq!(config.replicas(), 2);
        assert_eq!(config.encryption(), None);
        assert_eq!(config.family(), "sneck:{jobs/nightly}:");
    }

    #[test]
    fn what_is_left_out_is_as_for_redis_cli() {
        let config = parsed("redis:///n");
        assert_eq!(config.address(), &tcp("127.0.0.1", 6379));
        assert_eq!((config.database(), config.login()), (0, None));
        let secret = parse("redis://h/n", Some("hush")).expect("it makes sense");
        assert_eq!(secret.login(), Some(("default", "hush")));
        let own = parse("redis://:own@h/n", Some("hush")).expect("it makes sense");
        assert_eq!(own.login(), Some(("default", "own")));
        assert_eq!(parse("redis://h/n", Some("")).expect("sense").login(), None);
    }

    #[test]
    fn a_socket_file_is_an_option_or_an_escaped_host() {
        let file = Address::File("/run/redis.sock".into());
        assert_eq!(parsed("redis:///n?socket=/run/redis.sock").address(), &file);
        assert_eq!(parsed("redis://%2Frun%2Fredis.sock/2/n").address(), &file);
        assert!(sentence("redis://h/n?socket=/run/x").contains("twice"));
    }

    #[test]
    fn encryption_is_verified_unless_it_is_said_otherwise() {
        let of = |place: &str| {
            parsed(place)
                .encryption()
                .cloned()
                .expect("it is encrypted")
        };
        let usual = of("rediss://cache.example/n");
        assert_eq!(usual.trust, Trust::Named(Roots::System));
        assert_eq!(usual.name, "cache.example");
        let all = of("rediss://h/n?cacert=/ca&cert=/c&key=/k&sni=other&verify=ca");
        assert_eq!(all.trust, Trust::Signed(Roots::File("/ca".into())));
        assert_eq!(all.name, "other");
        assert_eq!(all.credential.expect("given").key, PathBuf::from("/k"));
        assert_eq!(of("rediss://h/n?verify=none").trust, Trust::Anybody);
        assert!(sentence("rediss://h/n?cert=/c").contains("together"));
        assert!(sentence("redis://h/n?cacert=/ca").contains("rediss://"));
        assert!(sentence("rediss://h/n?verify=some").contains("none of"));
    }

    #[test]
    fn a_place_may_say_how_long_its_leases_last() {
        assert_eq!(parsed("redis://h/n").terms(), Terms::USUAL);
        let terms = parsed("redis://h/n?ttl=1500ms&lock-delay=1s").terms();
        assert_eq!(terms.ttl(), Duration::from_millis(1500));
        assert_eq!(terms.delay(), Duration::from_secs(1));
        assert!(sentence("redis://h/n?ttl=soon").contains("ttl"));
        assert!(sentence("redis://h/n?ttl=1ms").contains("short"));
    }

    #[test]
    fn what_makes_no_sense_is_told_with_the_way_to_write_it() {
        for place in ["redis://h", "redis://h/", "redis://h/1/"] {
            assert!(sentence(place).contains("names no lock"), "{place}");
        }
        assert!(sentence("redis:h/n").contains("redis://host/name"));
        assert!(sentence("redis://h/jobs/nightly").contains("%2F"));
        assert!(sentence("redis://h/1/2/n").contains("%2F"));
        assert_eq!(parsed("redis://ann@h/n").login(), Some(("ann", "")));
        assert!(sentence("redis://h/n?wiat=1").contains("wiat"));
        assert!(sentence("redis://h/n?wait=x").contains("wait"));
        assert!(sentence("redis://h/n?wait=1&wait=1").contains("twice"));
        assert!(sentence("redis://h/sneck:{n}:queue").contains("taken"));
        assert!(sentence("redis://::1/n").contains("brackets"));
        assert!(sentence("redis://h:x/n").contains("port"));
        assert_eq!(parsed("redis://[::1]:1/n").address(), &tcp("::1", 1));
    }

    #[test]
    fn no_error_and_no_print_shows_the_password() {
        assert!(!format!("{:?}", parsed("redis://ann:hush@h/n")).contains("hush"));
        for place in [
            "redis://ann:hush/hush@h/n",
            "redis://ann:hush?hush@h/n",
            "redis://ann:hush%zz@h/n",
            "redis://ann:hush@h:x/n",
            "redis://ann:hush@h",
            "redis://ann:hush@h/a/b/c",
            "redis://ann:hush@h/n?nonsense=1",
        ] {
            assert!(!sentence(place).contains("hush"), "{place}");
        }
    }
}
