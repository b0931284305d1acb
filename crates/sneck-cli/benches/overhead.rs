//! `sneck run` beside flock(1), as processes: what a command under a lock costs. `cargo bench -p sneck-cli`.
#![allow(clippy::disallowed_methods)]

use std::process::{Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 9;
const TIMES: u32 = 100;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lock = folder.path().join("l");
    let lock = lock.to_str().expect("UTF-8");
    let sneck = env!("CARGO_BIN_EXE_sneck");
    let commands: [(&str, Vec<&str>); 4] = [
        ("true", vec!["true"]),
        ("flock LOCK true", vec!["flock", lock, "true"]),
        ("sneck run LOCK true", vec![sneck, "run", lock, "true"]),
        ("sneck --version", vec![sneck, "--version"]),
    ];
    let mut figures = vec![Vec::new(); commands.len()];
    for _ in 0..ROUNDS {
        for (index, (_, words)) in commands.iter().enumerate() {
            let start = Instant::now();
            for _ in 0..TIMES {
                let mut command = Command::new(words[0]);
                let status = command
                    .args(&words[1..])
                    .stdout(Stdio::null())
                    .status()
                    .expect("started");
                assert!(status.success(), "{words:?}");
            }
            figures[index].push(start.elapsed().as_secs_f64() * 1000.0 / f64::from(TIMES));
        }
    }
    println!("a command under a lock, ms each (median of {ROUNDS} x {TIMES})");
    for ((name, _), mut figures) in commands.iter().zip(figures) {
        figures.sort_by(f64::total_cmp);
        println!("  {name:24} {:.2}", figures[figures.len() / 2]);
    }
}
