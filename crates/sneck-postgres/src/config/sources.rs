//! Where a setting comes from: the place itself, else the service it names, else the environment; libpq's order.
//!
//! A *service* is a section of `~/.pg_service.conf` (or the file that `PGSERVICEFILE` names), else of `pg_service.conf` in `PGSYSCONFDIR`.
//!
//! Not for: what a setting means.

use super::NOT_SUPPORTED;
use crate::sys;
use sneck_net::place::{PlaceError, fail, not_empty};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Settings by libpq's name for them, and the variables of the environment that stand for them.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("host", "PGHOST"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("dbname", "PGDATABASE"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("passfile", "PGPASSFILE"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("channel_binding", "PGCHANNELBINDING"),
];

/// What libpq knows and means nothing to a lock.
const MEANINGLESS: &[&str] = &[
    "application_name",
    "client_encoding",
    "fallback_application_name",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "options",
    "sslcompression",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// What was asked for and cannot be had: were it ignored, a certificate that is revoked would be trusted, or another server called.
const REFUSED: &[(&str, &str)] = &[
    ("PGSSLCRL", "lists of revoked certificates are"),
    ("PGSSLCRLDIR", "lists of revoked certificates are"),
    ("PGREQUIREAUTH", "choosing among kinds of login is"),
    ("PGHOSTADDR", "an address beside the host's name is"),
];

/// Settings by their names, in the order in which they were given.
pub(super) type Settings = Vec<(&'static str, String)>;

/// The environment: the process's, but for tests.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A setting's value and where it was found, for errors.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) value: String,
    pub(super) whence: String,
}

/// All that was said by anybody.
pub(super) struct Sources<'a> {
    pub(super) place: Settings,
    pub(super) env: Env<'a>,
    service: Option<(String, Settings)>,
}

impl<'a> Sources<'a> {
    /// What the place says, the service that it or `PGSERVICE` names, and the environment.
    pub(super) fn new(
        place: Settings,
        service: Option<String>,
        env: Env<'a>,
    ) -> Result<Sources<'a>, PlaceError> {
        for (name, what) in REFUSED {
            if variable(env, name)?.is_some() {
                return fail(format!("{name} is set, and {what} {NOT_SUPPORTED}"));
            }
        }
        let service = match service {
            Some(service) => Some(service),
            None => variable(env, "PGSERVICE")?,
        };
        let service = match service {
            Some(name) => Some(find_service(&name, env)?),
            None => None,
        };
        Ok(Sources {
            place,
            env,
            service,
        })
    }

    /// The setting, from whoever is asked first and has it.
    pub(super) fn find(&self, setting: &'static str) -> Result<Option<Found>, PlaceError> {
        let of = |list: &[(&'static str, String)]| {
            let found = list.iter().find(|(name, _)| *name == setting);
            found.map(|(_, value)| value.clone())
        };
        if let Some(value) = of(&self.place) {
            let whence = format!("{setting} in the place");
            return Ok(Some(Found { value, whence }));
        }
        if let Some((file, settings)) = &self.service {
            if let Some(value) = of(settings) {
                let whence = format!("{setting} in {file}");
                return Ok(Some(Found { value, whence }));
            }
        }
        let Some((_, name)) = SETTINGS.iter().find(|(known, _)| *known == setting) else {
            return Ok(None);
        };
        let whence = (*name).to_owned();
        Ok(variable(self.env, name)?.map(|value| Found { value, whence }))
    }

    /// Its value alone.
    pub(super) fn value(&self, setting: &'static str) -> Result<Option<String>, PlaceError> {
        Ok(self.find(setting)?.map(|found| found.value))
    }

    /// A file of the user's own, below the home folder.
    pub(super) fn own_file(&self, name: &str) -> Option<PathBuf> {
        own_file(self.env, name)
    }
}

