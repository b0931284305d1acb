//! A job of several steps that must not run twice at once, and whose writes count only while it is the latest holder: the lock on Redis, the data there too, and the token checked where
//! the data is.
//!
//!     fenced_value 'redis://localhost/nightly?ttl=15s&lock-delay=5s' report 60 redis-cli -h localhost
//!
//! The lock, the key of the data, the seconds that each step takes, and how to reach the data: a program has a client of its own for that. Ends with 76 if the lock was lost on the way; then the one that
//! came after it goes on.

use sneck::{Lock, Registry, Requirement};
use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Write, unless a later holder was here. Redis runs a script in one piece.
const WRITE: &str = "
    local seen = redis.call('GET', KEYS[2])
    if seen and tonumber(seen) > tonumber(ARGV[1]) then return 'STALE' end
    redis.call('SET', KEYS[2], ARGV[1])
    redis.call('SET', KEYS[1], ARGV[2])
    return 'OK'";

enum End {
    Done,
    Lost(String),
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [place, key, seconds, client @ ..] = &words[..] else {
        return Err("what to call: PLACE KEY SECONDS CLIENT…".into());
    };
    match job(
        place,
        key,
        Duration::from_secs_f64(seconds.parse()?),
        client,
    )? {
        End::Done => Ok(ExitCode::SUCCESS),
        End::Lost(why) => {
            eprintln!("lost: {why}");
            Ok(ExitCode::from(76))
        }
    }
}

fn job(place: &str, key: &str, work: Duration, client: &[String]) -> Result<End, Box<dyn Error>> {
    let mut registry = Registry::local();
    sneck_redis::register(&mut registry);
    // Redis has tokens, though none that survive the loss of its data *and* a clock that is set back.
    let lock = Lock::builder()
        .registry(&registry)
        .require([Requirement::Fencing, Requirement::Lease])
        .label("fenced_value")
        .at(&registry.place(place)?)?;
    let guard = lock.acquire()?;
    let token = guard.token().ok_or("required above")?;
    println!("holds it with the token {token}");
    for step in 1..=3 {
        // The work of a step, which ends early when the lock is lost: waiting, here. Where work cannot be interrupted, `guard.ensure_held()` between its parts does.
        if guard.until_lost(work).is_some() {
            break;
        }
        let value = format!("step {step}");
        if !write(client, key, token, &value)? {
            return Ok(End::Lost(format!("a later holder than {token} was here")));
        }
        println!("{value}");
    }
    // It says so if the lock was lost meanwhile.
    match guard.release() {
        Ok(()) => Ok(End::Done),
        Err(error) if error.kind() == sneck::ErrorKind::Lost => Ok(End::Lost(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn write(client: &[String], key: &str, token: u64, value: &str) -> Result<bool, Box<dyn Error>> {
    let (program, options) = client.split_first().ok_or("no client")?;
    let (fence, token) = (format!("{key}:fence"), token.to_string());
    let answer = Command::new(program)
        .args(options)
        .args(["EVAL", WRITE, "2", key, &fence, &token, value])
        .output()?;
    match String::from_utf8_lossy(&answer.stdout).trim() {
        "OK" => Ok(true),
        "STALE" => Ok(false),
        other => Err(format!("the server says: {other}").into()),
    }
}
