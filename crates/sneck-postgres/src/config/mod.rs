//! Reads a PostgreSQL place: which server, which database, which lock, and how to log in.
//!
//! ```text
//! postgres://[user[:password]@]host[:port][/database]/name[?option=value&…]
//! ```
//!
//! The last segment of the path is the lock's name and the one before it the database. What is left out is looked for where PostgreSQL's own programs look,
//! in their order: the service that `?service=` or `PGSERVICE` names, then the environment (`PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`,
//! `PGSSLMODE` …), then the defaults `localhost`, `5432`, the login name, and a database named like the user. A password that nobody gave may stand in
//! `~/.pgpass` or the file that `PGPASSFILE` names.
//!
//! | file | for |
//! |---|---|
//! | `sources.rs` | what it leaves out: services and the environment |
//! | `passfile.rs` | passwords |
//! | `encryption.rs` | `sslmode` and its company |
//!
//! `sneck_net::place` reads the text. Nothing here connects anywhere or checks that the host exists. Other than libpq, it knows no lists of several hosts: a lock lives on one server, and a
//! list would let two parties lock two different ones.

mod encryption;
mod passfile;
mod sources;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

pub(crate) use self::encryption::Way;
pub use self::encryption::{ChannelBinding, Encryption, Negotiation, SslMode};
use self::passfile::{Login, Looked};
use self::sources::{Env, Settings, Sources, variable};
use crate::sys;
use sneck::lease::Terms;
use sneck_net::place::{
    Encoded, Form, Options, PlaceError, Written, decode, fail, not_empty, port_number,
};

const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 5432;

const FORM: Form = Form {
    usual: "postgres://host/name or postgres://host/database/name",
    bracketed: "postgres://[::1]:5432/name",
};

/// What may follow the question mark; the rest has a place of its own.
const OPTIONS: &[&str] = &[
    "channel_binding",
    "connect_timeout",
    "host",
    "lock-delay",
    "passfile",
    "service",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "ttl",
];

/// How an error says that libpq has something and this has not.
const NOT_SUPPORTED: &str = "not supported";

/// The advisory lock key that stands for a lock's name.
///
/// It is the first eight bytes, most significant first, of the SHA-256 of the name's UTF-8
/// bytes, read as a signed 64-bit number: any program can compute it, for instance to take the
/// same lock from SQL. Two names can share a key only by a collision of 64 bits; they would then
/// exclude each other, which is slow but safe. PostgreSQL keeps advisory locks per database, so
/// the same name in two databases means two locks.
#[must_use]
pub fn key(name: &str) -> i64 {
    let digest = Sha256::digest(name.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A host name or IP address, and a port.
    Tcp {
        /// A name to look up, or an IP address without brackets.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// A socket file on this machine, named by its folder and port as libpq does it.
    Unix {
        /// The folder that holds the socket file.
        folder: PathBuf,
        /// The port, which is part of the socket file's name.
        port: u16,
    },
}

impl Address {
    fn new(host: String, port: u16) -> Result<Address, PlaceError> {
        if host.starts_with('/') {
            return Ok(Address::Unix {
                folder: PathBuf::from(host),
                port,
            });
        }
        if host.starts_with('@') {
            return fail("abstract Unix sockets (a host that starts with @) are not supported");
        }
        if host.contains(',') {
            return fail("a lock lives on one server: write one host, not a list of them");
        }
        Ok(Address::Tcp { host, port })
    }
}

impl From<&Address> for sneck_net::Address {
    fn from(address: &Address) -> sneck_net::Address {
        match address {
            Address::Tcp { host, port } => sneck_net::Address::Tcp {
                host: host.clone(),
                port: *port,
            },
            Address::Unix { folder, port } => sneck_net::Address::File(socket_file(folder, *port)),
        }
    }
}

/// `host:port`, or the path of the socket file.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sneck_net::Address::from(self).fmt(f)
    }
}

