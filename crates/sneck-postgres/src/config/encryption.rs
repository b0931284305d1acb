//! How much encryption is asked for, with libpq's words: `sslmode` and its company.
//!
//! | `sslmode` | encrypted | the server's certificate |
//! |---|---|---|
//! | `disable` | never | – |
//! | `allow` | if the server insists | as `prefer` |
//! | `prefer` | if the server can | signed by the root certificate if there is one; else not looked at |
//! | `require` | always | signed by the root certificate if there is one; else not looked at |
//! | `verify-ca` | always | signed by the root certificate |
//! | `verify-full` | always | signed by the root certificate, and for this host |
//!
//! Without a word about it, it is `verify-full` if a root certificate is named (`sslrootcert`) or found (`~/.postgresql/root.crt`), and `prefer` if not. `prefer`
//! protects from nobody who stands in between: he says that the server cannot encrypt, or shows a certificate of his own.
//!
//! Through a socket file nothing is encrypted, whatever is asked for, as in libpq. Not for: reading the files (`sneck-net` does, when it connects).

use super::sources::Sources;
use super::{Address, NOT_SUPPORTED};
use crate::session::SessionError;
use crate::sys::{self, Secrecy};
use sneck_net::place::{PlaceError, fail};
use sneck_net::{Credential, Roots, Tls, Trust};
use std::path::PathBuf;

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the server insists.
    Allow,
    /// If the server can.
    Prefer,
    /// Always.
    Require,
    /// Always, and one of the authorities has signed the server's certificate.
    VerifyCa,
    /// Always, and one of the authorities has signed the server's certificate for this host.
    VerifyFull,
}

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiation {
    /// The server is asked whether it can.
    Postgres,
    /// With the first byte; servers from 17 on.
    Direct,
}

/// Whether a login by password is tied to the server's certificate (SCRAM with `tls-server-end-point`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If the server offers it.
    Prefer,
    /// Always: no other login will do.
    Require,
}

/// What was asked for, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    mode: SslMode,
    negotiation: Negotiation,
    binding: ChannelBinding,
    trust: Trust,
    credential: Option<Credential>,
}

/// One way to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Not encrypted.
    Plain,
    /// Encrypted if the server says that it can.
    IfOffered,
    /// Encrypted, or not at all.
    Encrypted,
}

impl Encryption {
    pub(super) fn read(sources: &Sources<'_>, address: &Address) -> Result<Encryption, PlaceError> {
        let own = |name: &str| {
            let found = sources
                .own_file(sys::CERTIFICATES)
                .map(|folder| folder.join(name));
            found.filter(|path| path.exists())
        };
        let roots = match sources.value("sslrootcert")? {
            Some(system) if system == "system" => Some(Roots::System),
            Some(path) => Some(Roots::File(path.into())),
            None => own("root.crt").map(Roots::File),
        };
        let given = sources.find("sslmode")?;
        let mode = match given.as_ref().map(|found| found.value.as_str()) {
            None if roots.is_some() => SslMode::VerifyFull,
            None => SslMode::Prefer,
            Some("disable") => SslMode::Disable,
            Some("allow") => SslMode::Allow,
            Some("prefer") => SslMode::Prefer,
            Some("require") => SslMode::Require,
            Some("verify-ca") => SslMode::VerifyCa,
            Some("verify-full") => SslMode::VerifyFull,
            Some(_) => {
                return fail(
                    "sslmode is none of disable, allow, prefer, require, verify-ca, verify-full",
                );
            }
        };
        let negotiation = match sources.value("sslnegotiation")?.as_deref() {
            None | Some("postgres") => Negotiation::Postgres,
            Some("direct") => Negotiation::Direct,
            Some(_) => return fail("sslnegotiation is neither postgres nor direct"),
        };
        let binding = match sources.value("channel_binding")?.as_deref() {
            Some("disable") => ChannelBinding::Disable,
            None | Some("prefer") => ChannelBinding::Prefer,
            Some("require") => ChannelBinding::Require,
            Some(_) => return fail("channel_binding is none of disable, prefer, require"),
        };
        let certificate = sources.value("sslcert")?.map(PathBuf::from);
        let certificate = certificate.or_else(|| own("postgresql.crt"));
        let key = sources.value("sslkey")?.map(PathBuf::from);
        let key = key.or_else(|| {
            let folder = sources.own_file(sys::CERTIFICATES);
            folder.map(|folder| folder.join("postgresql.key"))
        });

        let local = matches!(address, Address::Unix { .. });
        let mode = if local { SslMode::Disable } else { mode };
        if !Tls::AVAILABLE && mode >= SslMode::Require {
            return fail(format!(
                "TLS is {NOT_SUPPORTED} in this build, and sslmode asks for it"
            ));
        }
        if !local && roots == Some(Roots::System) && mode < SslMode::VerifyFull {
            // Anybody can have a certificate of one of those authorities.
            return fail("sslrootcert=system is of use with sslmode=verify-full only");
        }
        if !local && negotiation == Negotiation::Direct && mode < SslMode::Require {
            return fail("sslnegotiation=direct needs sslmode=require, verify-ca or verify-full");
        }
        let no_roots = || {
            PlaceError::new(
                "sslmode asks for the server's certificate to be verified, and there is no root certificate: name \
                 one with sslrootcert=FILE, or sslrootcert=system for the system's",
            )
        };
        let trust = match (mode, roots) {
            (SslMode::VerifyFull, roots) => Trust::Named(roots.ok_or_else(no_roots)?),
            (SslMode::VerifyCa, roots) => Trust::Signed(roots.ok_or_else(no_roots)?),
            (_, Some(roots)) => Trust::Signed(roots),
            (_, None) => Trust::Anybody,
        };
        let credential = certificate.zip(key);
        let credential = credential.map(|(certificate, key)| Credential { certificate, key });
        Ok(Encryption {
            mode,
            negotiation,
            binding,
            trust,
            credential,
        })
    }

    /// How much of it.
    #[must_use]
    pub fn mode(&self) -> SslMode {
        self.mode
    }

    /// How it begins.
    #[must_use]
    pub fn negotiation(&self) -> Negotiation {
        self.negotiation
    }

    /// Whether the login is tied to it.
    #[must_use]
    pub fn channel_binding(&self) -> ChannelBinding {
        self.binding
    }

    /// Whom to trust.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The ways to connect, the best one first.
    pub(crate) fn ways(&self) -> &'static [Way] {
        match self.mode {
            SslMode::Disable => &[Way::Plain],
            SslMode::Allow | SslMode::Prefer if !Tls::AVAILABLE => &[Way::Plain],
            SslMode::Allow => &[Way::Plain, Way::Encrypted],
            SslMode::Prefer => &[Way::IfOffered, Way::Plain],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Way::Encrypted],
        }
    }

    /// Reads the certificates.
    pub(crate) fn tls(&self) -> Result<Tls, SessionError> {
        if let Some(Credential { key, .. }) = &self.credential {
            if sys::secrecy_of_key(key) == Secrecy::Open {
                let key = key.display();
                let text = format!(
                    "the private key {key} is not used, because others may read it: chmod 600"
                );
                return Err(SessionError::of_setup(text));
            }
        }
        let tls = Tls::new(&self.trust, self.credential.as_ref());
        let tls = tls.map_err(|error| SessionError::of_setup(error.to_string()))?;
        Ok(match self.negotiation {
            Negotiation::Postgres => tls,
            Negotiation::Direct => tls.speaking("postgresql"),
        })
    }
}
