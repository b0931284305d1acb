//! What only the interpreter itself can tell, and no safe call asks; what an event loop can watch.

use pyo3::ffi;

#[cfg(unix)]
pub(crate) use unix::Knocker;
#[cfg(not(unix))]
pub(crate) use windows::Knocker;

/// Whether this is the interpreter that the process began with.
pub(crate) fn is_main_interpreter() -> bool {
    // SAFETY: modules are imported with the GIL held, by a thread that has an interpreter.
    let current = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: as above, and this one lives: it is importing us.
    let number = unsafe { ffi::PyInterpreterState_GetID(current) };
    // The first one has the number 0 for as long as there is a Python.
    number == 0
}

#[cfg(unix)]
mod unix {
    use std::io::{self, Read as _, Write as _};
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    /// A descriptor that becomes readable when somebody knocks.
    #[derive(Debug)]
    pub(crate) struct Knocker {
        inside: UnixStream,
        outside: UnixStream,
    }

    impl Knocker {
        pub(crate) fn new() -> io::Result<Knocker> {
            let (inside, outside) = UnixStream::pair()?;
            inside.set_nonblocking(true)?;
            outside.set_nonblocking(true)?;
            Ok(Knocker { inside, outside })
        }

        pub(crate) fn knock(&self) {
            // Full: then there is a byte to read already.
            let _ = (&self.outside).write(&[0]);
        }

        /// Forget who knocked so far.
        pub(crate) fn clear(&self) {
            let mut bytes = [0; 64];
            while matches!((&self.inside).read(&mut bytes), Ok(64)) {}
        }

        /// What to watch. None: there is nothing that an event loop could.
        pub(crate) fn descriptor(&self) -> Option<i32> {
            Some(self.inside.as_raw_fd())
        }
    }
}

#[cfg(not(unix))]
mod windows {
    use std::io;

    /// Nothing to watch: the event loop of Windows waits for what it began itself.
    #[derive(Debug)]
    pub(crate) struct Knocker;

    impl Knocker {
        pub(crate) fn new() -> io::Result<Knocker> {
            Ok(Knocker)
        }

        pub(crate) fn knock(&self) {}

        pub(crate) fn clear(&self) {}

        pub(crate) fn descriptor(&self) -> Option<i32> {
            None
        }
    }
}