/// The socket file PostgreSQL makes in `folder` for `port`.
fn socket_file(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

/// One PostgreSQL place, complete: every default is filled in.
///
/// Its `Display` is the place written out, without the password and without options that do not
/// say *which* lock is meant, so that two spellings of one lock print the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    address: Address,
    user: String,
    password: Option<String>,
    /// Why there may be a password that was not taken.
    password_note: Option<String>,
    database: String,
    name: String,
    connect_timeout: Option<Duration>,
    encryption: Encryption,
    terms: Terms,
}

impl Config {
    /// Parses a whole place, its scheme `postgres` or `postgresql`, or what follows the scheme
    /// and its colon.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong and how to write it. It never quotes the place, since a
    /// misplaced character can make any part of it a piece of the password; only names of
    /// options, which are needed to find the mistake, are quoted.
    pub fn parse(place: &str) -> Result<Config, PlaceError> {
        Config::parse_in(place, &|name| std::env::var_os(name))
    }

    /// As [`Config::parse`], with `env` in place of the process's environment.
    fn parse_in(place: &str, env: Env<'_>) -> Result<Config, PlaceError> {
        let rest = ["postgresql://", "postgres://", "//"]
            .iter()
            .find_map(|start| place.strip_prefix(start))
            .ok_or_else(|| PlaceError::new("a PostgreSQL place is written postgres://host/name"))?;
        let written = Written::parse(rest, &FORM)?;
        let server = written.only_host()?;
        let (database, name) = split_path(written.path)?;
        let mut options = written.options;
        let service = options.take("service")?;
        let terms = options.take_terms()?;
        let mut said = settings(options)?;
        let host = not_empty(server.name);
        if host.is_some() && said.iter().any(|(option, _)| *option == "host") {
            return fail("the host is given twice: before the path and as the option host");
        }
        let password = written.password.and_then(not_empty);
        said.extend(host.map(|host| ("host", host)));
        said.extend(server.port.map(|port| ("port", port.to_string())));
        said.extend(written.user.map(|user| ("user", user)));
        said.extend(password.map(|password| ("password", password)));
        said.extend(database.map(|database| ("dbname", database)));
        let sources = Sources::new(said, service, env)?;

        let host = sources.value("host")?;
        let host = host.unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let port = match sources.find("port")? {
            Some(found) => port_number(&found.value, &found.whence)?,
            None => DEFAULT_PORT,
        };
        let address = Address::new(host, port)?;
        let user = match sources.value("user")? {
            Some(user) => user,
            None => login_name(env)?,
        };
        let connect_timeout = match sources.find("connect_timeout")? {
            Some(found) => Some(seconds(&found.value, &found.whence)?),
            None => None,
        };
        let database = sources.value("dbname")?.unwrap_or_else(|| user.clone());
        let (mut password, mut password_note) = (sources.value("password")?, None);
        if password.is_none() {
            let named = sources.value("passfile")?.map(PathBuf::from);
            let path = named.or_else(|| sources.own_file(sys::PASSWORD_FILE));
            let login = Login {
                address: &address,
                database: &database,
                user: &user,
            };
            match path.map(|path| passfile::look(&path, &login)) {
                Some(Looked::Password(found)) => password = Some(found),
                Some(Looked::Ignored(why)) => password_note = Some(why),
                Some(Looked::Nothing) | None => {}
            }
        }
        Ok(Config {
            encryption: Encryption::read(&sources, &address)?,
            terms,
            address,
            password,
            password_note,
            database,
            user,
            name,
            connect_timeout,
        })
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The role to log in as.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Why there may be a password that was not taken.
    pub(crate) fn password_note(&self) -> Option<&str> {
        self.password_note.as_deref()
    }

    /// How the connection is encrypted.
    #[must_use]
    pub fn encryption(&self) -> &Encryption {
        &self.encryption
    }

    /// The database that the lock belongs to.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The advisory lock key of the lock's name; see [`key`](fn@key).
    #[must_use]
    pub fn key(&self) -> i64 {
        key(&self.name)
    }

    /// The longest time to spend on connecting, where the place or `PGCONNECT_TIMEOUT` says so.
    #[must_use]
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// How long a lease lasts, unless the program says otherwise.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }
}

/// What follows the question mark, by libpq's names.
fn settings(mut options: Options) -> Result<Settings, PlaceError> {
    let mut said = Settings::new();
    for option in OPTIONS {
        said.extend(options.take(option)?.map(|value| (*option, value)));
    }
    options.none_left(OPTIONS)?;
    Ok(said)
}

/// The database, if the path has one, and the name.
fn split_path(path: &str) -> Result<(Option<String>, String), PlaceError> {
    let segments: Vec<&str> = path.split('/').collect();
    let (database, name) = match segments[..] {
        [name] => (None, name),
        [database, name] => (Some(database), name),
        _ => {
            return fail(
                "the place has too many parts: it is host/name or host/database/name, and a \
                 slash inside a part is written %2F",
            );
        }
    };
    let name = decode(name, "lock's name")?;
    if name.is_empty() {
        return fail(format!("the place names no lock: write {}", FORM.usual));
    }
    let database = match database {
        None => None,
        // Were it the default, an empty variable in a script would quietly mean another lock.
        Some("") => return fail("the database between the two slashes is empty"),
        Some(database) => Some(decode(database, "database")?),
    };
    Ok((database, name))
}

fn seconds(text: &str, what: &str) -> Result<Duration, PlaceError> {
    match text.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => fail(format!(
            "{what} is not a whole number of seconds, at least 1"
        )),
    }
}

