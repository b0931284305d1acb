//! A folder and the names in it: look, make, publish, remove. Nothing here follows a reparse point at the last name.
//!
//! A name here is a path below a folder that is held open without leave to rename or remove it, so it means the same place for as long as that. What is on its way
//! in or out bears a name of `hidden.rs`. Not for: what a claim looks like (`protocol/`), or locking files (`bytes.rs`).

use super::bytes::{read_start, write_record};
use super::file::{
    ANYTHING, Descriptor, How, Kind, Look, SHARE_ALL, Tried, absent_is_none, create, is_absent,
    look_at, look_verbatim, open_claim, patiently, tell,
};
use super::fork::Unshared;
use super::handle::{Came, done, error, is, last_error, verbatim, wait_for, wide};
use super::named;
use crate::hidden;
use crate::sys::Whole;
use crate::sys::file::Asleep;
use crate::timeout::Deadline;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use windows_sys::Win32::Foundation as win;
use windows_sys::Win32::Storage::FileSystem::{
    CreateDirectoryW, DELETE, FILE_DISPOSITION_FLAG_DELETE,
    FILE_DISPOSITION_FLAG_IGNORE_READONLY_ATTRIBUTE, FILE_DISPOSITION_FLAG_POSIX_SEMANTICS,
    FILE_DISPOSITION_INFO, FILE_DISPOSITION_INFO_EX, FILE_LIST_DIRECTORY, FILE_NAME_NORMALIZED,
    FILE_READ_ATTRIBUTES, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_TRAVERSE, FILE_WRITE_ATTRIBUTES,
    FileDispositionInfo, FileDispositionInfoEx, FindClose, FindExInfoBasic, FindExSearchNameMatch,
    FindFirstFileExW, FindNextFileW, GetFinalPathNameByHandleW, MoveFileExW, OPEN_EXISTING,
    RemoveDirectoryW, WIN32_FIND_DATAW,
};
use windows_sys::Win32::System::Threading::ReleaseMutex;

/// The file inside of a directory that stands for a symbolic link: Twisted's name.
const LINK: &str = "symlink";
/// A directory that is empty for so long is not just being removed.
const REMAINS: Duration = Duration::from_secs(2);
/// No target is longer.
const LONGEST_TARGET: usize = 4096;

/// A directory held open, so that a name means the same place for as long as it is held.
#[derive(Debug)]
pub(crate) struct Directory {
    handle: Unshared<Descriptor>,
    path: PathBuf,
    /// The folder's mutex, while we own it.
    mutex: Mutex<Option<OwnedHandle>>,
}

impl Directory {
    fn open_for(path: &Path, rights: u32) -> io::Result<Directory> {
        let path = verbatim(path);
        // Without FILE_SHARE_DELETE: nobody moves it from under our names.
        let share = FILE_SHARE_READ | FILE_SHARE_WRITE;
        let flags = windows_sys::Win32::Storage::FileSystem::FILE_FLAG_BACKUP_SEMANTICS;
        let open = || create(&path, rights, share, OPEN_EXISTING, flags);
        let handle = patiently(open, |_| false)?;
        if look_at(handle.as_raw_handle())?.kind != Kind::Directory {
            return Err(error(win::ERROR_PATH_NOT_FOUND));
        }
        let path = final_path(&handle).unwrap_or(path);
        Ok(Directory::of(handle, path))
    }

    fn of(handle: OwnedHandle, path: PathBuf) -> Directory {
        Directory {
            handle: Unshared::new(Descriptor::of_folder(handle)),
            path,
            mutex: Mutex::new(None),
        }
    }

    /// Open a directory; reparse points in its path are followed.
    pub(crate) fn open(path: &Path) -> io::Result<Directory> {
        Directory::open_for(path, FILE_LIST_DIRECTORY | FILE_READ_ATTRIBUTES)
    }

    /// Open a directory without the right to list it.
    pub(crate) fn open_unlisted(path: &Path) -> io::Result<Directory> {
        Directory::open_for(path, FILE_TRAVERSE | FILE_READ_ATTRIBUTES)
    }

