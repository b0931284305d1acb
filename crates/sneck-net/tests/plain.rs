//! Connections that are not encrypted: reaching a server or not, reading and looking, ends of all kinds.
//!
//! Not for: TLS (`tls.rs`). No test says how long something takes.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep and look at the clock"
)]

mod party;

use party::{at, at_port, dial, eventually, read_exactly, server, soon};
use sneck_net::{Connection, Deadline, ErrorKind, Received};
use sneck_testkit::PATIENCE;
use sneck_testkit::proxy::{Direction, Proxy, Way};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const BRIEF: Duration = Duration::from_millis(300);

fn echo(mut socket: TcpStream) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = socket.read(&mut chunk) {
        if socket.write_all(&chunk[..count]).is_err() {
            return;
        }
    }
}

fn sink(mut socket: TcpStream) {
    let _ = socket.read_to_end(&mut Vec::new());
}

#[test]
fn what_is_written_is_answered() {
    let mut connection = dial(server(echo));
    connection.write_all(b"hear, hear", &soon()).unwrap();
    assert_eq!(read_exactly(&mut connection, 10).unwrap(), b"hear, hear");
    assert!(!connection.is_encrypted());
    assert!(connection.certificate().is_none());
}

#[test]
fn a_name_is_looked_up_and_each_of_its_addresses_tried() {
    // Often ::1 comes first, where nobody listens.
    let port = server(echo);
    let mut connection = Connection::dial(&at("localhost", port), &soon()).unwrap();
    connection.write_all(b"x", &soon()).unwrap();
    assert_eq!(read_exactly(&mut connection, 1).unwrap(), b"x");
    assert_eq!(connection.place(), format!("localhost:{port}"));
}

#[test]
fn who_cannot_be_reached_is_named_and_the_reason_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for (host, why) in [
        ("127.0.0.1", "nobody listens there"),
        ("localhost", "nobody listens there"),
        ("no-such-host.invalid", "there is no such host"),
    ] {
        let error = Connection::dial(&at(host, port), &soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("{host}:{port}: ")), "{text}");
        assert!(text.contains(why), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}

#[test]
fn a_time_that_is_over_connects_to_nobody() {
    let port = server(echo);
    let error = Connection::dial(&at_port(port), &Deadline::after(Duration::ZERO)).unwrap_err();
    assert!(error.why().contains("within 0ns"), "{error}");
}

#[test]
fn reading_ends_at_its_deadline_and_reading_now_does_not_wait() {
    let mut connection = dial(server(sink));
    let mut chunk = [0; 16];
    assert_eq!(connection.read_now(&mut chunk), Ok(Received::Nothing));
    let deadline = Deadline::after(BRIEF);
    let read = connection.read_within(&mut chunk, &deadline);
    assert_eq!(read, Ok(Received::Nothing));
    // The same deadline still counts: no step starts the time anew.
    let read = connection.read_within(&mut chunk, &deadline);
    assert_eq!(read, Ok(Received::Nothing));
    assert_eq!(connection.has_ended(), None);
}

#[test]
fn a_peer_that_takes_nothing_ends_the_write_at_its_deadline() {
    let port = server(|socket| {
        std::thread::sleep(PATIENCE);
        drop(socket);
    });
    let mut connection = dial(port);
    let much = vec![7; 64 << 20];
    let error = connection.write_all(&much, &Deadline::after(BRIEF));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.why().contains("no answer within 300ms"), "{error}");
}

#[test]
fn large_answers_arrive_whole() {
    let port = server(|mut socket| {
        let all: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let _ = socket.write_all(&all);
    });
    let mut connection = dial(port);
    let all = read_exactly(&mut connection, 3_000_000).unwrap();
    assert!(
        all.iter()
            .enumerate()
            .all(|(n, byte)| *byte == (n % 251) as u8)
    );
    let end = connection.read_within(&mut [0; 8], &soon());
    assert_eq!(end, Ok(Received::End));
}

