//! Many at once: 64 threads, 10,000 tasks, a second protocol on top, a thousand held locks.
//!
//! Each figure stands beside that of something else that does part of the work, measured in turns with it. Not a test: nothing here fails.
//! `cargo bench -p sneck --bench crowds`.
#![allow(clippy::disallowed_methods)]

use rustix::fs::{FlockOperation, flock};
use sneck::{Guard, Lock};
use std::env;
use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

const ROLE: &str = "SNECK_BENCH_ROLE";
const ROUNDS: usize = 5;

fn main() {
    if let Ok(role) = env::var(ROLE) {
        return held(&role);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    threads(folder.path());
    tasks(folder.path());
    stacked(folder.path());
    memory(folder.path());
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn place(scheme: &str, path: &Path) -> Lock {
    let registry = sneck::Registry::local();
    let place = registry.place(format!("{scheme}:{}", path.display()));
    let builder = Lock::builder().timeout(Duration::from_secs(60));
    builder.at(&place.expect("a place")).expect("a lock")
}

/// Nanoseconds for each of so many turns of so many threads.
fn turns(threads: usize, each: usize, turn: impl Fn() + Sync) -> f64 {
    let barrier = Barrier::new(threads + 1);
    let start = thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                barrier.wait();
                (0..each).for_each(|_| turn());
            });
        }
        barrier.wait();
        Instant::now()
    });
    start.elapsed().as_nanos() as f64 / (threads * each) as f64
}

fn threads(folder: &Path) {
    let path = folder.join("threads");
    let (ours_flock, ours_fcntl) = (place("flock", &path), place("fcntl", &path));
    let memory = Lock::in_memory();
    let mutex = std::sync::Mutex::new(());
    // An open file each, and the blocking call.
    let bare = || {
        let file = File::options().append(true).open(&path).expect("there");
        flock(&file, FlockOperation::LockExclusive).expect("granted");
        flock(&file, FlockOperation::Unlock).expect("held");
    };
    let ours = |lock: &Lock| drop(black_box(lock.acquire().expect("granted")));
    ours(&ours_flock);
    let mut figures = [(); 5].map(|()| Vec::new());
    for _ in 0..ROUNDS {
        figures[0].push(turns(64, 300, bare));
        figures[1].push(turns(64, 300, || ours(&ours_flock)));
        figures[2].push(turns(64, 300, || ours(&ours_fcntl)));
        figures[3].push(turns(64, 300, || drop(mutex.lock())));
        figures[4].push(turns(64, 300, || ours(&memory)));
    }
    let [bare, flock, fcntl, mutex, memory] = figures.map(median);
    println!(
        "64 threads, one lock, ns a turn: open and flock(2) {bare:.0}, flock {flock:.0}, fcntl {fcntl:.0}; std's Mutex (not in turns) {mutex:.0}, memory {memory:.0}"
    );
}

