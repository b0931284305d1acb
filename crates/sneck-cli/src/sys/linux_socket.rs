//! The socket at which a command is held, as Linux has it. Not for: what is said through it.

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};
use std::os::fd::OwnedFd;

/// Nobody is to die of writing to one who has gone.
pub(super) const QUIET: SendFlags = SendFlags::NOSIGNAL;

/// Two ends, which no program inherits.
pub(super) fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// Nothing needs to be said: of a message that was left unread the kernel tells.
pub(super) fn say_received(_: &OwnedFd) {}

/// Whether the message arrived, as far as the other end has to say it.
pub(super) fn was_received(_: &OwnedFd) -> bool {
    true
}
