//! Who is logged in, where each system keeps what a user has told PostgreSQL's programs, and which files are secret enough.
//!
//! With `cfg`, and no more than that. Not for: sockets (`sneck-net`).

use std::path::Path;

/// The folder below which a user's own files lie, as the environment names it.
#[cfg(not(windows))]
pub(crate) const HOME: &str = "HOME";
/// The folder below which a user's own files lie, as the environment names it.
#[cfg(windows)]
pub(crate) const HOME: &str = "APPDATA";

/// Passwords.
#[cfg(not(windows))]
pub(crate) const PASSWORD_FILE: &str = ".pgpass";
/// Passwords.
#[cfg(windows)]
pub(crate) const PASSWORD_FILE: &str = "postgresql/pgpass.conf";

/// Services.
#[cfg(not(windows))]
pub(crate) const SERVICE_FILE: &str = ".pg_service.conf";
/// Services.
#[cfg(windows)]
pub(crate) const SERVICE_FILE: &str = "postgresql/.pg_service.conf";

/// Certificates and keys.
#[cfg(not(windows))]
pub(crate) const CERTIFICATES: &str = ".postgresql";
/// Certificates and keys.
#[cfg(windows)]
pub(crate) const CERTIFICATES: &str = "postgresql";

/// Where services of the whole machine are, unless `PGSYSCONFDIR` says otherwise: libpq has it built in, and this is Debian's.
#[cfg(unix)]
pub(crate) const SYSTEM_FOLDER: Option<&str> = Some("/etc/postgresql-common");
/// Where services of the whole machine are, unless `PGSYSCONFDIR` says otherwise.
#[cfg(not(unix))]
pub(crate) const SYSTEM_FOLDER: Option<&str> = None;

/// What a file of passwords or a key is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// Nobody else may read it, or the system has other ways to say so.
    Kept,
    /// Others may read it.
    Open,
    /// It is none: a folder, a device.
    NoFile,
    /// It is not there, or not to be looked at.
    Absent,
}

/// Who may read a file of passwords: its owner only.
#[cfg(unix)]
pub(crate) fn secrecy(path: &Path) -> Secrecy {
    judge(path, |_| 0o077)
}

/// Who may read a key: its owner only, or the group too if it is root's.
#[cfg(unix)]
pub(crate) fn secrecy_of_key(path: &Path) -> Secrecy {
    judge(path, |owner| if owner == 0 { 0o027 } else { 0o077 })
}

#[cfg(unix)]
fn judge(path: &Path, forbidden: impl FnOnce(u32) -> u32) -> Secrecy {
    use std::os::unix::fs::MetadataExt;
    match std::fs::metadata(path) {
        Err(_) => Secrecy::Absent,
        Ok(about) if !about.is_file() => Secrecy::NoFile,
        Ok(about) if about.mode() & forbidden(about.uid()) != 0 => Secrecy::Open,
        Ok(_) => Secrecy::Kept,
    }
}

/// As libpq has it: here folders keep secrets.
#[cfg(not(unix))]
pub(crate) fn secrecy(path: &Path) -> Secrecy {
    match std::fs::metadata(path) {
        Err(_) => Secrecy::Absent,
        Ok(about) if !about.is_file() => Secrecy::NoFile,
        Ok(_) => Secrecy::Kept,
    }
}

#[cfg(not(unix))]
pub(crate) use secrecy as secrecy_of_key;

/// The name that `/etc/passwd` has for the effective user; users that only a directory service knows have none here.
#[cfg(unix)]
pub(crate) fn login_name() -> Option<String> {
    let me = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == me && !name.is_empty()).then(|| name.to_owned())
    })
}

/// Only the environment knows.
#[cfg(not(unix))]
pub(crate) fn login_name() -> Option<String> {
    None
}
