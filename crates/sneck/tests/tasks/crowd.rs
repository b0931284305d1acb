//! What a child process does: so many tasks, each of which acquires a lock, and reports what that costs.

use crate::runtime::{ALL, Running, Runtime, Task};
use sneck::{Lock, Mode};
use sneck_testkit::{Journal, Session, block, child::say, sys};
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

/// The lock of one of a crowd that wants a lock each.
pub(crate) fn own_lock(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("own-{number}"))
}

/// Kibibytes that come and go while nothing happens.
const STIR: usize = 64;

struct Crowd {
    runtime: Running,
    tasks: Vec<Task<()>>,
    waiting: Arc<AtomicUsize>,
}

static CROWD: Mutex<Option<Crowd>> = Mutex::new(None);

/// | command | answers |
/// |---|---|
/// | `crowd RUNTIME one\|each COUNT` | `done THREADS KIB`: how many more there are, now that all wait |
/// | `cancel SEED` | `done COUNT`: how many of the tasks were dropped, about half |
/// | `watches` | `done COUNT`: how many files it watches, or `done unknown` |
/// | `served` | `done COUNT`: how many came to their end, which is waited for |
pub(crate) fn obey(session: &mut Session, words: &[&str]) -> bool {
    match words {
        ["crowd", runtime, shape, count] => {
            let count = count.parse().expect("a number");
            gather(session, Runtime::named(runtime), *shape == "each", count);
        }
        ["cancel", seed] => say(&format!("done {}", cancel(seed.parse().expect("a number")))),
        ["watches"] => match sys::count_watches() {
            Some(count) => say(&format!("done {count}")),
            None => say("done unknown"),
        },
        ["served"] => {
            let mut crowd = CROWD.lock().expect("no panic").take().expect("a crowd");
            let tasks = std::mem::take(&mut crowd.tasks);
            let count = tasks.len();
            crowd.runtime.block_on(async {
                for task in tasks {
                    task.end().await;
                }
            });
            say(&format!("done {count}"));
        }
        _ => return false,
    }
    true
}

fn gather(session: &Session, runtime: Runtime, each: bool, count: usize) {
    let runtime = runtime.start();
    // The runtime's own threads, and what the first acquisition sets up, are not counted.
    let warm = Lock::new(session.setup.folder.join("warm")).expect("a lock");
    let first = runtime.spawn(warm.acquire_async());
    drop(runtime.block_on(first.end()).expect("it is free"));
    let (threads, memory) = (sys::count_threads(), sys::resident_kib());
    let waiting = Arc::new(AtomicUsize::new(0));
    let folder = session.setup.folder.path().to_owned();
    let tasks = (0..count).map(|number| {
        let builder = Lock::builder().waiting(session.setup.waiting);
        let lock = if each {
            builder.file("flock", own_lock(&folder, number))
        } else {
            let place = (session.setup.registry)().place(&session.setup.place);
            builder.at(&place.expect("a place"))
        };
        let journal = folder.join("journal");
        let journal = (!each).then(|| Journal::open(&journal));
        runtime.spawn(visit(
            lock.expect("a lock"),
            number,
            journal,
            waiting.clone(),
        ))
    });
    let tasks: Vec<Task<()>> = tasks.collect();
    block::until("all wait", || waiting.load(Ordering::SeqCst) == count);
    // The last of them may still be on their way to sleep: until the figures stay as they are.
    let mut before = (0, 0);
    block::until("the crowd is quiet", || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = (sys::count_threads(), sys::resident_kib());
        let then = std::mem::replace(&mut before, now);
        then.0 == now.0 && then.1.abs_diff(now.1) <= STIR
    });
    let more = (
        before.0.saturating_sub(threads),
        before.1.saturating_sub(memory),
    );
    say(&format!("done {} {}", more.0, more.1));
    *CROWD.lock().expect("no panic") = Some(Crowd {
        runtime,
        tasks,
        waiting,
    });
}

async fn visit(lock: Lock, number: usize, journal: Option<Journal>, waiting: Arc<AtomicUsize>) {
    let mut acquiring = Box::pin(lock.acquire_async());
    let mut polled = false;
    let guard = poll_fn(|context| {
        let end = acquiring.as_mut().poll(context);
        if !std::mem::replace(&mut polled, true) {
            waiting.fetch_add(1, Ordering::SeqCst);
        }
        end
    });
    let guard = guard.await.expect("everybody is served");
    drop(acquiring);
    let who = format!("{}.{number}", std::process::id());
    journal
        .iter()
        .for_each(|j| j.enter_as(&who, Mode::Exclusive));
    // Inside across an await: others of this thread run meanwhile.
    let mut once = false;
    poll_fn(|context| {
        if std::mem::replace(&mut once, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    journal
        .iter()
        .for_each(|j| j.leave_as(&who, Mode::Exclusive));
    guard.release().expect("it is held");
}

/// Drop about half of them, wherever they are.
fn cancel(seed: u64) -> usize {
    let mut crowd = CROWD.lock().expect("no panic");
    let crowd = crowd.as_mut().expect("a crowd");
    let mut chance = seed | 1;
    let (dropped, kept): (Vec<_>, Vec<_>) = crowd.tasks.drain(..).partition(|_| {
        // Marsaglia's xorshift: enough for a coin.
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance % 2 == 0
    });
    crowd.tasks = kept;
    let count = dropped.len();
    crowd.runtime.block_on(async {
        for task in dropped {
            assert!(task.cancel().await.is_none(), "it waited");
        }
    });
    crowd.waiting.fetch_sub(count, Ordering::SeqCst);
    count
}

/// As children are told which one.
impl Runtime {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Runtime::Tokio => "tokio",
            Runtime::TokioInOneThread => "tokio-in-one-thread",
            Runtime::Smol => "smol",
        }
    }

    pub(crate) fn named(name: &str) -> Runtime {
        let found = ALL.into_iter().find(|runtime| runtime.name() == name);
        found.expect("a runtime of this name")
    }
}
