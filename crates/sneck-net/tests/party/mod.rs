//! A TLS server of the tests' own, and a few words for all of them.

#![allow(dead_code, reason = "each test program uses its part")]

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};
use sneck_net::{Address, Connection, Deadline, Error, Received};
use sneck_testkit::PATIENCE;
use sneck_testkit::authority::Issued;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) type Encrypted = StreamOwned<ServerConnection, TcpStream>;

pub(crate) fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

pub(crate) fn at_port(port: u16) -> Address {
    at("127.0.0.1", port)
}

pub(crate) fn at(host: &str, port: u16) -> Address {
    Address::Tcp {
        host: host.into(),
        port,
    }
}

pub(crate) fn dial(port: u16) -> Connection {
    Connection::dial(&at_port(port), &soon()).unwrap()
}

/// Something that listens, and does this with each connection.
pub(crate) fn server(act: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let act = Arc::new(act);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let act = act.clone();
            thread::spawn(move || act(socket.unwrap()));
        }
    });
    port
}

/// What a TLS server is like.
#[derive(Clone, Copy)]
pub(crate) struct Shows<'a> {
    pub(crate) certificate: &'a Issued,
    /// Whoever calls must show a certificate of this authority.
    pub(crate) wants: Option<&'a Path>,
    pub(crate) version: &'static SupportedProtocolVersion,
    pub(crate) speaks: &'static str,
}

impl<'a> Shows<'a> {
    pub(crate) fn new(certificate: &'a Issued) -> Shows<'a> {
        Shows {
            certificate,
            wants: None,
            version: &rustls::version::TLS13,
            speaks: "",
        }
    }
}

/// Something that speaks TLS, and does this with each connection. Handshakes are made by the first read or write.
pub(crate) fn tls_server(shows: Shows<'_>, act: impl Fn(Encrypted) + Send + Sync + 'static) -> u16 {
    let config = config(shows);
    server(move |socket| act(accept(socket, &config)))
}

pub(crate) fn accept(socket: TcpStream, config: &Arc<ServerConfig>) -> Encrypted {
    StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), socket)
}

pub(crate) fn config(shows: Shows<'_>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[shows.version])
        .unwrap();
    let builder = match shows.wants {
        None => builder.with_no_client_auth(),
        Some(root) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(root).unwrap())
                .unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let chain = CertificateDer::from_pem_file(&shows.certificate.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&shows.certificate.key).unwrap();
    let mut config = builder.with_single_cert(vec![chain], key).unwrap();
    if !shows.speaks.is_empty() {
        config.alpn_protocols = vec![shows.speaks.into()];
    }
    Arc::new(config)
}

/// Exactly so many bytes.
pub(crate) fn read_exactly(connection: &mut Connection, count: usize) -> Result<Vec<u8>, Error> {
    let (mut all, mut chunk) = (Vec::new(), vec![0; 9000]);
    while all.len() < count {
        let most = chunk.len().min(count - all.len());
        match connection.read_within(&mut chunk[..most], &soon())? {
            Received::Bytes(count) => all.extend_from_slice(&chunk[..count]),
            other => panic!("{other:?} after {} of {count} bytes", all.len()),
        }
    }
    Ok(all)
}

/// Polls until it gives something.
pub(crate) fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(start.elapsed() < PATIENCE, "it never came: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a sleeper on this connection would be woken now.
#[cfg(unix)]
pub(crate) fn readable(connection: &Connection, wait: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let Some(sneck::protocol::Wake::Ready(descriptor)) = connection.wake().unwrap() else {
        panic!("no descriptor to sleep on");
    };
    let mut fds = [PollFd::new(&descriptor, PollFlags::IN)];
    poll(&mut fds, Some(&wait.try_into().unwrap())).unwrap() == 1
}