#[test]
fn looking_takes_nothing_and_sees_the_end_behind_what_is_unread() {
    let port = server(|mut socket| {
        socket.write_all(b"last words").unwrap();
        let _ = socket.read(&mut [0]);
    });
    let mut connection = dial(port);
    eventually("the words", || {
        (connection.unread() == b"last words").then_some(())
    });
    assert_eq!(connection.has_ended(), None);
    connection.write_all(b"!", &soon()).unwrap();
    let end = eventually("the end", || connection.has_ended());
    assert_eq!(end.kind(), ErrorKind::Unreachable);
    assert_eq!(connection.unread(), b"last words");
    assert_eq!(read_exactly(&mut connection, 10).unwrap(), b"last words");
    assert_eq!(connection.read_now(&mut [0; 8]), Ok(Received::End));
}

#[test]
fn a_cut_connection_is_broken_and_not_just_over() {
    let proxy = Proxy::to_port(server(echo));
    let mut connection = dial(proxy.port());
    connection.write_all(b"x", &soon()).unwrap();
    assert_eq!(read_exactly(&mut connection, 1).unwrap(), b"x");
    proxy.cut();
    let end = eventually("the end", || connection.has_ended());
    assert!(end.why().contains("cut off"), "{end}");
    assert!(connection.write_all(b"x", &soon()).is_err());
}

#[test]
fn a_half_open_connection_is_not_heard_to_have_ended() {
    let proxy = Proxy::to_port(server(echo));
    let mut connection = dial(proxy.port());
    connection.write_all(b"x", &soon()).unwrap();
    read_exactly(&mut connection, 1).unwrap();
    proxy.blackhole();
    connection.write_all(b"held", &soon()).unwrap();
    let nothing = connection.read_within(&mut [0; 8], &Deadline::after(BRIEF));
    assert_eq!(nothing, Ok(Received::Nothing));
    assert_eq!(connection.has_ended(), None);
    proxy.heal();
    assert_eq!(read_exactly(&mut connection, 4).unwrap(), b"held");
}

#[test]
fn answers_can_be_lost_after_the_server_did_what_it_was_asked() {
    let proxy = Proxy::to_port(server(echo));
    proxy.drop_answers_after(1);
    let mut connection = dial(proxy.port());
    connection.write_all(b"a", &soon()).unwrap();
    assert_eq!(read_exactly(&mut connection, 1).unwrap(), b"a");
    connection.write_all(b"b", &soon()).unwrap();
    let lost = connection.read_within(&mut [0; 8], &Deadline::after(BRIEF));
    assert_eq!(lost, Ok(Received::Nothing));
    assert_eq!(proxy.requests(), 2);

    // One direction alone: what we say is lost, the server's words would come.
    proxy.heal();
    proxy.set(Direction::ToServer, Way::Dropped);
    let mut other = dial(proxy.port());
    other.write_all(b"c", &soon()).unwrap();
    let lost = other.read_within(&mut [0; 8], &Deadline::after(BRIEF));
    assert_eq!(lost, Ok(Received::Nothing));
}

#[test]
fn a_second_connection_leads_to_the_very_same_server() {
    let port = server(|mut socket| {
        let _ = socket.write_all(b"me");
        sink(socket);
    });
    let first = Connection::dial(&at("localhost", port), &soon()).unwrap();
    let mut second = first.again(&soon()).unwrap();
    assert_eq!(read_exactly(&mut second, 2).unwrap(), b"me");
    assert_eq!(second.place(), first.place());
}

#[cfg(unix)]
mod on_unix {
    use super::*;
    use party::readable;
    use sneck_net::Address;
    use sneck_testkit::sys;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_socket_file_works_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let address = Address::File(path.clone());
        let error = Connection::dial(&address, &soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(error.to_string().contains("no such socket file"), "{error}");

        let listener = UnixListener::bind(&path).unwrap();
        let mut connection = Connection::dial(&address, &soon()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"hello").unwrap();
        assert_eq!(read_exactly(&mut connection, 5).unwrap(), b"hello");
        assert!(connection.again(&soon()).is_ok());
        drop(server);
        eventually("the end", || connection.has_ended());
    }