fn own_file(env: Env<'_>, name: &str) -> Option<PathBuf> {
    let home = env(sys::HOME).filter(|home| !home.is_empty())?;
    Some(Path::new(&home).join(name))
}

/// A variable of the environment; one that is empty counts as not set.
pub(super) fn variable(env: Env<'_>, name: &str) -> Result<Option<String>, PlaceError> {
    let Some(value) = env(name) else {
        return Ok(None);
    };
    match value.into_string() {
        Ok(value) => Ok(not_empty(value)),
        Err(_) => fail(format!("the environment variable {name} is not UTF-8")),
    }
}

/// The service's settings and the file they stand in.
fn find_service(service: &str, env: Env<'_>) -> Result<(String, Settings), PlaceError> {
    let named = variable(env, "PGSERVICEFILE")?.map(PathBuf::from);
    let system = match variable(env, "PGSYSCONFDIR")? {
        Some(folder) => Some(folder),
        None => sys::SYSTEM_FOLDER.map(str::to_owned),
    };
    let own = named.clone().or_else(|| own_file(env, sys::SERVICE_FILE));
    let system = system.map(|folder| Path::new(&folder).join("pg_service.conf"));
    let mut looked = Vec::new();
    for path in own.into_iter().chain(system) {
        let shown = path.display().to_string();
        match fs::read_to_string(&path) {
            Ok(text) => {
                if let Some(settings) = section(&text, service, &shown)? {
                    return Ok((shown, settings));
                }
            }
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && Some(&path) != named.as_ref() => {}
            Err(error) => return fail(format!("the service file {shown} cannot be read: {error}")),
        }
        looked.push(shown);
    }
    let looked = looked.join(" and ");
    fail(format!(
        "there is no service {service:?}: it was looked for in {looked}"
    ))
}

/// The settings of one section; none: there is no such section. Of a setting given twice the first counts.
fn section(text: &str, service: &str, file: &str) -> Result<Option<Settings>, PlaceError> {
    let mut found: Option<Settings> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            let name = rest.split_once(']').map(|(name, _)| name);
            found = (name == Some(service)).then(Vec::new);
            continue;
        }
        let Some(settings) = &mut found else {
            continue;
        };
        // What is wrong may be a piece of a password: the line is named, not quoted.
        let Some((key, value)) = line.split_once('=') else {
            return fail(format!("line {number} of the service file {file} has no ="));
        };
        let known = SETTINGS.iter().find(|(known, _)| *known == key);
        match known {
            Some((key, _)) if settings.iter().any(|(given, _)| given == key) => {}
            Some((key, _)) if !value.is_empty() => settings.push((key, value.to_owned())),
            Some(_) => {}
            None if MEANINGLESS.contains(&key) => {}
            None => {
                return fail(format!(
                    "line {number} of the service file {file} sets what is {NOT_SUPPORTED} (hostaddr, sslcrl, a nested \
                     service …) or unknown"
                ));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_where_the_next_one_begins() {
        let text = "# all\n[a]\nhost=one\n\n [b]\n# of b\n  host = x\nhost=two\nhost=three\nport=\noptions=-c x=y\n[c]\nhost=four\n";
        let two = vec![("host", "two".to_owned())];
        // A blank before the = makes another name, as in libpq.
        assert!(section(text, "b", "f").is_err());
        let text = text.replace("  host = x\n", "");
        assert_eq!(section(&text, "b", "f").unwrap(), Some(two));
        assert_eq!(section(&text, "d", "f").unwrap(), None);
        assert_eq!(section("[d]\n", "d", "f").unwrap(), Some(Vec::new()));
    }

    #[test]
    fn what_is_not_understood_is_named_by_its_line_only() {
        for text in [
            "[s]\nhush",
            "[s]\nhushhush=1",
            "[s]\nhostaddr=hush",
            "[s]\nservice=hush",
        ] {
            let error = section(text, "s", "file").unwrap_err().to_string();
            assert!(error.contains("line 2"), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
