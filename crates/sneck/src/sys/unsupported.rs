//! A platform that sneck does not know yet: time, threads and text work, so server protocols do; lock files say that they are unsupported.

pub(crate) mod clock {
    //! The standard library's clock. It may stop during suspend.
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    #[allow(clippy::disallowed_methods)] // the one place for it on this platform
    pub(crate) fn since_boot() -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

pub(crate) mod text {
    //! Paths that are UTF-8; others are treated as a whole.
    use std::ffi::{OsStr, OsString};

    pub(crate) fn split_at_colon(text: &OsStr) -> Option<(OsString, OsString)> {
        let (before, after) = text.to_str()?.split_once(':')?;
        Some((before.into(), after.into()))
    }

    pub(crate) fn bytes(text: &OsStr) -> &[u8] {
        text.as_encoded_bytes()
    }

    pub(crate) fn wrong_name(_: &OsStr) -> Option<&'static str> {
        None
    }

    pub(crate) fn ends_in_separator(path: &OsStr) -> bool {
        bytes(path).ends_with(b"/")
    }

    /// Only ever asked for a name that [`bytes`] took apart; one that is not UTF-8 becomes the empty name, which nothing has.
    pub(crate) fn from_bytes(bytes: &[u8]) -> &OsStr {
        OsStr::new(std::str::from_utf8(bytes).unwrap_or_default())
    }
}

pub(crate) mod thread {
    //! Threads, as deaf as the platform makes them.
    use std::io;
    use std::thread::Builder;

    pub(crate) fn spawn_deaf(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        Builder::new().name(name.to_owned()).spawn(work).map(drop)
    }
}

pub(crate) mod folder {
    //! Folders are refused, by name.
    use super::file::{Asleep, Descriptor, Look, Tried, unsupported};
    use super::fork::Unshared;
    use crate::sys::Whole;
    use std::convert::Infallible;
    use std::ffi::{OsStr, OsString};
    use std::io;
    use std::path::Path;

    #[derive(Debug)]
    pub(crate) struct Directory(Infallible);

    impl Directory {
        pub(crate) fn open(_: &Path) -> io::Result<Directory> {
            unsupported()
        }

        pub(crate) fn open_unlisted(_: &Path) -> io::Result<Directory> {
            unsupported()
        }

        pub(crate) fn folder(&self, _: &OsStr) -> io::Result<Option<Directory>> {
            match self.0 {}
        }

        pub(crate) fn is_ours(&self) -> bool {
            match self.0 {}
        }

        pub(crate) fn descriptor(&self) -> &Descriptor {
            match self.0 {}
        }

        pub(crate) fn into_descriptor(self) -> Unshared<Descriptor> {
            match self.0 {}
        }

        pub(crate) fn look(&self, _: &OsStr) -> io::Result<Option<Look>> {
            match self.0 {}
        }

        pub(crate) fn link_target(&self, _: &OsStr) -> io::Result<Option<OsString>> {
            match self.0 {}
        }

        pub(crate) fn bears_pseudo(&self, _: &OsStr) -> bool {
            match self.0 {}
        }

        pub(crate) fn names(&self, _: usize) -> io::Result<Vec<OsString>> {
            match self.0 {}
        }

        pub(crate) fn names_from(&self, _: &OsStr) -> io::Result<Vec<OsString>> {
            match self.0 {}
        }

        pub(crate) fn remove_remains(&self, _: &OsStr) -> io::Result<bool> {
            match self.0 {}
        }

        pub(crate) fn make_whole<T>(
            &self,
            _: &OsStr,
            _: &OsStr,
            _: impl FnOnce(&Descriptor) -> io::Result<T>,
        ) -> io::Result<Whole<(Directory, T)>> {
            match self.0 {}
        }

        pub(crate) fn remove_whole(&self, _: &OsStr, _: &OsStr) -> io::Result<Whole<()>> {
            match self.0 {}
        }

        pub(crate) fn remove_litter(&self, _: &OsStr, _: &OsStr) -> io::Result<()> {
            match self.0 {}
        }

