//! How long to wait, as it is written on the command line.
//!
//! For: `10`, `0.5`, `500ms`, `1.5h` and a clear word about everything else. Not for: dates, sums (`1m30s`), or
//! forever, which is what leaving the option out means.

use std::fmt;
use std::time::Duration;

/// The units, and how many nanoseconds each has. A bare number is seconds, as in flock(1).
const UNITS: [(&str, u128); 6] = [
    ("", 1_000_000_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 60 * 60 * 1_000_000_000),
    ("d", 24 * 60 * 60 * 1_000_000_000),
];

/// A hundred years. Whoever asks for more wants to wait for ever.
const MOST: Duration = Duration::from_secs(36_500 * 24 * 60 * 60);

/// Digits behind the point that are counted exactly; what follows only rounds up.
const FRACTION_DIGITS: usize = 18;

/// Why something is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotADuration {
    Malformed,
    Negative,
    TooLong,
    Endless,
}

impl fmt::Display for NotADuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            NotADuration::Malformed => {
                "expected a number of seconds such as 10 or 0.5, or a number with one of ms, s, m, h, d \
                 such as 500ms or 1.5h"
            }
            NotADuration::Negative => "a wait cannot be negative; 0 means to try once",
            NotADuration::TooLong => {
                "that is more than a hundred years; leave the option out to wait for ever"
            }
            NotADuration::Endless => "leave the option out to wait for ever",
        })
    }
}

impl std::error::Error for NotADuration {}

/// Reads a duration; exact to the nanosecond, and rounded up below that, so that no wait is shorter than asked for.
pub(crate) fn parse(text: &str) -> Result<Duration, NotADuration> {
    if text.starts_with('-') {
        return Err(NotADuration::Negative);
    }
    let lower = text.to_ascii_lowercase();
    if ["inf", "infinity", "infinite", "forever", "never"].contains(&lower.as_str()) {
        return Err(NotADuration::Endless);
    }
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (_, unit) = UNITS
        .into_iter()
        .find(|(name, _)| *name == unit)
        .ok_or(NotADuration::Malformed)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(NotADuration::Malformed);
    }
    let nanoseconds = whole_units(whole)?
        .checked_mul(unit)
        .and_then(|whole| whole.checked_add(part_of_a_unit(fraction, unit)))
        .ok_or(NotADuration::TooLong)?;
    if nanoseconds > MOST.as_nanos() {
        return Err(NotADuration::TooLong);
    }
    // Both fit: at most a hundred years of seconds, and less than one second.
    Ok(Duration::new(
        (nanoseconds / 1_000_000_000) as u64,
        (nanoseconds % 1_000_000_000) as u32,
    ))
}

/// Digits, possibly none.
fn whole_units(digits: &str) -> Result<u128, NotADuration> {
    match digits.trim_start_matches('0') {
        "" => Ok(0),
        digits => digits.parse().map_err(|_| NotADuration::TooLong),
    }
}

/// The nanoseconds of `0.digits` units, rounded up.
fn part_of_a_unit(digits: &str, unit: u128) -> u128 {
    let counted = &digits[..digits.len().min(FRACTION_DIGITS)];
    let more = digits[counted.len()..].bytes().any(|digit| digit != b'0');
    let scale = 10_u128.pow(FRACTION_DIGITS as u32);
    // At most 10^18, times less than 10^14: far from overflowing.
    let fraction = counted
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(FRACTION_DIGITS)
        .fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    ((fraction + u128::from(more)) * unit).div_ceil(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_seconds() {
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        assert_eq!(parse("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse("007"), Ok(Duration::from_secs(7)));
        assert_eq!(parse("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse(".5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("5."), Ok(Duration::from_secs(5)));
    }

    #[test]
    fn units() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse("3m"), Ok(Duration::from_secs(180)));
        assert_eq!(parse("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("1d"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse("0.1ms"), Ok(Duration::from_micros(100)));
    }

    #[test]
    fn below_a_nanosecond_it_rounds_up() {
        assert_eq!(parse("0.000000001"), Ok(Duration::from_nanos(1)));
        assert_eq!(parse("0.0000000001"), Ok(Duration::from_nanos(1)));
        assert_eq!(parse("0.0000000011"), Ok(Duration::from_nanos(2)));
        assert_eq!(parse("0.00000000100"), Ok(Duration::from_nanos(1)));
        let tiny = format!("0.{}1", "0".repeat(100));
        assert_eq!(parse(&tiny), Ok(Duration::from_nanos(1)));
        let zero = format!("0.{}", "0".repeat(100));
        assert_eq!(parse(&zero), Ok(Duration::ZERO));
        // What carries over into the next second.
        let nines = format!("0.{}", "9".repeat(100));
        assert_eq!(parse(&nines), Ok(Duration::from_secs(1)));
        assert_eq!(parse("0.0000000000001d"), Ok(Duration::from_nanos(9)));
    }

    #[test]
    fn a_hundred_years_and_no_more() {
        assert_eq!(parse("36500d"), Ok(MOST));
        assert_eq!(parse("3153600000"), Ok(MOST));
        for text in ["36500.1d", "3153600000.000000001", "99999999999999999999"] {
            assert_eq!(parse(text), Err(NotADuration::TooLong), "{text}");
        }
        for unit in ["", "ms", "s", "m", "h", "d"] {
            let huge = format!("{}{unit}", u128::MAX);
            assert_eq!(parse(&huge), Err(NotADuration::TooLong));
            let larger = format!("{}{unit}", "9".repeat(1000));
            assert_eq!(parse(&larger), Err(NotADuration::TooLong));
        }
    }

    #[test]
    fn what_is_no_duration_says_so() {
        for text in [
            "", " ", ".", "..", "1.2.3", "ms", ".ms", "1 s", " 1", "1 ", "+1", "1S", "1w", "1us",
            "1e3", "0x10", "nan", "NaN", "1m30s", "1,5", "١", "1ſ", "s1",
        ] {
            assert_eq!(parse(text), Err(NotADuration::Malformed), "{text:?}");
        }
        for text in ["-1", "-0.5", "-", "-inf", "-x"] {
            assert_eq!(parse(text), Err(NotADuration::Negative), "{text:?}");
        }
        for text in ["inf", "INF", "infinity", "forever", "never"] {
            assert_eq!(parse(text), Err(NotADuration::Endless), "{text:?}");
        }
    }
}
