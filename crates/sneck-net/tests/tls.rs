//! Encrypted connections: whom they trust, what they show, and that nothing of what was said is lost between the layers.
//!
//! Every certificate is made by the test that needs it. No test says how long something takes.

#![cfg(feature = "tls")]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep and look at the clock"
)]

mod party;

use party::{
    Encrypted, Shows, accept, at, config, dial, eventually, read_exactly, server, soon, tls_server,
};
use sneck_net::{
    Connection, Credential, Deadline, Digest, Error, ErrorKind, Received, Roots, Tls, Trust,
};
use sneck_testkit::authority::{Authority, Issued, Signature, Use, Valid};
use sneck_testkit::proxy::Proxy;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

const BRIEF: Duration = Duration::from_millis(300);
const HOME: &[&str] = &["localhost", "127.0.0.1"];

fn named(root: &Path) -> Trust {
    Trust::Named(Roots::File(root.into()))
}

fn signed(root: &Path) -> Trust {
    Trust::Signed(Roots::File(root.into()))
}

fn tls(trust: &Trust) -> Tls {
    Tls::new(trust, None).unwrap()
}

fn showing(trust: &Trust, issued: &Issued) -> Tls {
    let credential = Credential {
        certificate: issued.certificate.clone(),
        key: issued.key.clone(),
    };
    Tls::new(trust, Some(&credential)).unwrap()
}

fn echo(mut socket: Encrypted) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = socket.read(&mut chunk) {
        if socket.write_all(&chunk[..count]).is_err() {
            return;
        }
    }
}

/// Handshake, one question, one answer.
fn speak(port: u16, tls: &Tls, name: &str) -> Result<Connection, Error> {
    let mut connection = dial(port);
    connection.start_tls(tls, name, &soon())?;
    connection.write_all(b"hear, hear", &soon())?;
    assert_eq!(read_exactly(&mut connection, 10)?, b"hear, hear");
    Ok(connection)
}

fn refused(port: u16, tls: &Tls, name: &str) -> String {
    let error = speak(port, tls, name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("127.0.0.1:{port}: ")), "{text}");
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn a_server_that_is_who_it_says_is_spoken_to() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(HOME);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut shows = Shows::new(&certificate);
        shows.version = version;
        let port = tls_server(shows, echo);
        for name in HOME {
            let connection = speak(port, &tls(&named(authority.root())), name).unwrap();
            assert!(connection.is_encrypted());
            let shown = connection.certificate().unwrap();
            let text = shown.to_string();
            assert_eq!(text, "the certificate of \"server\", signed by \"Test CA\"");
            assert_eq!(shown.digest(), Some(Digest::Sha256));
        }
    }
}

#[test]
fn a_server_of_another_authority_is_not_trusted() {
    let (ours, theirs) = (Authority::new("Ours"), Authority::new("Theirs"));
    let certificate = theirs.server(HOME);
    let port = tls_server(Shows::new(&certificate), echo);
    for trust in [named(ours.root()), signed(ours.root())] {
        let text = refused(port, &tls(&trust), "localhost");
        assert!(text.contains("no authority in"), "{text}");
        assert!(text.contains("root.crt"), "{text}");
        assert!(text.contains("signed by \"Theirs\""), "{text}");
    }
    let system = Tls::new(&Trust::Named(Roots::System), None).unwrap();
    let text = refused(port, &system, "localhost");
    assert!(text.contains("the system's roots"), "{text}");
    speak(port, &tls(&Trust::Anybody), "localhost").unwrap();
    // The other authority has the same name and another key.
    let liar = Authority::new("Theirs");
    let text = refused(port, &tls(&named(liar.root())), "localhost");
    assert!(text.contains("no authority in"), "{text}");
}

