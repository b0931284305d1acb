//! flock and fcntl beside their bare system calls, in one run: uncontended cycle, hand-over, fairness, wake-ups. And the cycle of a lock in memory.
//!
//! Each figure stands beside its floor, measured in turns with it, so that a noisy machine disturbs both alike. Not a test: nothing here fails.
//! `cargo bench -p sneck --bench kernel`; words after `--` choose sections: cycle, hand-over, hammer, fairness, wake-ups, memory.
#![allow(clippy::disallowed_methods)]

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, lstat, open};
use sneck::{Lock, Timeout, Waiting};
use std::env;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

const ROLE: &str = "SNECK_BENCH_ROLE";
const ROUNDS: usize = 9;

fn main() {
    if let Ok(role) = env::var(ROLE) {
        return party(&role);
    }
    let wanted: Vec<String> = env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for family in [Family::Flock, Family::Fcntl] {
        println!("{} beside the bare system calls", family.scheme());
        for (name, section) in [
            ("cycle", cycle as fn(&Path, Family)),
            ("hand-over", hand_over),
            ("hammer", hammer),
            ("fairness", fairness),
        ] {
            if wants(name) {
                section(folder.path(), family);
            }
        }
    }
    if wants("wake-ups") {
        wake_ups(folder.path());
    }
    if wants("memory") {
        memory();
    }
}

/// The bare calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Flock,
    Fcntl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Try,
    Lock,
    Unlock,
}

impl Family {
    fn scheme(self) -> &'static str {
        match self {
            Family::Flock => "flock",
            Family::Fcntl => "fcntl",
        }
    }

    fn of(scheme: &str) -> Family {
        match scheme {
            "flock" => Family::Flock,
            _ => Family::Fcntl,
        }
    }

    fn open(self, path: &Path) -> OwnedFd {
        // An exclusive fcntl(2) lock wants the right to write.
        let access = match self {
            Family::Flock => OFlags::RDONLY,
            Family::Fcntl => OFlags::WRONLY,
        };
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        open(path, flags, Mode::empty()).expect("there")
    }

    fn call(self, file: &OwnedFd, call: Call) {
        match self {
            Family::Flock => flock(
                file,
                match call {
                    Call::Try => FlockOperation::NonBlockingLockExclusive,
                    Call::Lock => FlockOperation::LockExclusive,
                    Call::Unlock => FlockOperation::Unlock,
                },
            )
            .expect("granted"),
            Family::Fcntl => {
                // SAFETY: flock64 is a plain C struct for which all zeroes is a value: the whole file.
                let mut range: libc::flock64 = unsafe { std::mem::zeroed() };
                let (command, kind) = match call {
                    Call::Try => (libc::F_OFD_SETLK, libc::F_WRLCK),
                    Call::Lock => (libc::F_OFD_SETLKW, libc::F_WRLCK),
                    Call::Unlock => (libc::F_OFD_SETLK, libc::F_UNLCK),
                };
                range.l_type = kind as libc::c_short;
                // SAFETY: the descriptor is open; the command reads a flock64 that outlives the call.
                let done = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw const range) };
                assert_eq!(done, 0, "{}", io::Error::last_os_error());
            }
        }
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Nanoseconds a call.
fn each(times: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        call();
    }
    start.elapsed().as_nanos() as f64 / f64::from(times)
}

fn cycle(folder: &Path, family: Family) {
    let scheme = family.scheme();
    let path = folder.join(format!("cycle.{scheme}"));
    let lock = Lock::builder().file(scheme, &path).expect("a path");
    drop(lock.acquire().expect("free"));
    let least = || {
        let file = family.open(&path);
        family.call(&file, Call::Try);
        family.call(&file, Call::Unlock);
    };
    // The fewest calls that are correct: look before opening (a device must not be opened), look whether the path still names what was locked.
    let correct = || {
        black_box(lstat(&path).expect("there"));
        let file = family.open(&path);
        black_box(fstat(&file).expect("open"));
        family.call(&file, Call::Try);
        black_box(lstat(&path).expect("there"));
        family.call(&file, Call::Unlock);
    };
    let ours = || {
        drop(black_box(
            lock.acquire_within(Duration::from_secs(60)).expect("free"),
        ))
    };
    let mut figures = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        figures[0].push(each(20_000, least));
        figures[1].push(each(20_000, correct));
        figures[2].push(each(20_000, ours));
    }
    let [least, correct, ours] = figures.map(median);
    println!(
        "uncontended cycle, ns: open+lock+unlock+close {least:.0}, with the three looks {correct:.0}, sneck {ours:.0}"
    );
    println!(
        "  ratio {:.2} to the correct calls (aim <= 1.15), {:.2} to the least",
        ours / correct,
        ours / least
    );
}