        pub(crate) fn file(&self, _: &OsStr) -> io::Result<Option<Descriptor>> {
            match self.0 {}
        }

        pub(crate) fn unnamed(&self) -> io::Result<Descriptor> {
            match self.0 {}
        }

        pub(crate) fn name_it(&self, _: &Descriptor, _: &OsStr) -> io::Result<()> {
            match self.0 {}
        }

        pub(crate) fn make_file(&self, _: &OsStr) -> io::Result<Descriptor> {
            match self.0 {}
        }

        pub(crate) fn make_link(&self, _: &OsStr, _: &OsStr) -> io::Result<()> {
            match self.0 {}
        }

        pub(crate) fn link_refused(&self, _: io::Error) -> io::Error {
            match self.0 {}
        }

        pub(crate) fn make_folder(&self, _: &OsStr) -> io::Result<()> {
            match self.0 {}
        }

        pub(crate) fn make_ours(&self) -> io::Result<()> {
            match self.0 {}
        }

        pub(crate) fn keeps_ours(&self) -> io::Result<bool> {
            match self.0 {}
        }

        pub(crate) fn second_name(&self, _: &OsStr, _: &OsStr) -> io::Result<()> {
            match self.0 {}
        }

        pub(crate) fn rename(&self, _: &OsStr, _: &OsStr) -> io::Result<()> {
            match self.0 {}
        }

        pub(crate) fn remove(&self, _: &OsStr) -> io::Result<()> {
            match self.0 {}
        }

        pub(crate) fn remove_folder(&self, _: &OsStr) -> io::Result<()> {
            match self.0 {}
        }

        pub(crate) fn try_flock(&self) -> io::Result<Tried> {
            match self.0 {}
        }

        pub(crate) fn flock(&self, _: &Asleep<'_>) -> io::Result<()> {
            match self.0 {}
        }

        pub(crate) fn unflock(&self) {
            match self.0 {}
        }
    }

    pub(crate) fn links_leave_litter() -> bool {
        false
    }

    pub(crate) fn has_no_links(_: &io::Error) -> bool {
        false
    }
}

pub(crate) mod futex {
    //! Short sleeps: no word to sleep on.
    use crate::sys::Nap;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Duration;

    const STEP: Duration = Duration::from_millis(1);

    #[allow(clippy::disallowed_methods)] // the one place for it on this platform
    pub(crate) fn wait(word: &AtomicU32, expected: u32, longest: Duration) -> Nap {
        let mut left = longest;
        while word.load(Ordering::Acquire) == expected {
            if left.is_zero() {
                return Nap::TimedOut;
            }
            let nap = left.min(STEP);
            thread::sleep(nap);
            left -= nap;
        }
        Nap::Woken
    }

    pub(crate) fn wake(_: &AtomicU32) {}
}

pub(crate) mod fork {
    //! No fork that we know of.
    use std::ops::{Deref, DerefMut};
    use std::sync::OnceLock;

    pub(crate) fn generation() -> u32 {
        0
    }

    /// A descriptor that belongs to this process alone.
    #[derive(Debug)]
    pub struct Unshared<T>(T);

    impl<T> Unshared<T> {
        /// Take charge of a descriptor.
        pub fn new(inner: T) -> Self {
            Unshared(inner)
        }

        /// Take it back.
        pub fn into_inner(self) -> Option<T> {
            Some(self.0)
        }

        /// Whether this is the process that opened it.
        pub fn is_ours(&self) -> bool {
            true
        }
    }

    impl<T> Deref for Unshared<T> {
        type Target = T;
        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> DerefMut for Unshared<T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }

    pub(crate) struct PerProcess<T: 'static>(OnceLock<T>);

    impl<T: Send + Sync> PerProcess<T> {
        pub(crate) const fn new() -> PerProcess<T> {
            PerProcess(OnceLock::new())
        }

        pub(crate) fn get(&'static self, make: impl Fn() -> T) -> &'static T {
            self.0.get_or_init(make)
        }
    }
}

pub(crate) mod process {
    //! Nothing is known of other processes, so none is ever judged gone.
    use crate::sys::{Namespace, Presence};
    use std::time::SystemTime;

