//! The text of a server's place, `//[user[:password]@][host[:port][,host[:port]…]]/path[?options]`, taken apart and percent-decoded: the same for all engines.
//!
//! It never quotes what it could not read, but names of options: a misplaced character can make any part of a place a piece of the password.
//!
//! Not for: what the parts mean to an engine, defaults, the environment.

use sneck::lease::Terms;
use std::fmt;
use std::time::Duration;

/// Why a place makes no sense: one sentence, which quotes nothing of it but names of options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceError(String);

impl PlaceError {
    /// With this sentence.
    pub fn new(sentence: impl Into<String>) -> PlaceError {
        PlaceError(sentence.into())
    }
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlaceError {}

/// That it makes no sense, for this reason.
///
/// # Errors
/// Always.
pub fn fail<T>(sentence: impl Into<String>) -> Result<T, PlaceError> {
    Err(PlaceError::new(sentence))
}

/// How an engine's places are written: part of what its errors advise.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Such as `redis://host/name`.
    pub usual: &'static str,
    /// Such as `redis://[::1]:6379/name`.
    pub bracketed: &'static str,
}

/// A host as it stands in a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// A name or an IP address without brackets; nothing in `:6379`.
    pub name: String,
    /// The port, if one is named.
    pub port: Option<u16>,
}

impl Host {
    /// `host`, `host:port`, `[::1]`, `[::1]:port`, `:port`.
    ///
    /// # Errors
    /// Brackets and colons make no sense, or the port is none.
    pub fn parse(text: &str, form: &Form) -> Result<Host, PlaceError> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let Some((name, after)) = rest.split_once(']') else {
                    return fail("the bracket before the IPv6 address is not closed");
                };
                match (after, after.strip_prefix(':')) {
                    ("", _) => (name, ""),
                    (_, Some(port)) => (name, port),
                    _ => return fail("after a bracketed IPv6 address only :port may follow"),
                }
            }
            None => match text.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return fail(format!(
                        "there is more than one colon before the path: an IPv6 address is written in brackets, as in {}, \
                         and a / or ? in a password is written %2F or %3F",
                        form.bracketed
                    ));
                }
                Some(parts) => parts,
                None => (text, ""),
            },
        };
        let port = match port {
            "" => None,
            port => Some(port_number(port, "the port in the place")?),
        };
        Ok(Host {
            name: decode(name, "host")?,
            port,
        })
    }
}

/// The parts of a place.
#[derive(Clone, PartialEq, Eq)]
pub struct Written<'a> {
    /// The user, unless there is none or the name is empty.
    pub user: Option<String>,
    /// What stands between the colon and the last `@`; empty if nothing does.
    pub password: Option<String>,
    /// In order; none if nothing stands there.
    pub hosts: Vec<Host>,
    /// What stands between the first `/` and the `?`, still encoded.
    pub path: &'a str,
    /// What follows the `?`.
    pub options: Options,
}

/// Everything but the password, of which it says only whether there is one.
impl fmt::Debug for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written")
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("hosts", &self.hosts)
            .field("path", &self.path)
            .field("options", &self.options)
            .finish()
    }
}

impl<'a> Written<'a> {
    /// What follows the scheme and its two slashes.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to write it.
    pub fn parse(text: &'a str, form: &Form) -> Result<Written<'a>, PlaceError> {
        let (before_options, options) = text.split_once('?').unwrap_or((text, ""));
        let Some((authority, path)) = before_options.split_once('/') else {
            return fail(format!("the place names no lock: write {}", form.usual));
        };
        // The last `@`: no host contains one, a carelessly written password may.
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (login, hosts),
            None => ("", authority),
        };
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let hosts = hosts.split(',').filter(|_| !hosts.is_empty());
        // First what may hold an unescaped `/` or `?` of a password: its errors are the ones that say so.
        let hosts = hosts.map(|host| Host::parse(host, form));
        Ok(Written {
            user: not_empty(decode(user, "user")?),
            password: password.map(|p| decode(p, "password")).transpose()?,
            hosts: hosts.collect::<Result<_, _>>()?,
            path,
            options: Options::parse(options)?,
        })
    }

    /// The server of an engine whose locks live on one.
    ///
    /// # Errors
    /// There are several.
    pub fn only_host(&self) -> Result<Host, PlaceError> {
        match &self.hosts[..] {
            [] => Ok(Host::default()),
            [host] => Ok(host.clone()),
            _ => fail("a lock lives on one server: write one host, not a list of them"),
        }
    }
}

/// What follows the question mark: each is there once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    given: Vec<(String, String)>,
    /// Where an `@` follows, a name may be what came after the `/` and the `?` of a password.
    secret: bool,
}

