//! Who holds the lock of a file. Windows keeps no list that could be read, so whoever holds one of ours says so by a kernel object that ends with it
//! (`named.rs`); a lock of another program is found by feeling for it, and nobody can say whose it is.

pub(crate) use crate::sys::no_list::{
    Mounts, bearing, has_name, has_open, is_ours, keeps, kernel_inode, listed, numbered, of_stat,
    ofd_waiters, opened, seen_by,
};

use super::file::{self, Inode, Tried};
use super::handle::is;
use super::{bytes, named, process};
use crate::Mode;
use crate::sys::{KernelFamily, KernelLock};
use std::io;
use std::os::windows::io::OwnedHandle;
use std::path::Path;
use windows_sys::Win32::Foundation::ERROR_SHARING_VIOLATION;
use windows_sys::Win32::System::ProcessStatus::K32EnumProcesses;

/// The locks that are held on a file. Where nobody says so, and the path is told, the lock is felt for: by reading what an exclusive one keeps from being read, and then, for
/// an instant, by a try. A try of ours that meets such an instant is repeated.
pub(crate) fn held_on(
    path: Option<&Path>,
    file: Inode,
    family: KernelFamily,
) -> io::Result<Vec<KernelLock>> {
    if family == KernelFamily::Fcntl {
        return Ok(Vec::new());
    }
    let said = keepers(path, file, family);
    if !said.is_empty() {
        return Ok(said);
    }
    let felt = match path {
        Some(path) => feel(path, file)?,
        None => None,
    };
    Ok(felt
        .map(|mode| KernelLock { mode, pid: 0 })
        .into_iter()
        .collect())
}

/// How somebody has it locked.
fn feel(path: &Path, file: Inode) -> io::Result<Option<Mode>> {
    let opened = match file::open_to_look(path) {
        Ok(Some(opened)) => opened,
        Ok(None) => return Ok(None),
        // Somebody has it open and shares it with nobody.
        Err(error) if is(&error, ERROR_SHARING_VIOLATION) => return Ok(Some(Mode::Exclusive)),
        Err(error) => return Err(error),
    };
    if file::look_at_descriptor(&opened)?.inode != file {
        return Ok(None);
    }
    if bytes::is_kept_from_reading(&opened) {
        return Ok(Some(Mode::Exclusive));
    }
    let _felt_for = named::say_felt_for(file)?;
    if bytes::touch_lock(&opened, Mode::Exclusive)? == Tried::Locked {
        return Ok(None);
    }
    Ok(Some(match bytes::touch_lock(&opened, Mode::Shared)? {
        Tried::Locked => Mode::Shared,
        Tried::Busy => Mode::Exclusive,
    }))
}

/// Whether a directory bears the live mark. That of a file is found by whoever removes it, which opens it.
pub(crate) fn is_flocked((device, number): (u64, u64)) -> bool {
    named::is_marked(Inode { device, number })
}

/// Closing a handle drops no lock of another one.
pub(crate) fn has_own_posix_lock(_: Inode) -> bool {
    false
}

/// What is found is all there is.
pub(crate) fn lists_all(_: Inode) -> bool {
    true
}

/// The processes that say that they hold the lock of this file.
pub(crate) fn keepers(_: Option<&Path>, file: Inode, family: KernelFamily) -> Vec<KernelLock> {
    if family == KernelFamily::Fcntl {
        return Vec::new();
    }
    let held = |pid: u32| {
        let mode = named::held_by(file, pid)?;
        Some(KernelLock {
            mode,
            pid: pid as i32,
        })
    };
    numbers().into_iter().filter_map(held).collect()
}

/// What is signalled when somebody who says that he holds the lock of this file gives it up or ends. Empty: nobody says so.
pub(crate) fn ends(path: &Path) -> Vec<OwnedHandle> {
    let Ok(Some(look)) = file::look(path) else {
        return Vec::new();
    };
    let both = |pid: u32| Some([named::end_of(look.inode, pid)?, process::open(pid).ok()?]);
    numbers().into_iter().filter_map(both).flatten().collect()
}

/// The numbers of all processes.
fn numbers() -> Vec<u32> {
    let mut numbers = vec![0_u32; 1024];
    loop {
        let (room, mut filled) = (size_of_val(&*numbers) as u32, 0);
        // SAFETY: a buffer of that many bytes, and a valid place for how many were written.
        let known = unsafe { K32EnumProcesses(numbers.as_mut_ptr(), room, &raw mut filled) };
        if known == 0 {
            return Vec::new();
        }
        // A buffer that is full may not have had room for all.
        if filled < room {
            numbers.truncate(filled as usize / size_of::<u32>());
            return numbers;
        }
        numbers.resize(numbers.len() * 2, 0);
    }
}
