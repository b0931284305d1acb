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

use sneck::lease::Terms;
use sneck_net::place::{Form, Host, PlaceError, Written, decode, fail, not_empty};
use sneck_net::{Credential, Roots, Trust};
use std::fmt;
use std::path::PathBuf;

/// Where etcd listens for clients unless told otherwise.
pub const PORT: u16 = 2379;

const FORM: Form = Form {
    usual: "etcd://host/name or etcd://host:port,host:port/name",
    bracketed: "etcd://[::1]:2379/name",
};

const OPTIONS: &[&str] = &[
    "cacert",
    "cert",
    "insecure-skip-tls-verify",
    "key",
    "lock-delay",
    "prefix",
    "tls",
    "ttl",
];

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
    pub fn parse(scheme: &str, rest: &str) -> Result<Config, PlaceError> {
        Config::parse_with(scheme, rest, &|name| std::env::var(name).ok())
    }

    fn parse_with(
        scheme: &str,
        rest: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, PlaceError> {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let Some(rest) = rest.strip_prefix("//") else {
            return fail(format!("two slashes are missing: write {}", FORM.usual));
        };
        let mut written = Written::parse(rest, &FORM)?;
        let name = decode(written.path, "lock's name")?;
        if name.is_empty() {
            return fail(format!("the place names no lock: write {}", FORM.usual));
        }
        let mut options = std::mem::take(&mut written.options);
        let asked = options.take_flag("tls")?;
        let files = Files {
            trusting: options.take_flag("insecure-skip-tls-verify")?,
            cacert: options.take("cacert")?.map(PathBuf::from),
            cert: options.take("cert")?.map(PathBuf::from),
            key: options.take("key")?.map(PathBuf::from),
        };
        let prefix = options.take("prefix")?.unwrap_or_default();
        let terms = options.take_terms()?;
        options.none_left(OPTIONS)?;
        let (endpoints, https) = match written.hosts.is_empty() {
            false => (
                written
                    .hosts
                    .into_iter()
                    .map(endpoint)
                    .collect::<Result<_, _>>()?,
                false,
            ),
            true => usual_endpoints(variable("ETCDCTL_ENDPOINTS"))?,
        };
        let named = files.cacert.is_some() || files.cert.is_some() || files.trusting;
        let encrypted = scheme == "etcds" || asked || https || named;
        let encryption = encrypted.then(|| files.encryption(&variable));
        Ok(Config {
            login: login(written.user, written.password, &variable)?,
            endpoints,
            encryption: encryption.transpose()?,
            terms,
            name: prefix + &name,
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

fn usual_endpoints(variable: Option<String>) -> Result<(Vec<Endpoint>, bool), PlaceError> {
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
        let host = Host::parse(address.trim_end_matches('/'), &FORM);
        let endpoint = host.and_then(endpoint);
        endpoints.push(endpoint.map_err(|e| PlaceError::new(format!("ETCDCTL_ENDPOINTS: {e}")))?);
    }
    if endpoints.is_empty() {
        return fail("ETCDCTL_ENDPOINTS names no host");
    }
    Ok((endpoints, https))
}

fn endpoint(host: Host) -> Result<Endpoint, PlaceError> {
    Ok(Endpoint {
        host: not_empty(host.name)
            .ok_or_else(|| PlaceError::new(format!("a host is empty: write {}", FORM.usual)))?,
        port: host.port.unwrap_or(PORT),
    })
}

fn login(
    user: Option<String>,
    password: Option<String>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Login>, PlaceError> {
    let usual = variable("ETCDCTL_USER").map(|text| match text.split_once(':') {
        Some((user, password)) => (user.to_owned(), Some(password.to_owned())),
        None => (text, None),
    });
    let (user, password) = match (user, usual) {
        (Some(user), usual) => {
            let same = usual.filter(|(name, _)| *name == user);
            (user, password.or(same.and_then(|(_, p)| p)))
        }
        (None, _) if password.is_some() => {
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

/// What the place says of certificates.
struct Files {
    trusting: bool,
    cacert: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Files {
    fn encryption(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Encryption, PlaceError> {
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
}

#[cfg(test)]
mod tests;