impl Options {
    fn parse(text: &str) -> Result<Options, PlaceError> {
        let mut options = Options {
            secret: text.contains('@'),
            ..Options::default()
        };
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (option, value) = pair.split_once('=').unwrap_or((pair, ""));
            let option = decode(option, "name of an option")?;
            if options.given.iter().any(|(known, _)| *known == option) {
                let option = options.quoted(&option);
                return fail(format!("{option} is given twice"));
            }
            let value = decode(value, "value of an option")?;
            options.given.push((option, value));
        }
        Ok(options)
    }

    /// The value of this one, which is no longer here then.
    ///
    /// # Errors
    /// It has none.
    pub fn take(&mut self, name: &str) -> Result<Option<String>, PlaceError> {
        match self.take_any(name) {
            Some(value) if value.is_empty() => fail(format!("the option {name} has no value")),
            taken => Ok(taken),
        }
    }

    /// Whether this one is set: it stands there alone, or with `true` or `1`.
    ///
    /// # Errors
    /// It has another value, and not `false` or `0`.
    pub fn take_flag(&mut self, name: &str) -> Result<bool, PlaceError> {
        match self.take_any(name).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(_) => fail(format!("the option {name} is true or false")),
        }
    }

    /// How long leases last: `ttl` and `lock-delay`, else the usual terms.
    ///
    /// # Errors
    /// One of them is no time, or they make no sense together.
    pub fn take_terms(&mut self) -> Result<Terms, PlaceError> {
        let mut given = |name: &str, usual| match self.take(name)? {
            Some(text) => duration(&text, &format!("the option {name}")),
            None => Ok(usual),
        };
        let ttl = given("ttl", Terms::USUAL.ttl())?;
        let delay = given("lock-delay", Terms::USUAL.delay())?;
        Terms::new(ttl, delay).map_err(|error| PlaceError::new(error.to_string()))
    }

    /// That nothing is left that nobody took.
    ///
    /// # Errors
    /// Something is; these are the ones that could have been taken.
    pub fn none_left(&self, known: &[&str]) -> Result<(), PlaceError> {
        match self.given.first() {
            None => Ok(()),
            Some((option, _)) => fail(format!(
                "{} is not known; there are {}",
                self.quoted(option),
                known.join(", ")
            )),
        }
    }

    fn quoted(&self, option: &str) -> String {
        match self.secret {
            true => "an option (a / or ? in a password is written %2F or %3F)".to_owned(),
            false => format!("the option {option}"),
        }
    }

    fn take_any(&mut self, name: &str) -> Option<String> {
        let at = self.given.iter().position(|(known, _)| known == name)?;
        Some(self.given.remove(at).1)
    }
}

/// Nothing, where there is nothing.
#[must_use]
pub fn not_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// The number of a port; `what` begins the error.
///
/// # Errors
/// It is none.
pub fn port_number(text: &str, what: &str) -> Result<u16, PlaceError> {
    match text.parse() {
        // `parse` would take a sign.
        Ok(port @ 1..) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => fail(format!(
            "{what} is not a number from 1 to 65535 (a / or ? in a password is written %2F or %3F)"
        )),
    }
}

/// `10` (seconds), `1500ms`, `10s`, `2m`, `1h`; `what` begins the error.
///
/// # Errors
/// It is none, or too long to count in milliseconds.
pub fn duration(text: &str, what: &str) -> Result<Duration, PlaceError> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (digits, unit) = text.split_at(split.unwrap_or(text.len()));
    let factor: Option<u64> = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = digits.parse::<u64>().ok().zip(factor);
    match number.and_then(|(number, factor)| number.checked_mul(factor)) {
        Some(millis) => Ok(Duration::from_millis(millis)),
        None => fail(format!("{what} is no time: write 10s, 1500ms or 2m")),
    }
}

/// One part, percent-decoded. A plus is a plus; a NUL, which would end the text early in some server's messages, is an error.
///
/// # Errors
/// A `%` without two hexadecimal digits, a NUL, bytes that are no UTF-8.
pub fn decode(text: &str, what: &str) -> Result<String, PlaceError> {
    let Some(bytes) = decoded(text) else {
        return fail(format!(
            "a % in the {what} is not followed by two hexadecimal digits (a % itself is written %25)"
        ));
    };
    match String::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => fail(format!("the {what} contains a NUL character")),
        Ok(text) => Ok(text),
        Err(_) => fail(format!("the {what}, percent-decoded, is not UTF-8")),
    }
}

/// Its bytes; None where a `%` means nothing.
#[must_use]
pub fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        // Two digits are less than 256.
        bytes.push((high * 16 + low) as u8);
    }
    Some(bytes)
}

