//! Claims in folders beside the bare system calls, in one run: uncontended cycle, hand-over, how soon a killed holder is noticed.
//!
//! Each figure stands beside its floor, measured in turns with it, so that a noisy machine disturbs both alike. Not a test: nothing here fails.
//! `cargo bench -p sneck --bench files`.
#![allow(clippy::disallowed_methods)]

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, flock, fstat, linkat, mkdirat, open, openat,
    readlinkat, statat, symlinkat, unlinkat,
};
use sneck::Lock;
use std::env;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const ROLE: &str = "SNECK_BENCH_ROLE";
const ROUNDS: usize = 9;
const TIMES: u32 = 2_000;
const PROTOCOLS: [&str; 6] = ["pidfile", "shlock", "dotlock", "labm8", "mkdir", "symlink"];

fn main() {
    if let Ok(role) = env::var(ROLE) {
        return party(&role);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    println!("claims in folders beside the bare system calls, medians");
    println!(
        "(cycle: ns; least: making, marking, removing; correct: also what keeps two from removing and a thief from being robbed)"
    );
    println!(
        "{:>9}  {:>7} {:>8} {:>7} {:>6} {:>6}  {:>12} {:>12}",
        "", "least", "correct", "sneck", "ratio", "least", "hand-over us", "killed us"
    );
    for protocol in PROTOCOLS {
        let path = folder.path().join(protocol);
        let (least, correct, ours) = cycle(protocol, &path);
        let handed = hand_over(protocol, &path);
        let killed = killed(protocol, &path);
        println!(
            "{protocol:>9}  {least:>7.0} {correct:>8.0} {ours:>7.0} {:>6.2} {:>6.2}  {handed:>12.0} {killed:>12.0}",
            ours / correct,
            ours / least
        );
    }
    println!("aims: ratio <= 1.15, hand-over < 300 us, killed < 1000 us");
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Nanoseconds a call.
fn each(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..TIMES {
        call();
    }
    start.elapsed().as_nanos() as f64 / f64::from(TIMES)
}

fn folder_of(path: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path.parent().expect("in a folder"), flags, Mode::empty()).expect("there")
}

fn bare_file(folder: &OwnedFd, name: &str, checks: bool) {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = openat(folder, ".", flags, Mode::from_raw_mode(0o644)).expect("made");
    if checks {
        black_box(fstat(&file).expect("open"));
    }
    flock(&file, FlockOperation::NonBlockingLockExclusive).expect("free");
    rustix::io::pwrite(&file, b"12345\n", 0).expect("written");
    let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, magic, folder, name, AtFlags::SYMLINK_FOLLOW).expect("free");
    if checks {
        flock(folder, FlockOperation::NonBlockingLockExclusive).expect("free");
        black_box(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).expect("there"));
        black_box(rustix::io::pread(&file, &mut [0_u8; 64], 0).expect("read"));
    }
    unlinkat(folder, name, AtFlags::empty()).expect("there");
    if checks {
        flock(folder, FlockOperation::Unlock).expect("held");
    }
}

fn bare_link(folder: &OwnedFd, name: &str, checks: bool) {
    symlinkat("12345", folder, name).expect("free");
    if checks {
        black_box(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).expect("there"));
        flock(folder, FlockOperation::NonBlockingLockExclusive).expect("free");
        black_box(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).expect("there"));
        black_box(readlinkat(folder, name, Vec::new()).expect("there"));
    }
    unlinkat(folder, name, AtFlags::empty()).expect("there");
    if checks {
        flock(folder, FlockOperation::Unlock).expect("held");
    }
}

fn bare_folder(folder: &OwnedFd, name: &str, checks: bool) {
    mkdirat(folder, name, Mode::from_raw_mode(0o1755)).expect("free");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inside = openat(folder, name, flags, Mode::empty()).expect("there");
    flock(&inside, FlockOperation::NonBlockingLockExclusive).expect("free");
    let make = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    if checks {
        black_box(fstat(&inside).expect("open"));
        black_box(Dir::read_from(&inside).expect("open").count());
    }
    drop(openat(&inside, "host.12345", make, Mode::from_raw_mode(0o644)).expect("free"));
    let inner = format!("{name}/host.12345");
    if checks {
        black_box(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).expect("there"));
        flock(folder, FlockOperation::NonBlockingLockExclusive).expect("free");
        black_box(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).expect("there"));
        black_box(statat(folder, &inner, AtFlags::SYMLINK_NOFOLLOW).expect("there"));
    }
    unlinkat(folder, &inner, AtFlags::empty()).expect("there");
    unlinkat(folder, name, AtFlags::REMOVEDIR).expect("empty");
    if checks {
        flock(folder, FlockOperation::Unlock).expect("held");
    }
}

