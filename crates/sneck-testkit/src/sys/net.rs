//! Sockets that break off, and files that nobody else may read.

use std::io;
use std::net::TcpStream;
use std::path::Path;

/// Closing this socket says RST from now on, and what was not sent is forgotten.
///
/// # Errors
/// It is closed already.
#[cfg(unix)]
pub fn linger_not(socket: &TcpStream) -> io::Result<()> {
    let at_once = std::time::Duration::ZERO;
    Ok(rustix::net::sockopt::set_socket_linger(
        socket,
        Some(at_once),
    )?)
}

/// Closing this socket says RST from now on, and what was not sent is forgotten.
///
/// # Errors
/// It is closed already.
#[cfg(windows)]
pub fn linger_not(socket: &TcpStream) -> io::Result<()> {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::Networking::WinSock::{LINGER, SO_LINGER, SOL_SOCKET, setsockopt};
    let at_once = LINGER {
        l_onoff: 1,
        l_linger: 0,
    };
    let size = i32::try_from(size_of::<LINGER>()).expect("a few bytes");
    // SAFETY: an open socket, and a LINGER of its size.
    let set = unsafe {
        setsockopt(
            socket.as_raw_socket() as usize,
            SOL_SOCKET,
            SO_LINGER,
            (&raw const at_once).cast(),
            size,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Writes a new file that only its owner may read (mode 0600, where there are modes).
///
/// # Errors
/// It is there, or cannot be made.
pub fn write_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    io::Write::write_all(&mut options.open(path)?, content)
}
