//! The socket at which a command is held, as macOS has it (and FreeBSD too). Not for: what is said through it.
//!
//! macOS has no sequenced packets between processes, no flag for close-on-exec, none against SIGPIPE. And an end that is closed with a message unread looks
//! like one that is closed after it: so the other side says that it has got it.

use rustix::io::{Errno, FdFlags, fcntl_setfd, retry_on_intr};
use rustix::net::sockopt::set_socket_nosigpipe;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use std::os::fd::OwnedFd;

/// Nobody is to die of writing to one who has gone: the sockets are made so.
pub(super) const QUIET: SendFlags = SendFlags::empty();

/// Two ends, which no program inherits. There is one thread at this time: none forks between the calls.
pub(super) fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::empty(),
        None,
    )?;
    for end in [&one, &other] {
        fcntl_setfd(end, FdFlags::CLOEXEC)?;
        set_socket_nosigpipe(end, true)?;
    }
    Ok((one, other))
}

/// To be said before anything else.
///
/// Async-signal-safe only: it runs in the child.
pub(super) fn say_received(socket: &OwnedFd) {
    // Nobody listens if sneck has gone meanwhile.
    let _ = send(socket, &[1], QUIET);
}

/// Whether the message arrived.
pub(super) fn was_received(socket: &OwnedFd) -> bool {
    match retry_on_intr(|| recv(socket, &mut [0_u8; 1], RecvFlags::empty())) {
        Ok((_, length)) => length > 0,
        Err(Errno::CONNRESET) => false,
        // It was sent, so it may have arrived: to say anything else would be wrong.
        Err(_) => true,
    }
}
