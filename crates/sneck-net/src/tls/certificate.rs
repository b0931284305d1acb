//! The few things in a certificate that we look at ourselves: names for messages, and the digest that a login can be bound to.
//!
//! Not for: trust (`verify.rs`). What is not understood here is `None`, and nothing rests on it.

use std::fmt;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const VERSION: u8 = 0xa0;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANISATION: &[u8] = &[0x55, 4, 10];

/// 1.2.840.113549.1.1: signatures of RSA; the last number says which.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
/// 1.2.840.10045.4: signatures of elliptic curves.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4];

/// A certificate that a server showed.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
}

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Certificate {
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "nobody shows one"))]
    pub(crate) fn new(der: &[u8]) -> Certificate {
        let der = der.to_vec();
        Certificate { der }
    }

    /// All of it, as it was sent (DER).
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The digest by which a login is bound to this certificate (RFC 5929, `tls-server-end-point`): that of its signature, SHA-256 in place of weaker ones. None
    /// where no such rule exists (Ed25519) or both sides would have to agree on more than a name (RSA-PSS).
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        let (_, whole, _) = element(&self.der)?;
        let (_, _, rest) = element(whole)?;
        let algorithm = inside(SEQUENCE, rest)?;
        let object = inside(OBJECT, algorithm)?;
        match (object.strip_prefix(RSA), object.strip_prefix(ECDSA)) {
            (Some([4 | 5 | 11]), _) | (_, Some([1] | [3, 2])) => Some(Digest::Sha256),
            (Some([12]), _) | (_, Some([3, 3])) => Some(Digest::Sha384),
            (Some([13]), _) | (_, Some([3, 4])) => Some(Digest::Sha512),
            _ => None,
        }
    }

    /// Whose it is and who signed it.
    fn names(&self) -> Option<(String, String)> {
        let (_, whole, _) = element(&self.der)?;
        let mut rest = inside(SEQUENCE, whole)?;
        if rest.first() == Some(&VERSION) {
            rest = element(rest)?.2;
        }
        let (_, _, rest) = element(rest)?; // serial number
        let (_, _, rest) = element(rest)?; // algorithm
        let (_, issuer, rest) = element(rest)?;
        let (_, _, rest) = element(rest)?; // validity
        let (_, subject, _) = element(rest)?;
        Some((name(subject), name(issuer)))
    }
}

/// Whose it is and who signed it, in a few words.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names() {
            Some((subject, issuer)) if subject == issuer => {
                write!(f, "the certificate of {subject}, signed by itself")
            }
            Some((subject, issuer)) => {
                write!(f, "the certificate of {subject}, signed by {issuer}")
            }
            None => f.write_str("a certificate that cannot be read"),
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({self})")
    }
}

/// The common name, else the organisation, else that there is neither.
fn name(mut distinguished: &[u8]) -> String {
    let mut found = None;
    while let Some((SET, set, rest)) = element(distinguished) {
        distinguished = rest;
        let Some(pair) = inside(SEQUENCE, set) else {
            continue;
        };
        let Some((OBJECT, object, value)) = element(pair) else {
            continue;
        };
        let Some((_, text, _)) = element(value) else {
            continue;
        };
        if object == COMMON_NAME || (object == ORGANISATION && found.is_none()) {
            let text = String::from_utf8_lossy(text);
            found = Some(format!("\"{}\"", sneck::text::clean(&text)));
        }
    }
    found.unwrap_or_else(|| "nobody by name".to_owned())
}

/// The content of the first element, if it is of this kind.
fn inside(tag: u8, der: &[u8]) -> Option<&[u8]> {
    match element(der)? {
        (found, content, _) if found == tag => Some(content),
        _ => None,
    }
}

/// The first element: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x83 => {
            let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            rest = after;
            digits
                .iter()
                .fold(0, |sum, digit| sum << 8 | usize::from(*digit))
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_taken_apart_and_what_is_cut_off_is_none() {
        assert_eq!(element(&[4, 2, 7, 8, 9]), Some((4, &[7, 8][..], &[9][..])));
        let long = [&[4, 0x82, 1, 0][..], &[7; 256]].concat();
        assert_eq!(
            element(&long).map(|(_, content, _)| content.len()),
            Some(256)
        );
        for broken in [
            &[][..],
            &[4],
            &[4, 2, 7],
            &[4, 0x82, 1],
            &[4, 0x84, 0, 0, 0, 1, 7],
        ] {
            assert_eq!(element(broken), None, "{broken:?}");
        }
        let nonsense = Certificate::new(b"\x30\x82\xff\xffnonsense");
        assert_eq!(nonsense.digest(), None);
        assert_eq!(nonsense.to_string(), "a certificate that cannot be read");
    }
}
