//! Where a server listens. Not for: looking a name up (`dial.rs`), or how an engine's places are written.

use std::fmt;
use std::path::PathBuf;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or IP address, and a port.
    Tcp {
        /// A name to look up, or an IP address without brackets.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// A socket file on this machine. Windows has none here.
    File(PathBuf),
}

/// `host:port`, or the path of the socket file.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::File(path) => write!(f, "{}", path.display()),
        }
    }
}
