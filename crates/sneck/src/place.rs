//! Where a lock is and how it is written down: [`Place`], read the same way everywhere, and the [`Registry`] that
//! knows the protocols by their names.

use crate::error::{Error, ErrorKind, Result};
use crate::protocol::{Protocol, stack};
use crate::sys::text as os;
use crate::text;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A protocol's name and where the lock is: `path` (flock), `symlink:path`, `flock+fcntl:path`, `postgres://host/name`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    scheme: String,
    rest: OsString,
}

impl Place {
    /// A lock of this protocol at this path.
    pub fn file(scheme: &str, path: impl AsRef<Path>) -> Place {
        Place {
            scheme: scheme.to_owned(),
            rest: path.as_ref().as_os_str().to_owned(),
        }
    }

    /// Several at once. It is shown and never read.
    pub(crate) fn joined<'a>(places: impl IntoIterator<Item = &'a Place>) -> Place {
        let shown: Vec<String> = places.into_iter().map(Place::to_string).collect();
        Place {
            scheme: JOINED.to_owned(),
            rest: shown.join(" + ").into(),
        }
    }

    /// The protocol's name; `+` for several locks that were made one ([`crate::Lock::all`]).
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What follows the protocol's name and the colon.
    pub fn rest(&self) -> &OsStr {
        &self.rest
    }

    /// The path, made absolute now, so that a later change of directory changes nothing.
    pub fn absolute_path(&self) -> Result<PathBuf> {
        let path = Path::new(&self.rest);
        if os::bytes(&self.rest).contains(&0) {
            return Err(Error::new(
                ErrorKind::Usage,
                "read the place",
                "a path cannot hold a zero byte",
            )
            .at(self));
        }
        if path.file_name().is_none() || os::ends_in_separator(&self.rest) {
            let what = "this path does not end in a file name";
            return Err(Error::new(ErrorKind::Usage, "read the place", what)
                .at(self)
                .advise("name a file to lock, for instance one inside this folder"));
        }
        if let Some(what) = path.file_name().and_then(os::wrong_name) {
            return Err(Error::new(ErrorKind::Usage, "read the place", what)
                .at(self)
                .advise("give the file another name"));
        }
        let absolute = std::path::absolute(path).map_err(|e| {
            Error::new(ErrorKind::Io, "read the place", "no current directory")
                .at(self)
                .because(e)
        })?;
        if absolute.file_name().is_none() {
            // `NUL`, `COM1` and the like name a device on Windows, in any folder.
            let what = "this path names a device";
            return Err(Error::new(ErrorKind::Usage, "read the place", what)
                .at(self)
                .advise("give the file another name"));
        }
        Ok(absolute)
    }
}

impl fmt::Display for Place {
    /// As it would be written to mean the same; foreign characters made safe.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme == JOINED {
            // Made of what was shown.
            return f.write_str(&self.rest.to_string_lossy());
        }
        if self.scheme != DEFAULT_SCHEME {
            write!(f, "{}:", self.scheme)?;
        }
        f.write_str(&text::clean(&self.shown_rest()))
    }
}

impl Place {
    /// A password in a server's address is never shown, even if the address is written without its slashes.
    fn shown_rest(&self) -> String {
        let rest = self.rest.to_string_lossy();
        match self.around_password(&rest) {
            Some((before, after)) => format!("{before}:***{after}"),
            None => rest.into_owned(),
        }
    }