/// A part as it is written, so that [`decode`] gives it back.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a>(pub &'a str);

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

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form {
        usual: "redis://host/name",
        bracketed: "redis://[::1]:6379/name",
    };

    fn written(text: &str) -> Written<'_> {
        match Written::parse(text, &FORM) {
            Ok(written) => written,
            Err(error) => panic!("{text}: {error}"),
        }
    }

    fn sentence(text: &str) -> String {
        match Written::parse(text, &FORM) {
            Ok(_) => panic!("{text} makes sense"),
            Err(error) => error.to_string(),
        }
    }

    fn host(name: &str, port: impl Into<Option<u16>>) -> Host {
        Host {
            name: name.to_owned(),
            port: port.into(),
        }
    }

    #[test]
    fn all_parts_are_read() {
        let place = written("ada%40x:p%2Fq@db:1,[::1]:2,[::2],:3/a%2Fb/c?ttl=2m&tls&x=1%26");
        assert_eq!(place.user.as_deref(), Some("ada@x"));
        assert_eq!(place.password.as_deref(), Some("p/q"));
        let hosts = [
            host("db", 1),
            host("::1", 2),
            host("::2", None),
            host("", 3),
        ];
        assert_eq!(place.hosts, hosts);
        assert_eq!(place.path, "a%2Fb/c");
        let mut options = place.options;
        assert_eq!(options.take("x"), Ok(Some("1&".to_owned())));
        assert_eq!(options.take_flag("tls"), Ok(true));
        assert_eq!(options.take_flag("tls"), Ok(false));
        let terms = options.take_terms().expect("a time");
        assert_eq!(terms.ttl(), Duration::from_secs(120));
        assert_eq!(terms.delay(), Terms::USUAL.delay());
        assert_eq!(options.none_left(&[]), Ok(()));
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        let place = written("/name");
        assert_eq!((place.user, place.password), (None, None));
        assert_eq!(place.hosts, []);
        let place = written(":@h/");
        assert_eq!((place.user, place.password), (None, Some(String::new())));
        assert_eq!(written("a@b@h/x").user.as_deref(), Some("a@b"));
        assert_eq!(written("h/x").only_host(), Ok(host("h", None)));
        assert_eq!(written("/x").only_host(), Ok(host("", None)));
        let error = written("a,b/x").only_host().expect_err("two");
        assert!(error.to_string().contains("one host"));
    }

    #[test]
    fn what_makes_no_sense_is_told_and_not_quoted() {
        for (text, why) in [
            ("host", "names no lock: write redis://host/name"),
            ("[::1/n", "not closed"),
            ("[::1]x/n", "only :port"),
            ("::1/n", "in brackets, as in redis://[::1]:6379/name"),
            ("h:0/n", "1 to 65535"),
            ("h:+1/n", "1 to 65535"),
            ("h:65536/n", "1 to 65535"),
            ("u:se/cret@h/n", "written %2F"),
            ("u:%@h/n", "a % in the password"),
            ("u%00:p@h/n", "NUL"),
            ("u%ff@h/n", "not UTF-8"),
            ("h/n?a&a=1", "the option a is given twice"),
            ("h/n?a=%x", "value of an option"),
            (
                "u:12/x?se=1&se=2&cret@h/n",
                "an option (a / or ? in a password",
            ),
        ] {
            let said = sentence(text);
            assert!(said.contains(why), "{text}: {said}");
            assert!(!said.contains("cret"), "{text}: {said}");
        }
    }

    #[test]
    fn options_are_taken_or_named() {
        let mut options = written("h/n?a=&b=x&ttl=soon&c").options;
        assert!(
            options
                .take("a")
                .expect_err("empty")
                .to_string()
                .contains("has no value")
        );
        let error = options.take_flag("b").expect_err("no flag");
        assert!(error.to_string().contains("true or false"));
        let error = options.take_terms().expect_err("no time");
        assert!(error.to_string().contains("the option ttl is no time"));
        let error = options.none_left(&["d", "e"]).expect_err("one is left");
        assert_eq!(
            error.to_string(),
            "the option c is not known; there are d, e"
        );
    }

    #[test]
    fn times_have_units() {
        let millis = |text: &str| duration(text, "it").map(|time| time.as_millis());
        for (text, time) in [
            ("7", 7000),
            ("7s", 7000),
            ("1500ms", 1500),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(millis(text), Ok(time), "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "1y",
            "1 s",
            "99999999999999999999",
            "9999999999999999999h",
        ] {
            assert!(millis(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_encoded_can_be_decoded() {
        for text in ["plain-1._~", "a b/c?d&e=f%g@h:i[j]", "é🔒+"] {
            let encoded = Encoded(text).to_string();
            assert!(encoded.is_ascii(), "{encoded}");
            assert_eq!(decode(&encoded, "it").as_deref(), Ok(text));
        }
        assert_eq!(decoded("%zz"), None);
        assert_eq!(decoded("%f"), None);
    }
}
