//! `labm8`: a file with the holder's process number and the time of the claim on one line.
//!
//! Downsides. labm8 itself looks and then writes, without any exclusion: two of *its* processes can both hold, it takes another user's process for dead, it writes over a
//! claim in place, and it follows links. Beside it a claim can be lost, and `standing()` tells; among sneck's own there is none of that. No queue.
//! Exclusive only.
//!
//! Bytes: `PID TIME ticks=… boot=… pidns=… timens=… host=… mark=holder\n`, mode 0644 less umask. TIME is seconds since 1970 with fractions. labm8 reads the first two fields and
//! ignores the rest, by which a later process of the same number, an earlier boot, another host and another pid namespace are told apart. `mark=holder`: the holder itself keeps
//! the file locked, so that one of another pid namespace (a container that was started again over a kept folder) is known to be gone. A fact that is not
//! known is left out. Removed at release. Read: two fields at least; labm8 2020's text form too.
//!
//! Also spoken by labm8's `LockFile` (0.0.19 to 0.1.2).

use super::file::Format;
use super::record::{self, Number, Reading, number};
use super::written::Likeness;
use crate::claim::Claim;
use crate::holder::{Birth, Holder, Marked, Source};
use crate::sys::process;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone)]
pub(super) struct Labm8;

impl Format for Labm8 {
    fn scheme(&self) -> &'static str {
        "labm8"
    }

    fn write(&self, claim: &Claim, mark: Marked) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        write(claim.party().pid(), now, &process::host_name(), mark)
    }

    fn read(&self, content: &[u8]) -> Reading {
        match read(content) {
            // Something of the kind, cut off: somebody writes it, or died writing.
            Reading::Other if content.is_empty() => Reading::Nobody,
            other => other,
        }
    }
}

fn write(pid: u32, time: Duration, host: &str, mark: Marked) -> String {
    let mut line = format!("{pid} {}.{:06}", time.as_secs(), time.subsec_micros());
    let birth = Birth::of(pid);
    // Writing to a string does not fail.
    let _ = birth.ticks.map(|t| write!(line, " ticks={t}"));
    let _ = birth.boot.map(|b| write!(line, " boot={b:032x}"));
    let _ = birth.pid_namespace.map(|n| write!(line, " pidns={n}"));
    let _ = birth.time_namespace.map(|n| write!(line, " timens={n}"));
    if !host.is_empty() && !host.contains(char::is_whitespace) {
        let _ = write!(line, " host={host}");
    }
    if mark == Marked::ByHolder {
        line.push_str(" mark=holder");
    }
    line.push('\n');
    line
}

pub(super) fn read(content: &[u8]) -> Reading {
    let Ok(text) = std::str::from_utf8(content) else {
        return Reading::Other;
    };
    if text.contains("owner_process_id:") {
        return read_text_form(text);
    }
    let mut fields = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace();
    let (Some(pid), Some(time)) = (fields.next(), fields.next()) else {
        return Reading::Other;
    };
    let Ok(time) = time.parse::<f64>() else {
        return Reading::Other;
    };
    let pid = match number(pid) {
        Number::Pid(pid) => pid,
        Number::Zero | Number::Impossible => return Reading::Impossible,
        Number::No => return Reading::Other,
    };
    let mut holder = Holder::process(Source::Record, pid);
    holder.since = Duration::try_from_secs_f64(time)
        .ok()
        .and_then(|t| UNIX_EPOCH.checked_add(t));
    for (key, value) in fields.filter_map(|f| f.split_once('=')) {
        let number = || value.parse::<u64>().ok();
        match key {
            "ticks" => holder.birth.ticks = number(),
            "boot" => holder.birth.boot = u128::from_str_radix(value, 16).ok(),
            "pidns" => holder.birth.pid_namespace = number(),
            "timens" => holder.birth.time_namespace = number(),
            "mark" if value == "holder" => holder.birth.mark = Marked::ByHolder,
            "host" => record::name_host(&mut holder, value),
            _ => {}
        }
    }
    Reading::Holder(holder)
}

