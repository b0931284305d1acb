//! The text of a place, taken apart and percent-decoded.
//!
//! This file knows no environment, and never quotes what it could not read: any part of it may be a piece of the password.

use super::{ConfigError, Endpoint, fail};
use std::time::Duration;

/// What a place is written like; part of every error about it.
pub(super) const FORM: &str = "write etcd://host/name or etcd://host:port,host:port/name";

/// The parts as they stand, decoded.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) name: String,
    pub(super) options: Vec<(String, String)>,
}

impl Written {
    /// `//[user[:password]@][host[:port][,host…]]/name[?options]`, without the scheme before it.
    pub(super) fn parse(rest: &str) -> Result<Written, ConfigError> {
        let Some(rest) = rest.strip_prefix("//") else {
            return fail(format!("two slashes are missing: {FORM}"));
        };
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let Some((authority, name)) = rest.split_once('/') else {
            return fail(format!("the place names no lock: {FORM}"));
        };
        let mut written = Written {
            name: decode(name, "the name of the lock")?,
            ..Written::default()
        };
        if written.name.is_empty() {
            return fail(format!("the name of the lock is empty: {FORM}"));
        }
        // The last `@`: no host contains one, a carelessly written password may.
        let hosts = match authority.rsplit_once('@') {
            None => authority,
            Some((login, hosts)) => {
                let (user, password) = match login.split_once(':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (login, None),
                };
                written.user = Some(decode(user, "the user")?).filter(|u| !u.is_empty());
                written.password = password.map(|p| decode(p, "the password")).transpose()?;
                hosts
            }
        };
        if !hosts.is_empty() {
            for host in hosts.split(',') {
                written.endpoints.push(endpoint(host)?);
            }
        }
        for option in options.split('&').filter(|o| !o.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let key = decode(key, "an option")?;
            written
                .options
                .push((key, decode(value, "the value of an option")?));
        }
        Ok(written)
    }
}

/// `host`, `host:port`, `[::1]:port`.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, ConfigError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((host, after)) = rest.split_once(']') else {
                return fail("the bracket before the IPv6 address is not closed");
            };
            match after.strip_prefix(':') {
                Some(port) => (host, port),
                None if after.is_empty() => (host, ""),
                None => return fail("after a bracketed IPv6 address only :port may follow"),
            }
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return fail(
                    "there is more than one colon in a host: an IPv6 address is written in brackets, as in \
                     etcd://[::1]:2379/name, and a / in a password is written %2F",
                );
            }
            Some(parts) => parts,
            None => (text, ""),
        },
    };
    if host.is_empty() {
        return fail(format!("a host is empty: {FORM}"));
    }
    let port = match port {
        "" => super::PORT,
        digits => match digits.parse() {
            Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => port,
            _ => return fail("a port is no number from 1 to 65535"),
        },
    };
    Ok(Endpoint {
        host: decode(host, "a host")?,
        port,
    })
}

/// `%2F` and the like; a plus is a plus.
fn decode(text: &str, what: &str) -> Result<String, ConfigError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let digit = |at: usize| {
            let byte = after.get(at).copied()?;
            char::from(byte).to_digit(16)
        };
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return fail(format!(
                "{what}: after a % two hexadecimal digits must follow; a % itself is written %25"
            ));
        };
        // Two digits are less than 256.
        bytes.push((high * 16 + low) as u8);
        rest = &after[2..];
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) => fail(format!("{what}: there is a zero byte in it")),
        Err(_) => fail(format!("{what}: it is not UTF-8 once decoded")),
    }
}

/// `10` (seconds), `1500ms`, `10s`, `2m`.
pub(super) fn duration(text: &str, what: &str) -> Result<Duration, ConfigError> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (digits, unit) = text.split_at(split.unwrap_or(text.len()));
    let number: Option<u64> = digits.parse().ok();
    let duration = number.and_then(|number| match unit {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        _ => None,
    });
    match duration {
        Some(duration) => Ok(duration),
        None => fail(format!(
            "the option {what} is no time: write 10s, 1500ms or 2m"
        )),
    }
}
