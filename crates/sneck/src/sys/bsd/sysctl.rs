//! sysctl(3): what the kernel says by number or by name. Not for: what it means.

use std::ffi::CStr;
use std::io;
use std::ptr;

/// More than any answer that is asked for here should have.
const MOST: usize = 1 << 22;

/// The value of a number such as CTL_KERN, KERN_PROC, KERN_PROC_PID, 812.
pub(super) fn by_number(name: &[libc::c_int]) -> io::Result<Vec<u8>> {
    whole(|value, length| ask_by_number(name, value, length))
}

/// The same, of one whose length cannot be asked for: as much of it as has room.
pub(super) fn by_number_within(name: &[libc::c_int], room: usize) -> io::Result<Vec<u8>> {
    let mut value = vec![0_u8; room];
    let mut length = room;
    if ask_by_number(name, value.as_mut_ptr(), &mut length) != 0 {
        return Err(io::Error::last_os_error());
    }
    value.truncate(length);
    Ok(value)
}

fn ask_by_number(name: &[libc::c_int], value: *mut u8, length: &mut usize) -> libc::c_int {
    // Nothing is written through this pointer: macOS declares it as from before `const`.
    let (name, count) = (name.as_ptr().cast_mut(), name.len() as libc::c_uint);
    // SAFETY: `name` has `count` numbers, which are only read; `value` is null or has room for `length` bytes; no new value is set.
    unsafe { libc::sysctl(name, count, value.cast(), length, ptr::null_mut(), 0) }
}

/// The value of a name such as `kern.bootsessionuuid`.
pub(super) fn by_name(name: &CStr) -> io::Result<Vec<u8>> {
    whole(|value, length| {
        // SAFETY: `name` ends with a zero; `value` is null or has room for `length` bytes; no new value is set.
        unsafe { libc::sysctlbyname(name.as_ptr(), value.cast(), length, ptr::null_mut(), 0) }
    })
}

/// Ask how long it is, then for the whole. It may have grown between the two.
fn whole(ask: impl Fn(*mut u8, &mut usize) -> libc::c_int) -> io::Result<Vec<u8>> {
    loop {
        let mut length = 0;
        if ask(ptr::null_mut(), &mut length) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut value = vec![0_u8; length + length / 8 + 64];
        length = value.len();
        if ask(value.as_mut_ptr(), &mut length) == 0 {
            value.truncate(length);
            return Ok(value);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ENOMEM) || value.len() > MOST {
            return Err(error);
        }
    }
}