    pub(crate) fn presence(_: u32) -> Presence {
        Presence::Unknown
    }

    pub(crate) fn own_pid() -> u32 {
        std::process::id()
    }

    pub(crate) fn started(_: u32) -> Option<SystemTime> {
        None
    }

    pub(crate) fn is_of_the_kernel(_: u32) -> bool {
        false
    }

    pub(crate) fn command(_: u32) -> Option<String> {
        None
    }

    pub(crate) fn user(_: u32) -> Option<String> {
        None
    }

    /// Nothing more is known here.
    pub(crate) fn status(_: u32) -> crate::sys::Status {
        crate::sys::Status::default()
    }

    /// Nobody is hidden, or nobody knows.
    pub(crate) fn hides_processes() -> bool {
        false
    }

    pub(crate) fn sees_all_pids() -> bool {
        false
    }

    pub(crate) fn start_ticks(_: u32) -> Option<u64> {
        None
    }

    pub(crate) fn own_start_ticks() -> Option<u64> {
        None
    }

    pub(crate) fn namespace(_: Namespace) -> Option<u64> {
        None
    }

    pub(crate) fn boot_id() -> Option<u128> {
        None
    }

    pub(crate) fn host_name() -> String {
        String::new()
    }
}

pub(crate) mod ofd {
    //! No file can be opened, so none can be locked.
    use super::file::{Asleep, Descriptor, Tried};
    use crate::Mode;
    use crate::inspect::Range;
    use std::io;

    pub(crate) fn try_lock(fd: &Descriptor, _: Mode) -> io::Result<Tried> {
        match *fd {}
    }

    pub(crate) fn lock(fd: &Descriptor, _: Mode, _: &Asleep<'_>) -> io::Result<()> {
        match *fd {}
    }

    pub(crate) fn unlock(fd: &Descriptor) -> io::Result<()> {
        match *fd {}
    }

    pub(crate) fn in_the_way(fd: &Descriptor, _: Range) -> io::Result<Option<(Mode, Range, i32)>> {
        match *fd {}
    }
}

pub(crate) mod locks {
    //! The kernel's list of locks is not to be had.
    pub(crate) use crate::sys::no_list::{
        Mounts, bearing, has_name, has_open, is_ours, keeps, kernel_inode, listed, numbered,
        of_stat, ofd_waiters, opened, seen_by,
    };

    use super::file::{Inode, unsupported};
    use crate::sys::{KernelFamily, KernelLock};
    use std::io;
    use std::path::Path;

    pub(crate) fn held_on(
        _: Option<&Path>,
        _: Inode,
        _: KernelFamily,
    ) -> io::Result<Vec<KernelLock>> {
        unsupported()
    }

    pub(crate) fn is_flocked(_: (u64, u64)) -> bool {
        false
    }

    pub(crate) fn has_own_posix_lock(_: Inode) -> bool {
        false
    }

    pub(crate) fn lists_all(_: Inode) -> bool {
        true
    }

    pub(crate) fn keepers(_: Option<&Path>, _: Inode, _: KernelFamily) -> Vec<KernelLock> {
        Vec::new()
    }
}

pub(crate) mod file {
    //! Lock files are refused, by name.
    use crate::Mode;
    use std::convert::Infallible;
    use std::io;
    use std::marker::PhantomData;
    use std::path::Path;
    use std::time::SystemTime;

