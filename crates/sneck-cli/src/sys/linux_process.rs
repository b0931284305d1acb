//! Who bears a process number, asked through a pidfd, and who is in a group, asked of /proc; what this process itself is, asked there too. Not for: who it is.

use super::super::Bearer;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;
use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};

/// More are rarely open, where nobody lists them.
const MANY: i32 = 1024;

/// Who bears this number right now, in our pid namespace.
pub(crate) fn bearer(pid: u32) -> Bearer {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Bearer::Nobody;
    };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Bearer::Nobody,
        // INVAL before Linux 6.9 and NOENT since.
        Err(Errno::INVAL | Errno::NOENT) => return Bearer::Thread,
        Err(_) => return Bearer::Unknown,
    };
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // Readable: it has ended, and only waits to be reaped.
    match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&at_once)) {
        Ok(0) => Bearer::Process,
        Ok(_) => Bearer::Nobody,
        Err(_) => Bearer::Unknown,
    }
}

/// What this process executes, though it may have been replaced or removed.
pub(super) fn own_program() -> io::Result<PathBuf> {
    let program = Path::new("/proc/self/exe");
    match program.exists() {
        true => Ok(program.into()),
        false => std::env::current_exe(),
    }
}

/// The name that `ps` and `top` show for short.
pub(super) fn name_ourselves(name: &CStr) {
    // Nobody needs it.
    let _ = rustix::thread::set_name(name);
}

/// What this process has open.
pub(super) fn open_descriptors() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return (0..MANY).collect();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// Who is left in a group, but for this one (its leader, say); None: it cannot be told.
///
/// The kernel has no list of a group's members to ask for. While the leader is not reaped it cannot be asked whether the group is empty either, because a leader
/// that has ended counts. So this reads what all processes say of themselves.
pub(super) fn others_in_group(group: i32, but: Option<i32>) -> Option<Vec<i32>> {
    // What is mounted there may be the list of another pid namespace.
    let myself = std::fs::read_link("/proc/self").ok()?;
    if myself.to_str()?.parse() != Ok(std::process::id()) {
        return None;
    }
    let mut others = Vec::new();
    for entry in std::fs::read_dir("/proc").ok()? {
        let name = entry.ok()?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // One that has gone since cannot be read.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if Some(pid) != but && is_member(&stat, group) {
            others.push(pid);
        }
    }
    Some(others)
}

/// Whether a line of /proc/N/stat is that of a process of this group that has not ended.
fn is_member(stat: &str, group: i32) -> bool {
    // The name may contain anything, parentheses too. Behind it: state, parent, group … the number of threads is the 18th.
    let Some((_, fields)) = stat.rsplit_once(") ") else {
        return false;
    };
    let fields: Vec<&str> = fields.split(' ').collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<i32>().ok());
    // A first thread that has ended while others run is a zombie, too.
    let has_ended = matches!(fields.first(), Some(&("Z" | "X"))) && number(17) <= Some(1);
    number(2) == Some(group) && !has_ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_a_member_of_a_group() {
        let line = |name: &str, state: char, group: i32, threads: i32| {
            format!(
                "12 ({name}) {state} 1 {group} 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 99\n"
            )
        };
        assert!(is_member(&line("sleep", 'S', 7, 1), 7));
        assert!(is_member(&line("a) Z 1 9 (b", 'T', 7, 1), 7));
        assert!(!is_member(&line("sleep", 'S', 8, 1), 7));
        assert!(!is_member(&line("sleep", 'Z', 7, 1), 7));
        assert!(is_member(&line("threads", 'Z', 7, 2), 7));
        assert!(!is_member("", 7));
    }
}
