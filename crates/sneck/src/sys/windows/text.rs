//! Paths are 16-bit words that need not be Unicode; the standard library's bytes for them (WTF-8) keep what is not.

use std::ffi::{OsStr, OsString};
use std::os::windows::ffi::{OsStrExt, OsStringExt};

/// What stands before and after the first colon.
pub(crate) fn split_at_colon(text: &OsStr) -> Option<(OsString, OsString)> {
    let words: Vec<u16> = text.encode_wide().collect();
    let colon = words.iter().position(|&word| word == u16::from(b':'))?;
    Some((
        OsString::from_wide(&words[..colon]),
        OsString::from_wide(&words[colon + 1..]),
    ))
}

/// The bytes of a name.
pub(crate) fn bytes(text: &OsStr) -> &[u8] {
    text.as_encoded_bytes()
}

/// The name that these bytes are. Bytes that are no name's become one that nothing has, the empty one.
pub(crate) fn from_bytes(bytes: &[u8]) -> OsString {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => OsString::from_wide(&words(bytes).unwrap_or_default()),
    }
}

/// The 16-bit words of WTF-8, where it is not UTF-8: half of a pair alone is written in three bytes, as any other word of its size.
fn words(mut bytes: &[u8]) -> Option<Vec<u16>> {
    let mut words = Vec::new();
    while !bytes.is_empty() {
        let sound = match std::str::from_utf8(bytes) {
            Ok(_) => bytes.len(),
            Err(error) => error.valid_up_to(),
        };
        let (text, rest) = bytes.split_at(sound);
        words.extend(std::str::from_utf8(text).ok()?.encode_utf16());
        bytes = rest;
        if let [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, rest @ ..] = rest {
            words.push(0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F));
            bytes = rest;
        } else if !rest.is_empty() {
            return None;
        }
    }
    Some(words)
}

/// What is wrong with a path's last name, if this system cannot have such a file. An absolute path of a device is told by the look at it.
pub(crate) fn wrong_name(name: &OsStr) -> Option<&'static str> {
    let has = |word: u8| bytes(name).contains(&word);
    if has(b':') {
        return Some("a colon in a file name means a stream inside of a file");
    }
    let other = [b'"', b'*', b'<', b'>', b'?', b'|'].into_iter().any(has);
    other.then_some("this system has no file names with \" * < > ? or |")
}

/// Whether a path ends in what separates names.
pub(crate) fn ends_in_separator(path: &OsStr) -> bool {
    bytes(path).ends_with(b"/") || bytes(path).ends_with(b"\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_unicode_keeps_every_word() {
        let odd = OsString::from_wide(&[0x61, 0xD83D, 0x62, 0xDC00, 0xD83D, 0xDE00, 0xDFFF]);
        assert_eq!(from_bytes(bytes(&odd)), odd);
        assert_eq!(from_bytes(b"\xff\xfe"), "");
        let (scheme, rest) = split_at_colon(&OsString::from("flock:C:\\x")).expect("a colon");
        assert_eq!((scheme, rest), ("flock".into(), "C:\\x".into()));
    }
}