#[test]
fn a_certificate_for_another_name_is_good_for_those_who_do_not_ask_for_the_name() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(&["db.example", "*.cluster.example"]);
    let port = tls_server(Shows::new(&certificate), echo);
    let text = refused(port, &tls(&named(authority.root())), "localhost");
    assert!(text.contains("db.example"), "{text}");
    assert!(text.contains("not for localhost"), "{text}");
    let text = refused(port, &tls(&named(authority.root())), "127.0.0.1");
    assert!(text.contains("not for 127.0.0.1"), "{text}");
    refused(port, &tls(&named(authority.root())), "a.b.cluster.example");
    refused(port, &tls(&named(authority.root())), "not a name");
    speak(port, &tls(&named(authority.root())), "n1.cluster.example").unwrap();
    for trust in [signed(authority.root()), Trust::Anybody] {
        speak(port, &tls(&trust), "localhost").unwrap();
        speak(port, &tls(&trust), "not a name").unwrap();
    }
    // A common name is no name.
    let nameless = authority.issue("localhost", &[], Use::Server, Valid::Now);
    let port = tls_server(Shows::new(&nameless), echo);
    let text = refused(port, &tls(&named(authority.root())), "localhost");
    assert!(text.contains("names no server at all"), "{text}");
}

#[test]
fn a_certificate_out_of_its_time_or_for_another_use_is_not_trusted() {
    let authority = Authority::new("Test CA");
    for (usage, valid, why) in [
        (Use::Server, Valid::Once, "it has expired"),
        (Use::Server, Valid::OneDay, "not valid yet"),
        (Use::Client, Valid::Now, "not made for servers"),
    ] {
        let certificate = authority.issue("server", HOME, usage, valid);
        let port = tls_server(Shows::new(&certificate), echo);
        for trust in [named(authority.root()), signed(authority.root())] {
            let text = refused(port, &tls(&trust), "localhost");
            assert!(text.contains(why), "{text}");
        }
        speak(port, &tls(&Trust::Anybody), "localhost").unwrap();
    }
}

#[test]
fn a_certificate_that_is_its_own_root_is_trusted_by_those_who_name_it_and_in_its_time() {
    let authority = Authority::new("Test CA");
    let own = authority.self_signed(HOME, Valid::Now);
    let port = tls_server(Shows::new(&own), echo);
    speak(port, &tls(&named(&own.certificate)), "localhost").unwrap();
    refused(port, &tls(&named(&own.certificate)), "elsewhere");
    refused(port, &tls(&named(authority.root())), "localhost");
    let another = authority.self_signed(HOME, Valid::Now);
    refused(port, &tls(&named(&another.certificate)), "localhost");

    let old = authority.self_signed(HOME, Valid::Once);
    let port = tls_server(Shows::new(&old), echo);
    let text = refused(port, &tls(&named(&old.certificate)), "localhost");
    assert!(text.contains("it has expired"), "{text}");
}

#[test]
fn a_server_that_wants_a_certificate_gets_it_or_says_no() {
    let (authority, others) = (Authority::new("Test CA"), Authority::new("Others"));
    let certificate = authority.server(HOME);
    let trust = named(authority.root());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut shows = Shows::new(&certificate);
        shows.wants = Some(authority.root());
        shows.version = version;
        let port = tls_server(shows, echo);
        speak(
            port,
            &showing(&trust, &authority.client("ada")),
            "localhost",
        )
        .unwrap();
        let text = refused(port, &showing(&trust, &others.client("eve")), "localhost");
        assert!(text.contains("does not accept our certificate"), "{text}");
        let error = speak(port, &tls(&trust), "localhost").unwrap_err();
        assert!(error.to_string().contains("want"), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

/// The server has said no and closed its ear: the write that fails is not the reason.
#[test]
fn a_refusal_is_heard_by_who_only_writes() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(HOME);
    let mut shows = Shows::new(&certificate);
    shows.wants = Some(authority.root());
    let port = tls_server(shows, echo);
    let mut connection = dial(port);
    connection
        .start_tls(&tls(&named(authority.root())), "localhost", &soon())
        .unwrap();
    let error = eventually("the refusal", || connection.write_all(b"x", &soon()).err());
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

#[test]
fn files_that_are_of_no_use_are_named_before_anybody_is_asked() {
    let authority = Authority::new("Test CA");
    let (one, two) = (authority.client("one"), authority.client("two"));
    let missing = authority.folder().join("missing.crt");
    let setup = |trust: &Trust, certificate: &Path, key: &Path| {
        let credential = Credential {
            certificate: certificate.into(),
            key: key.into(),
        };
        let error = Tls::new(trust, Some(&credential)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Setup, "{error}");
        error.to_string()
    };
    let text = Tls::new(&named(&missing), None).unwrap_err().to_string();
    assert!(text.contains("missing.crt: it cannot be read"), "{text}");
    let text = Tls::new(&named(&one.key), None).unwrap_err().to_string();
    assert!(text.contains("no certificate"), "{text}");
    let text = setup(&Trust::Anybody, &one.certificate, &two.key);
    assert!(text.contains("of no use together"), "{text}");
    let text = setup(&Trust::Anybody, &one.certificate, &one.certificate);
    assert!(text.contains("no private key"), "{text}");
    let text = setup(&Trust::Anybody, &one.certificate, &missing);
    assert!(text.contains("missing.crt: it cannot be read"), "{text}");
}

#[test]
fn a_peer_that_goes_silent_in_the_handshake_is_given_up() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(HOME);
    let config = config(Shows::new(&certificate));
    let silent = server(|mut socket| {
        let _ = socket.read_to_end(&mut Vec::new());
    });
    // One that begins to answer, and stops in the middle.
    let begins = server(move |socket| {
        let mut server = accept(socket, &config);
        let _ = server.conn.read_tls(&mut server.sock);
        let _ = server.conn.process_new_packets();
        let mut answer = Vec::new();
        let _ = server.conn.write_tls(&mut answer);
        let _ = server.sock.write_all(&answer[..answer.len() / 2]);
        let _ = server.sock.read_to_end(&mut Vec::new());
    });
    for port in [silent, begins] {
        let mut connection = dial(port);
        let trust = tls(&named(authority.root()));
        let error = connection.start_tls(&trust, "localhost", &Deadline::after(BRIEF));
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(
            error.why().contains("silent in the TLS handshake"),
            "{error}"
        );
        assert!(error.why().contains("300ms"), "{error}");
    }
}

#[test]
fn one_that_hangs_up_in_the_handshake_and_one_that_speaks_something_else_are_told_apart() {
    let trust = tls(&Trust::Anybody);
    let mut connection = dial(server(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
    }));
    let error = connection
        .start_tls(&trust, "localhost", &soon())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    let mut connection = dial(server(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = socket.read_to_end(&mut Vec::new());
    }));
    let error = connection
        .start_tls(&trust, "localhost", &soon())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.why().contains("does not speak TLS"), "{error}");
}

