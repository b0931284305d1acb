//! Which cluster, which lock, as whom: read from a place and from the environment that `etcdctl` reads.
//!
//! `etcd://[user[:password]@][host[:port][,host…]]/name[?options]`; `etcds://` is the same, encrypted. What may not stand in a part of a URL is written `%2F` and so on.
//!
//! | part | without it |
//! |---|---|
//! | hosts | `ETCDCTL_ENDPOINTS`, else 127.0.0.1; port 2379 |
//! | user, password | `ETCDCTL_USER` (`name` or `name:password`), `ETCDCTL_PASSWORD` |
//! | name | must be there; it may hold slashes, and is the same as in `etcdctl lock name` |
//! | `tls` | encrypted if the place begins with `etcds`, names a certificate, or `ETCDCTL_ENDPOINTS` says `https://` |
//! | `cacert=file` | `ETCDCTL_CACERT`, else the authorities that the system trusts |
//! | `cert=file`, `key=file` | `ETCDCTL_CERT`, `ETCDCTL_KEY`, else no certificate of ours |
//! | `insecure-skip-tls-verify` | `ETCDCTL_INSECURE_SKIP_TLS_VERIFY`, else the server is verified, name and all |
//! | `prefix=text` | nothing: stands before the name as it is, as clientv3's namespaces do |
//! | `ttl=15s`, `lock-delay=5s` | the usual terms; whoever acquires may say otherwise |
//!
//! Not read: `ETCDCTL_API`, `ETCDCTL_DIAL_TIMEOUT`, `ETCDCTL_COMMAND_TIMEOUT`, `ETCDCTL_KEEPALIVE_…` (the bounds are sneck's), `ETCDCTL_DISCOVERY_SRV…`, `ETCDCTL_INSECURE_TRANSPORT`.
//! The certificates of the environment alone encrypt nothing: `etcdctl` too goes by the endpoint.
//!
//! Not for: talking to anybody; nothing here looks at a file.

mod url;

use sneck::lease::Terms;
use sneck_net::{Credential, Roots, Trust};
use std::fmt;
use std::path::PathBuf;
use url::Written;

/// Where etcd listens for clients unless told otherwise.
pub const PORT: u16 = 2379;

/// Why a place makes no sense: one line, which quotes nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

fn fail<T>(what: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError(what.into()))
}

/// One member of the cluster, as clients reach it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// A host name or IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// As whom to speak.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password; empty if none was given.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Encrypted: whom to trust, and what to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// How far the server is verified.
    pub trust: Trust,
    /// Our own certificate.
    pub credential: Option<Credential>,
}

/// A place, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    endpoints: Vec<Endpoint>,
    login: Option<Login>,
    encryption: Option<Encryption>,
    name: String,
    terms: Terms,
}

impl Config {
    /// Reads what follows the scheme and its colon; the rest from the environment of this process.
    ///
    /// # Errors
    /// One line that says what makes no sense, without quoting any of it.
    pub fn parse(scheme: &str, rest: &str) -> Result<Config, ConfigError> {
        Config::parse_with(scheme, rest, &|name| std::env::var(name).ok())
    }

    fn parse_with(
        scheme: &str,
        rest: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let written = Written::parse(rest)?;
        let options = Options::read(&written.options)?;
        let (endpoints, https) = match written.endpoints.is_empty() {
            false => (written.endpoints.clone(), false),
            true => usual_endpoints(variable("ETCDCTL_ENDPOINTS"))?,
        };
        let named = options.cacert.is_some() || options.cert.is_some() || options.trusting;
        let encrypted = scheme == "etcds" || options.tls || https || named;
        let encryption = encrypted.then(|| options.encryption(&variable));
        Ok(Config {
            login: login(&written, &variable)?,
            endpoints,
            encryption: encryption.transpose()?,
            terms: options.terms()?,
            name: options.prefix.unwrap_or_default() + &written.name,
        })
    }

    /// The members, in the order in which they are tried.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// As whom to speak. None: as nobody.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// None: not encrypted.
    pub fn encryption(&self) -> Option<&Encryption> {
        self.encryption.as_ref()
    }

    /// The name, with what was asked to stand before it: what `etcdctl lock` calls a name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long a lease lasts, unless the program says otherwise.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// The same for every way of writing this place, as far as that can be known without asking.
    pub fn identity(&self) -> String {
        let mut members: Vec<String> = self.endpoints.iter().map(Endpoint::to_string).collect();
        members.sort();
        members.dedup();
        format!("etcd:{}/{}", members.join(","), self.name)
    }
}

