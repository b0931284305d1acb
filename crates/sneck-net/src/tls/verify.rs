//! Whether to trust the server, and in plain words why not.
//!
//! The checks themselves are rustls' own; here is which of them are made, and one thing that people expect from OpenSSL: that a certificate which stands in the
//! file of roots itself is trusted, even if it says of itself that it is an authority. So are most that were made with one command.

use super::certificate::Certificate;
use super::setup::setup;
use super::{Roots, Trust};
use crate::error::{Error, ErrorKind, Failure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use std::fmt;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Verifier {
    trust: Trust,
    store: RootCertStore,
    roots: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(
        trust: Trust,
        roots: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Result<Verifier, Error> {
        let mut store = RootCertStore::empty();
        if let Trust::Named(named) | Trust::Signed(named) = &trust {
            for root in &roots {
                store.add(root.clone()).map_err(|error| {
                    setup(named, format!("it holds what is no certificate: {error}"))
                })?;
            }
        }
        Ok(Verifier {
            trust,
            store,
            roots,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// Whether one of `roots` has signed it, now.
    fn signed(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(shown)?;
        let checked = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.store,
            between,
            now,
            self.algorithms.all,
        );
        match checked {
            // This is found after the dates were found good and before any signature is looked at; none is needed.
            Err(error)
                if says_it_is_an_authority(&error) && self.roots.iter().any(|r| r == shown) =>
            {
                Ok(())
            }
            checked => checked,
        }
    }
}

fn says_it_is_an_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(error))) = error
    else {
        return false;
    };
    let error = error.downcast_ref::<webpki::Error>();
    matches!(error, Some(webpki::Error::CaUsedAsEndEntity))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let (roots, checked) = match &self.trust {
            Trust::Anybody => return Ok(ServerCertVerified::assertion()),
            Trust::Signed(roots) => (roots, self.signed(shown, between, now)),
            Trust::Named(roots) => {
                let named = || verify_server_name(&ParsedCertificate::try_from(shown)?, name);
                (
                    roots,
                    self.signed(shown, between, now).and_then(|()| named()),
                )
            }
        };
        match checked {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(rustls::Error::InvalidCertificate(error)) => {
                let why = distrust(&Certificate::new(shown), roots, &error);
                let told = OtherError(Arc::new(Distrust(why)));
                Err(CertificateError::Other(told).into())
            }
            Err(error) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Why we do not trust a certificate, on its way through rustls.
#[derive(Debug)]
struct Distrust(String);

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Distrust {}

fn distrust(shown: &Certificate, roots: &Roots, error: &CertificateError) -> String {
    let why = match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("no authority in {roots} has signed it")
        }
        CertificateError::ExpiredContext { time, not_after } => {
            let ago = time.as_secs().saturating_sub(not_after.as_secs());
            format!("it has expired, {} ago", days(ago))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let still = not_before.as_secs().saturating_sub(time.as_secs());
            format!(
                "it is not valid yet, for {} to come (see both clocks)",
                days(still)
            )
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } if presented.is_empty() => {
            let expected = expected.to_str();
            format!(
                "it names no server at all (subjectAltName), and this one was called {expected}"
            )
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let expected = expected.to_str();
            // Each comes as `DnsName("…")`.
            let bare = |name: &String| {
                let quoted = name.split('"').nth(1);
                sneck::text::clean(quoted.unwrap_or(name))
            };
            let presented = presented.iter().map(bare).collect::<Vec<_>>();
            format!("it is for {}, and not for {expected}", presented.join(", "))
        }
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            "it is not made for servers".to_owned()
        }
        other if says_it_is_an_authority(&other.clone().into()) => {
            format!("it is an authority's, and {roots} does not hold it")
        }
        other => other.to_string(),
    };
    format!("the server is not trusted: it shows {shown}; {why}")
}

fn days(seconds: u64) -> String {
    match seconds {
        0..172_800 => format!("{} hours", seconds.div_ceil(3600)),
        _ => format!("{} days", seconds / 86400),
    }
}

/// What an error of TLS means. `shown`: whether we have a certificate of our own to show.
pub(super) fn failure(error: &rustls::Error, ours: Ours) -> Failure {
    use AlertDescription as Alert;
    use rustls::Error;
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(why)))
            if why.is::<Distrust>() =>
        {
            Failure::new(ErrorKind::Refused, why.to_string())
        }
        Error::InvalidCertificate(error) => {
            let why = format!("the server's certificate is of no use: {error}");
            Failure::new(ErrorKind::Refused, why)
        }
        Error::AlertReceived(
            alert @ (Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError),
        ) => {
            let why = match ours {
                Ours::None => "the server wants to see a certificate, and we have none to show",
                Ours::Shown => "the server does not accept our certificate",
            };
            Failure::new(ErrorKind::Refused, format!("{why} (it says {alert:?})"))
        }
        Error::AlertReceived(alert) => {
            let why = match ours {
                Ours::None => "it may want to see a certificate, or",
                Ours::Shown => "it may not accept our certificate, or",
            };
            let why = format!(
                "the server broke off ({alert:?}): {why} has no version or cipher of TLS in common with us"
            );
            Failure::new(ErrorKind::Protocol, why)
        }
        Error::InvalidMessage(_) => {
            Failure::new(ErrorKind::Protocol, "what answers does not speak TLS")
        }
        error => Failure::new(ErrorKind::Protocol, format!("TLS failed: {error}")),
    }
}

/// Whether we have a certificate to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ours {
    None,
    Shown,
}