    /// Open a directory in this one, which may be renamed and removed all the same. None: nothing there.
    pub(crate) fn folder(&self, name: &OsStr) -> io::Result<Option<Directory>> {
        let path = self.path.join(name);
        let open = |rights| {
            let open = || create(&path, rights, SHARE_ALL, OPEN_EXISTING, ANYTHING);
            patiently(open, |_| false)
        };
        let rights = FILE_LIST_DIRECTORY | FILE_READ_ATTRIBUTES;
        let opened = match open(rights | FILE_WRITE_ATTRIBUTES) {
            // It is touched only if it is ours.
            Err(error) if is(&error, win::ERROR_ACCESS_DENIED) => open(rights),
            other => other,
        };
        let Some(handle) = absent_is_none(opened)? else {
            return Ok(None);
        };
        if look_at(handle.as_raw_handle())?.kind != Kind::Directory {
            return Err(error(win::ERROR_DIRECTORY));
        }
        Ok(Some(Directory::of(handle, path)))
    }

    /// Whether this is the process that opened it.
    pub(crate) fn is_ours(&self) -> bool {
        self.handle.is_ours()
    }

    /// The handle.
    pub(crate) fn descriptor(&self) -> &Descriptor {
        &self.handle
    }

    /// The handle, for keeps.
    pub(crate) fn into_descriptor(self) -> Unshared<Descriptor> {
        self.handle
    }

    /// What stands at a name in it. A directory with a file `symlink` in it, and nothing else, stands for a symbolic link.
    pub(crate) fn look(&self, name: &OsStr) -> io::Result<Option<Look>> {
        let path = if name == "." {
            self.path.clone()
        } else {
            self.path.join(name)
        };
        let look = look_verbatim(&path)?;
        Ok(match look {
            Some(look) if look.kind == Kind::Directory => {
                let inside = look_verbatim(&path.join(LINK));
                let is_link = matches!(inside, Ok(Some(inside)) if inside.kind == Kind::Regular)
                    && !self.holds_more(name, LINK.as_ref())?;
                let kind = if is_link { Kind::Symlink } else { look.kind };
                Some(Look { kind, ..look })
            }
            other => other,
        })
    }

    /// The target of what stands for a symbolic link in it. None: nothing there.
    pub(crate) fn link_target(&self, name: &OsStr) -> io::Result<Option<OsString>> {
        let path = self.path.join(name).join(LINK);
        let open = || open_claim(&path, How::Existing);
        let Some(file) = absent_is_none(patiently(open, |_| false))? else {
            return Ok(None);
        };
        let target = read_start(&file, LONGEST_TARGET)?;
        Ok(Some(String::from_utf8_lossy(&target).into_owned().into()))
    }

    /// Whether there is something else in a directory in it than this.
    fn holds_more(&self, name: &OsStr, inner: &OsStr) -> io::Result<bool> {
        let all = Path::new(name).join("*");
        let names = self.find(all.as_os_str(), 2)?;
        Ok(names.iter().any(|found| found != inner))
    }

    /// There are no such file systems.
    pub(crate) fn bears_pseudo(&self, _: &OsStr) -> bool {
        false
    }

    /// The names in it, but no more than so many.
    pub(crate) fn names(&self, most: usize) -> io::Result<Vec<OsString>> {
        self.find(OsStr::new("*"), most)
    }

    /// The names in it that begin so.
    pub(crate) fn names_from(&self, start: &OsStr) -> io::Result<Vec<OsString>> {
        let mut pattern = start.to_owned();
        pattern.push("*");
        self.find(&pattern, usize::MAX)
    }

    fn find(&self, pattern: &OsStr, most: usize) -> io::Result<Vec<OsString>> {
        let pattern = wide(self.path.join(pattern));
        let mut found = WIN32_FIND_DATAW::default();
        let begin = || {
            // SAFETY: a pattern that ends with zero, a valid structure of the kind that is named, no filter.
            let search = unsafe {
                FindFirstFileExW(
                    pattern.as_ptr(),
                    FindExInfoBasic,
                    (&raw mut found).cast(),
                    FindExSearchNameMatch,
                    ptr::null(),
                    0,
                )
            };
            done(i32::from(search != win::INVALID_HANDLE_VALUE)).map(|()| search)
        };
        let search = match patiently(begin, |_| false) {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            // It is no directory any more; wine 8 says that the name makes no sense.
            Err(error)
                if is(&error, win::ERROR_DIRECTORY) || is(&error, win::ERROR_INVALID_NAME) =>
            {
                return Ok(Vec::new());
            }
            other => other?,
        };
        let mut names = Vec::new();
        let result = loop {
            let length = found.cFileName.iter().position(|&word| word == 0);
            let name = OsString::from_wide(&found.cFileName[..length.unwrap_or(0)]);
            if name != "." && name != ".." {
                names.push(name);
            }
            if names.len() == most {
                break Ok(names);
            }
            // SAFETY: an open search and a valid structure.
            if unsafe { FindNextFileW(search, &raw mut found) } == 0 {
                let error = last_error();
                break if is(&error, win::ERROR_NO_MORE_FILES) {
                    Ok(names)
                } else {
                    Err(error)
                };
            }
        };
        // SAFETY: open, closed once.
        unsafe { FindClose(search) };
        result
    }