#[test]
fn what_is_going_to_be_spoken_is_told_in_the_handshake() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(HOME);
    let mut shows = Shows::new(&certificate);
    shows.speaks = "redis";
    let port = tls_server(shows, echo);
    let trust = tls(&named(authority.root()));
    speak(port, &trust.clone().speaking("redis"), "localhost").unwrap();
    let error = speak(port, &trust.speaking("postgresql"), "localhost").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

/// Two records in one packet: the second one is decrypted with the first, and nothing is left on the descriptor to wake anybody.
#[test]
fn what_was_decrypted_already_is_read_without_waiting() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(HOME);
    let port = tls_server(Shows::new(&certificate), |mut socket| {
        let _ = socket.read(&mut [0; 64]);
        let mut packet = Vec::new();
        for word in [&b"first"[..], b"second"] {
            socket.conn.writer().write_all(word).unwrap();
            while socket.conn.wants_write() {
                socket.conn.write_tls(&mut packet).unwrap();
            }
        }
        socket.sock.write_all(&packet).unwrap();
        let _ = socket.read(&mut [0; 64]);
    });
    let mut connection = dial(port);
    connection
        .start_tls(&tls(&named(authority.root())), "localhost", &soon())
        .unwrap();
    connection.write_all(b"?", &soon()).unwrap();
    assert_eq!(read_exactly(&mut connection, 3).unwrap(), b"fir");
    // Give the second record time to arrive: if it came in the same packet, no time is needed.
    let mut chunk = [0; 64];
    let mut all = Vec::new();
    while all.len() < 8 {
        let received = eventually("the rest", || match connection.read_now(&mut chunk) {
            Ok(Received::Nothing) => None,
            other => Some(other.unwrap()),
        });
        let Received::Bytes(count) = received else {
            panic!("{received:?}");
        };
        all.extend_from_slice(&chunk[..count]);
    }
    assert_eq!(all, b"stsecond");
    assert_eq!(connection.read_now(&mut chunk), Ok(Received::Nothing));
    #[cfg(unix)]
    assert!(!party::readable(&connection, Duration::ZERO));
}

