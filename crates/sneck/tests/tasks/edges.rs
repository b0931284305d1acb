//! Tasks at the edges: many lines at once, owners, wakers that change.

use crate::CHILD_ENTRY;
use crate::runtime::Runtime;
use sneck::{ErrorKind, Lock, Mode, Owner, Reentry, Registry, Timeout, Waiting};
use sneck_testkit::{Folder, PATIENCE, Setup, block, claims, must_block, sys, task};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::{Duration, Instant};

fn lock_in(folder: &Folder) -> Lock {
    Lock::new(folder.join("lock")).expect("a lock")
}

fn child_setup() -> Setup {
    let place = |folder: &std::path::Path| format!("flock:{}/lock", folder.display());
    Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY)
}

#[test]
fn a_task_that_would_enter_again_must_say_who_it_is() {
    let folder = Folder::new();
    let of = |owner, reentry| {
        let builder = Lock::builder().owner(owner).reentry(reentry);
        builder.file("flock", folder.join("lock")).expect("a lock")
    };
    let nobody = of(Owner::Thread, Reentry::Idempotent).acquire_async();
    let error = task::block_on(nobody).expect_err("it cannot be told");
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    let [ada, again, bob] = [7, 7, 8].map(|n| of(Owner::Named(n), Reentry::Idempotent));
    let first = task::block_on(ada.acquire_async()).expect("it is free");
    let second = task::block_on(again.acquire_async()).expect("it is the same owner");
    let busy = task::block_on(bob.acquire_async_within(Duration::ZERO));
    assert!(busy.expect_err("it is another owner").is_held());
    drop(first);
    let busy = task::block_on(bob.acquire_async_within(Duration::ZERO));
    assert!(busy.expect_err("one guard is left").is_held());
    drop(second);
    let handle = of(Owner::Handle, Reentry::Refuse);
    let first = task::block_on(handle.acquire_async()).expect("it is free");
    let error = task::block_on(handle.clone().acquire_async()).expect_err("it is the same handle");
    assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
    // Nobody in particular: one thread's tasks exclude each other.
    let task_of_none = lock_in(&folder);
    let waiting = must_block(move || task::block_on(task_of_none.acquire_async()).map(drop));
    drop(first);
    waiting.wait().expect("it came free");
}

#[test]
fn one_handle_can_acquire_in_the_name_of_each_of_its_tasks() {
    let folder = Folder::new();
    let [refusing, counting] = [Reentry::Refuse, Reentry::Idempotent].map(|reentry| {
        let builder = Lock::builder().reentry(reentry);
        builder.file("flock", folder.join("lock")).expect("a lock")
    });
    let [ada, bob] = [7, 8].map(Owner::Named);
    let by = |lock: &Lock, owner, wait| task::block_on(lock.acquire_async_by(owner, wait));
    let brief = Timeout::After(Duration::from_millis(20));
    let first = by(&refusing, ada, brief).expect("it is free");
    let error = by(&refusing, ada, Timeout::Forever).expect_err("it would wait for itself");
    assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
    let error = by(&refusing, bob, brief).expect_err("it is another owner");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    let again = by(&counting, ada, brief).expect("it is the same owner");
    drop(first);
    assert!(
        by(&refusing, bob, brief)
            .expect_err("one is left")
            .is_held()
    );
    drop(again);
    drop(by(&refusing, bob, brief).expect("it came free"));
}

/// The thread that wakes tasks sleeps for the long one, and is told of the short one.
#[test]
fn a_short_time_ends_before_a_long_one_that_began_earlier() {
    let folder = Folder::new();
    let at = |name: &str| {
        let lock = Lock::builder().file("symlink", folder.join(name));
        lock.expect("a lock")
    };
    // Held by a process that lives, and does nothing about it.
    for name in ["a", "b", "c"] {
        claims::make("symlink", &folder.join(name), sys::somebody()).expect("it is made");
    }
    let mut long = Box::pin(at("a").acquire_async_within(PATIENCE));
    assert!(task::poll_once(long.as_mut()).is_pending());
    // Until its looks are ten seconds apart.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        assert!(task::poll_once(long.as_mut()).is_pending());
        std::thread::sleep(Duration::from_millis(20));
    }
    let thread_lock = at("c");
    let thread = must_block(move || thread_lock.acquire_within(Duration::from_secs(3)).is_err());
    let short = at("b").acquire_async_within(Duration::from_millis(30));
    assert!(task::block_on(short).is_err());
    assert!(task::poll_once(long.as_mut()).is_pending());
    // A hundred times as long, and it has not ended.
    thread.still();
    assert!(thread.wait());
}

struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        std::panic::resume_unwind(Box::new("a waker that panics"));
    }
}

/// Neither the threads that wake tasks nor whoever releases fall over it.
#[test]
fn a_waker_that_panics_keeps_nobody_else_asleep() {
    let folder = Folder::new();
    let lock = lock_in(&folder);
    let shared = || {
        let lock = Lock::builder().mode(Mode::Shared);
        lock.file("flock", folder.join("lock")).expect("a lock")
    };
    let guard = lock.try_acquire().expect("it is free");
    let mut bad = Box::pin(shared().acquire_async());
    let panics = Arc::new(Panics).into();
    assert!(
        bad.as_mut()
            .poll(&mut Context::from_waker(&panics))
            .is_pending()
    );
    // Let in together with it, after it.
    let other = shared();
    let good = must_block(move || task::block_on(other.acquire_async()).map(drop));
    guard.release().expect("it is held");
    good.wait().expect("it came free");
    drop(bad);
    // The thread that wakes tasks for their time.
    let guard = lock.try_acquire().expect("it is free");
    let mut bad = Box::pin(shared().acquire_async_within(Duration::from_millis(100)));
    assert!(
        bad.as_mut()
            .poll(&mut Context::from_waker(&panics))
            .is_pending()
    );
    std::thread::sleep(Duration::from_millis(130));
    let late = shared().acquire_async_within(Duration::from_millis(10));
    assert!(task::turn_for(late, PATIENCE).is_some_and(|end| end.is_err()));
    drop((guard, bad));
}

