//! A job of several steps that must not run twice at once, and whose writes count only while it holds the lock: the lock in etcd, the data there too, and each write made on condition that the claim
//! with our token still stands.
//!
//!     ETCDCTL_ENDPOINTS=localhost:2379 fenced_key nightly 15 report 60
//!
//! The lock's name, the seconds of its lease, the key of the data, and the seconds that each step takes. Lock and data are reached as `etcdctl` reaches them, which does the writing here: a program has a client of its own for
//! that. Ends with 76 if the lock was lost on the way; then the one that came after it goes on.

use sneck::{Lock, Registry, Requirement};
use std::error::Error;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

enum End {
    Done,
    Lost(String),
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, ttl, key, seconds] = &words[..] else {
        return Err("what to call: NAME TTL KEY SECONDS".into());
    };
    let [ttl, work] = [ttl.parse()?, seconds.parse()?].map(Duration::from_secs_f64);
    match job(name, ttl, key, work)? {
        End::Done => Ok(ExitCode::SUCCESS),
        End::Lost(why) => {
            eprintln!("lost: {why}");
            Ok(ExitCode::from(76))
        }
    }
}

fn job(name: &str, ttl: Duration, key: &str, work: Duration) -> Result<End, Box<dyn Error>> {
    let mut registry = Registry::local();
    sneck_etcd::register(&mut registry);
    let lock = Lock::builder()
        .registry(&registry)
        .ttl(ttl)
        .require([Requirement::DurableFencing, Requirement::Lease])
        .label("fenced_key")
        .at(&registry.place(format!("etcd:///{name}"))?)?;
    let guard = lock.acquire()?;
    let token = guard.token().ok_or("required above")?;
    println!("holds it with the token {token}");
    let claim = claim(name)?;
    for step in 1..=3 {
        // The work of a step, which ends early when the lock is lost: waiting, here. Where work cannot be interrupted, `guard.ensure_held()` between its parts does.
        if guard.until_lost(work).is_some() {
            break;
        }
        let value = format!("step {step}");
        if !write(&claim, token, key, &value)? {
            return Ok(End::Lost(format!("the claim of the token {token} is gone")));
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

/// The key of the claim that holds: the oldest below the lock's name. If it is not ours any more, our token does not fit it.
fn claim(name: &str) -> Result<String, Box<dyn Error>> {
    let answer = Command::new("etcdctl")
        .args(["get", "--prefix", "--keys-only", "--sort-by=CREATE"])
        .args(["--order=ASCEND", "--limit=1"])
        .arg(format!("{name}/"))
        .output()?;
    match String::from_utf8(answer.stdout)?.trim() {
        "" => Ok(format!("{name}/nobody")),
        key => Ok(key.to_owned()),
    }
}

/// Write, if that claim still stands with this token: the revision in which it was made.
fn write(claim: &str, token: u64, key: &str, value: &str) -> Result<bool, Box<dyn Error>> {
    let transaction = format!("create(\"{claim}\") = \"{token}\"\n\nput {key} \"{value}\"\n\n\n");
    let mut etcdctl = Command::new("etcdctl")
        .arg("txn")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = etcdctl.stdin.take().ok_or("a pipe")?;
    input.write_all(transaction.as_bytes())?;
    drop(input);
    let answer = etcdctl.wait_with_output()?;
    match String::from_utf8_lossy(&answer.stdout)
        .split_whitespace()
        .next()
    {
        Some("SUCCESS") => Ok(true),
        Some("FAILURE") => Ok(false),
        _ => Err("the server did not say".into()),
    }
}
