//! The file of passwords that PostgreSQL's programs share, `~/.pgpass`: the first line that fits gives the password.
//!
//! ```text
//! host:port:database:user:password
//! ```
//!
//! `*` fits everything, a backslash makes `:` and `\` plain. Not for: what others may read. It is not believed, and whoever is then asked for a password is told so.

use super::Address;
use crate::sys::{self, Secrecy};
use std::fs;
use std::path::Path;

/// Whom to log in as, and where.
pub(super) struct Login<'a> {
    pub(super) address: &'a Address,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// What a file of passwords had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Looked {
    Password(String),
    /// No line fits, or there is no such file.
    Nothing,
    /// It was not read, for this reason.
    Ignored(String),
}

/// Looks in this file.
pub(super) fn look(path: &Path, login: &Login<'_>) -> Looked {
    let shown = path.display();
    match sys::secrecy(path) {
        Secrecy::Kept => {}
        Secrecy::Absent => return Looked::Nothing,
        Secrecy::Open => {
            let why = format!(
                "the password file {shown} is ignored, because others may read it: chmod 600"
            );
            return Looked::Ignored(why);
        }
        Secrecy::NoFile => {
            return Looked::Ignored(format!(
                "the password file {shown} is ignored, because it is no plain file"
            ));
        }
    }
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            return Looked::Ignored(format!("the password file {shown} cannot be read: {error}"));
        }
    };
    let password = text.lines().find_map(|line| fitting(line, login));
    password.map_or(Looked::Nothing, Looked::Password)
}

/// The password of this line, if the line is about this login.
fn fitting(line: &str, login: &Login<'_>) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let (hosts, port) = match login.address {
        Address::Tcp { host, port } => (vec![host.clone()], *port),
        Address::Unix { folder, port } => {
            let folder = folder.to_string_lossy().into_owned();
            // Whichever of them a build of libpq takes for the usual one.
            let usual = ["/tmp", "/run/postgresql", "/var/run/postgresql"];
            let mut names = Vec::new();
            if usual.contains(&folder.as_str()) {
                names.push("localhost".to_owned());
            }
            names.push(folder);
            (names, *port)
        }
    };
    let mut rest = line;
    let (host, port_field) = (field(&mut rest)?, field(&mut rest)?);
    let (database, user) = (field(&mut rest)?, field(&mut rest)?);
    let fits = |field: &str, wanted: &str| field == "*" || unescaped(field) == wanted;
    let all = hosts.iter().any(|name| fits(host, name))
        && fits(port_field, &port.to_string())
        && fits(database, login.database)
        && fits(user, login.user);
    let password = unescaped(field_to_end(rest));
    (all && !password.is_empty()).then_some(password)
}

/// The text up to the next colon that is one, which must be there.
fn field<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b':' => {
                let (field, after) = rest.split_at(at);
                *rest = &after[1..];
                return Some(field);
            }
            _ => {}
        }
    }
    None
}

/// The last field: what follows a further colon is none of it.
fn field_to_end(rest: &str) -> &str {
    let mut after = rest;
    field(&mut after).unwrap_or(rest)
}

fn unescaped(field: &str) -> String {
    let mut plain = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(line: &str, address: &Address) -> Option<String> {
        let login = Login {
            address,
            database: "d:b",
            user: "ann",
        };
        fitting(line, &login)
    }

    #[test]
    fn a_line_fits_field_by_field() {
        let tcp = Address::Tcp {
            host: "db.example".into(),
            port: 6000,
        };
        for line in [
            r"db.example:6000:d\:b:ann:p\:w\\",
            r"*:*:*:*:p\:w\\",
            r"db.example:*:d\:b:*:p\:w\\:more",
            r"d\b.example:*:*:*:p\:w\\",
        ] {
            assert_eq!(password(line, &tcp).as_deref(), Some(r"p:w\"), "{line}");
        }
        for line in [
            "",
            "#*:*:*:*:p",
            "other:6000:*:ann:p",
            "db.example:5432:*:ann:p",
            "db.example:6000:d:b:ann:p",
            "*:*:*:bob:p",
            "*:*:*:*:",
            "*:*:*:*",
            r"\*:*:*:*:p\",
        ] {
            assert_eq!(password(line, &tcp), None, "{line}");
        }
    }

    #[test]
    fn a_socket_file_is_known_by_its_folder_and_the_usual_one_as_localhost() {
        let usual = Address::Unix {
            folder: "/var/run/postgresql".into(),
            port: 5432,
        };
        let other = Address::Unix {
            folder: "/srv/pg".into(),
            port: 5432,
        };
        let localhost = "localhost:5432:*:ann:p";
        assert_eq!(password(localhost, &usual).as_deref(), Some("p"));
        assert_eq!(password(localhost, &other), None);
        assert_eq!(
            password("/srv/pg:5432:*:ann:p", &other).as_deref(),
            Some("p")
        );
    }
}
