//! The names of TLS in a build that has none: whoever asks for it is told so, before anybody is asked.

use super::{Certificate, Credential, Trust};
use crate::connection::Received;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Failure};
use crate::sys::Socket;
use std::convert::Infallible;

/// There is none of it.
#[derive(Clone, Debug)]
pub struct Tls(Infallible);

impl Tls {
    /// Whether this build can do it.
    pub const AVAILABLE: bool = false;

    /// Says that this build has no TLS.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: &Trust, _: Option<&Credential>) -> Result<Tls, Error> {
        let why = "this build has none (the feature `tls` was left out)";
        Err(Error::new(ErrorKind::Setup, "TLS", why))
    }

    /// As it is with TLS.
    #[must_use]
    pub fn speaking(self, _: &str) -> Tls {
        match self.0 {}
    }
}

#[derive(Debug)]
pub(crate) struct Layer(Infallible);

impl Layer {
    pub(crate) fn begin(tls: &Tls, _: &str, _: &Socket, _: &Deadline) -> Result<Layer, Failure> {
        match tls.0 {}
    }

    pub(crate) fn certificate(&self) -> Option<Certificate> {
        match self.0 {}
    }

    pub(crate) fn read(
        &mut self,
        _: &Socket,
        _: &mut [u8],
        _: Option<&Deadline>,
    ) -> Result<Received, Failure> {
        match self.0 {}
    }

    pub(crate) fn write_all(&mut self, _: &Socket, _: &[u8], _: &Deadline) -> Result<(), Failure> {
        match self.0 {}
    }

    pub(crate) fn has_ended(&mut self, _: &Socket) -> Option<Failure> {
        match self.0 {}
    }

    pub(crate) fn unread(&mut self, _: &Socket) -> &[u8] {
        match self.0 {}
    }

    pub(crate) fn farewell(&mut self, _: &Socket) {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_is_told_that_there_is_none() {
        let error = Tls::new(&Trust::Anybody, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Setup);
        assert!(error.to_string().contains("`tls` was left out"), "{error}");
    }
}