/// How much like a claim a content looks that was read as one: two numbers on a line are in many a file, a number and a time of our days on the only line in few.
pub(super) fn likeness(content: &[u8], holder: &Holder) -> Likeness {
    /// The year 2001: labm8 is younger.
    const OLDEST: Duration = Duration::from_secs(978_307_200);
    const DAY: Duration = Duration::from_secs(86_400);
    let text = std::str::from_utf8(content).unwrap_or_default();
    let oldest = UNIX_EPOCH + OLDEST;
    let since = holder.since;
    let is_time = since.is_some_and(|t| t > oldest && t < SystemTime::now() + DAY);
    if text.contains("owner_process_id:") || (is_time && text.lines().count() == 1) {
        Likeness::Form
    } else {
        Likeness::Loose
    }
}

/// What labm8 wrote from 2020 on: lines of `name: value`.
fn read_text_form(text: &str) -> Reading {
    let value = |name: &str| {
        let line = text
            .lines()
            .find_map(|l| l.trim().strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().trim_matches('"'))
    };
    let Some(Number::Pid(pid)) = value("owner_process_id").map(number) else {
        return Reading::Impossible;
    };
    let mut holder = Holder::process(Source::Record, pid);
    let milliseconds = value("date_acquired_unix_epoch_ms").and_then(|v| v.parse().ok());
    holder.since = milliseconds.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    if let Some(host) = value("owner_hostname") {
        record::name_host(&mut holder, host);
    }
    holder.user = value("owner_user").map(str::to_owned);
    Reading::Holder(holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(content: &str) -> Holder {
        match read(content.as_bytes()) {
            Reading::Holder(holder) => holder,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_labm8_writes_is_read() {
        let read = holder("4647 1795226671.5779793\n");
        assert_eq!(
            (read.pid, read.host, read.birth),
            (Some(4647), None, Birth::default())
        );
        let since = read.since.and_then(|s| s.duration_since(UNIX_EPOCH).ok());
        assert_eq!(since.map(|s| s.as_millis()), Some(1_795_226_671_577));
        assert_eq!(holder("5 2026\n").pid, Some(5));
    }

    #[test]
    fn two_numbers_are_no_claim_unless_the_second_is_a_time_of_our_days() {
        let like = |text: &str| likeness(text.as_bytes(), &holder(text));
        for text in ["4647 1795226671.5779793\n", "1 1600000000 ticks=5 x"] {
            // The clock of whoever tests may be behind.
            let past = text.replace("1795226671", "1605226671");
            assert_eq!(like(&past), Likeness::Form, "{past:?}");
        }
        let text = "owner_process_id: 26174\ndate_acquired_unix_epoch_ms: 1000\n";
        assert_eq!(like(text), Likeness::Form);
        for data in [
            "5 2026\n",
            "640 480\n",
            "3 1.5\n",
            "5 1605226671\n6 7\n",
            "5 99999999999\n",
        ] {
            assert_eq!(like(data), Likeness::Loose, "{data:?}");
        }
    }

    #[test]
    fn what_we_write_names_host_and_birth_and_its_first_two_fields_are_labm8s() {
        let line = write(
            std::process::id(),
            Duration::new(1_795_226_671, 500_000_000),
            "else",
            Marked::ByHolder,
        );
        let start = format!("{} 1795226671.500000 ", std::process::id());
        assert!(line.starts_with(&start) && line.ends_with('\n'), "{line:?}");
        let read = holder(&line);
        let birth = Birth {
            mark: Marked::ByHolder,
            ..Birth::of(std::process::id())
        };
        assert_eq!(read.birth, birth);
        // Windows numbers no boots, nor does it need to: its ticks are a date.
        let boot = read.birth.boot.is_some() || cfg!(windows);
        assert!(read.birth.ticks.is_some() && boot, "{line:?}");
        assert_eq!(read.host.as_deref(), Some("else"));
        assert_eq!(
            holder(&line.replace("else", &process::host_name())).host,
            None
        );
    }

    #[test]
    fn the_later_text_form_is_read_and_garbage_is_not() {
        let text = "owner_process_id: 26174\nowner_process_argv: \"x\"\ndate_acquired_unix_epoch_ms: 1000\nowner_hostname: \"elsewhere\"\nowner_user: \"root\"\n";
        let read_form = holder(text);
        assert_eq!(
            (read_form.pid, read_form.host.as_deref()),
            (Some(26174), Some("elsewhere"))
        );
        for other in ["", "5", "5\n", "a 1.0", "5 x", "5 2026-11-21 02:04:31.58"] {
            assert_eq!(read(other.as_bytes()), Reading::Other, "{other:?}");
        }
        assert_eq!(read(b"0 1.5\n"), Reading::Impossible);
    }
}
