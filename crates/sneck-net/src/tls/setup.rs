//! What TLS needs before a server is called: the authorities, our own certificate, the verifier.
//!
//! Not for: deciding on a certificate (`verify.rs`).

use super::verify::Verifier;
use super::{Credential, Roots, Trust};
use crate::error::{Error, ErrorKind};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fmt::{self, Display};
use std::path::Path;
use std::sync::Arc;

/// How connections are encrypted: whom to trust and what to show, read from their files once. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    pub(super) config: Arc<ClientConfig>,
    trust: Trust,
}

impl Tls {
    /// Whether this build can do it.
    pub const AVAILABLE: bool = true;

    /// Reads the certificates. Asks no server. TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// [`ErrorKind::Setup`]: a file cannot be read or holds nothing of use; a key does not belong to its certificate.
    pub fn new(trust: &Trust, credential: Option<&Credential>) -> Result<Tls, Error> {
        let provider = Arc::new(ring::default_provider());
        let verifier = match trust {
            Trust::Named(roots) | Trust::Signed(roots) => {
                let trusted = trusted(roots)?;
                Verifier::new(trust.clone(), trusted, &provider)?
            }
            Trust::Anybody => Verifier::new(trust.clone(), Vec::new(), &provider)?,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| setup("TLS", error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match credential {
            None => config.with_no_client_auth(),
            Some(credential) => {
                let chain = certificates(&credential.certificate)?;
                let key = PrivateKeyDer::from_pem_file(&credential.key);
                let key = key.map_err(|error| match error {
                    pem::Error::NoItemsFound => setup(
                        credential.key.display(),
                        "it holds no private key that can be read (PEM, not encrypted)",
                    ),
                    error => setup(credential.key.display(), words(error)),
                })?;
                config.with_client_auth_cert(chain, key).map_err(|error| {
                    let why = format!("its certificate and key are of no use together: {error}");
                    setup(credential.certificate.display(), why)
                })?
            }
        };
        // Each connection shows that it may; and nothing is kept that a forked child could use a second time.
        config.resumption = Resumption::disabled();
        Ok(Tls {
            config: Arc::new(config),
            trust: trust.clone(),
        })
    }

    /// The same, and what is going to be spoken is told to the server in the handshake (ALPN).
    #[must_use]
    pub fn speaking(mut self, protocol: &str) -> Tls {
        let config = Arc::make_mut(&mut self.config);
        config.alpn_protocols.push(protocol.as_bytes().to_vec());
        self
    }

    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

fn trusted(roots: &Roots) -> Result<Vec<CertificateDer<'static>>, Error> {
    match roots {
        Roots::File(path) => certificates(path),
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                let reasons = found.errors.iter().map(ToString::to_string);
                let reasons = reasons.collect::<Vec<_>>().join("; ");
                return Err(setup(
                    roots,
                    format!("none were found {reasons}").trim_end(),
                ));
            }
            // A system's hundred roots may have one among them that we cannot read.
            let mut store = RootCertStore::empty();
            let usable = |root: &CertificateDer<'_>| store.add(root.clone().into_owned()).is_ok();
            let mut certs = found.certs;
            certs.retain(usable);
            Ok(certs)
        }
    }
}

/// All certificates in a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => {
            Err(setup(path.display(), "it holds no certificate (PEM)"))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(setup(path.display(), words(error))),
    }
}

fn words(error: pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("it cannot be read: {error}"),
        error => format!("it cannot be read as PEM: {error}"),
    }
}

pub(super) fn setup(what: impl Display, why: impl Display) -> Error {
    Error::new(ErrorKind::Setup, &what.to_string(), &why.to_string())
}
