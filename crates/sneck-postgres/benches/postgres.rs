//! The lock beside the bare questions that it is made of, and beside `psql`: a cycle, a hand-over, a hundred who wait, what a held lock costs.
//!
//! `cargo bench -p sneck-postgres`. The server is started here, and flushes nothing to disk: what is compared is the way, not the disk. A token that is flushed costs what a flush costs there.

#![allow(
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench looks at the clock"
)]

#[cfg(unix)]
fn main() {
    unix::all();
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod unix {
    use sneck::{Lock, Registry};
    use sneck_postgres::config::{Config, key};
    use sneck_postgres::session::Session;
    use sneck_testkit::PATIENCE;
    use sneck_testkit::postgres::{PostgresServer, Setup};
    use sneck_testkit::proxy::Proxy;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::{Duration, Instant};

    const CYCLES: usize = 3000;
    const HAND_OVERS: usize = 300;
    const WAITERS: usize = 100;
    const HOLD: Duration = Duration::from_millis(4);

    /// What draws a token, as an acquisition of ours does it, without what others are shown.
    const TOKEN: &str = "SELECT txid_current(), pg_logical_emit_message(true, 'sneck', '')";

    pub(crate) fn all() {
        let server = PostgresServer::start_as(&Setup {
            settings: "max_connections = 250\n",
            ..Setup::default()
        });
        cycles(&server);
        hand_overs(&server);
        crowd(&server);
        renewals(&server);
        stock(&server);
    }

    fn place(server: &PostgresServer, number: usize, name: &str) -> String {
        let host = format!("0x{}7f000001", "0".repeat(number));
        server.place(name).replace("127.0.0.1", &host) + "?sslmode=disable"
    }

    /// Each number is another handle that knows nothing of the others: only the server stands between them.
    fn lock(server: &PostgresServer, number: usize, name: &str) -> Lock {
        lock_at(&place(server, number, name))
    }

    fn lock_at(place: &str) -> Lock {
        let mut registry = Registry::local();
        sneck_postgres::register(&mut registry);
        let place = registry.place(place).expect("a place");
        let builder = Lock::builder().registry(&registry);
        builder.at(&place).expect("a lock")
    }

    fn bare(server: &PostgresServer) -> Session {
        let config = Config::parse(&place(server, 0, "bare")).expect("a place");
        Session::connect(&config, "bare", PATIENCE).expect("it is up")
    }

    fn show(what: &str, mut times: Vec<Duration>) -> Duration {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!(
            "{what:<56} p50 {:>9.3?}  p90 {:>9.3?}  p99 {:>9.3?}",
            at(50),
            at(90),
            at(99)
        );
        at(50)
    }

    fn timed(count: usize, mut work: impl FnMut()) -> Vec<Duration> {
        for _ in 0..count / 20 {
            work();
        }
        let one = |_| {
            let start = Instant::now();
            work();
            start.elapsed()
        };
        (0..count).map(one).collect()
    }

    fn cycles(server: &PostgresServer) {
        let key = key("cycle");
        let (take, give) = (
            format!("SELECT pg_try_advisory_lock({key})"),
            format!("SELECT pg_advisory_unlock({key})"),
        );
        let mut session = bare(server);
        let mut ask = |sql: &str| drop(session.query(sql).expect("it is up"));
        let plain = timed(CYCLES, || {
            ask(&take);
            ask(&give);
        });
        show("cycle, bare: lock, unlock", plain);
        let token = timed(CYCLES, || {
            ask(&take);
            ask(TOKEN);
            ask(&give);
        });
        let token = show("cycle, bare: lock, token, unlock", token);
        let lock = lock(server, 1, "cycle");
        let cycle = || lock.try_acquire().expect("free").release().expect("held");
        let ours = show("cycle, sneck", timed(CYCLES, cycle));
        println!("{:>60.2} times", ours.as_secs_f64() / token.as_secs_f64());
        let fresh = timed(200, || {
            let mut session = bare(server);
            session.query(&take).expect("it is up");
            session.query(TOKEN).expect("it is up");
            session.query(&give).expect("it is up");
            session.close();
        });
        let fresh = show("first cycle, bare: connect, lock, token, unlock", fresh);
        let cycle = || {
            let lock = lock_at(&place(server, 2, "cycle"));
            lock.try_acquire().expect("free").release().expect("held");
        };
        let ours = show("first cycle of a handle, sneck", timed(200, cycle));
        println!("{:>60.2} times", ours.as_secs_f64() / fresh.as_secs_f64());
    }

    fn hand_overs(server: &PostgresServer) {
        let key = key("hand");
        let (take, give) = (
            format!("SELECT pg_advisory_lock({key})"),
            format!("SELECT pg_advisory_unlock({key})"),
        );
        let mut holder = bare(server);
        let mut other = bare(server);
        let (begin, begun) = channel::<()>();
        let (sender, entered) = channel();
        let (other_take, other_give) = (take.clone(), give.clone());
        let waiter = thread::spawn(move || {
            for () in begun {
                other.query(&other_take).expect("it comes");
                let _ = sender.send(Instant::now());
                other.query(&other_give).expect("held");
            }
        });
        let mut times = Vec::new();
        for _ in 0..HAND_OVERS {
            holder.query(&take).expect("it comes");
            begin.send(()).expect("it waits");
            thread::sleep(HOLD);
            let start = Instant::now();
            holder.query(&give).expect("held");
            times.push(entered.recv().expect("it enters") - start);
        }
        drop(begin);
        waiter.join().expect("it ends");
        show("hand-over, bare, without a token", times);

        let (one, two) = (lock(server, 1, "hand"), lock(server, 2, "hand"));
        let (begin, begun) = channel::<()>();
        let (sender, entered) = channel();
        let waiter = thread::spawn(move || {
            for () in begun {
                let guard = two.acquire().expect("it comes");
                let _ = sender.send(Instant::now());
                drop(guard);
            }
        });
        let mut times = Vec::new();
        for _ in 0..HAND_OVERS {
            let guard = one.acquire().expect("it comes");
            begin.send(()).expect("it waits");
            thread::sleep(HOLD);
            let start = Instant::now();
            guard.release().expect("held");
            times.push(entered.recv().expect("it enters") - start);
        }
        drop(begin);
        waiter.join().expect("it ends");
        show("hand-over, sneck", times);
    }

    fn crowd(server: &PostgresServer) {
        let gate = lock(server, 1, "crowd").acquire().expect("free");
        let waiters: Vec<_> = (0..WAITERS)
            .map(|number| {
                let lock = lock(server, number + 2, "crowd");
                thread::spawn(move || {
                    lock.acquire().expect("it comes").release().expect("held");
                })
            })
            .collect();
        let looker = lock(server, 1, "crowd");
        while looker.waiters().expect("it is up").len() < WAITERS {
            thread::sleep(Duration::from_millis(10));
        }
        let start = Instant::now();
        gate.release().expect("held");
        for waiter in waiters {
            waiter.join().expect("it ends");
        }
        let each = start.elapsed() / u32::try_from(WAITERS).expect("a hundred");
        println!("{:<56} {each:>13.3?}", "a hundred who wait, each turn");
    }

    fn renewals(server: &PostgresServer) {
        let proxy = Proxy::to_port(server.port());
        let port = proxy.port();
        let place =
            format!("postgres://postgres@127.0.0.1:{port}/postgres/kept?sslmode=disable&ttl=3s");
        let guard = lock_at(&place).acquire().expect("free");
        let (before, start) = (proxy.requests(), Instant::now());
        thread::sleep(Duration::from_secs(9));
        let each = (proxy.requests() - before) as f64 / start.elapsed().as_secs_f64();
        let what = "renewals of a held lock, lease of 3 s";
        println!("{what:<56} {each:>10.2} a second");
        guard.release().expect("held");
        let mut session = bare(server);
        let word = timed(CYCLES, || {
            session.query("SELECT pg_backend_pid()").expect("it is up");
        });
        show("one renewal", word);
    }

    fn stock(server: &PostgresServer) {
        let cycle =
            || drop(server.psql("SELECT pg_advisory_lock(1); SELECT pg_advisory_unlock(1)"));
        show("cycle, psql as a process", timed(40, cycle));
    }
}
