//! Looking: many locks and many lock files listed, beside reading what has to be read for it, and `sneck status` beside lslocks(1). `cargo bench -p sneck-cli --bench looking`.
//!
//! Linux only: elsewhere there is no list of locks. Wants 10,100 open files (`ulimit -n`). Not a test: nothing here fails.
#![allow(clippy::disallowed_methods)]

use rustix::fs::{FlockOperation, flock};
use sneck::inspect::Inspector;
use std::env;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const ROLE: &str = "SNECK_BENCH_ROLE";
const ROUNDS: usize = 9;
const LOCKS: usize = 10_000;
/// For lslocks, in seconds.
const PATIENCE: &str = "60";

fn main() {
    if let Ok(role) = env::var(ROLE) {
        return hold(&role);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let one = folder.path().join("one.lock");
    File::create(&one).expect("made");
    println!("looking, ms (median of {ROUNDS}, in turns)");
    println!("a quiet machine, one lock held:");
    {
        let holders = [holder(&one, 0, 1)];
        beside(&one);
        leave(holders);
    }
    for processes in [1, 100] {
        let locks = folder.path().join(format!("{processes}"));
        fs::create_dir(&locks).expect("made");
        let each = LOCKS / processes;
        let holders: Vec<Child> = (0..processes)
            .map(|number| holder(&locks.join("l"), number * each, each))
            .collect();
        println!("{LOCKS} locks held by {processes} processes:");
        let [floor, machine] = medians([&|| assert!(black_box(floor()) > 0), &|| {
            let seen = Inspector::new().machine().expect("a list");
            assert!(seen.files.len() >= LOCKS, "{}", seen.files.len());
        }]);
        println!("  /proc/locks and fdinfo read once  {floor:8.1}");
        println!(
            "  Inspector::machine                {machine:8.1}  {:.2} of it (aim: under 2)",
            machine / floor
        );
        beside(&locks.join("l0"));
        leave(holders);
    }
    lock_files(&folder.path().join("files"));
}

/// The commands, as a person runs them.
fn beside(lock: &Path) {
    let lock = lock.to_str().expect("UTF-8");
    let sneck = env!("CARGO_BIN_EXE_sneck");
    let [status, list] = medians([&|| run(&[sneck, "status", lock]), &|| {
        run(&[sneck, "list"]);
    }]);
    println!("  sneck status LOCK                 {status:8.1}");
    println!("  sneck list                        {list:8.1}");
    // Once: with many locks it takes minutes (util-linux 2.38).
    let start = Instant::now();
    run(&["timeout", PATIENCE, "lslocks"]);
    let lslocks = start.elapsed().as_secs_f64() * 1000.0;
    println!("  lslocks, once, {PATIENCE} s at most      {lslocks:8.1}");
}

fn run(words: &[&str]) {
    let mut command = Command::new(words[0]);
    let quiet = command
        .args(&words[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = quiet.status();
    status.unwrap_or_else(|e| panic!("{}: {e}", words[0]));
}

/// Every claim names a living process, as in a folder of a busy daemon; then all are stale.
fn lock_files(folder: &Path) {
    fs::create_dir(folder).expect("made");
    let mut sleeper = Command::new("sleep").arg("1000").spawn().expect("there");
    for (whose, pid) in [("of a living process", sleeper.id()), ("stale", 4_194_305)] {
        for number in 0..LOCKS {
            fs::write(folder.join(format!("{number}.lock")), format!("{pid}\n")).expect("written");
        }
        let paths = [folder.to_owned()];
        let [floor, under] = medians([&|| read_all(folder), &|| {
            let seen = Inspector::new().under(&paths).expect("a list");
            assert_eq!(seen.files.len(), LOCKS);
        }]);
        println!("{LOCKS} lock files, {whose}:");
        println!("  look, open, read, close each      {floor:8.1}");
        println!(
            "  Inspector::under                  {under:8.1}  {:.2} of it",
            under / floor
        );
        let [list] = medians([&|| {
            run(&[
                env!("CARGO_BIN_EXE_sneck"),
                "list",
                folder.to_str().expect("UTF-8"),
            ]);
        }]);
        println!("  sneck list FOLDER                 {list:8.1}");
    }
    sleeper.kill().expect("ours");
    sleeper.wait().expect("reaped");
}

fn medians<const N: usize>(tasks: [&dyn Fn(); N]) -> [f64; N] {
    let mut figures: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (task, figures) in tasks.iter().zip(&mut figures) {
            let start = Instant::now();
            task();
            figures.push(start.elapsed().as_secs_f64() * 1000.0);
        }
    }
    figures.map(|mut figures| {
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    })
}

/// What has to be read to know who holds what: the list, and what each descriptor says of itself.
fn floor() -> usize {
    let mut length = fs::read("/proc/locks").unwrap_or_default().len();
    for process in entries(Path::new("/proc")) {
        for descriptor in entries(&process.join("fdinfo")) {
            length += fs::read(descriptor).unwrap_or_default().len();
        }
    }
    length
}

/// Those whose names are numbers.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
        .map(|entry| entry.path())
        .collect()
}

fn read_all(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let look = entry.metadata().expect("there");
        let mut content = [0; 4096];
        let mut file = File::open(entry.path()).expect("there");
        let length = file.read(&mut content).expect("read");
        assert_eq!(length as u64, look.len());
    }
}

/// A process that holds so many flocks: PREFIX0, PREFIX1 …, or the one file.
fn holder(prefix: &Path, first: usize, count: usize) -> Child {
    let role = format!("{first}:{count}:{}", prefix.to_str().expect("UTF-8"));
    let mut child = Command::new(env::current_exe().expect("known"))
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut line = String::new();
    let output = child.stdout.take().expect("a pipe");
    BufReader::new(output).read_line(&mut line).expect("said");
    assert_eq!(line, "in\n");
    child
}

fn hold(role: &str) {
    let mut words = role.splitn(3, ':');
    let mut number = || words.next().expect("said").parse().expect("a number");
    let (first, count): (usize, usize) = (number(), number());
    let prefix = words.next().expect("said");
    let held: Vec<File> = (first..first + count)
        .map(|number| {
            let path = match count {
                1 => prefix.to_owned(),
                _ => format!("{prefix}{number}"),
            };
            let file = File::create(path).expect("made");
            flock(&file, FlockOperation::LockExclusive).expect("locked");
            file
        })
        .collect();
    println!("in");
    let _ = std::io::stdin().read(&mut [0]);
    drop(held);
}

fn leave(holders: impl IntoIterator<Item = Child>) {
    for mut holder in holders {
        drop(holder.stdin.take());
        holder.wait().expect("reaped");
    }
}
