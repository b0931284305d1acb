//! The text of a place, taken apart and percent-decoded.
//!
//! This file knows no defaults and no environment, and never quotes what it could not read: any part of it may be a piece of the password.

use super::ConfigError;

pub(super) const NO_NAME: &str =
    "the place names no lock: write redis://host/name or redis://host/database/name";

pub(super) fn fail<T>(sentence: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::new(sentence))
}

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
        let server = match text.rsplit_once('@') {
            None => text,
            Some((login, server)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                authority.user = not_empty(decode(user, "user")?);
                authority.password = not_empty(decode(password, "password")?);
                server
            }
        };
        let (host, port) = match server.strip_prefix('[') {
            Some(rest) => {
                let Some((host, after)) = rest.split_once(']') else {
                    return fail("the bracket before the IPv6 address is not closed");
                };
                match (after, after.strip_prefix(':')) {
                    ("", _) => (host, ""),
                    (_, Some(port)) => (host, port),
                    _ => return fail("after a bracketed IPv6 address only :port may follow"),
                }
            }
            None => match server.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return fail(
                        "there is more than one colon before the path: an IPv6 address is written in brackets, as in \
                         redis://[::1]:6379/name, and a / or ? in a password is written %2F or %3F",
                    );
                }
                Some(parts) => parts,
                None => (server, ""),
            },
        };
        authority.host = not_empty(decode(host, "host")?);
        if !port.is_empty() {
            authority.port = match port.parse() {
                // `parse` would take a sign.
                Ok(port @ 1..) if server.as_bytes().last().is_some_and(u8::is_ascii_digit) => {
                    Some(port)
                }
                _ => {
                    return fail(
                        "the port in the place is not a number from 1 to 65535 (a / or ? in a password is written %2F or %3F)",
                    );
                }
            };
        }
        Ok(authority)
    }
}

/// The database and the name.
pub(super) fn split_path(path: &str) -> Result<(u32, String), ConfigError> {
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
        return fail(NO_NAME);
    }
    Ok((database, name))
}

/// The options, by name, until they are taken.
pub(super) struct Options(Vec<(String, String)>);

impl Options {
    pub(super) fn parse(text: &str) -> Result<Options, ConfigError> {
        let mut options: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (option, value) = pair.split_once('=').unwrap_or((pair, ""));
            let option = decode(option, "name of an option")?;
            let value = decode(value, "value of an option")?;
            if value.is_empty() {
                return fail(format!("the option {option} has no value"));
            }
            if options.iter().any(|(known, _)| *known == option) {
                return fail(format!("the option {option} is given twice"));
            }
            options.push((option, value));
        }
        Ok(Options(options))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    pub(super) fn none_left(&self) -> Result<(), ConfigError> {
        match self.0.first() {
            None => Ok(()),
            Some((option, _)) => fail(format!(
                "the option {option} is not known; there are cacert, cert, key, lock-delay, sni, socket, ttl, verify and wait"
            )),
        }
    }
}

fn not_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Percent-decodes one part. A stray `%` is an error.
fn decode(text: &str, what: &str) -> Result<String, ConfigError> {
    match decoded(text) {
        Some(bytes) => String::from_utf8(bytes)
            .map_err(|_| ConfigError::new(format!("the {what}, percent-decoded, is not UTF-8"))),
        None => fail(format!(
            "a % in the {what} is not followed by two hexadecimal digits (a % itself is written %25)"
        )),
    }
}

/// None: a `%` that means nothing.
pub(crate) fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        bytes.push((high * 16 + low) as u8);
    }
    Some(bytes)
}
