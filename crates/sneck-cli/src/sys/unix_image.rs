//! What a command is executed from: paths, arguments, environment. Not for: when.

use super::last_error;
use crate::variables::Variables;
use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

/// What runs a script that names no interpreter.
const SHELL: &CStr = c"/bin/sh";

/// Where programs are looked for without PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What is said of one number: whether there is one, and it.
const SAID: usize = 1 + size_of::<u64>();
/// The digits of the largest number, and the zero byte behind them.
const DIGITS: usize = 20 + 1;

/// What lets a command go: how many descriptors come with it, and the numbers.
pub(super) fn message(descriptors: u8, numbers: &[Option<u64>]) -> Vec<u8> {
    let mut message = vec![descriptors];
    for number in numbers {
        message.push(u8::from(number.is_some()));
        message.extend(number.unwrap_or_default().to_ne_bytes());
    }
    message
}

/// A variable whose value is a number that is told when the command is let go.
struct Number {
    /// `NAME=`, and room for the digits.
    text: Vec<u8>,
    digits: usize,
}

impl Number {
    fn new(name: &OsStr) -> Number {
        let mut text = name.as_bytes().to_vec();
        text.push(b'=');
        let digits = text.len();
        text.resize(digits + DIGITS, 0);
        Number { text, digits }
    }

    /// Async-signal-safe only: it runs in the child.
    fn write(&mut self, mut value: u64) -> *const c_char {
        let (mut reversed, mut count) = ([0_u8; DIGITS], 0);
        loop {
            if let Some(digit) = reversed.get_mut(count) {
                // Less than ten.
                *digit = b'0' + (value % 10) as u8;
            }
            count += 1;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        let places = self.text.iter_mut().skip(self.digits);
        for (place, digit) in places.zip(reversed.iter().take(count).rev()) {
            *place = *digit;
        }
        self.text.as_ptr().cast()
    }
}

/// Everything `execve` needs, laid out before the fork, since nothing may be allocated after it.
pub(super) struct Image {
    /// The paths to try, in order.
    candidates: Vec<CString>,
    /// Found through PATH: a candidate that is not there is not the end.
    searched: bool,
    /// The shell, the program, its arguments, null. Without the first it is argv; with it, and a path in the second
    /// place, it is the argv of the shell that runs a script.
    argv: Vec<*const c_char>,
    /// Name=value …, null, and as many nulls as there are numbers.
    envp: Vec<*const c_char>,
    /// Where in `envp` the next number's place is.
    told: usize,
    numbers: Vec<Number>,
    /// Room for what lets it go.
    message: Vec<u8>,
    /// What `argv` and `envp` point to.
    _strings: Vec<CString>,
}

impl Image {
    pub(super) fn new(
        program: &OsStr,
        arguments: &[OsString],
        variables: &Variables,
    ) -> io::Result<Self> {
        let path = std::env::var_os("PATH");
        let candidates = candidates(program, path.as_deref())?;
        let mut strings = Vec::new();
        let mut keep = |bytes: &[u8]| -> io::Result<*const c_char> {
            let string = c_string(bytes)?;
            // The bytes stay where they are when the vector moves the owner.
            let pointer = string.as_ptr();
            strings.push(string);
            Ok(pointer)
        };
        let mut argv = vec![SHELL.as_ptr(), keep(program.as_bytes())?];
        for argument in arguments {
            argv.push(keep(argument.as_bytes())?);
        }
        argv.push(ptr::null());
        let mut envp = Vec::new();
        for (name, value) in variables.environment() {
            let mut pair = name.into_vec();
            pair.push(b'=');
            pair.extend_from_slice(value.as_bytes());
            envp.push(keep(&pair)?);
        }
        let numbers: Vec<Number> = variables
            .numbers
            .iter()
            .map(|name| Number::new(name))
            .collect();
        let told = envp.len();
        // The end, and room for those that are told.
        envp.resize(told + numbers.len() + 1, ptr::null());
        Ok(Image {
            message: message(0, &vec![None; numbers.len()]),
            numbers,
            told,
            candidates,
            searched: !program.as_bytes().contains(&b'/'),
            argv,
            envp,
            _strings: strings,
        })
    }

    /// Room for [`message`].
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.message
    }

    /// How many descriptors the message is to bring.
    pub(super) fn announced(&self) -> usize {
        self.message.first().copied().map_or(0, usize::from)
    }

    /// Puts the numbers of the message into the environment; those that are not there leave no variable.
    ///
    /// Async-signal-safe only: it runs in the child.
    pub(super) fn take_numbers(&mut self) {
        let said = self.message.get(1..).unwrap_or_default().chunks_exact(SAID);
        for (number, said) in self.numbers.iter_mut().zip(said) {
            let [1, value @ ..] = said else {
                continue;
            };
            let (Ok(value), Some(place)) = (value.try_into(), self.envp.get_mut(self.told)) else {
                continue;
            };
            *place = number.write(u64::from_ne_bytes(value));
            self.told += 1;
        }
    }

    /// Becomes the program; comes back only with the reason why not. The rules are those of execvp(3).
    ///
    /// Async-signal-safe only: it runs in the child.
    pub(super) fn execute(&mut self) -> c_int {
        let mut refused = None;
        for candidate in &self.candidates {
            let error = execve(candidate, self.argv.as_ptr().wrapping_add(1), &self.envp);
            match error {
                libc::ENOEXEC => {
                    if let Some(place) = self.argv.get_mut(1) {
                        *place = candidate.as_ptr();
                    }
                    execve(SHELL, self.argv.as_ptr(), &self.envp);
                    return libc::ENOEXEC;
                }
                _ if !self.searched => return error,
                libc::EACCES => refused = Some(error),
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                _ => return error,
            }
        }
        refused.unwrap_or(libc::ENOENT)
    }
}

/// The paths at which a program may be: itself if it has a slash, else one for each entry of PATH.
pub(super) fn candidates(program: &OsStr, path: Option<&OsStr>) -> io::Result<Vec<CString>> {
    let name = program.as_bytes();
    if name.contains(&b'/') {
        return Ok(vec![c_string(name)?]);
    }
    // An empty name is nowhere, not in every directory.
    if name.is_empty() {
        return Ok(Vec::new());
    }
    path.unwrap_or(OsStr::new(DEFAULT_PATH))
        .as_bytes()
        .split(|&byte| byte == b':')
        .map(|directory| {
            let mut candidate = directory.to_vec();
            // An empty entry is the current directory.
            if !candidate.is_empty() {
                candidate.push(b'/');
            }
            candidate.extend_from_slice(name);
            c_string(&candidate)
        })
        .collect()
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "a command, its arguments and its environment cannot contain a zero byte",
        )
    })
}

/// Async-signal-safe only: it runs in the child. `argv` ends with a null and lives as long as the call.
fn execve(path: &CStr, argv: *const *const c_char, envp: &[*const c_char]) -> c_int {
    // SAFETY: `path` is a C string; `argv` and `envp` come from an `Image`: arrays of C strings it keeps, each ending
    // with a null.
    unsafe { libc::execve(path.as_ptr(), argv, envp.as_ptr()) };
    last_error()
}
