//! Jobs: processes that are counted, and ended, together with all that they start. Not for: when they are to end.

use std::io;
use std::mem::size_of;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::process::Child;
use std::ptr;
use std::time::Duration;

use sneck::Moment;
use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::System::IO::{CreateIoCompletionPort, GetQueuedCompletionStatus};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOBOBJECT_ASSOCIATE_COMPLETION_PORT,
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, JOBOBJECT_BASIC_PROCESS_ID_LIST,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JOBOBJECTINFOCLASS,
    JobObjectAssociateCompletionPortInformation, JobObjectBasicAccountingInformation,
    JobObjectBasicProcessIdList, JobObjectExtendedLimitInformation, QueryInformationJobObject,
    SetInformationJobObject, TerminateJobObject,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::milliseconds;

/// How often a job is looked at beside what it says. "Their delivery to the completion port is not guaranteed", Windows says of its messages.
const LOOK: Duration = Duration::from_secs(5);
/// How many processes of a job are named at most.
const NAMED: usize = 64;

/// A job of ours, which nobody else has a handle of.
#[derive(Debug)]
pub(super) struct Job {
    job: OwnedHandle,
    /// Where it says that it has become empty.
    port: OwnedHandle,
}

impl Job {
    pub(super) fn new() -> io::Result<Job> {
        // SAFETY: null means: not to be inherited, and without a name.
        let job = unsafe { CreateJobObjectW(ptr::null(), ptr::null()) };
        let job = owned(job)?;
        // SAFETY: without a file it makes a new port; null and zero mean just that.
        let port = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 1) };
        let port = owned(port)?;
        let made = Job { job, port };
        made.set(
            JobObjectAssociateCompletionPortInformation,
            &JOBOBJECT_ASSOCIATE_COMPLETION_PORT {
                CompletionKey: ptr::null_mut(),
                CompletionPort: made.port.as_raw_handle(),
            },
        )?;
        Ok(made)
    }

    /// Whatever is in it ends when the last handle is closed: when this is dropped, or with this process, however that ends.
    pub(super) fn end_with_us(&self) -> io::Result<()> {
        self.limit(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)
    }

    /// Not any more.
    pub(super) fn outlive_us(&self) -> io::Result<()> {
        self.limit(0)
    }

    fn limit(&self, limit: JOB_OBJECT_LIMIT) -> io::Result<()> {
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = limit;
        self.set(JobObjectExtendedLimitInformation, &limits)
    }

    /// This process is in it from now on, and what it starts.
    pub(super) fn take_ourselves(&self) -> io::Result<()> {
        // SAFETY: takes nothing, and returns a constant that stands for this process.
        self.assign(unsafe { GetCurrentProcess() })
    }

    /// It is in it from now on, and what it starts.
    pub(super) fn take(&self, child: &Child) -> io::Result<()> {
        self.assign(child.as_raw_handle())
    }

    fn assign(&self, process: HANDLE) -> io::Result<()> {
        // SAFETY: both handles are open: the job's as long as `self`, the process's by both callers.
        check(unsafe { AssignProcessToJobObject(self.job.as_raw_handle(), process) })
    }

    /// Ends all that is in it: none of them runs on in its program, though some may take a moment to be gone.
    pub(super) fn end_all(&self, status: u32) -> io::Result<()> {
        // SAFETY: the handle is open as long as `self`.
        check(unsafe { TerminateJobObject(self.job.as_raw_handle(), status) })
    }

    /// Waits until it is empty, or until then; whether it is. To be called once something was in it.
    pub(super) fn until_empty(&self, due: Option<Moment>) -> io::Result<bool> {
        loop {
            // Looked at first: what it said may be older than what it has got since.
            if self.is_empty()? {
                return Ok(true);
            }
            let rest = due.map(Moment::until);
            if rest.is_some_and(|rest| rest.is_zero()) {
                return Ok(false);
            }
            let wait = milliseconds(rest.map_or(LOOK, |rest| rest.min(LOOK)));
            let (mut message, mut key, mut about) = (0, 0, ptr::null_mut());
            let port = self.port.as_raw_handle();
            // Whatever it says (one has come, one has gone, none is left): it is looked at again.
            // SAFETY: the handle is open as long as `self`; the others have room for what is written. What `about` points to is a process's number, and not read.
            let got = unsafe {
                GetQueuedCompletionStatus(port, &mut message, &mut key, &mut about, wait)
            };
            if let Err(error) = check(got) {
                if error.raw_os_error() != Some(WAIT_TIMEOUT as i32) {
                    return Err(error);
                }
            }
        }
    }

    fn is_empty(&self) -> io::Result<bool> {
        let mut count = JOBOBJECT_BASIC_ACCOUNTING_INFORMATION::default();
        self.get(JobObjectBasicAccountingInformation, &mut count)?;
        Ok(count.ActiveProcesses == 0)
    }

    /// The numbers of those that are in it; of many, some.
    pub(super) fn processes(&self) -> io::Result<Vec<u32>> {
        #[repr(C)]
        struct List {
            head: JOBOBJECT_BASIC_PROCESS_ID_LIST,
            _more: [usize; NAMED - 1],
        }
        let mut list = List {
            head: JOBOBJECT_BASIC_PROCESS_ID_LIST::default(),
            _more: [0; NAMED - 1],
        };
        match self.get(JobObjectBasicProcessIdList, &mut list) {
            Err(error) if error.raw_os_error() != Some(ERROR_MORE_DATA as i32) => {
                return Err(error);
            }
            _ => {}
        }
        let count = NAMED.min(list.head.NumberOfProcessIdsInList as usize);
        let first = list.head.ProcessIdList.iter();
        // Numbers of processes have 32 bits everywhere else.
        let numbers = first.chain(&list._more).map(|number| *number as u32);
        Ok(numbers.take(count).collect())
    }

    fn set<Information>(
        &self,
        class: JOBOBJECTINFOCLASS,
        information: &Information,
    ) -> io::Result<()> {
        let size = size_of::<Information>() as u32;
        let data = ptr::from_ref(information).cast();
        // SAFETY: the handle is open as long as `self`; `data` points to `size` bytes, of the type that each caller's class asks for.
        check(unsafe { SetInformationJobObject(self.job.as_raw_handle(), class, data, size) })
    }

    fn get<Information>(
        &self,
        class: JOBOBJECTINFOCLASS,
        information: &mut Information,
    ) -> io::Result<()> {
        let size = size_of::<Information>() as u32;
        let data = ptr::from_mut(information).cast();
        let job = self.job.as_raw_handle();
        // SAFETY: the handle is open as long as `self`; `data` points to `size` bytes, of integers only, for which all that is written is valid.
        check(unsafe { QueryInformationJobObject(job, class, data, size, ptr::null_mut()) })
    }
}

/// What most calls say: zero is failure.
pub(super) fn check(done: i32) -> io::Result<()> {
    match done {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A handle that a call has just made, for calls that fail with null.
pub(super) fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: each caller has just got it from the system, and keeps no other copy.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}
