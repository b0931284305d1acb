//! What is written down about those who hold and wait: `token since facts`, the facts as `name=value`, percent-encoded, apart by blanks.
//!
//! Not for: who is who to the scripts (an id), or what is stale (the server's clock ends what is not renewed).

use sneck::{Holder, Mode, Source};
use sneck_net::place::decoded;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

/// What is told of a command line at most.
const LONGEST: usize = 300;

/// One who claims, as others see it.
pub(crate) fn facts(holder: &Holder) -> String {
    let mut facts = format!("pid={}", holder.pid.unwrap_or(0));
    let texts = [
        ("host", &holder.host),
        ("user", &holder.user),
        ("label", &holder.label),
        ("command", &holder.command),
    ];
    for (name, text) in texts {
        let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else {
            continue;
        };
        let _ = write!(facts, " {name}=");
        for byte in text.bytes().take(LONGEST) {
            match byte {
                b' ' | b'%' | 0..0x20 | 0x7f.. => {
                    let _ = write!(facts, "%{byte:02X}");
                }
                _ => facts.push(char::from(byte)),
            }
        }
    }
    facts
}

/// The same, read again. One whose record is gone, or was written by somebody else, is somebody all the same.
pub(crate) fn holder(id: &str, record: &str) -> Holder {
    let mut holder = Holder::unknown(Source::Server);
    holder.mode = mode_of(id);
    let mut words = record.split(' ');
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    holder.token = number().filter(|token| *token > 0);
    holder.since = number().and_then(since);
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            continue;
        };
        let text = decoded(value).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        match name {
            "pid" => holder.pid = value.parse().ok().filter(|pid| *pid > 0),
            "host" => holder.host = text,
            "user" => holder.user = text,
            "label" => holder.label = text,
            "command" => holder.command = text,
            _ => {}
        }
    }
    holder
}

/// Milliseconds since 1970.
pub(crate) fn since(millis: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

fn mode_of(id: &str) -> Option<Mode> {
    match id.as_bytes().first()? {
        b'x' => Some(Mode::Exclusive),
        b's' => Some(Mode::Shared),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut ada = Holder::process(Source::Server, 812);
        ada.host = Some("büro".into());
        ada.user = Some("ada".into());
        ada.command = Some("make -j4 100%\n".into());
        ada.label = Some("nightly".into());
        let written = format!("17 1700000000000 {}", facts(&ada));
        assert!(written.is_ascii() && !written.contains('\n'), "{written}");
        let read = holder("s0.1", &written);
        ada.mode = Some(Mode::Shared);
        ada.token = Some(17);
        ada.since = since(1_700_000_000_000);
        assert_eq!(read, ada);
    }

    #[test]
    fn a_record_that_makes_no_sense_names_nobody() {
        for record in [
            "",
            "x",
            "1",
            "pid=1",
            "0 0 pid=%zz host=%zz =",
            "-1 5 pid=-3",
        ] {
            let holder = holder("", record);
            assert_eq!(holder.host, None, "{record}");
            assert_eq!(holder.source, Source::Server);
        }
    }
}
