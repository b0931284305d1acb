//! Paths as the bytes they are.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What stands before and after the first colon.
pub(crate) fn split_at_colon(text: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = text.as_bytes();
    let colon = bytes.iter().position(|&b| b == b':')?;
    Some((
        OsString::from_vec(bytes[..colon].to_vec()),
        OsString::from_vec(bytes[colon + 1..].to_vec()),
    ))
}

/// What is wrong with a path's last name, if this system cannot have such a file.
pub(crate) fn wrong_name(_: &OsStr) -> Option<&'static str> {
    None
}

/// Whether a path ends in what separates names.
pub(crate) fn ends_in_separator(path: &OsStr) -> bool {
    path.as_bytes().ends_with(b"/")
}

/// The bytes of a name.
pub(crate) fn bytes(text: &OsStr) -> &[u8] {
    text.as_bytes()
}

/// The name that these bytes are.
pub(crate) fn from_bytes(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}
