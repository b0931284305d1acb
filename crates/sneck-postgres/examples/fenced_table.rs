//! A job of several steps that must not run twice at once, and whose writes count only while it is the latest holder: the lock on a PostgreSQL server, the data in a table there, and the token checked in the
//! statement that changes it.
//!
//!     PGHOST=localhost fenced_table 'postgres:///nightly?ttl=15s&lock-delay=5s' 60
//!
//! The lock, and the seconds that each step takes. The table is reached by `psql`: a program has a driver of its own for that. Ends with 76 if the lock was lost on the way; then the one that came
//! after it goes on.

use sneck::{Lock, Registry, Requirement};
use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::Duration;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS report (id int PRIMARY KEY, body text NOT NULL, fence bigint NOT NULL DEFAULT 0);
    INSERT INTO report VALUES (1, 'empty') ON CONFLICT DO NOTHING";

enum End {
    Done,
    Lost(String),
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [place, seconds] = &words[..] else {
        return Err("what to call: PLACE SECONDS".into());
    };
    match job(place, Duration::from_secs_f64(seconds.parse()?))? {
        End::Done => Ok(ExitCode::SUCCESS),
        End::Lost(why) => {
            eprintln!("lost: {why}");
            Ok(ExitCode::from(76))
        }
    }
}

fn job(place: &str, work: Duration) -> Result<End, Box<dyn Error>> {
    let mut registry = Registry::local();
    sneck_postgres::register(&mut registry);
    let lock = Lock::builder()
        .registry(&registry)
        .require([Requirement::DurableFencing, Requirement::Lease])
        .label("fenced_table")
        .at(&registry.place(place)?)?;
    let guard = lock.acquire()?;
    let token = guard.token().ok_or("required above")?;
    println!("holds it with the token {token}");
    psql(TABLE)?;
    for step in 1..=3 {
        // The work of a step, which ends early when the lock is lost: waiting, here. Where work cannot be interrupted, `guard.ensure_held()` between its parts does.
        if guard.until_lost(work).is_some() {
            break;
        }
        let value = format!("step {step}");
        if !write(token, &value)? {
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

/// Write, unless a later holder was here: then no row is changed.
fn write(token: u64, value: &str) -> Result<bool, Box<dyn Error>> {
    let said = psql(&format!(
        "UPDATE report SET body = '{value}', fence = {token} WHERE id = 1 AND fence <= {token}"
    ))?;
    match said.as_str() {
        "UPDATE 1" => Ok(true),
        "UPDATE 0" => Ok(false),
        other => Err(format!("the server says: {other}").into()),
    }
}

fn psql(sql: &str) -> Result<String, Box<dyn Error>> {
    let options = ["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--command"];
    let answer = Command::new("psql").args(options).arg(sql).output()?;
    if !answer.status.success() {
        return Err(String::from_utf8_lossy(&answer.stderr).into());
    }
    Ok(String::from_utf8(answer.stdout)?.trim().to_owned())
}