fn usual_endpoints(variable: Option<String>) -> Result<(Vec<Endpoint>, bool), ConfigError> {
    let Some(list) = variable else {
        let here = Endpoint {
            host: "127.0.0.1".to_owned(),
            port: PORT,
        };
        return Ok((vec![here], false));
    };
    let mut https = false;
    let mut endpoints = Vec::new();
    for one in list.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        let address = match one.split_once("://") {
            Some(("https", address)) => {
                https = true;
                address
            }
            Some(("http", address)) => address,
            Some(_) => return fail("ETCDCTL_ENDPOINTS: neither http:// nor https://"),
            None => one,
        };
        let endpoint = url::endpoint(address.trim_end_matches('/'));
        endpoints.push(endpoint.map_err(|e| ConfigError(format!("ETCDCTL_ENDPOINTS: {e}")))?);
    }
    if endpoints.is_empty() {
        return fail("ETCDCTL_ENDPOINTS names no host");
    }
    Ok((endpoints, https))
}

fn login(
    written: &Written,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Login>, ConfigError> {
    let usual = variable("ETCDCTL_USER").map(|text| match text.split_once(':') {
        Some((user, password)) => (user.to_owned(), Some(password.to_owned())),
        None => (text, None),
    });
    let (user, password) = match (&written.user, usual) {
        (Some(user), usual) => {
            let same = usual.filter(|(name, _)| name == user);
            let password = written.password.clone();
            (user.clone(), password.or(same.and_then(|(_, p)| p)))
        }
        (None, _) if written.password.is_some() => {
            return fail("there is a password without a user");
        }
        (None, Some(usual)) => usual,
        (None, None) => return Ok(None),
    };
    let password = password.or_else(|| variable("ETCDCTL_PASSWORD"));
    Ok(Some(Login {
        user,
        password: password.unwrap_or_default(),
    }))
}

#[derive(Debug, Default)]
struct Options {
    tls: bool,
    trusting: bool,
    cacert: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    prefix: Option<String>,
    ttl: Option<String>,
    delay: Option<String>,
}

impl Options {
    fn read(written: &[(String, String)]) -> Result<Options, ConfigError> {
        let mut options = Options::default();
        for (option, value) in written {
            let again = match option.as_str() {
                "tls" => std::mem::replace(&mut options.tls, flag(option, value)?),
                "insecure-skip-tls-verify" => {
                    std::mem::replace(&mut options.trusting, flag(option, value)?)
                }
                "cacert" => options.cacert.replace(value.into()).is_some(),
                "cert" => options.cert.replace(value.into()).is_some(),
                "key" => options.key.replace(value.into()).is_some(),
                "prefix" => options.prefix.replace(value.clone()).is_some(),
                "ttl" => options.ttl.replace(value.clone()).is_some(),
                "lock-delay" => options.delay.replace(value.clone()).is_some(),
                _ => {
                    return fail(
                        "there is an option that is not known; known are tls, cacert, cert, key, insecure-skip-tls-verify, prefix, ttl, lock-delay",
                    );
                }
            };
            if again {
                return fail(format!("the option {option} stands there twice"));
            }
            let takes_a_value = !matches!(option.as_str(), "tls" | "insecure-skip-tls-verify");
            if takes_a_value && value.is_empty() {
                return fail(format!("the option {option} has no value"));
            }
        }
        Ok(options)
    }

    fn encryption(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Encryption, ConfigError> {
        let file = |own: &Option<PathBuf>, name: &str| {
            own.clone().or_else(|| variable(name).map(PathBuf::from))
        };
        let skip = |value: String| matches!(value.as_str(), "true" | "1");
        let trusting =
            self.trusting || variable("ETCDCTL_INSECURE_SKIP_TLS_VERIFY").is_some_and(skip);
        let trust = match file(&self.cacert, "ETCDCTL_CACERT") {
            _ if trusting => Trust::Anybody,
            Some(path) => Trust::Named(Roots::File(path)),
            None => Trust::Named(Roots::System),
        };
        let certificate = file(&self.cert, "ETCDCTL_CERT");
        let credential = match (certificate, file(&self.key, "ETCDCTL_KEY")) {
            (Some(certificate), Some(key)) => Some(Credential { certificate, key }),
            (None, None) => None,
            (Some(_), None) => return fail("there is a certificate (cert) without its key"),
            (None, Some(_)) => return fail("there is a key without its certificate (cert)"),
        };
        Ok(Encryption { trust, credential })
    }

    fn terms(&self) -> Result<Terms, ConfigError> {
        let usual = Terms::USUAL;
        let given = |text: &Option<String>, what| {
            let given = text.as_ref().map(|text| url::duration(text, what));
            given.transpose()
        };
        let ttl = given(&self.ttl, "ttl")?.unwrap_or(usual.ttl());
        let delay = given(&self.delay, "lock-delay")?.unwrap_or(usual.delay());
        Terms::new(ttl, delay).map_err(|e| ConfigError(e.to_string()))
    }
}

fn flag(option: &str, value: &str) -> Result<bool, ConfigError> {
    match value {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => fail(format!("the option {option} is true or false")),
    }
}

#[cfg(test)]
mod tests;