fn bare(protocol: &str, path: &Path, checks: bool) {
    let folder = folder_of(path);
    let name = path.file_name().and_then(|n| n.to_str()).expect("a name");
    match protocol {
        "symlink" => bare_link(&folder, name, checks),
        "mkdir" => bare_folder(&folder, name, checks),
        _ => bare_file(&folder, name, checks),
    }
}

fn lock_of(protocol: &str, path: &Path) -> Lock {
    let builder = Lock::builder().timeout(Duration::from_secs(60));
    builder.file(protocol, path).expect("a path")
}

fn cycle(protocol: &str, path: &Path) -> (f64, f64, f64) {
    let lock = lock_of(protocol, path);
    let mut figures = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        figures[0].push(each(|| bare(protocol, path, false)));
        figures[1].push(each(|| bare(protocol, path, true)));
        figures[2].push(each(|| drop(black_box(lock.acquire().expect("free")))));
    }
    let [least, correct, ours] = figures.map(median);
    (least, correct, ours)
}

/// Another process: `turns PROTOCOL PATH N` takes and gives it N times and prints when; `hold PROTOCOL PATH` holds until its input ends.
fn party(role: &str) {
    let words: Vec<&str> = role.splitn(4, ' ').collect();
    let path = PathBuf::from(words[2]);
    let lock = lock_of(words[1], &path);
    if words[0] == "hold" {
        let _guard = lock.acquire().expect("free");
        println!("held");
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    let mut turns = Vec::new();
    for _ in 0..words[3].parse().expect("a number") {
        let guard = lock.acquire().expect("granted");
        let from = now();
        sleep(Duration::from_millis(1));
        let to = now();
        drop(guard);
        turns.push((from, to));
        // Let the other one have it: what is measured is a hand-over, not who is quickest.
        sleep(Duration::from_micros(500));
    }
    for (from, to) in turns {
        println!("{from} {to}");
    }
}

fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn start(role: String) -> Child {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command.spawn().expect("started")
}

/// From the beginning of a release to the other process having it, in us.
fn hand_over(protocol: &str, path: &Path) -> f64 {
    let parties = [0, 1].map(|_| start(format!("turns {protocol} {} 300", path.display())));
    let mut turns = Vec::new();
    for (number, mut party) in parties.into_iter().enumerate() {
        let output = BufReader::new(party.stdout.take().expect("a pipe"));
        for line in output.lines().map_while(Result::ok) {
            let mut numbers = line.split(' ').map(|n| n.parse::<u64>().expect("a number"));
            let (from, to) = (numbers.next().expect("two"), numbers.next().expect("two"));
            turns.push((from, to, number));
        }
        party.wait().expect("ended");
    }
    turns.sort_unstable();
    let handed = turns.windows(2).filter(|w| w[0].2 != w[1].2);
    median(
        handed
            .map(|w| w[1].0.saturating_sub(w[0].1) as f64 / 1e3)
            .collect(),
    )
}

/// From kill -9 of the holder to having it, in us.
fn killed(protocol: &str, path: &Path) -> f64 {
    let mut figures = Vec::new();
    for _ in 0..31 {
        let mut holder = start(format!("hold {protocol} {}", path.display()));
        let mut line = String::new();
        let mut output = BufReader::new(holder.stdout.take().expect("a pipe"));
        output.read_line(&mut line).expect("it says so");
        let lock = lock_of(protocol, path);
        let waiter = std::thread::spawn(move || {
            let guard = lock.acquire().expect("broken");
            let end = now();
            drop(guard);
            end
        });
        sleep(Duration::from_millis(5));
        let begin = now();
        holder.kill().expect("it lives");
        // At once, as shells and service managers do.
        holder.wait().expect("reaped");
        let end = waiter.join().expect("it ends");
        figures.push(end.saturating_sub(begin) as f64 / 1e3);
    }
    median(figures)
}