/// A lock in memory beside a bare mutex, which is all that it could be.
fn memory() {
    let (lock, bare) = (Lock::in_memory(), Mutex::new(()));
    let least = || drop(black_box(bare.lock().expect("free")));
    let ours = || {
        drop(black_box(
            lock.acquire_within(Duration::from_secs(60)).expect("free"),
        ))
    };
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        figures[0].push(each(100_000, least));
        figures[1].push(each(100_000, ours));
    }
    let [least, ours] = figures.map(median);
    println!("memory, uncontended cycle, ns: mutex {least:.0}, sneck {ours:.0}");
}

/// A party of a contest: `raw|looking|sneck|forever|polling` (looking: raw, and it looks whether the path still names what it locked), the protocol, the path,
/// for so many ms, holding so many us each time. Prints its holdings as pairs of ns.
fn party(role: &str) {
    let words: Vec<&str> = role.split(' ').collect();
    if words[0] == "wait" {
        return waiter(&words[1..]);
    }
    let (family, path) = (Family::of(words[1]), PathBuf::from(words[2]));
    let length = Duration::from_millis(words[3].parse().expect("a number"));
    let hold = Duration::from_micros(words[4].parse().expect("a number"));
    let waiting = if words[0] == "polling" {
        Waiting::Polling
    } else {
        Waiting::Best
    };
    let timeout = match words[0] {
        "forever" => Timeout::Forever,
        _ => Timeout::After(Duration::from_secs(60)),
    };
    let lock = Lock::builder().waiting(waiting).timeout(timeout);
    let lock = lock.file(family.scheme(), &path).expect("a path");
    let mut holdings = Vec::new();
    let start = now();
    while now() - start < length.as_nanos() as u64 {
        if matches!(words[0], "raw" | "looking") {
            let file = family.open(&path);
            family.call(&file, Call::Lock);
            if words[0] == "looking" {
                black_box(lstat(&path).expect("there"));
            }
            holdings.push((now(), held_for(hold)));
            family.call(&file, Call::Unlock);
        } else {
            let guard = lock.acquire().expect("granted");
            holdings.push((now(), held_for(hold)));
            drop(guard);
        }
    }
    for (from, to) in holdings {
        println!("{from} {to}");
    }
}

fn held_for(hold: Duration) -> u64 {
    if hold >= Duration::from_millis(1) {
        sleep(hold);
    } else {
        let start = Instant::now();
        while start.elapsed() < hold {
            std::hint::spin_loop();
        }
    }
    now()
}

fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The holdings of each party.
fn contest(
    kind: &str,
    (family, path): (Family, &Path),
    parties: usize,
    length: u32,
    hold: u32,
) -> Vec<Vec<(u64, u64)>> {
    let start = |_| -> Child {
        Command::new(env::current_exe().expect("this program"))
            .env(
                ROLE,
                format!(
                    "{kind} {} {} {length} {hold}",
                    family.scheme(),
                    path.display()
                ),
            )
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process")
    };
    let children: Vec<Child> = (0..parties).map(start).collect();
    let read = |mut child: Child| {
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let pair = |line: String| {
            let (from, to) = line.split_once(' ').expect("a pair");
            (from.parse().expect("ns"), to.parse().expect("ns"))
        };
        let holdings = lines.map(|l| pair(l.expect("text"))).collect();
        child.wait().expect("ended");
        holdings
    };
    children.into_iter().map(read).collect()
}

/// From one party's last moment of holding to the next party's first, in us.
fn gaps(holdings: Vec<Vec<(u64, u64)>>) -> Vec<f64> {
    let mut all: Vec<(u64, u64, usize)> = Vec::new();
    for (party, holdings) in holdings.into_iter().enumerate() {
        all.extend(holdings.into_iter().map(|(from, to)| (from, to, party)));
    }
    all.sort_unstable();
    let overlaps = all.windows(2).filter(|w| w[1].0 < w[0].1).count();
    assert_eq!(overlaps, 0, "two held at once");
    all.windows(2)
        .filter(|w| w[0].2 != w[1].2)
        .map(|w| (w[1].0 - w[0].1) as f64 / 1000.0)
        .collect()
}