/// As a future must that goes from task to task: in the line, in the kernel's queue, on events.
#[test]
fn only_the_waker_of_the_last_poll_is_woken() {
    for waiting in [Waiting::Best, Waiting::Events] {
        let setup = child_setup();
        let lock = setup.lock_with(|b| b.waiting(waiting));
        let mut holder = setup.child();
        holder.acquire();
        let mut behind_process = Box::pin(lock.acquire_async());
        let mut behind_task = Box::pin(lock.acquire_async());
        let wakers = [(); 4].map(|()| Arc::new(Counter(AtomicUsize::new(0))));
        let poll = |future: &mut std::pin::Pin<Box<sneck::Acquiring>>, waker: &Arc<Counter>| {
            let waker = waker.clone().into();
            future.as_mut().poll(&mut Context::from_waker(&waker))
        };
        let count = |number: usize| wakers[number].0.load(Ordering::SeqCst);
        assert!(poll(&mut behind_process, &wakers[0]).is_pending());
        assert!(poll(&mut behind_process, &wakers[1]).is_pending());
        assert!(poll(&mut behind_task, &wakers[2]).is_pending());
        assert!(poll(&mut behind_task, &wakers[3]).is_pending());
        let before = count(0);
        holder.release();
        let mut guard = None;
        block::until("the first is woken and has it", || {
            if count(1) > 0 {
                if let Poll::Ready(end) = poll(&mut behind_process, &wakers[1]) {
                    guard = Some(end.expect("it came free"));
                }
            }
            guard.is_some()
        });
        assert_eq!((count(0), count(2)), (before, 0), "{waiting:?}");
        drop(guard);
        block::until("the second is woken", || count(3) > 0);
        assert_eq!(count(2), 0, "{waiting:?}");
        assert!(poll(&mut behind_task, &wakers[3]).is_ready());
    }
}

/// Neither its own looks wake it, nor those of others who wait.
#[test]
fn a_task_on_events_sleeps_while_nothing_happens() {
    for (scheme, waiting) in [
        ("flock", Waiting::Events),
        ("pidfile", Waiting::Best),
        ("mkdir", Waiting::Best),
        ("symlink", Waiting::Best),
    ] {
        let place = |folder: &std::path::Path| format!("{scheme}:{}/lock", folder.display());
        let setup = Setup::new(Registry::local, place, waiting, CHILD_ENTRY);
        let (mut holder, mut other) = (setup.child(), setup.child());
        holder.acquire();
        other.begin_to_wait();
        let mut waiting = Box::pin(setup.lock().acquire_async());
        let counter = Arc::new(Counter(AtomicUsize::new(0)));
        let waker = counter.clone().into();
        let woken = || counter.0.load(Ordering::SeqCst);
        let start = Instant::now();
        let mut polls = 0;
        while start.elapsed() < Duration::from_millis(400) {
            if polls == 0 || woken() >= polls {
                polls = woken() + 1;
                let polled = waiting.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending(), "{scheme}");
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        // The net below the events is cast after 100 ms and 1 s; some more for the beginning.
        assert!(woken() <= 12, "{scheme}: woken {} times", woken());
        drop(waiting);
        holder.release();
        other.hear("held");
    }
}

/// Tasks that take two locks by two acquisitions, in one order, in one thread of a runtime: nobody keeps that thread asleep.
#[test]
fn a_runtime_with_one_thread_goes_on_while_its_tasks_wait() {
    let folder = Folder::new();
    let running = Runtime::TokioInOneThread.start();
    let guard = lock_in(&folder).try_acquire().expect("it is free");
    let waiting = running.spawn(lock_in(&folder).acquire_async());
    let alive = running.spawn(async { 42 });
    assert_eq!(running.block_on(alive.end()), 42);
    drop(guard);
    drop(running.block_on(waiting.end()).expect("it came free"));
}

/// A future that waits in the kernel's queue is dropped, and its owner comes again before the thread there is out.
#[test]
fn an_owner_that_gave_up_does_not_stand_in_its_own_way() {
    let setup = child_setup();
    let mut holder = setup.child();
    let lock = setup.lock();
    let owner = Owner::Named(7);
    let mut context = Context::from_waker(std::task::Waker::noop());
    holder.tell("acquire it 60000");
    holder.hear("held");
    for round in 0..100 {
        let mut waiting = Box::pin(lock.acquire_async_by(owner, Timeout::Forever));
        for _ in 0..=round % 10 {
            assert!(waiting.as_mut().poll(&mut context).is_pending());
            std::thread::sleep(Duration::from_micros(100));
        }
        drop(waiting);
        let mut again = Box::pin(lock.acquire_async_by(owner, Timeout::Forever));
        match again.as_mut().poll(&mut context) {
            Poll::Pending => {}
            Poll::Ready(ended) => panic!("round {round}: {ended:?}"),
        }
    }
    holder.release();
    let guard = task::block_on(lock.acquire_async_by(owner, Timeout::from(PATIENCE)));
    drop(guard.expect("it is free"));
}