/// Everything but the password, of which it says only whether there is one.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.address)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("database", &self.database)
            .field("name", &self.name)
            .field("connect_timeout", &self.connect_timeout)
            .field("encryption", &self.encryption)
            .field("terms", &self.terms)
            .finish()
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@", Encoded(&self.user))?;
        let folder = match &self.address {
            Address::Tcp { .. } => {
                write!(f, "{}", self.address)?;
                None
            }
            Address::Unix { folder, port } => {
                write!(f, ":{port}")?;
                Some(folder.to_string_lossy())
            }
        };
        write!(f, "/{}/{}", Encoded(&self.database), Encoded(&self.name))?;
        match folder {
            Some(folder) => write!(f, "?host={}", Encoded(&folder)),
            None => Ok(()),
        }
    }
}

/// The operating system's name for the user, as libpq takes it; the environment only where the
/// system does not know, since `LOGNAME` is often left over from before a `sudo`.
fn login_name(env: Env<'_>) -> Result<String, PlaceError> {
    if let Some(name) = sys::login_name() {
        return Ok(name);
    }
    for name in ["LOGNAME", "USER", "USERNAME"] {
        if let Some(name) = variable(env, name)? {
            return Ok(name);
        }
    }
    fail("no user is given and the login name is not known: write postgres://user@host/name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sneck_net::{Credential, Roots, Trust};
    use std::ffi::OsString;
    use std::fs;

    /// Parses with these environment variables and no others, but a user unless one is set.
    fn parse(place: &str, env: &[(&str, &str)]) -> Result<Config, PlaceError> {
        Config::parse_in(place, &|name| {
            let set = env.iter().find(|(key, _)| *key == name);
            let fallback = (name == "PGUSER").then_some("me");
            set.map(|(_, value)| *value)
                .or(fallback)
                .map(OsString::from)
        })
    }

    fn parsed(place: &str) -> Config {
        parse(place, &[]).unwrap()
    }

    fn sentence(place: &str) -> String {
        parse(place, &[]).unwrap_err().to_string()
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn the_key_is_the_head_of_the_sha256_of_the_name() {
        // From `printf %s NAME | sha256sum | cut -c1-16`.
        assert_eq!(key("nightly"), 0x2a3b_62b5_3ddb_9f16_u64 as i64);
        assert_eq!(key("jobs/nächtlich"), 0x757b_31b1_79bf_a8c9_u64 as i64);
        // A digest whose first bit is set makes a negative key.
        assert_eq!(key(""), 0xe3b0_c442_98fc_1c14_u64 as i64);
        assert_eq!(parsed("//h/nightly").key(), key("nightly"));
    }

    #[test]
    fn a_full_place_gives_every_part() {
        let config = parsed("postgres://ann:secret@db.example:6000/work/nightly");
        assert_eq!(config.address(), &tcp("db.example", 6000));
        assert_eq!(config.user(), "ann");
        assert_eq!(config.password(), Some("secret"));
        assert_eq!(config.database(), "work");
        assert_eq!(config.name(), "nightly");
        assert_eq!(config.connect_timeout(), None);
    }

    #[test]
    fn the_scheme_may_be_cut_off_but_not_the_slashes() {
        let whole = parsed("postgres://ann@db/work/nightly");
        assert_eq!(parsed("postgresql://ann@db/work/nightly"), whole);
        assert_eq!(parsed("//ann@db/work/nightly"), whole);
        for place in ["", "ann@db/work/nightly", "postgres:ann@db/work/nightly"] {
            assert!(
                sentence(place).contains("postgres://host/name"),
                "{place:?}"
            );
        }
    }

    #[test]
    fn the_only_segment_is_the_name_and_the_database_is_the_users() {
        let config = parsed("//ann@db/nightly");
        assert_eq!((config.database(), config.name()), ("ann", "nightly"));
    }

    #[test]
    fn the_environment_fills_in_what_the_place_leaves_out() {
        let env = [
            ("PGHOST", "db.env"),
            ("PGPORT", "7000"),
            ("PGUSER", "eve"),
            ("PGPASSWORD", "from-env"),
            ("PGDATABASE", "envdb"),
            ("PGCONNECT_TIMEOUT", "4"),
        ];
        let config = parse("///nightly", &env).unwrap();
        assert_eq!(config.address(), &tcp("db.env", 7000));
        assert_eq!(config.user(), "eve");
        assert_eq!(config.password(), Some("from-env"));
        assert_eq!(config.database(), "envdb");
        assert_eq!(config.connect_timeout(), Some(Duration::from_secs(4)));

        let place = "//ann:pw@db:1/d/n?connect_timeout=9";
        assert_eq!(parse(place, &env).unwrap(), parsed(place));
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let config = parse("///nightly", &[("PGHOST", ""), ("PGPORT", "")]).unwrap();
        assert_eq!(config.address(), &tcp("localhost", 5432));
    }

    #[test]
    fn a_broken_variable_is_named() {
        let error = parse("///n", &[("PGPORT", "five")]).unwrap_err();
        assert!(error.to_string().starts_with("PGPORT is not"), "{error}");
        let error = parse("///n", &[("PGCONNECT_TIMEOUT", "soon")]).unwrap_err();
        assert!(
            error.to_string().starts_with("PGCONNECT_TIMEOUT"),
            "{error}"
        );
    }

    #[test]
    fn without_any_user_the_login_name_is_taken() {
        let config = Config::parse_in("//db/n", &|name| {
            (name == "LOGNAME").then(|| OsString::from("someone"))
        });
        assert!(!config.unwrap().user().is_empty());
    }

    #[test]
    fn every_part_is_percent_decoded() {
        let config = parsed("//a%40b:p%3Aw%2F%3F%25@h%2Dx/d%20b/jobs%2Fn%C3%A4chtlich");
        assert_eq!(config.user(), "a@b");
        assert_eq!(config.password(), Some("p:w/?%"));
        assert_eq!(config.address(), &tcp("h-x", 5432));
        assert_eq!(config.database(), "d b");
        assert_eq!(config.name(), "jobs/nächtlich");
    }

    #[test]
    fn a_plus_is_a_plus() {
        assert_eq!(parsed("//h/a+b").name(), "a+b");
    }

    #[test]
    fn an_at_sign_in_a_password_is_understood() {
        let config = parsed("//ann:p@ss@db/n");
        assert_eq!(config.password(), Some("p@ss"));
        assert_eq!(config.address(), &tcp("db", 5432));
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        let config = parsed("//[::1]:6000/n");
        assert_eq!(config.address(), &tcp("::1", 6000));
        assert_eq!(config.address().to_string(), "[::1]:6000");
        assert_eq!(
            parsed("//ann@[fe80::1%25eth0]/n").address(),
            &tcp("fe80::1%eth0", 5432)
        );
        assert!(sentence("//::1/n").contains("brackets"));
        assert!(sentence("//[::1/n").contains("bracket"));
        assert!(sentence("//[::1]6000/n").contains("bracket"));
    }

    #[test]
    fn a_folder_as_host_means_a_unix_socket() {
        let address = Address::Unix {
            folder: "/run/postgresql".into(),
            port: 6000,
        };
        assert_eq!(address.to_string(), "/run/postgresql/.s.PGSQL.6000");
        assert_eq!(
            parsed("//:6000/d/n?host=/run/postgresql").address(),
            &address
        );
        assert_eq!(
            parsed("//ann@:6000/n?host=%2Frun%2Fpostgresql").address(),
            &address
        );
        assert_eq!(parsed("//%2Frun%2Fpostgresql:6000/n").address(), &address);
        let config = parse("//:6000/n", &[("PGHOST", "/run/postgresql")]).unwrap();
        assert_eq!(config.address(), &address);
    }

    #[test]
    fn hosts_that_mean_something_else_to_libpq_are_refused() {
        assert!(sentence("//a,b/n").contains("one server"));
        assert!(sentence("///n?host=@abstract").contains("abstract"));
        assert!(sentence("//db/n?host=/run").contains("twice"));
    }

    #[test]
    fn a_place_without_a_name_is_refused() {
        for place in ["//", "//db", "//db/", "//db/work/", "postgres://"] {
            assert!(sentence(place).contains("names no lock"), "{place:?}");
        }
        assert!(sentence("//db//n").contains("database"));
        assert!(sentence("//db/a/b/c").contains("%2F"));
    }

    #[test]
    fn options_are_read_and_unknown_ones_named() {
        let config = parsed("//db/n?connect_timeout=3&sslmode=prefer");
        assert_eq!(config.connect_timeout(), Some(Duration::from_secs(3)));
        assert!(sentence("//db/n?conect_timeout=3").contains("conect_timeout"));
        assert!(sentence("//db/n?connect_timeout=0").contains("connect_timeout"));
        assert!(sentence("//db/n?connect_timeout=-1").contains("connect_timeout"));
        assert!(sentence("//db/n?host=").contains("no value"));
        assert!(sentence("//db/n?host").contains("no value"));
        assert!(sentence("//db/n?connect_timeout=1&connect_timeout=2").contains("twice"));
        assert_eq!(parsed("//db/n?"), parsed("//db/n"));
    }

    #[test]
    fn the_terms_of_a_lease_may_stand_in_the_place() {
        assert_eq!(parsed("//db/n").terms(), Terms::USUAL);
        let terms = parsed("//db/n?ttl=1500ms&lock-delay=2m").terms();
        let (ttl, delay) = (Duration::from_millis(1500), Duration::from_secs(120));
        assert_eq!((terms.ttl(), terms.delay()), (ttl, delay));
        for option in ["ttl=1y", "ttl=s", "lock-delay=-1s", "lock-delay=1.5s"] {
            let error = sentence(&format!("//db/n?{option}"));
            assert!(error.contains("no time"), "{option}: {error}");
        }
        assert!(sentence("//db/n?ttl=1ms").contains("too short"));
        assert!(sentence("//db/n?ttl=soon").contains("the option ttl is no time"));
        assert!(sentence("//db/n?ttl=1s&ttl=2s").contains("twice"));
        assert!(sentence("//db/n?ttl=99999999999999999999h").contains("no time"));
    }

    /// A home folder with these files in it, which nobody else may read.
    fn home(files: &[(&str, &str)]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            sneck_testkit::sys::write_secret(&path, text.as_bytes()).unwrap();
        }
        home
    }

    fn file(home: &tempfile::TempDir, name: &str) -> PathBuf {
        home.path().join(name)
    }

    #[test]
    fn without_a_word_it_is_encrypted_if_the_server_can_and_verified_if_there_is_a_root() {
        let config = parsed("//db/n");
        assert_eq!(config.encryption().mode(), SslMode::Prefer);
        assert_eq!(config.encryption().trust(), &Trust::Anybody);

        let root = format!("{}/root.crt", sys::CERTIFICATES);
        let home = home(&[(&root, "")]);
        let folder = home.path().to_str().unwrap();
        let found = Roots::File(file(&home, &root));
        let env = [(sys::HOME, folder)];
        for (options, mode, trust) in [
            ("", SslMode::VerifyFull, Trust::Named(found.clone())),
            (
                "?sslmode=verify-ca",
                SslMode::VerifyCa,
                Trust::Signed(found.clone()),
            ),
            (
                "?sslmode=require",
                SslMode::Require,
                Trust::Signed(found.clone()),
            ),
            (
                "?sslmode=prefer",
                SslMode::Prefer,
                Trust::Signed(found.clone()),
            ),
            (
                "?sslrootcert=/ca",
                SslMode::VerifyFull,
                Trust::Named(Roots::File("/ca".into())),
            ),
            (
                "?sslrootcert=system",
                SslMode::VerifyFull,
                Trust::Named(Roots::System),
            ),
        ] {
            let config = parse(&format!("//db/n{options}"), &env).unwrap();
            assert_eq!(config.encryption().mode(), mode, "{options}");
            assert_eq!(config.encryption().trust(), &trust, "{options}");
        }
        let config = parse(
            "//db/n",
            &[("PGSSLROOTCERT", "/ca"), ("PGSSLMODE", "verify-ca")],
        );
        let trust = Trust::Signed(Roots::File("/ca".into()));
        assert_eq!(config.unwrap().encryption().trust(), &trust);
    }

    #[test]
    fn a_wish_for_tls_is_never_ignored() {
        for mode in ["verify-ca", "verify-full"] {
            let error = sentence(&format!("//db/n?sslmode={mode}"));
            assert!(error.contains("no root certificate"), "{error}");
            let error = parse("//db/n", &[("PGSSLMODE", mode)]).unwrap_err();
            assert!(error.to_string().contains("sslrootcert"), "{error}");
        }
        assert!(sentence("//db/n?sslmode=maybe").contains("none of"));
        assert!(sentence("//db/n?sslnegotiation=maybe").contains("neither"));
        assert!(sentence("//db/n?channel_binding=maybe").contains("none of"));
        assert!(sentence("//db/n?sslnegotiation=direct").contains("needs sslmode"));
        let weak = sentence("//db/n?sslrootcert=system&sslmode=require");
        assert!(weak.contains("verify-full only"), "{weak}");
        for name in ["PGSSLCRL", "PGSSLCRLDIR", "PGREQUIREAUTH", "PGHOSTADDR"] {
            let error = parse("//db/n", &[(name, "x")]).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains("not supported"),
                "{error}"
            );
        }
        let config = parse("//db/n?sslmode=disable", &[("PGSSLMODE", "require")]);
        let mode = config.unwrap().encryption().mode();
        assert_eq!(mode, SslMode::Disable, "the place outranks the environment");
        // Through a socket file nothing is, as in libpq.
        let local = parsed("//:6000/n?host=/run/pg&sslmode=require");
        assert_eq!(local.encryption().mode(), SslMode::Disable);
    }

    #[test]
    fn a_certificate_of_ours_is_named_or_found() {
        let names =
            ["postgresql.crt", "postgresql.key"].map(|n| format!("{}/{n}", sys::CERTIFICATES));
        let home = home(&[(&names[0], ""), (&names[1], "")]);
        let env = [(sys::HOME, home.path().to_str().unwrap())];
        let shown = |place: &str| {
            let config = parse(place, &env).unwrap();
            config.encryption.clone()
        };
        let given = shown("//db/n?sslcert=/a.crt&sslkey=/a.key");
        let ours = Credential {
            certificate: "/a.crt".into(),
            key: "/a.key".into(),
        };
        assert!(format!("{given:?}").contains(&format!("{ours:?}")));
        let found = Credential {
            certificate: file(&home, &names[0]),
            key: file(&home, &names[1]),
        };
        assert!(format!("{:?}", shown("//db/n")).contains(&format!("{found:?}")));
        assert!(format!("{:?}", parsed("//db/n")).contains("credential: None"));
    }

    #[test]
    fn a_service_comes_after_the_place_and_before_the_environment() {
        let service = "[work]\nhost=db.service\nport=7001\nuser=sue\npassword=from-service\ndbname=sdb\n\
                       connect_timeout=7\nsslmode=disable\n[play]\nport=x\n";
        let home = home(&[(sys::SERVICE_FILE, service)]);
        let home = home.path().to_str().unwrap();
        let env = [
            (sys::HOME, home),
            ("PGHOST", "db.env"),
            ("PGUSER", "eve"),
            ("PGPASSWORD", "from-env"),
        ];
        let config = parse("///n?service=work", &env).unwrap();
        assert_eq!(config.address(), &tcp("db.service", 7001));
        assert_eq!((config.user(), config.database()), ("sue", "sdb"));
        assert_eq!(config.password(), Some("from-service"));
        assert_eq!(config.connect_timeout(), Some(Duration::from_secs(7)));
        assert_eq!(config.encryption().mode(), SslMode::Disable);

        let config = parse("//ann:pw@db:1/d/n?service=work&sslmode=prefer", &env).unwrap();
        assert_eq!(config.address(), &tcp("db", 1));
        assert_eq!((config.user(), config.database()), ("ann", "d"));
        assert_eq!(config.password(), Some("pw"));
        assert_eq!(config.encryption().mode(), SslMode::Prefer);

        let by_env = [(sys::HOME, home), ("PGSERVICE", "work"), ("PGPORT", "9")];
        assert_eq!(
            parse("///n", &by_env).unwrap().address(),
            &tcp("db.service", 7001)
        );
        let error = parse("///n?service=play", &env).unwrap_err().to_string();
        assert!(
            error.starts_with("port in ") && error.contains("not a number"),
            "{error}"
        );
        let error = parse("///n?service=none", &env).unwrap_err().to_string();
        assert!(
            error.contains("no service \"none\"") && error.contains(home),
            "{error}"
        );
    }

    #[test]
    fn a_service_is_looked_for_in_the_users_file_and_then_in_the_systems() {
        let user = home(&[(sys::SERVICE_FILE, "[a]\nhost=user\n")]);
        let system = home(&[("pg_service.conf", "[a]\nhost=system\n[b]\nhost=system\n")]);
        let own = home(&[("named", "[a]\nhost=named\n")]);
        let named = own.path().join("named");
        let mut env = vec![
            (sys::HOME, user.path().to_str().unwrap()),
            ("PGSYSCONFDIR", system.path().to_str().unwrap()),
        ];
        let host = |place: &str, env: &[(&str, &str)]| {
            let config = parse(place, env).unwrap();
            config.address().to_string()
        };
        assert_eq!(host("///n?service=a", &env), "user:5432");
        assert_eq!(host("///n?service=b", &env), "system:5432");
        env.push(("PGSERVICEFILE", named.to_str().unwrap()));
        assert_eq!(host("///n?service=a", &env), "named:5432");
        assert_eq!(host("///n?service=b", &env), "system:5432");
        let missing = user.path().join("missing");
        env[2].1 = missing.to_str().unwrap();
        let error = parse("///n?service=b", &env).unwrap_err().to_string();
        assert!(error.contains("missing cannot be read"), "{error}");
    }

    #[test]
    fn a_password_that_nobody_gave_may_stand_in_the_password_file() {
        let home = home(&[
            (sys::PASSWORD_FILE, "db:5432:d:ann:from-file\n"),
            ("other", "*:*:*:*:from-other\n"),
        ]);
        let other = file(&home, "other");
        let other = other.to_str().unwrap();
        let mut env = vec![(sys::HOME, home.path().to_str().unwrap())];
        let password = |place: &str, env: &[(&str, &str)]| {
            let config = parse(place, env).unwrap();
            config.password().map(str::to_owned)
        };
        assert_eq!(password("//ann@db/d/n", &env).as_deref(), Some("from-file"));
        assert_eq!(password("//bob@db/d/n", &env), None);
        assert_eq!(password("//ann:pw@db/d/n", &env).as_deref(), Some("pw"));
        env.push(("PGPASSFILE", other));
        assert_eq!(
            password("//ann@db/d/n", &env).as_deref(),
            Some("from-other")
        );
        env.push(("PGPASSWORD", "from-env"));
        assert_eq!(password("//ann@db/d/n", &env).as_deref(), Some("from-env"));
        let place = format!("//ann@db/d/n?passfile={other}");
        assert_eq!(password(&place, &env[..1]).as_deref(), Some("from-other"));
    }

    #[cfg(unix)]
    #[test]
    fn a_password_file_that_others_may_read_is_not_believed() {
        use std::os::unix::fs::PermissionsExt;
        let home = home(&[(sys::PASSWORD_FILE, "*:*:*:*:hush\n")]);
        let path = file(&home, sys::PASSWORD_FILE);
        let env = [(sys::HOME, home.path().to_str().unwrap())];
        for mode in [0o644, 0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let config = parse("//db/n", &env).unwrap();
            assert_eq!(config.password(), None, "{mode:o}");
            let note = config.password_note().unwrap();
            assert!(
                note.contains("chmod 600") && note.contains(".pgpass"),
                "{note}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(parse("//db/n", &env).unwrap().password(), Some("hush"));
    }

    #[test]
    fn broken_escapes_are_refused() {
        assert!(sentence("//db/50%").contains("%25"));
        assert!(sentence("//db/%zz").contains("%25"));
        assert!(sentence("//db/%+1").contains("%25"));
        assert!(sentence("//db/a%00b").contains("NUL"));
        assert!(sentence("//db/%ff").contains("UTF-8"));
    }

    #[test]
    fn ports_are_numbers() {
        for port in ["0", "65536", "+1", "x", "1x"] {
            assert!(
                sentence(&format!("//db:{port}/n")).contains("port"),
                "{port}"
            );
        }
        assert_eq!(parsed("//db:/n").address(), &tcp("db", 5432));
    }

    #[test]
    fn no_error_and_no_print_shows_the_password() {
        let config = parsed("//ann:hush@db/n");
        assert!(!format!("{config:?} {config}").contains("hush"));
        for place in [
            "//ann:hush/hush@db/n",
            "//ann:hush?hush@db/n",
            "//ann:hush%zz@db/n",
            "//ann:hush@db:x/n",
            "//ann:hush@db",
            "//ann:hush@db/a/b/c",
            "//ann:hush@db/n?sslmode=verify-full",
            "//ann:hush@db/n?service=none",
            "//ann:hush@db/n?nonsense=1",
            "//ann:hush:hush/x@db/n",
        ] {
            let error = sentence(place);
            assert!(!error.contains("hush"), "{place}: {error}");
        }
    }

    #[test]
    fn the_display_is_the_place_again_without_the_password() {
        for (place, expected) in [
            ("//ann:pw@db/n", "postgres://ann@db:5432/ann/n"),
            ("//[::1]/d/a%2Fb", "postgres://me@[::1]:5432/d/a%2Fb"),
            (
                "//:6000/d/n?host=/run/pg&connect_timeout=2",
                "postgres://me@:6000/d/n?host=%2Frun%2Fpg",
            ),
        ] {
            let shown = parsed(place).to_string();
            assert_eq!(shown, expected);
            assert_eq!(parsed(&shown).to_string(), expected);
        }
    }
}