fn hand_over(folder: &Path, family: Family) {
    let path = folder.join(format!("handover.{}", family.scheme()));
    std::fs::write(&path, "").expect("written");
    let kinds = ["raw", "looking", "sneck"];
    let [raw, looking, ours] = figures_of(kinds, 5, |kind| {
        median(gaps(contest(kind, (family, &path), 2, 600, 2000)))
    });
    println!(
        "hand-over to a blocked process, p50 us: the blocking call {raw:.1}, with a look at the path {looking:.1}, sneck with a timeout {ours:.1}"
    );
    println!(
        "  ratio {:.2} (aim <= 1.5), {:.2} to the correct calls",
        ours / raw,
        ours / looking
    );
}

fn hammer(folder: &Path, family: Family) {
    let path = folder.join(format!("hammer.{}", family.scheme()));
    std::fs::write(&path, "").expect("written");
    let kinds = ["raw", "looking", "sneck", "forever"];
    let [raw, looking, ours, forever] = figures_of(kinds, 7, |kind| {
        gaps(contest(kind, (family, &path), 8, 600, 0)).len() as f64 / 0.6
    });
    println!(
        "hand-overs a second, 8 processes hammering: the blocking call {raw:.0}, with a look {looking:.0}, sneck with a timeout {ours:.0}, without {forever:.0}"
    );
    println!(
        "  ratio {:.2} (aim >= 0.95), without a timeout {:.2}; to the correct calls {:.2} and {:.2}",
        ours / raw,
        forever / raw,
        ours / looking,
        forever / looking
    );
}

/// The median of several figures of each kind, measured in turns.
fn figures_of<const N: usize>(
    kinds: [&str; N],
    rounds: usize,
    measure: impl Fn(&str) -> f64,
) -> [f64; N] {
    let mut figures = kinds.map(|_| Vec::new());
    for _ in 0..rounds {
        for (figures, kind) in figures.iter_mut().zip(kinds) {
            figures.push(measure(kind));
        }
    }
    figures.map(median)
}

fn fairness(folder: &Path, family: Family) {
    let path = folder.join(format!("fair.{}", family.scheme()));
    std::fs::write(&path, "").expect("written");
    for kind in ["raw", "sneck", "polling"] {
        let shares: Vec<usize> = contest(kind, (family, &path), 8, 3000, 1000)
            .iter()
            .map(Vec::len)
            .collect();
        let (least, most) = (
            shares.iter().min().copied().unwrap_or(0),
            shares.iter().max().copied().unwrap_or(1),
        );
        println!(
            "shares of 8 processes, 1 ms holds, {kind}: {shares:?}, least/most {:.2}",
            least as f64 / most as f64
        );
    }
    println!("  (aim for sneck >= 0.7)");
}

/// How often the waiting thread slept. In a process of its own, so that it waits for the lock and not in our line.
fn wake_ups(folder: &Path) {
    for (scheme, waiting) in [
        ("flock", "best"),
        ("flock", "events"),
        ("fcntl", "best"),
        ("fcntl", "events"),
        ("symlink", "best"),
    ] {
        let path = folder.join(format!("{scheme}.wake"));
        let _guard = Lock::builder()
            .file(scheme, &path)
            .and_then(|l| l.acquire())
            .expect("free");
        let output = Command::new(env::current_exe().expect("this program"))
            .env(ROLE, format!("wait {scheme} {waiting} {}", path.display()))
            .output()
            .expect("a process");
        let count = String::from_utf8_lossy(&output.stdout);
        println!(
            "sleeps in a wait of 5 s, {scheme}, {waiting}: {} (aim <= 5)",
            count.trim()
        );
    }
}

fn waiter(words: &[&str]) {
    let switches = || -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("/proc");
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"))
            .expect("a count");
        line.trim().parse().expect("a number")
    };
    let waiting = if words[1] == "events" {
        Waiting::Events
    } else {
        Waiting::Best
    };
    let lock = Lock::builder()
        .waiting(waiting)
        .file(words[0], words[2])
        .expect("a path");
    let before = switches();
    assert!(
        lock.acquire_within(Duration::from_secs(5)).is_err(),
        "it was held"
    );
    println!("{}", switches() - before);
}
