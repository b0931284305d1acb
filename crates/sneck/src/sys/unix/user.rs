//! Names and numbers that every process can ask for: its own, its machine's, a user's. Not for: other processes (`process`, on each platform).

use std::ffi::CStr;

/// Our own number.
pub(crate) fn own_pid() -> u32 {
    std::process::id()
}

/// The name of this machine.
pub(crate) fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// What a user is called.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    let mut buffer = vec![0 as libc::c_char; 4096];
    let mut found = std::ptr::null_mut();
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
    // SAFETY: all pointers are valid for the call, the length is the buffer's; on success `found` points to `entry`, whose
    // strings lie in `buffer`, which outlives every use below.
    let code = unsafe {
        libc::getpwuid_r(
            uid,
            entry.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut found,
        )
    };
    if code != 0 || found.is_null() {
        return None;
    }
    // SAFETY: not null, so getpwuid_r filled `entry` in.
    let entry = unsafe { entry.assume_init_ref() };
    // SAFETY: pw_name is a C string in `buffer`.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    Some(name.to_string_lossy().into_owned())
}