#[test]
fn looking_reads_ahead_and_loses_nothing() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(HOME);
    let words: &[u8] = &[b'w'; 100_000];
    let port = tls_server(Shows::new(&certificate), move |mut socket| {
        socket.write_all(words).unwrap();
        let _ = socket.read(&mut [0; 64]);
        socket.conn.send_close_notify();
        let _ = socket.flush();
    });
    let mut connection = dial(port);
    connection
        .start_tls(&tls(&named(authority.root())), "localhost", &soon())
        .unwrap();
    eventually("the words", || (connection.unread() == words).then_some(()));
    assert_eq!(connection.has_ended(), None);
    assert_eq!(
        read_exactly(&mut connection, 40_000).unwrap(),
        &words[..40_000]
    );
    connection.write_all(b"!", &soon()).unwrap();
    let end = eventually("the end", || connection.has_ended());
    assert_eq!(end.kind(), ErrorKind::Unreachable);
    assert_eq!(connection.unread(), &words[..60_000]);
    assert_eq!(
        read_exactly(&mut connection, 60_000).unwrap(),
        &words[..60_000]
    );
    assert_eq!(connection.read_now(&mut [0; 8]), Ok(Received::End));
}

#[test]
fn large_questions_and_answers_arrive_whole() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(HOME);
    let port = tls_server(Shows::new(&certificate), |mut socket| {
        let mut all = vec![0; 2_000_000];
        socket.read_exact(&mut all).unwrap();
        all.reverse();
        socket.write_all(&all).unwrap();
        let _ = socket.read(&mut [0]);
    });
    let mut connection = dial(port);
    connection
        .start_tls(&tls(&named(authority.root())), "localhost", &soon())
        .unwrap();
    let mut all: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
    connection.write_all(&all, &soon()).unwrap();
    all.reverse();
    assert!(read_exactly(&mut connection, all.len()).unwrap() == all);
}

#[test]
fn a_silent_network_is_nothing_and_a_cut_one_an_end() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(HOME);
    let proxy = Proxy::to_port(tls_server(Shows::new(&certificate), echo));
    let trust = tls(&named(authority.root()));
    let mut connection = speak(proxy.port(), &trust, "localhost").unwrap();
    proxy.blackhole();
    connection.write_all(b"held", &soon()).unwrap();
    let nothing = connection.read_within(&mut [0; 8], &Deadline::after(BRIEF));
    assert_eq!(nothing, Ok(Received::Nothing));
    assert_eq!(connection.has_ended(), None);
    proxy.heal();
    assert_eq!(read_exactly(&mut connection, 4).unwrap(), b"held");
    proxy.cut();
    eventually("the end", || connection.has_ended());
    assert!(connection.write_all(b"x", &soon()).is_err());
}

#[test]
fn a_farewell_is_heard_as_the_end() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(HOME);
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let port = tls_server(Shows::new(&certificate), move |mut socket| {
        let ended = socket.read_to_end(&mut Vec::new());
        let _ = tell.lock().unwrap().send(ended.map_err(|e| e.kind()));
    });
    let mut connection = dial(port);
    connection
        .start_tls(&tls(&named(authority.root())), "localhost", &soon())
        .unwrap();
    connection.write_all(b"x", &soon()).unwrap();
    connection.shutdown();
    // Orderly: not cut off in the middle, which would be an error there.
    assert_eq!(told.recv(), Ok(Ok(1)));
}

#[test]
fn the_digest_of_a_login_follows_the_signature() {
    for (signature, digest) in [
        (Signature::Sha256, Some(Digest::Sha256)),
        (Signature::Sha384, Some(Digest::Sha384)),
        (Signature::Ed25519, None),
    ] {
        let authority = Authority::signing_with("Test CA", signature);
        let certificate = authority.server(HOME);
        let port = tls_server(Shows::new(&certificate), echo);
        let connection = speak(port, &tls(&named(authority.root())), "localhost").unwrap();
        assert_eq!(connection.certificate().unwrap().digest(), digest);
    }
}

#[test]
fn the_name_of_the_server_may_lead_to_several_addresses() {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(HOME);
    let port = tls_server(Shows::new(&certificate), echo);
    let mut connection = Connection::dial(&at("localhost", port), &soon()).unwrap();
    let trust = tls(&named(authority.root()));
    connection.start_tls(&trust, "localhost", &soon()).unwrap();
    let mut second = connection.again(&soon()).unwrap();
    assert!(!second.is_encrypted());
    second.start_tls(&trust, "localhost", &soon()).unwrap();
}
