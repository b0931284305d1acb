//! Reading what other programs write into lock files: numbers in all their forms, and whose claim a stranger's is.
//!
//! Not for: writing (each protocol writes one form), judging whether the holder lives (`stale.rs`).

use super::written::Likeness;
use crate::holder::{Birth, Holder, Source};
use crate::sys::process;

/// PID_MAX_LIMIT of Linux. A text may name a higher number, which then is nobody's; a binary one must be below, or any four bytes were a number.
const HIGHEST: i32 = 4_194_304;

/// What a content means.
#[allow(
    clippy::large_enum_variant,
    reason = "one lives at a time, for an instant"
)]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A process, by number at least.
    Holder(Holder),
    /// A claim that names nobody: empty, or the number 0.
    Nobody,
    /// A number, but none that a process can have.
    Impossible,
    /// Something else.
    Other,
}

/// A number as text: blanks around it, a sign, leading zeros.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Number {
    Pid(u32),
    Zero,
    /// A number, but none that a process can have.
    Impossible,
    No,
}

/// What Python's `int()`, `strtol` and `scanf` make of a process number.
pub(super) fn number(text: &str) -> Number {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Number::No;
    }
    match text.parse::<i32>() {
        Ok(0) => Number::Zero,
        Ok(pid) if pid > 0 => Number::Pid(pid.unsigned_abs()),
        _ => Number::Impossible,
    }
}

/// A record that begins with a process number, in every form that is in use:
///
/// | bytes | written by |
/// |---|---|
/// | `812\n`, `812` | caterpillar, PEAK, pylockfile, daemons, dotlockfile -p, shlock of INN 1 |
/// | `       812\n` | shlock of INN 2, UUCP |
/// | four bytes, the machine's order | shlock -b, old UUCP |
/// | `0\n`, `0` | dotlockfile, lockfile(1) |
/// | nothing | mutt_dotlock, a program that writes in two steps |
/// | `812\nhost\n`, `812\nhost\ntoken\n` | filelock's SoftFileLock |
/// | `812\n…` | daemons that add lines |
pub(super) fn read(content: &[u8]) -> Reading {
    if content.is_empty() {
        return Reading::Nobody;
    }
    let text = std::str::from_utf8(content).ok();
    let first = text.and_then(|t| t.lines().next()).unwrap_or_default();
    let pid = match number(first) {
        Number::Pid(pid) => pid,
        Number::Zero => return Reading::Nobody,
        Number::Impossible => return Reading::Impossible,
        Number::No => return read_binary(content),
    };
    let mut holder = Holder::process(Source::Record, pid);
    let more: Vec<&str> = text.unwrap_or_default().lines().skip(1).collect();
    let host = more.first().filter(|h| is_host(h));
    match (host, more.get(1)) {
        (Some(host), None) if more.len() == 1 => name_host(&mut holder, host),
        (Some(host), Some(token)) if more.len() == 2 => {
            if let Some(birth) = soft_token(token) {
                name_host(&mut holder, host);
                holder.birth = birth;
            }
        }
        _ => {}
    }
    Reading::Holder(holder)
}

/// How much like a claim a content looks that was read as one. What else begins with a number is data: a count, a column.
pub(super) fn likeness(content: &[u8]) -> Likeness {
    let Ok(text) = std::str::from_utf8(content) else {
        return Likeness::Number;
    };
    // `%10d\n`
    let is_padded = text.len() == 11 && text.starts_with(' ') && text.ends_with('\n');
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let more: Vec<&str> = lines.take(3).collect();
    let is_name = |host: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        is_host(host) && host.bytes().all(fits) && host.bytes().any(|b| b.is_ascii_alphabetic())
    };
    match more.as_slice() {
        [] if is_padded && first.trim_start().bytes().all(|b| b.is_ascii_digit()) => Likeness::Form,
        [] => Likeness::Number,
        [host] if is_name(host) => Likeness::Form,
        [host, token] if is_name(host) && soft_token(token).is_some() => Likeness::Form,
        _ => Likeness::Loose,
    }
}

fn read_binary(content: &[u8]) -> Reading {
    match <[u8; 4]>::try_from(content).map(i32::from_ne_bytes) {
        Ok(pid) if (1..=HIGHEST).contains(&pid) => {
            Reading::Holder(Holder::process(Source::Record, pid.unsigned_abs()))
        }
        _ => Reading::Other,
    }
}