    /// As it would be written to mean the same for one who knows the password, or finds it where servers' own clients look for it: for other programs. Nothing is made safe to be shown. Of several
    /// locks that were made one it is what is shown.
    ///
    /// ```
    /// let place = sneck::Place::file("redis", "//ada:secret@host/deploy");
    /// assert_eq!(place.without_password(), "redis://ada@host/deploy");
    /// ```
    pub fn without_password(&self) -> OsString {
        if self.scheme == JOINED {
            return self.rest.clone();
        }
        let mut written = OsString::new();
        let looks = |rest: &OsStr| {
            os::split_at_colon(rest)
                .is_some_and(|(word, _)| word.to_str().is_some_and(looks_like_scheme))
        };
        if self.scheme != DEFAULT_SCHEME || looks(&self.rest) {
            written.push(&self.scheme);
            written.push(":");
        }
        match self
            .rest
            .to_str()
            .and_then(|rest| self.around_password(rest))
        {
            // A name alone, or no login at all.
            Some((before, after)) if before.ends_with("//") || before.is_empty() => {
                written.push(before);
                written.push(&after[1..]);
            }
            Some((before, after)) => {
                written.push(before);
                written.push(after);
            }
            None => written.push(&self.rest),
        }
        written
    }

    /// What stands before the colon of a password, and what follows the password, beginning with `@`.
    fn around_password<'a>(&self, rest: &'a str) -> Option<(&'a str, &'a str)> {
        if self.scheme == DEFAULT_SCHEME {
            return None;
        }
        let address = rest.strip_prefix("//").unwrap_or(rest);
        let start = rest.len() - address.len();
        let end = address.find('/').unwrap_or(address.len());
        let colon = address[..end].find(':')?;
        let at = match address[..end].rfind('@') {
            Some(at) => at,
            None if address[..end].split(',').all(ends_in_a_port) => return None,
            // A password with a slash in it, which makes no sense: the error about that must not show it.
            None => address.rfind('@')?,
        };
        if colon > at {
            return None;
        }
        Some((&rest[..start + colon], &rest[start + at..]))
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme, text::clean(&self.shown_rest()))
    }
}

/// What is meant when no protocol is named.
pub(crate) const DEFAULT_SCHEME: &str = "flock";
/// No protocol's name: several locks that were made one.
const JOINED: &str = "+";

type Maker = dyn Fn(&Place) -> Result<Arc<dyn Protocol>> + Send + Sync;

/// The protocols that places may name. A value, not a global: a program adds the servers it wants and no others.
///
/// ```
/// use sneck::Registry;
/// let registry = Registry::local();
/// let place = registry.place("symlink:/run/app.lock")?;
/// assert_eq!(place.scheme(), "symlink");
/// # Ok::<(), sneck::Error>(())
/// ```
#[derive(Clone)]
pub struct Registry {
    makers: BTreeMap<String, Arc<Maker>>,
}

impl Registry {
    /// No protocol at all.
    pub fn empty() -> Registry {
        Registry {
            makers: BTreeMap::new(),
        }
    }

    /// The protocols of this machine; see the table in the crate's documentation.
    pub fn local() -> Registry {
        let mut registry = Registry::empty();
        crate::protocol::register_local(&mut registry);
        registry
    }

    /// Add a protocol under a name of lower-case letters, digits, `+` and `-`. The last of one name counts.
    pub fn register<F>(&mut self, scheme: &str, maker: F)
    where
        F: Fn(&Place) -> Result<Arc<dyn Protocol>> + Send + Sync + 'static,
    {
        self.makers.insert(scheme.to_owned(), Arc::new(maker));
    }

