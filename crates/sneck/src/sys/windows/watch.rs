//! What changes in a folder, by ReadDirectoryChangesW: one name of it is of interest.
//!
//! Not for: sleeping until it does (`wait/`).

use super::file::{SHARE_ALL, create};
use super::handle::{Event, done, error, is, verbatim};
use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::path::Path;
use windows_sys::Win32::Foundation as win;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OVERLAPPED, FILE_LIST_DIRECTORY,
    FILE_NOTIFY_CHANGE_ATTRIBUTES, FILE_NOTIFY_CHANGE_DIR_NAME, FILE_NOTIFY_CHANGE_FILE_NAME,
    FILE_NOTIFY_CHANGE_LAST_WRITE, FILE_NOTIFY_CHANGE_SIZE, OPEN_EXISTING, ReadDirectoryChangesW,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};

/// What is told of a name: it comes, goes, gets another one, is written to.
const FILTER: u32 = FILE_NOTIFY_CHANGE_FILE_NAME
    | FILE_NOTIFY_CHANGE_DIR_NAME
    | FILE_NOTIFY_CHANGE_LAST_WRITE
    | FILE_NOTIFY_CHANGE_SIZE
    | FILE_NOTIFY_CHANGE_ATTRIBUTES;
/// As words of four bytes, which the records are aligned to.
const ROOM: usize = 2048;

/// A folder that is watched for the sake of one name in it.
#[derive(Debug)]
pub(crate) struct Changes {
    folder: OwnedHandle,
    /// In the folder's own letters.
    name: Vec<u16>,
    told: Box<Told>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The system may write to `told`.
    Asked,
    Idle,
}

/// What the system writes to, at a place of its own that never moves.
struct Told {
    overlapped: OVERLAPPED,
    event: Option<Event>,
    buffer: [u32; ROOM],
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

// SAFETY: handles belong to the whole process, and the buffer to whoever has the value.
unsafe impl Send for Told {}
// SAFETY: as above; nothing is written through a shared reference.
unsafe impl Sync for Told {}

/// What was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// The name has changed, or may have.
    Changed,
    /// Others have.
    Else,
    /// Nothing more will be.
    Over,
}

impl Changes {
    /// Watch for what happens to this entry of its folder, with an event of its own.
    pub(crate) fn watch(path: &Path) -> io::Result<Changes> {
        let mut changes = Changes::open(path, Some(Event::new()?))?;
        changes.ask()?;
        Ok(changes)
    }

    /// The same, told to a completion port that [`Changes::folder`] is added to. Nothing is told before [`Changes::ask`].
    pub(crate) fn for_port(path: &Path) -> io::Result<Changes> {
        Changes::open(path, None)
    }

    fn open(path: &Path, event: Option<Event>) -> io::Result<Changes> {
        let path = verbatim(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(error(win::ERROR_INVALID_NAME));
        };
        let flags = FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OVERLAPPED;
        let folder = create(parent, FILE_LIST_DIRECTORY, SHARE_ALL, OPEN_EXISTING, flags)?;
        let overlapped = OVERLAPPED {
            hEvent: event.as_ref().map_or(std::ptr::null_mut(), Event::raw),
            ..OVERLAPPED::default()
        };
        Ok(Changes {
            folder,
            name: name.encode_wide().collect(),
            told: Box::new(Told {
                overlapped,
                event,
                buffer: [0; ROOM],
            }),
            state: State::Idle,
        })
    }

    pub(crate) fn folder(&self) -> HANDLE {
        self.folder.as_raw_handle()
    }

    /// What is signalled when something is told.
    pub(crate) fn raw(&self) -> HANDLE {
        self.told.overlapped.hEvent
    }

    /// Be told what happens from now on.
    pub(crate) fn ask(&mut self) -> io::Result<()> {
        if let Some(event) = &self.told.event {
            event.reset();
        }
        let told = &mut *self.told;
        // SAFETY: an open directory; a buffer of that length and a structure, in a box that neither moves nor goes before the system is done: `drop` sees to it.
        let asked = done(unsafe {
            ReadDirectoryChangesW(
                self.folder.as_raw_handle(),
                told.buffer.as_mut_ptr().cast(),
                size_of_val(&told.buffer) as u32,
                0,
                FILTER,
                std::ptr::null_mut(),
                &raw mut told.overlapped,
                None,
            )
        });
        if asked.is_ok() {
            self.state = State::Asked;
        }
        asked
    }

    /// What was told, once it was; and be told again.
    pub(crate) fn take(&mut self) -> Watched {
        let mut length = 0;
        // SAFETY: an open directory, the structure of what was asked of it, a valid place to write to. It does not wait.
        let known = done(unsafe {
            GetOverlappedResult(
                self.folder(),
                &raw const self.told.overlapped,
                &raw mut length,
                0,
            )
        });
        if let Err(error) = &known {
            if is(error, win::ERROR_IO_INCOMPLETE) {
                return Watched::Else;
            }
        }
        self.state = State::Idle;
        let changed = known.is_err() || self.is_named(length as usize);
        match self.ask() {
            Err(_) => Watched::Over,
            Ok(()) if changed => Watched::Changed,
            Ok(()) => Watched::Else,
        }
    }

    /// Whether our name is among those that were told. None were: there were too many to tell.
    fn is_named(&self, length: usize) -> bool {
        let bytes: Vec<u8> = self
            .told
            .buffer
            .iter()
            .flat_map(|w| w.to_ne_bytes())
            .collect();
        let Some(mut bytes) = bytes.get(..length).filter(|told| !told.is_empty()) else {
            return true;
        };
        loop {
            // NextEntryOffset, Action, FileNameLength, FileName.
            let word = |at: usize| -> Option<usize> {
                let word = bytes.get(at..at + 4)?;
                Some(u32::from_ne_bytes(word.try_into().ok()?) as usize)
            };
            let (Some(next), Some(length)) = (word(0), word(8)) else {
                return true;
            };
            let name = bytes.get(12..12 + length).unwrap_or_default();
            let name: Vec<u16> = name
                .chunks_exact(2)
                .map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
                .collect();
            if is_same(&name, &self.name) {
                return true;
            }
            match bytes.get(next..) {
                Some(rest) if next > 0 => bytes = rest,
                _ => return false,
            }
        }
    }
}

/// Case may differ, and a name may be told in its short form: what has a tilde is taken for ours.
fn is_same(told: &[u16], ours: &[u16]) -> bool {
    if told == ours || told.contains(&u16::from(b'~')) {
        return true;
    }
    let lower = |name: &[u16]| OsString::from_wide(name).to_string_lossy().to_lowercase();
    lower(told) == lower(ours)
}

impl Drop for Changes {
    fn drop(&mut self) {
        if self.state == State::Idle {
            return;
        }
        // SAFETY: an open directory and the structure of what was asked of it.
        unsafe { CancelIoEx(self.folder(), &raw const self.told.overlapped) };
        let mut length = 0;
        // SAFETY: as above; it waits until the system is done with the buffer, which goes after that.
        unsafe {
            GetOverlappedResult(
                self.folder(),
                &raw const self.told.overlapped,
                &raw mut length,
                1,
            )
        };
    }
}