/// A machine's name, as filelock writes it: printable, no blanks.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Name the machine, unless it is this one: then the number can be judged.
pub(super) fn name_host(holder: &mut Holder, host: &str) {
    if host != process::host_name() {
        holder.host = Some(host.to_owned());
    }
}

/// filelock's token: the boot id (128 bits, 0 or absent if unknown) above the start in ticks (64 bits), as one decimal number.
fn soft_token(text: &str) -> Option<Birth> {
    if text.is_empty() || text.len() > 58 {
        return None;
    }
    // Three limbs of 64 bits, lowest first.
    let mut limbs = [0_u64; 3];
    for byte in text.bytes() {
        let mut carry = u128::from(char::from(byte).to_digit(10)?);
        for limb in &mut limbs {
            let value = u128::from(*limb) * 10 + carry;
            *limb = value as u64;
            carry = value >> 64;
        }
        if carry != 0 {
            return None;
        }
    }
    let boot = u128::from(limbs[2]) << 64 | u128::from(limbs[1]);
    Some(Birth {
        ticks: Some(limbs[0]),
        boot: Some(boot).filter(|b| *b != 0),
        ..Birth::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid_of(content: &[u8]) -> Option<u32> {
        match read(content) {
            Reading::Holder(holder) => holder.pid,
            _ => None,
        }
    }

    #[test]
    fn every_form_of_a_number_is_read() {
        let forms: [&[u8]; 8] = [
            b"812",
            b"812\n",
            b"       812\n",
            b"+0812 \r\n",
            &812_i32.to_ne_bytes(),
            b"812\nmore\nlines\nof a daemon\n",
            b"812\nelse.where\n",
            b"812\n\n",
        ];
        for form in forms {
            assert_eq!(pid_of(form), Some(812), "{form:?}");
        }
    }

    #[test]
    fn what_names_nobody_or_nothing_is_told_apart() {
        for nobody in ["", "0", "0\n", "  0 \n"] {
            assert_eq!(read(nobody.as_bytes()), Reading::Nobody, "{nobody:?}");
        }
        for impossible in ["-5\n", "99999999999999999999\n", "2147483648\n"] {
            assert_eq!(
                read(impossible.as_bytes()),
                Reading::Impossible,
                "{impossible:?}"
            );
        }
        let others: [&[u8]; 7] = [
            b"\n",
            b"abcd",
            b"812a\n",
            b"812 13\n",
            b"\xff\xfe",
            &[0; 4],
            b"1.5\n",
        ];
        for other in others {
            assert_eq!(read(other), Reading::Other, "{other:?}");
        }
    }

    #[test]
    fn only_what_says_more_than_a_number_looks_like_a_claim_by_itself() {
        let table: [(&[u8], Likeness); 12] = [
            (b"12\n", Likeness::Number),
            (b"12", Likeness::Number),
            (b"  12\n", Likeness::Number),
            (&812_i32.to_ne_bytes(), Likeness::Number),
            (b"        12\n", Likeness::Form),
            (b"        12\r", Likeness::Number),
            (b"12\nelse.where\n", Likeness::Form),
            (b"12\nelse\n4711\n", Likeness::Form),
            (b"12\n13\n", Likeness::Loose),
            (b"12\nelse\nwhere\n", Likeness::Loose),
            (b"12\nelse\n1\n2\n", Likeness::Loose),
            (b"3\n1 2 3\n", Likeness::Loose),
        ];
        for (content, expected) in table {
            assert_eq!(likeness(content), expected, "{content:?}");
        }
    }

    #[test]
    fn a_soft_file_lock_names_host_and_birth() {
        // (0x0123456789abcdef0123456789abcdef << 64) | 4711
        let content = b"812\nelse\n27898229935051914142968983831921934135319041507002946151\n";
        let Reading::Holder(holder) = read(content) else {
            panic!("not read");
        };
        assert_eq!(
            (holder.pid, holder.host.as_deref()),
            (Some(812), Some("else"))
        );
        let boot = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
        assert_eq!(
            (holder.birth.ticks, holder.birth.boot),
            (Some(4711), Some(boot))
        );
        let Reading::Holder(ours) = read(format!("812\n{}\n77\n", process::host_name()).as_bytes())
        else {
            panic!("not read");
        };
        assert_eq!(
            (ours.host, ours.birth.ticks, ours.birth.boot),
            (None, Some(77), None)
        );
        assert_eq!(
            soft_token("18446744073709551617").and_then(|b| b.boot),
            Some(1)
        );
        assert_eq!(soft_token("12x"), None);
    }
}