    /// The names it knows.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.makers.keys().map(String::as_str)
    }

    /// Read a place as a person writes it. What stands before a colon and looks like a protocol's name must be one: a slip
    /// of the pen must not lock some other file. A file whose own name looks so is written `./name:rest`.
    pub fn place(&self, written: impl AsRef<OsStr>) -> Result<Place> {
        let written = written.as_ref();
        if written.is_empty() {
            return Err(Error::new(
                ErrorKind::Usage,
                "read the place",
                "the name of the lock is empty",
            ));
        }
        let split = os::split_at_colon(written);
        let named = split.and_then(|(scheme, rest)| Some((scheme.into_string().ok()?, rest)));
        let Some((scheme, rest)) = named.filter(|(scheme, _)| looks_like_scheme(scheme)) else {
            return Ok(Place {
                scheme: DEFAULT_SCHEME.to_owned(),
                rest: written.to_owned(),
            });
        };
        let place = Place { scheme, rest };
        for name in self.names(&place.scheme) {
            self.maker(name, &place)?;
        }
        Ok(place)
    }

    /// The protocol that speaks at a place; several that are joined by `+` speak as one.
    pub fn protocol(&self, place: &Place) -> Result<Arc<dyn Protocol>> {
        match self.names(&place.scheme).as_slice() {
            [one] => self.maker(one, place)?(place),
            _ => stack::at(place, self),
        }
    }

    /// The protocols that are meant by a name. One that is registered is meant as it stands.
    fn names<'a>(&self, scheme: &'a str) -> Vec<&'a str> {
        if self.makers.contains_key(scheme) {
            return vec![scheme];
        }
        scheme.split(stack::LINK).collect()
    }

    fn maker(&self, name: &str, place: &Place) -> Result<&Arc<Maker>> {
        self.makers.get(name).ok_or_else(|| {
            let known = self.makers.keys().cloned().collect::<Vec<_>>().join(", ");
            let what = format!("there is no protocol `{}` here", text::clean(name));
            Error::new(ErrorKind::Usage, "read the place", what).advise(format!(
                "known are: {known}; for a file of that name write ./{}:…",
                text::clean(&place.scheme)
            ))
        })
    }
}

impl Default for Registry {
    fn default() -> Registry {
        Registry::local()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.makers.keys()).finish()
    }
}

/// One letter is a drive on Windows; a slash or a dot is part of a path.
fn looks_like_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-'))
}

/// `host`, `host:80`, `[::1]`, `[::1]:80`.
fn ends_in_a_port(host: &str) -> bool {
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    host.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_people_write_it() {
        let registry = Registry::local();
        let read = |s: &str| registry.place(s).map(|p| format!("{p:?}"));
        assert_eq!(read("a.lock").unwrap(), "flock:a.lock");
        assert_eq!(read("symlink:/a b").unwrap(), "symlink:/a b");
        assert_eq!(read("./symlink:a").unwrap(), "flock:./symlink:a");
        assert_eq!(read("C:/x").unwrap(), "flock:C:/x");
        assert_eq!(read("2026-11-21T04:00").unwrap(), "flock:2026-11-21T04:00");
        assert_eq!(read("").unwrap_err().kind(), ErrorKind::Usage);
        let unknown = read("smylink:a").unwrap_err().to_string();
        assert!(
            unknown.contains("flock, ")
                && unknown.contains(", symlink")
                && unknown.contains("./smylink:"),
            "{unknown}"
        );
    }

    #[test]
    fn a_password_is_never_shown() {
        let mut registry = Registry::empty();
        registry.register("db", |place| {
            Err(Error::new(ErrorKind::Usage, "test", "never made").at(place))
        });
        let place = registry.place("db:ada:secret@host/x").unwrap();
        assert_eq!(place.to_string(), "db:ada:***@host/x");
        let place = registry.place("db://ada:secret@host/x").unwrap();
        assert_eq!(place.to_string(), "db://ada:***@host/x");
        assert!(
            !format!("{place:?} {}", registry.protocol(&place).unwrap_err()).contains("secret")
        );
        let shown = |text: &str| registry.place(text).unwrap().to_string();
        // A slash in it would have to be written %2F; the error that says so does not show it.
        assert_eq!(shown("db://ada:sec/ret@host/x"), "db://ada:***@host/x");
        for fine in [
            "db://host:80/a@b",
            "db://[::1]:80/a@b",
            "db://[::1]/a@b",
            "db://a:1,b:2/c@d",
            "db://a,b/c@d:e",
        ] {
            assert_eq!(shown(fine), fine);
        }
    }

    #[test]
    fn a_path_must_end_in_a_name() {
        for bad in ["/", "..", "a/..", "a/"] {
            assert_eq!(
                Place::file("flock", bad)
                    .absolute_path()
                    .unwrap_err()
                    .kind(),
                ErrorKind::Usage,
                "{bad}"
            );
        }
    }
}