    pub(super) fn unsupported<T>() -> io::Result<T> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "sneck does not know this platform's lock files yet",
        ))
    }

    /// None can be had.
    pub type Descriptor = Infallible;
    /// None can be lent.
    pub type Borrowed<'a> = (Infallible, PhantomData<&'a ()>);

    pub(crate) fn lend(fd: &Descriptor) -> Option<Borrowed<'_>> {
        match *fd {}
    }

    pub(crate) const FAMILIES: crate::sys::Families = crate::sys::Families::Apart;
    pub(crate) const UNSPOKEN: [(&str, &str, &str); 0] = [];
    pub(crate) const RECORD_PREFIX: &str = "";

    #[derive(Debug)]
    pub(crate) struct Asleep<'a>(pub(crate) PhantomData<&'a ()>);

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub(crate) struct Inode {
        pub(crate) device: u64,
        pub(crate) number: u64,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[allow(dead_code)] // the names are the seam's
    pub(crate) enum Kind {
        Regular,
        Directory,
        Symlink,
        Other,
    }

    impl Kind {
        pub(crate) fn words(self) -> &'static str {
            match self {
                Kind::Regular => "a regular file",
                Kind::Directory => "a directory",
                Kind::Symlink => "a symbolic link",
                Kind::Other => "no regular file",
            }
        }
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Look {
        pub(crate) inode: Inode,
        pub(crate) kind: Kind,
        pub(crate) size: u64,
        pub(crate) links: u64,
        pub(crate) is_ours: bool,
        pub(crate) changed: i128,
    }

    impl Look {
        pub(crate) fn changed_at(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
    }

    pub(crate) fn look(_: &Path) -> io::Result<Option<Look>> {
        unsupported()
    }

    pub(crate) fn look_at_descriptor(fd: &Descriptor) -> io::Result<Look> {
        match *fd {}
    }

    pub(crate) fn inode_after(file: &Descriptor, _: Inode) -> io::Result<Inode> {
        match *file {}
    }

    pub(crate) fn look_through(_: &Path) -> io::Result<Look> {
        unsupported()
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Access {
        Lock,
        Write,
        ReadOnly,
        WriteOnly,
    }

    #[derive(Debug)]
    #[allow(dead_code)] // the names are the seam's
    pub(crate) enum Opened {
        Existing(Descriptor),
        Created(Descriptor),
    }

    pub(crate) fn open_lock_file(_: &Path, _: Access) -> io::Result<Opened> {
        unsupported()
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[allow(dead_code)] // the names are the seam's
    pub(crate) enum Tried {
        Locked,
        Busy,
    }

    pub(crate) fn try_flock(fd: &Descriptor, _: Mode) -> io::Result<Tried> {
        match *fd {}
    }

    pub(crate) fn flock(fd: &Descriptor, _: Mode, _: &Asleep<'_>) -> io::Result<()> {
        match *fd {}
    }

    pub(crate) fn try_mark(claim: &Descriptor) -> io::Result<Tried> {
        match *claim {}
    }

    pub(crate) fn unmark(claim: &Descriptor) -> io::Result<()> {
        match *claim {}
    }

    pub(crate) fn unflock(fd: &Descriptor) -> io::Result<()> {
        match *fd {}
    }

    pub(crate) fn read_start(fd: &Descriptor, _: usize) -> io::Result<Vec<u8>> {
        match *fd {}
    }

    pub(crate) fn write_record(fd: &Descriptor, _: &[u8]) -> io::Result<()> {
        match *fd {}
    }

    pub(crate) fn make_like(
        _: &Path,
        _: Option<std::fs::Permissions>,
    ) -> io::Result<std::fs::File> {
        unsupported()
    }

    pub(crate) fn touch(fd: &Descriptor) -> io::Result<()> {
        match *fd {}
    }

    pub(crate) fn is_network_descriptor(fd: &Descriptor) -> bool {
        match *fd {}
    }

    pub(crate) fn is_network(_: &Path) -> bool {
        false
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[allow(dead_code)] // the names are the seam's
    pub(crate) enum Meaning {
        WrongKind,
        Unsupported,
        NoPermission,
        NoParent,
        CannotCreate,
        WantsWrite,
        Other,
    }

    pub(crate) fn meaning(error: &io::Error) -> Meaning {
        match error.kind() {
            io::ErrorKind::Unsupported => Meaning::Unsupported,
            io::ErrorKind::PermissionDenied => Meaning::NoPermission,
            io::ErrorKind::NotFound => Meaning::NoParent,
            _ => Meaning::Other,
        }
    }
}