    #[test]
    fn a_sleeper_is_woken_by_an_answer() {
        let mut connection = dial(server(echo));
        assert!(!readable(&connection, Duration::ZERO));
        connection.write_all(b"x", &soon()).unwrap();
        assert!(readable(&connection, PATIENCE));
        assert!(connection.carried().is_some());
    }

    #[test]
    fn a_forked_child_has_no_part_in_it() {
        let mut connection = Some(dial(server(echo)));
        let number = connection.as_ref().unwrap().carried().unwrap().as_raw_fd();
        let child = sys::fork(|| {
            let open = std::path::Path::new(&format!("/dev/fd/{number}")).exists();
            let mut copy = connection.take().unwrap();
            // The number means another thing by now: that must not be spoken to.
            let (ours, mut other) = UnixStream::pair().unwrap();
            let again = rustix::io::fcntl_dupfd_cloexec(&ours, number).unwrap();
            let reused = again.as_raw_fd() == number;
            other.set_nonblocking(true).unwrap();
            let refused = copy.write_all(b"y", &soon()).is_err()
                && copy.read_now(&mut [0]).is_err()
                && copy.has_ended().is_some()
                && copy.carried().is_none();
            copy.shutdown();
            drop(copy);
            let untouched =
                other.read(&mut [0]).unwrap_err().kind() == std::io::ErrorKind::WouldBlock;
            i32::from(open || !reused || !refused || !untouched)
        });
        assert_eq!(child.wait(), 0);
        let mut connection = connection.unwrap();
        connection.write_all(b"x", &soon()).unwrap();
        assert_eq!(read_exactly(&mut connection, 1).unwrap(), b"x");
    }

    #[test]
    fn a_shutdown_ends_it_although_a_copy_of_the_descriptor_is_open() {
        let (tell, told) = std::sync::mpsc::channel();
        let tell = std::sync::Mutex::new(tell);
        let mut connection = dial(server(move |mut socket| {
            let ended = socket.read_to_end(&mut Vec::new());
            let _ = tell.lock().unwrap().send(ended.map_err(|e| e.kind()));
        }));
        let copy = connection.wake().unwrap();
        connection.shutdown();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Ok(0)));
        drop(copy);
    }

    /// No test can wait for a network to vanish: that the system was told to notice must do.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_peer_that_vanishes_is_noticed_in_half_a_minute() {
        use rustix::net::sockopt;
        let connection = dial(server(echo));
        let socket = connection.carried().unwrap();
        assert!(sockopt::socket_keepalive(socket).unwrap());
        assert_eq!(
            sockopt::tcp_keepidle(socket).unwrap(),
            sneck_net::Keepalive::USUAL.idle
        );
        assert_eq!(
            sockopt::tcp_keepintvl(socket).unwrap(),
            sneck_net::Keepalive::USUAL.interval
        );
        assert_eq!(
            sockopt::tcp_keepcnt(socket).unwrap(),
            sneck_net::Keepalive::USUAL.count
        );
        assert_eq!(sockopt::tcp_user_timeout(socket).unwrap(), 30_000);
        assert!(sockopt::tcp_nodelay(socket).unwrap());
        // Or later, where more depends on the connection.
        let day = Duration::from_secs(24 * 3600);
        let later = sneck_net::Keepalive::at_least(day);
        connection.keep_alive(later).unwrap();
        assert_eq!(sockopt::tcp_keepidle(socket).unwrap(), later.idle);
        assert_eq!(sockopt::tcp_keepintvl(socket).unwrap(), later.interval);
        let timeout = sockopt::tcp_user_timeout(socket).unwrap();
        assert!(Duration::from_millis(timeout.into()) >= day);
    }

    #[test]
    fn a_descriptor_is_not_inherited_by_commands() {
        use rustix::io::{FdFlags, fcntl_getfd};
        let connection = dial(server(echo));
        let descriptor = connection.carried().unwrap();
        assert!(fcntl_getfd(descriptor).unwrap().contains(FdFlags::CLOEXEC));
    }
}
