//! The text of a place, taken apart and percent-decoded, and written again.
//!
//! This file knows no defaults and no environment, and never quotes what it could not read: any
//! part of it may be a piece of the password.

use std::fmt;
use std::time::Duration;

use super::sources::Settings;
use super::{ConfigError, fail};

pub(super) const NO_NAME: &str = "the place names no lock: write postgres://host/name or \
                       postgres://host/database/name";

/// What stands between the two slashes and the path.
#[derive(Default)]
pub(super) struct Authority {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
}

impl Authority {
    pub(super) fn parse(text: &str) -> Result<Authority, ConfigError> {
        let mut authority = Authority::default();
        // The last `@`: no host contains one, a carelessly written password may.
        let host_and_port = match text.rsplit_once('@') {
            None => text,
            Some((login, rest)) => {
                let (user, password) = match login.split_once(':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (login, None),
                };
                authority.user = not_empty(decode(user, "user")?);
                if let Some(password) = password {
                    authority.password = not_empty(decode(password, "password")?);
                }
                rest
            }
        };
        let (host, port) = match host_and_port.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(|| {
                    ConfigError::new("the bracket before the IPv6 address is not closed")
                })?;
                match (after, after.strip_prefix(':')) {
                    ("", _) => (host, ""),
                    (_, Some(port)) => (host, port),
                    _ => return fail("after a bracketed IPv6 address only :port may follow"),
                }
            }
            None => match host_and_port.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return fail(
                        "there is more than one colon before the path: an IPv6 address is \
                         written in brackets, as in postgres://[::1]:5432/name, and a / or ? in \
                         a password is written %2F or %3F",
                    );
                }
                Some(parts) => parts,
                None => (host_and_port, ""),
            },
        };
        authority.host = not_empty(decode(host, "host")?);
        if !port.is_empty() {
            authority.port = Some(port_number(port, "the port in the place")?);
        }
        Ok(authority)
    }
}

/// The database, if the path has one, and the name.
pub(super) fn split_path(path: &str) -> Result<(Option<String>, String), ConfigError> {
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
        return fail(NO_NAME);
    }
    let database = match database {
        None => None,
        // Were it the default, an empty variable in a script would quietly mean another lock.
        Some("") => return fail("the database between the two slashes is empty"),
        Some(database) => Some(decode(database, "database")?),
    };
    Ok((database, name))
}

/// How an error says that libpq has something and this has not.
pub(super) const NOT_SUPPORTED: &str = "not supported";

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

/// What follows the question mark, in order.
pub(super) fn options(text: &str) -> Result<Settings, ConfigError> {
    let mut options: Settings = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (option, value) = pair.split_once('=').unwrap_or((pair, ""));
        let option = decode(option, "name of an option")?;
        let value = decode(value, "value of an option")?;
        let Some(known) = OPTIONS.iter().find(|known| **known == option) else {
            let known = OPTIONS.join(", ");
            return fail(format!(
                "the option {option} is not known; there are {known}"
            ));
        };
        if value.is_empty() {
            return fail(format!("the option {option} has no value"));
        }
        if options.iter().any(|(given, _)| given == known) {
            return fail(format!("the option {option} is given twice"));
        }
        options.push((known, value));
    }
    Ok(options)
}

pub(super) fn port_number(text: &str, what: &str) -> Result<u16, ConfigError> {
    match text.parse() {
        // `parse` would take a sign.
        Ok(port) if port != 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => fail(format!(
            "{what} is not a number from 1 to 65535 (a / or ? in a password is written %2F or %3F)"
        )),
    }
}

pub(super) fn seconds(text: &str, what: &str) -> Result<Duration, ConfigError> {
    match text.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => fail(format!(
            "{what} is not a whole number of seconds, at least 1"
        )),
    }
}

/// `10` (seconds), `1500ms`, `10s`, `2m`, `1h`.
pub(super) fn duration(text: &str, what: &str) -> Result<Duration, ConfigError> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (digits, unit) = text.split_at(split.unwrap_or(text.len()));
    let factor = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = digits.parse::<u64>().ok();
    match number
        .zip(factor)
        .and_then(|(n, factor)| n.checked_mul(factor))
    {
        Some(millis) => Ok(Duration::from_millis(millis)),
        None => fail(format!("{what} is no time: write 10s, 1500ms or 2m")),
    }
}

pub(super) fn not_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Percent-decodes one part. A stray `%` is an error, as in libpq, and so is a NUL, which would
/// end the string early in PostgreSQL's messages.
fn decode(text: &str, what: &str) -> Result<String, ConfigError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => {
                return fail(format!(
                    "a % in the {what} is not followed by two hexadecimal digits (a % itself is \
                     written %25)"
                ));
            }
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => fail(format!("the {what} contains a NUL character")),
        Ok(text) => Ok(text),
        Err(_) => fail(format!("the {what}, percent-decoded, is not UTF-8")),
    }
}

/// Percent-encodes a part so that [`decode`] gives it back.
pub(super) struct Encoded<'a>(pub(super) &'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    write!(f, "{}", char::from(byte))?;
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}
