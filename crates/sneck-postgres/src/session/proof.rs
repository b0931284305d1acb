//! Our side of the exchange that proves who we are, and theirs: passwords, plain, as MD5 and as SCRAM, the last bound to the server's certificate if it offers that.
//!
//! Not for: when a login begins and ends (`login.rs`). No password is ever in an error.

use std::fmt::Display;
use std::io;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding as Binding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use sneck_net::{Certificate, Digest};

use super::error::{ErrorKind, SessionError};
use crate::config::{ChannelBinding, Config};

pub(super) struct Proof<'a> {
    config: &'a Config,
    /// What the server showed when TLS began.
    certificate: Option<Certificate>,
    scram: Scram,
    admitted: bool,
}

enum Scram {
    NotAsked,
    Begun(Box<ScramSha256>, Bound),
    Proved(Bound),
}

/// Whether the login holds for this very connection only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    No,
    Yes,
}

/// What to send in return to a message.
pub(super) enum Reply {
    Send(BytesMut),
    Nothing,
    Unexpected,
}

impl<'a> Proof<'a> {
    pub(super) fn new(config: &'a Config, certificate: Option<Certificate>) -> Proof<'a> {
        Proof {
            config,
            certificate,
            scram: Scram::NotAsked,
            admitted: false,
        }
    }

    /// Whether the server said that we are in.
    pub(super) fn admitted(&self) -> bool {
        self.admitted
    }

    pub(super) fn reply(&mut self, message: &Message) -> Result<Reply, SessionError> {
        let mut reply = BytesMut::new();
        let encoded = match message {
            Message::AuthenticationOk => {
                // A server that broke the exchange off has not shown that it knows the password.
                if let Scram::Begun(..) = self.scram {
                    return Err(
                        self.not_proved("the server did not prove that it knows the password")
                    );
                }
                if !matches!(self.scram, Scram::Proved(Bound::Yes)) {
                    self.refuse_unbound()?;
                }
                self.admitted = true;
                return Ok(Reply::Nothing);
            }
            Message::AuthenticationCleartextPassword => {
                self.refuse_unbound()?;
                frontend::password_message(self.password()?, &mut reply)
            }
            Message::AuthenticationMd5Password(body) => {
                self.refuse_unbound()?;
                let user = self.config.user().as_bytes();
                let hash = md5_hash(user, self.password()?, body.salt());
                frontend::password_message(hash.as_bytes(), &mut reply)
            }
            Message::AuthenticationSasl(body) => {
                let mechanisms = body.mechanisms().map(|name| Ok(name.to_owned()));
                let mechanisms: Vec<String> = mechanisms
                    .collect()
                    .map_err(|error| self.not_proved(error))?;
                let offers = |name: &str| mechanisms.iter().any(|offered| offered == name);
                let (mechanism, binding, bound) = match self.end_point() {
                    Some(end_point) if offers(SCRAM_SHA_256_PLUS) => {
                        let binding = Binding::tls_server_end_point(end_point);
                        (SCRAM_SHA_256_PLUS, binding, Bound::Yes)
                    }
                    // The server is told that we could, so that nobody in between can have hidden its offer.
                    Some(_) => (SCRAM_SHA_256, Binding::unrequested(), Bound::No),
                    None => (SCRAM_SHA_256, Binding::unsupported(), Bound::No),
                };
                if bound == Bound::No {
                    self.refuse_unbound()?;
                }
                if !offers(mechanism) {
                    return Err(self.unknown_method());
                }
                let scram = ScramSha256::new(self.password()?, binding);
                let first = scram.message();
                let encoded = frontend::sasl_initial_response(mechanism, first, &mut reply);
                self.scram = Scram::Begun(Box::new(scram), bound);
                encoded
            }
            Message::AuthenticationSaslContinue(body) => {
                self.scram(|scram| scram.update(body.data()))?;
                self.scram(|scram| frontend::sasl_response(scram.message(), &mut reply))?;
                Ok(())
            }
            Message::AuthenticationSaslFinal(body) => {
                self.scram(|scram| scram.finish(body.data()))?;
                if let Scram::Begun(_, bound) = self.scram {
                    self.scram = Scram::Proved(bound);
                }
                return Ok(Reply::Nothing);
            }
            Message::AuthenticationGss
            | Message::AuthenticationGssContinue(_)
            | Message::AuthenticationKerberosV5
            | Message::AuthenticationScmCredential
            | Message::AuthenticationSspi => return Err(self.unknown_method()),
            _ => return Ok(Reply::Unexpected),
        };
        encoded.map_err(|error| self.not_proved(error))?;
        Ok(Reply::Send(reply))
    }

    /// What the login can be bound to: the digest of the server's certificate. None if it is not to be, or there is none.
    fn end_point(&self) -> Option<Vec<u8>> {
        if self.config.encryption().channel_binding() == ChannelBinding::Disable {
            return None;
        }
        let certificate = self.certificate.as_ref()?;
        let der = certificate.der();
        Some(match certificate.digest()? {
            Digest::Sha256 => Sha256::digest(der).to_vec(),
            Digest::Sha384 => Sha384::digest(der).to_vec(),
            Digest::Sha512 => Sha512::digest(der).to_vec(),
        })
    }

    /// Ends a login that is not bound to the connection, if it must be.
    fn refuse_unbound(&self) -> Result<(), SessionError> {
        match self.config.encryption().channel_binding() {
            ChannelBinding::Require => Err(self.failed(
                "does not bind the login to the encrypted connection, and channel_binding=require asks for it",
            )),
            ChannelBinding::Disable | ChannelBinding::Prefer => Ok(()),
        }
    }

    /// The next step of an exchange that has begun.
    fn scram(
        &mut self,
        step: impl FnOnce(&mut ScramSha256) -> io::Result<()>,
    ) -> Result<(), SessionError> {
        match &mut self.scram {
            Scram::Begun(scram, _) => step(scram).map_err(|error| self.not_proved(error)),
            _ => Err(self.unknown_method()),
        }
    }

    fn password(&self) -> Result<&'a [u8], SessionError> {
        let password = self.config.password().map(str::as_bytes);
        password.ok_or_else(|| match self.config.password_note() {
            Some(note) => self.failed(&format!("asks for a password, and none is given: {note}")),
            None => self.failed(
                "asks for a password, and none is given: set PGPASSWORD, add a line to ~/.pgpass, or write \
                 postgres://user:password@host/name",
            ),
        })
    }

    fn unknown_method(&self) -> SessionError {
        self.failed(
            "asks for a kind of login that is not supported; in pg_hba.conf, scram-sha-256, md5, \
             password, cert, peer and trust are",
        )
    }

    fn not_proved(&self, reason: impl Display) -> SessionError {
        self.failed(&format!(
            "could not be logged in to: {reason}; check that this is the right server, and the \
             password"
        ))
    }

    /// Why the login was given up on our side.
    fn failed(&self, what: &str) -> SessionError {
        let text = format!("PostgreSQL at {} {what}", self.config.address());
        SessionError::new(ErrorKind::Refused, text)
    }
}
