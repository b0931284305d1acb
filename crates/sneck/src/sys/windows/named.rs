//! Kernel objects that are found by name: they exist while somebody has them open, and so end with their process, leave nothing behind on
//! any disk and need no right to write there.
//!
//! | name, with the volume and number of a file or folder | what | says |
//! |---|---|---|
//! | `sneck-folder-…` | mutex | whoever owns it removes claims in this folder just now |
//! | `sneck-mark-…` | event | whoever made the claim that is this directory lives |
//! | `sneck-held-…-PID-x`, `…-s` | event | this process holds the lock of this file, exclusively or shared; it is set when that ends |
//! | `sneck-felt-…` | event | somebody feels just now whether this file is locked, for which it locks it |
//!
//! They live in the namespace of the machine (`Global\`), for which mutexes and events need no privilege, so that services and users' sessions
//! meet; everybody may open them, as everybody may lock a folder elsewhere. Not covered: a container (silo) has a namespace of its own.

use super::file::Inode;
use super::handle::{is, owned, wide};
use crate::Mode;
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_ALREADY_EXISTS, GetLastError};
use windows_sys::Win32::Security::{
    InitializeSecurityDescriptor, SECURITY_ATTRIBUTES, SECURITY_DESCRIPTOR,
    SetSecurityDescriptorDacl,
};
use windows_sys::Win32::System::Threading::{
    CreateEventW, CreateMutexW, OpenEventW, ResetEvent, SYNCHRONIZATION_SYNCHRONIZE, SetEvent,
};

const REVISION: u32 = 1;

/// For everybody, and for no child.
fn for_everybody<T>(make: impl FnOnce(*const SECURITY_ATTRIBUTES) -> T) -> T {
    let mut descriptor = SECURITY_DESCRIPTOR::default();
    // SAFETY: initialises the descriptor it is given.
    unsafe { InitializeSecurityDescriptor((&raw mut descriptor).cast(), REVISION) };
    // SAFETY: initialised in the line above; a list that is present and null lets everybody in.
    unsafe { SetSecurityDescriptorDacl((&raw mut descriptor).cast(), 1, ptr::null(), 0) };
    let attributes = SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: (&raw mut descriptor).cast(),
        bInheritHandle: 0,
    };
    make(&raw const attributes)
}

fn name(kind: &str, file: Inode, rest: &str) -> Vec<u16> {
    let Inode { device, number } = file;
    wide(format!(r"Global\sneck-{kind}-{device:x}-{number:x}{rest}"))
}

/// The mutex of a folder.
pub(crate) fn folder_mutex(folder: Inode) -> io::Result<OwnedHandle> {
    let name = name("folder", folder, "");
    // SAFETY: valid attributes, a name that ends with zero, not owned yet. The handle is ours.
    for_everybody(|who| unsafe { owned(CreateMutexW(who, 0, name.as_ptr())) })
}

/// An event of this name, made by us or there already.
fn event(name: &[u16]) -> io::Result<(OwnedHandle, Found)> {
    for_everybody(|who| {
        // SAFETY: valid attributes, a name that ends with zero. The handle is ours.
        let event = unsafe { CreateEventW(who, 1, 0, name.as_ptr()) };
        // SAFETY: reads a word of this thread's own: asked before anything else is called.
        let existed = unsafe { GetLastError() } == ERROR_ALREADY_EXISTS;
        // SAFETY: as above.
        let event = unsafe { owned(event) }?;
        Ok((event, if existed { Found::There } else { Found::Made }))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    There,
    Made,
}

fn open(name: &[u16]) -> io::Result<OwnedHandle> {
    // SAFETY: a name that ends with zero. The handle is ours.
    unsafe { owned(OpenEventW(SYNCHRONIZATION_SYNCHRONIZE, 0, name.as_ptr())) }
}

fn exists(name: &[u16]) -> bool {
    match open(name) {
        Ok(_) => true,
        // Another user's, who closed it to others: it is there.
        Err(error) => is(&error, ERROR_ACCESS_DENIED),
    }
}

/// The live mark of a directory, unless it bears one. It is marked as long as the handle is open.
pub(crate) fn mark(folder: Inode) -> io::Result<Option<OwnedHandle>> {
    let (event, found) = event(&name("mark", folder, ""))?;
    Ok((found == Found::Made).then_some(event))
}

/// Whether a directory bears a live mark.
pub(crate) fn is_marked(folder: Inode) -> bool {
    exists(&name("mark", folder, ""))
}

fn holder_name(file: Inode, pid: u32, mode: Mode) -> Vec<u16> {
    let mode = match mode {
        Mode::Exclusive => "x",
        Mode::Shared => "s",
    };
    name("held", file, &format!("-{pid}-{mode}"))
}

/// Say that this process holds the lock of this file, as long as the handle is open.
pub(crate) fn say_held(file: Inode, mode: Mode) -> io::Result<OwnedHandle> {
    let (held, found) = event(&holder_name(file, std::process::id(), mode))?;
    if found == Found::There {
        // Somebody has it open who waited for the end of the last one.
        // SAFETY: an event of ours, open.
        unsafe { ResetEvent(held.as_raw_handle()) };
    }
    Ok(held)
}

const MODES: [Mode; 2] = [Mode::Exclusive, Mode::Shared];

/// How a process holds the lock of this file, as far as it says so.
pub(crate) fn held_by(file: Inode, pid: u32) -> Option<Mode> {
    MODES
        .into_iter()
        .find(|mode| exists(&holder_name(file, pid, *mode)))
}

/// Say that somebody feels whether this file is locked, as long as the handle is open.
pub(crate) fn say_felt_for(file: Inode) -> io::Result<OwnedHandle> {
    Ok(event(&name("felt", file, ""))?.0)
}

/// Whether somebody does.
pub(crate) fn is_felt_for(file: Inode) -> bool {
    exists(&name("felt", file, ""))
}

/// What a process sets when it gives up the lock of this file.
pub(crate) fn end_of(file: Inode, pid: u32) -> Option<OwnedHandle> {
    MODES
        .into_iter()
        .find_map(|mode| open(&holder_name(file, pid, mode)).ok())
}

/// Say that it is given up. Another holding of the same process is found again by its name.
pub(crate) fn say_given_up(held: OwnedHandle) {
    // SAFETY: an event that we made, or whose maker is this process.
    unsafe { SetEvent(held.as_raw_handle()) };
}
