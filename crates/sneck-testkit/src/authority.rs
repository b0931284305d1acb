//! A certificate authority of a test's own: roots, servers' and clients' certificates in files, made when the test runs.
//!
//! Not for: anything outside a test; the keys lie in a temporary folder.

use crate::folder::Folder;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, date_time_ymd,
};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A server.
    Server,
    /// A client.
    Client,
    /// A server that is a client too.
    Both,
}

/// When it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Valid {
    /// Now.
    Now,
    /// Until 2001.
    Once,
    /// From 2900 on.
    OneDay,
}

/// What it is signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// ECDSA with SHA-256.
    Sha256,
    /// ECDSA with SHA-384.
    Sha384,
    /// Ed25519, which names no digest.
    Ed25519,
}

/// A certificate and its key, in files (PEM). The key is for its owner's eyes only, as servers want it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// An authority that signs what it is asked to.
pub struct Authority {
    folder: Folder,
    issuer: Issuer<'static, KeyPair>,
    root: PathBuf,
}

impl Authority {
    /// A new one; `name` is what its certificates say of it.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn new(name: &str) -> Authority {
        Authority::signing_with(name, Signature::Sha256)
    }

    /// The same, signing in this way.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn signing_with(name: &str, signature: Signature) -> Authority {
        let folder = Folder::new();
        let mut params = params(name, &[], Valid::Now);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(match signature {
            Signature::Sha256 => &PKCS_ECDSA_P256_SHA256,
            Signature::Sha384 => &PKCS_ECDSA_P384_SHA384,
            Signature::Ed25519 => &PKCS_ED25519,
        });
        let key = key.expect("a key");
        let root = folder.path().join("root.crt");
        let certificate = params.self_signed(&key).expect("a root");
        fs::write(&root, certificate.pem()).expect("a file");
        Authority {
            folder,
            issuer: Issuer::new(params, key),
            root,
        }
    }

    /// The file with its own certificate: what those name who trust it.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder in which all its files lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A server's certificate for these names and addresses.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn server(&self, names: &[&str]) -> Issued {
        self.issue("server", names, Use::Server, Valid::Now)
    }

    /// A client's certificate for this user.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn client(&self, user: &str) -> Issued {
        self.issue(user, &[], Use::Client, Valid::Now)
    }

    /// A certificate with this common name and these others.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn issue(&self, common: &str, names: &[&str], usage: Use, valid: Valid) -> Issued {
        let mut params = params(common, names, valid);
        let (server, client) = (
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        );
        params.extended_key_usages = match usage {
            Use::Server => vec![server],
            Use::Client => vec![client],
            Use::Both => vec![server, client],
        };
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        self.written(common, &certificate.pem(), &key)
    }

    /// A certificate that nobody signed but itself and that says it is an authority, as `openssl req -x509` makes it.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn self_signed(&self, names: &[&str], valid: Valid) -> Issued {
        let mut params = params("self", names, valid);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        self.written("self", &certificate.pem(), &key)
    }

    fn written(&self, name: &str, certificate: &str, key: &KeyPair) -> Issued {
        let free = |number: &u32| {
            !self
                .folder
                .path()
                .join(format!("{name}-{number}.crt"))
                .exists()
        };
        let number = (0..).find(free).expect("a free name");
        let issued = Issued {
            certificate: self.folder.path().join(format!("{name}-{number}.crt")),
            key: self.folder.path().join(format!("{name}-{number}.key")),
        };
        fs::write(&issued.certificate, certificate).expect("a file");
        crate::sys::write_secret(&issued.key, key.serialize_pem().as_bytes()).expect("a file");
        issued
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

fn params(common: &str, names: &[&str], valid: Valid) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("names that a certificate can be for");
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, common);
    let (from, until) = match valid {
        Valid::Now => (2020, 2900),
        Valid::Once => (2000, 2001),
        Valid::OneDay => (2900, 2901),
    };
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}
