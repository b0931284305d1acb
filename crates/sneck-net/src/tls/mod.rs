//! Encryption: whom to trust, which certificate to show, and the layer between what is said and what goes over the wire.
//!
//! rustls with ring: no OpenSSL, and nothing to install. A build without the feature `tls` has the same names, and no cryptography.
//!
//! | file | for |
//! |---|---|
//! | `setup.rs` | reading roots, certificates and keys |
//! | `verify.rs` | whether to trust the server, and why not |
//! | `layer.rs` | bytes in and out |
//! | `certificate.rs` | the few things in a certificate that we look at ourselves |
//! | `without.rs` | the same names in a build without TLS |
//!
//! Not for: when to begin ([`crate::Connection::start_tls`]'s callers know). Revocation is not checked.

mod certificate;
#[cfg(feature = "tls")]
mod layer;
#[cfg(feature = "tls")]
mod setup;
#[cfg(feature = "tls")]
mod verify;
#[cfg(not(feature = "tls"))]
mod without;

pub use certificate::{Certificate, Digest};
#[cfg(feature = "tls")]
pub(crate) use layer::Layer;
#[cfg(feature = "tls")]
pub use setup::Tls;
#[cfg(not(feature = "tls"))]
pub(crate) use without::Layer;
#[cfg(not(feature = "tls"))]
pub use without::Tls;

use std::fmt;
use std::path::PathBuf;

/// How far the server's certificate is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// One of these authorities has signed it, and it is for the name that the server was called by (`verify-full` of PostgreSQL's clients). The name must be
    /// among the certificate's *subject alternative names*; its common name is not looked at.
    Named(Roots),
    /// One of these authorities has signed it, for whatever name (`verify-ca`): enough where the authority is one's own.
    Signed(Roots),
    /// It is not verified (`require`): keeps out who listens, and not who stands in between.
    Anybody,
}

/// Which authorities are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those that the system trusts; on Unix `SSL_CERT_FILE` and `SSL_CERT_DIR` come first.
    System,
    /// Those in this file (PEM), and no others. The server's own certificate may be among them.
    File(PathBuf),
}

impl fmt::Display for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Roots::System => f.write_str("the system's roots"),
            Roots::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The certificate that we show to a server that asks for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The certificate, and those between it and the authority (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM, not encrypted).
    pub key: PathBuf,
}