    /// Open a regular file to read it. None: nothing there.
    pub(crate) fn file(&self, name: &OsStr) -> io::Result<Option<Descriptor>> {
        let path = self.path.join(name);
        let open = || open_claim(&path, How::Existing);
        absent_is_none(patiently(open, |_| false))
    }

    /// A file without a name is not to be had.
    pub(crate) fn unnamed(&self) -> io::Result<Descriptor> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Nor can it be given one.
    pub(crate) fn name_it(&self, _: &Descriptor, _: &OsStr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Make an empty file; `AlreadyExists` if the name is taken.
    pub(crate) fn make_file(&self, name: &OsStr) -> io::Result<Descriptor> {
        taken(open_claim(&self.path.join(name), How::New))
    }

    /// Make what stands for a symbolic link: a directory with the target in a file, under another name first and then here, in one step; `AlreadyExists` if
    /// the name is taken.
    pub(crate) fn make_link(&self, target: &OsStr, name: &OsStr) -> io::Result<()> {
        let target = target.as_encoded_bytes();
        match self.make_directory(name, OsStr::new(LINK), target, |_| Ok(()))? {
            Some(()) => Ok(()),
            None => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    /// Why no link could be made.
    pub(crate) fn link_refused(&self, error: io::Error) -> io::Error {
        error
    }

    /// Remove an empty directory that has stood there for a while: what Twisted leaves when it dies between removing the file inside and the directory, and then
    /// waits for without end. One that is not empty stays, whatever the last look said. Whether it went.
    pub(crate) fn remove_remains(&self, name: &OsStr) -> io::Result<bool> {
        let old = |look: &Look| {
            let mut now = win::FILETIME::default();
            // SAFETY: a valid place to write to.
            unsafe {
                windows_sys::Win32::System::SystemInformation::GetSystemTimePreciseAsFileTime(
                    &raw mut now,
                )
            };
            let now = super::file::since_1970(super::process::ticks(&now) as i64);
            now - look.written > REMAINS.as_nanos() as i128
        };
        let look = self.look(name)?;
        if !look.is_some_and(|look| look.kind == Kind::Directory && old(&look)) {
            return Ok(false);
        }
        match self.remove_folder(name) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(error) if is_absent(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Make a directory with an empty file in it, whole: open, and this done to it, before anybody sees it.
    pub(crate) fn make_whole<T>(
        &self,
        name: &OsStr,
        inner: &OsStr,
        then: impl FnOnce(&Descriptor) -> io::Result<T>,
    ) -> io::Result<Whole<(Directory, T)>> {
        let made = self.make_directory(name, inner, b"", |hidden| {
            let Some(directory) = self.folder(hidden)? else {
                return Err(io::ErrorKind::NotFound.into());
            };
            let then = then(directory.descriptor())?;
            Ok((directory, then))
        })?;
        Ok(match made {
            Some((directory, then)) => {
                let path = self.path.join(name);
                Whole::Done((Directory { path, ..directory }, then))
            }
            None => Whole::Taken,
        })
    }

    /// Make a directory with a file in it. None: something stands there.
    fn make_directory<T>(
        &self,
        name: &OsStr,
        inner: &OsStr,
        content: &[u8],
        then: impl FnOnce(&OsStr) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        // Making it each time that somebody tries would be a lot of writing for nothing.
        if self.look(name)?.is_some() {
            return Ok(None);
        }
        let hidden = hidden::name_beside(name);
        self.make_folder(&hidden)?;
        let made = open_claim(&self.path.join(&hidden).join(inner), How::New)
            .and_then(|file| write_record(&file, content))
            // Closed again: a directory in which a file is open cannot be renamed.
            .and_then(|()| then(&hidden))
            .and_then(|then| Ok((self.rename(&hidden, name)?, then)));
        match made {
            Ok(((), then)) => Ok(Some(then)),
            Err(error) => {
                let _ = remove_file(&self.path.join(&hidden).join(inner), None);
                let _ = self.remove_folder(&hidden);
                if error.kind() == io::ErrorKind::AlreadyExists {
                    return Ok(None);
                }
                Err(error)
            }
        }
    }

    /// Make an empty directory; `AlreadyExists` if the name is taken.
    pub(crate) fn make_folder(&self, name: &OsStr) -> io::Result<()> {
        let path = wide(self.path.join(name));
        // SAFETY: a path that ends with zero, no security attributes.
        taken(done(unsafe {
            CreateDirectoryW(path.as_ptr(), ptr::null())
        }))
    }

    /// Nothing of ours is ever half made.
    pub(crate) fn make_ours(&self) -> io::Result<()> {
        Ok(())
    }

    /// There is nothing to keep.
    pub(crate) fn keeps_ours(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Claims are renamed into place: the name that a link was made from would stay until its file is closed, where deletion is not that of POSIX.
    pub(crate) fn second_name(&self, _: &OsStr, _: &OsStr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Give a file or a directory another name, never in place of what stands there: `AlreadyExists` then.
    pub(crate) fn rename(&self, name: &OsStr, other: &OsStr) -> io::Result<()> {
        rename(&self.path.join(name), &self.path.join(other))
    }

    /// Remove a file, or what stands for a symbolic link. The name is free at once, whoever has it open.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        let path = self.path.join(name);
        match look_verbatim(&path)? {
            Some(look) if look.kind == Kind::Directory => {
                self.remove_directory(name, LINK.as_ref())
            }
            _ => remove_file(&path, Some(&self.hidden_path(name))),
        }
    }

    fn hidden_path(&self, name: &OsStr) -> PathBuf {
        // A name may be that of a file inside of a directory.
        let last = Path::new(name).file_name().unwrap_or(name);
        self.path.join(hidden::name_beside(last))
    }

    /// Remove a directory with nothing or this file in it: renamed away in one step, then taken apart. So what a crash leaves is in nobody's way.
    pub(crate) fn remove_whole(&self, name: &OsStr, inner: &OsStr) -> io::Result<Whole<()>> {
        self.remove_directory(name, inner).map(Whole::Done)
    }

    fn remove_directory(&self, name: &OsStr, inner: &OsStr) -> io::Result<()> {
        let hidden = hidden::name_beside(name);
        self.rename(name, &hidden)?;
        // Somebody has put something else into it since it was looked at: nothing of it is touched.
        if self.holds_more(&hidden, inner)? {
            let _ = self.rename(&hidden, name);
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        match self.remove_litter(&hidden, inner) {
            // Just now.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                let _ = self.rename(&hidden, name);
                Err(error)
            }
            // The name is free, and that is what counts: what is left is swept by the next one who comes this way.
            _ => Ok(()),
        }
    }

    /// Take apart a directory that is on its way in or out.
    pub(crate) fn remove_litter(&self, hidden: &OsStr, inner: &OsStr) -> io::Result<()> {
        if !inner.is_empty() {
            // Out of it first, where the system keeps the name until all have closed it: 1. Somebody reads it. 2. We remove it, and its name stays. 3. The
            // directory is not empty.
            let aside = self.hidden_path(hidden);
            match remove_file(&self.path.join(hidden).join(inner), Some(&aside)) {
                Err(error) if !is_absent(&error) => return Err(error),
                _ => {}
            }
        }
        self.remove_folder(hidden)
    }

    /// Remove an empty directory.
    pub(crate) fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        let path = wide(self.path.join(name));
        // SAFETY: a path that ends with zero.
        let remove = || done(unsafe { RemoveDirectoryW(path.as_ptr()) });
        patiently(remove, |_| false)
    }

    fn mutex(&self) -> io::Result<OwnedHandle> {
        named::folder_mutex(look_at(self.handle.raw())?.inode)
    }

    /// One try for the folder's mutex: whoever owns it removes claims here. It ends with the thread that owns it, and is given up by that thread.
    pub(crate) fn try_flock(&self) -> io::Result<Tried> {
        let mutex = self.mutex()?;
        if wait_for(&[mutex.as_raw_handle()], Deadline::Once)? == Came::TimedOut {
            return Ok(Tried::Busy);
        }
        self.own(mutex);
        Ok(Tried::Locked)
    }

    /// Sleep until there is one. Ended before: `ErrorKind::Interrupted`.
    pub(crate) fn flock(&self, asleep: &Asleep<'_>) -> io::Result<()> {
        let mutex = self.mutex()?;
        asleep.wait(&[mutex.as_raw_handle()], Deadline::Never)?;
        self.own(mutex);
        Ok(())
    }

    fn own(&self, mutex: OwnedHandle) {
        *self.mutex.lock().unwrap_or_else(PoisonError::into_inner) = Some(mutex);
    }

    /// Give it up.
    pub(crate) fn unflock(&self) {
        let mutex = self
            .mutex
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mutex) = mutex {
            // SAFETY: open, and owned by this thread: nobody else's call locks this folder through this value.
            unsafe { ReleaseMutex(mutex.as_raw_handle()) };
        }
    }
}

/// Whether making and removing what stands for a link can leave something behind under another name.
pub(crate) fn links_leave_litter() -> bool {
    true
}

/// Whether a link cannot be made because this file system has none.
pub(crate) fn has_no_links(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

/// A name whose file is on its way out is taken still.
fn taken<T>(made: io::Result<T>) -> io::Result<T> {
    match made {
        Err(error) if is(&error, win::ERROR_DELETE_PENDING) => {
            Err(io::ErrorKind::AlreadyExists.into())
        }
        other => other,
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let is_folder = look_verbatim(from)?.is_some_and(|look| look.kind == Kind::Directory);
    let (from, to) = (wide(from), wide(to));
    // SAFETY: two paths that end with zero. No flag: nothing is replaced, and nothing copied to another volume.
    let rename = || done(unsafe { MoveFileExW(from.as_ptr(), to.as_ptr(), 0) });
    // A directory in which somebody has a file open, to look at it, says access denied.
    let opened = |error: &io::Error| is_folder && is(error, win::ERROR_ACCESS_DENIED);
    taken(patiently(rename, opened))
}

/// Remove a file, under another name first where the system keeps the name until all have closed it.
fn remove_file(path: &Path, hidden: Option<&Path>) -> io::Result<()> {
    let open = || create(path, DELETE, SHARE_ALL, OPEN_EXISTING, ANYTHING);
    let Some(file) = absent_is_none(patiently(open, |_| false))? else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let now = FILE_DISPOSITION_INFO_EX {
        Flags: FILE_DISPOSITION_FLAG_DELETE
            | FILE_DISPOSITION_FLAG_POSIX_SEMANTICS
            | FILE_DISPOSITION_FLAG_IGNORE_READONLY_ATTRIBUTE,
    };
    match tell(file.as_raw_handle(), FileDispositionInfoEx, &now) {
        Ok(()) => return Ok(()),
        // Windows before 1709, FAT, network file systems, wine 8.
        Err(error)
            if [
                win::ERROR_INVALID_PARAMETER,
                win::ERROR_INVALID_FUNCTION,
                win::ERROR_NOT_SUPPORTED,
                win::ERROR_INVALID_LEVEL,
                win::ERROR_CALL_NOT_IMPLEMENTED,
            ]
            .into_iter()
            .any(|code| is(&error, code)) => {}
        Err(error) => return Err(error),
    }
    let Some(hidden) = hidden else {
        return remove_when_closed(&file);
    };
    // 1. It is renamed. 2. Somebody makes another at the name. 3. wine 8 removes by the name that the handle was opened with: not through this one, then.
    drop(file);
    rename(path, hidden)?;
    let open = || create(hidden, DELETE, SHARE_ALL, OPEN_EXISTING, ANYTHING);
    match patiently(open, |_| false).and_then(|file| remove_when_closed(&file)) {
        // The name is free, and that is what counts: what is left is swept by the next one who comes this way.
        Err(_) | Ok(()) => Ok(()),
    }
}

fn remove_when_closed(file: &OwnedHandle) -> io::Result<()> {
    let once_closed = FILE_DISPOSITION_INFO { DeleteFile: true };
    tell(file.as_raw_handle(), FileDispositionInfo, &once_closed)
}

/// Where a directory really is. None: the system does not say.
fn final_path(folder: &OwnedHandle) -> Option<PathBuf> {
    let mut path = vec![0_u16; 512];
    loop {
        let room = path.len() as u32;
        // SAFETY: an open handle, and a buffer of that length.
        let length = unsafe {
            GetFinalPathNameByHandleW(
                folder.as_raw_handle(),
                path.as_mut_ptr(),
                room,
                FILE_NAME_NORMALIZED,
            )
        };
        match length {
            0 => return None,
            longer if longer >= room => path.resize(longer as usize + 1, 0),
            length => return Some(OsString::from_wide(&path[..length as usize]).into()),
        }
    }
}