fn tasks(folder: &Path) {
    const MANY: usize = 10_000;
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_time().build();
    let runtime = runtime.expect("a runtime");
    let path = folder.join("tasks");
    let ours_flock = Lock::new(&path).expect("a lock");
    let memory = Lock::in_memory();
    let mutex = Arc::new(tokio::sync::Mutex::new(()));
    let ours = |lock: &Lock| {
        let start = Instant::now();
        runtime.block_on(async {
            let task = |lock: Lock| async move { drop(lock.acquire_async().await) };
            let tasks = Vec::from_iter((0..MANY).map(|_| tokio::spawn(task(lock.clone()))));
            for task in tasks {
                task.await.expect("no panic");
            }
        });
        start.elapsed().as_nanos() as f64 / MANY as f64
    };
    let theirs = || {
        let start = Instant::now();
        runtime.block_on(async {
            let task = |mutex: Arc<tokio::sync::Mutex<()>>| async move { drop(mutex.lock().await) };
            let tasks = Vec::from_iter((0..MANY).map(|_| tokio::spawn(task(mutex.clone()))));
            for task in tasks {
                task.await.expect("no panic");
            }
        });
        start.elapsed().as_nanos() as f64 / MANY as f64
    };
    let blocking = || {
        let start = Instant::now();
        runtime.block_on(async {
            let lock = |path: std::path::PathBuf| {
                move || {
                    let file = File::options().append(true).open(path).expect("there");
                    flock(&file, FlockOperation::LockExclusive).expect("granted");
                    flock(&file, FlockOperation::Unlock).expect("held");
                }
            };
            let tasks = (0..MANY).map(|_| tokio::task::spawn_blocking(lock(path.clone())));
            for task in Vec::from_iter(tasks) {
                task.await.expect("no panic");
            }
        });
        start.elapsed().as_nanos() as f64 / MANY as f64
    };
    let mut figures = [(); 4].map(|()| Vec::new());
    ours(&ours_flock);
    for _ in 0..ROUNDS {
        figures[0].push(blocking());
        figures[1].push(ours(&ours_flock));
        figures[2].push(theirs());
        figures[3].push(ours(&memory));
    }
    let [blocking, flock, mutex, memory] = figures.map(median);
    println!(
        "10,000 tasks, one lock, ns a task: flock(2) in spawn_blocking {blocking:.0}, flock {flock:.0}; tokio's Mutex {mutex:.0}, memory {memory:.0}"
    );
}

/// Nanoseconds a call.
fn each(times: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..times).for_each(|_| call());
    start.elapsed().as_nanos() as f64 / f64::from(times)
}

fn stacked(folder: &Path) {
    for (one, other) in [
        ("flock", "fcntl"),
        ("flock", "pidfile"),
        ("fcntl", "dotlock"),
    ] {
        let both = format!("{one}+{other}");
        let locks = [one, other, &both].map(|scheme| place(scheme, &folder.join(&both)));
        let mut figures = [(); 3].map(|()| Vec::new());
        for _ in 0..ROUNDS {
            for (lock, figures) in locks.iter().zip(&mut figures) {
                // A file of the one is in the way of the other.
                let _ = std::fs::remove_file(folder.join(&both));
                figures.push(each(5_000, || {
                    drop(black_box(lock.acquire().expect("free")))
                }));
            }
        }
        let [first, second, both_] = figures.map(median);
        println!(
            "uncontended cycle, ns: {one} {first:.0}, {other} {second:.0}, {both} {both_:.0}: {:.2} times the sum",
            both_ / (first + second)
        );
    }
}

/// In a process of its own: a thousand guards, and what they weigh. Prints bytes a lock.
fn held(role: &str) {
    let (scheme, folder) = role.split_once(' ').expect("two words");
    let folder = Path::new(folder);
    // What the first ones set up is not counted.
    let guard = |n: usize| -> Guard {
        let path = folder.join(format!("{scheme}-{n}"));
        place(scheme, &path).acquire().expect("free")
    };
    let warm = Vec::from_iter((0..100).map(guard));
    let before = resident();
    let guards = Vec::from_iter((1000..2000).map(guard));
    let after = resident();
    println!("{}", (after.saturating_sub(before)) * 1024 / guards.len());
    drop((warm, guards));
}

fn memory(folder: &Path) {
    for scheme in [
        "flock",
        "fcntl",
        "pidfile",
        "symlink",
        "mkdir",
        "flock+fcntl",
    ] {
        let own = env::current_exe().expect("this program");
        let role = format!("{scheme} {}", folder.display());
        let output = Command::new(own).env(ROLE, role).output();
        let output = output.expect("a process").stdout;
        let bytes = String::from_utf8_lossy(&output);
        println!("1,000 held locks, {scheme}: {} bytes a lock", bytes.trim());
    }
}

/// Kibibytes in use.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let number = line.and_then(|l| l.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).expect("a number")
}
