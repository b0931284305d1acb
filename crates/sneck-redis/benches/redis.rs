//! Locks of a Redis server, beside the bare calls of the same run: a cycle, a hand-over, a hundred who wait, renewals.
//!
//! The bare cycle is what everybody does: `SET name id NX PX ttl`, and a script that compares and deletes, on a connection that stands. The bare hand-over is `BLPOP` woken by `RPUSH`. The stock client is `redis-cli`, a process for each of the two calls.
//!
//!     cargo bench -p sneck-redis

#![allow(
    clippy::disallowed_methods,
    missing_docs,
    reason = "the library's own rules: a bench looks at the clock"
)]

#[cfg(unix)]
fn main() {
    bench::all();
}

#[cfg(not(unix))]
fn main() {
    println!("there is no server to start here");
}

#[cfg(unix)]
mod bench {
    use sneck::{Lock, Moment, Registry};
    use sneck_testkit::redis::RedisServer;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    const CYCLES: usize = 4000;
    const HANDOVERS: usize = 300;
    const CROWD: usize = 100;

    pub(super) fn all() {
        let server = RedisServer::start();
        let bare = cycle(bare_cycle(&server));
        let with_one_script = cycle(bare_scripts(&server));
        let ours = cycle(sneck_cycle(&server));
        row("cycle, bare SET NX PX and script", bare);
        row("cycle, bare two scripts", with_one_script);
        row("cycle, sneck", ours);
        println!(
            "    {:.2} times the bare one",
            ours.as_secs_f64() / bare.as_secs_f64()
        );
        row("cycle, redis-cli as a process, twice", stock(&server));
        row("hand-over, bare BLPOP", bare_handover(&server));
        row("hand-over, sneck", handover(&server));
        row("a hundred waiters, each turn", crowd(&server));
        renewals(&server);
    }

    fn stock(server: &RedisServer) -> Duration {
        let cycle = || {
            let start = Instant::now();
            let taken = server.cli(&["SET", "stock", "me", "NX", "PX", "15000"]);
            assert_eq!(taken, "OK");
            let gone =
                "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1])";
            assert_eq!(server.cli(&["EVAL", gone, "1", "stock", "me"]), "1");
            start.elapsed()
        };
        median((0..40).map(|_| cycle()).collect())
    }

    fn row(what: &str, time: Duration) {
        println!("{what:40} {:>8.1} us", time.as_secs_f64() * 1e6);
    }

    fn median(mut times: Vec<Duration>) -> Duration {
        times.sort_unstable();
        times[times.len() / 2]
    }

    fn cycle(mut once: impl FnMut()) -> Duration {
        for _ in 0..200 {
            once();
        }
        let each = (0..CYCLES).map(|_| {
            let start = Instant::now();
            once();
            start.elapsed()
        });
        median(each.collect())
    }

    struct Bare(TcpStream);

    impl Bare {
        fn new(server: &RedisServer) -> Bare {
            let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
            stream.set_nodelay(true).expect("a socket");
            Bare(stream)
        }

        fn ask(&mut self, words: &[&str]) -> String {
            let mut bytes = format!("*{}\r\n", words.len());
            for word in words {
                bytes += &format!("${}\r\n{word}\r\n", word.len());
            }
            self.0.write_all(bytes.as_bytes()).expect("it listens");
            let mut answer = [0; 512];
            let count = self.0.read(&mut answer).expect("it answers");
            String::from_utf8_lossy(&answer[..count]).into_owned()
        }

        fn load(&mut self, script: &str) -> String {
            let answer = self.ask(&["SCRIPT", "LOAD", script]);
            answer.lines().nth(1).expect("a name").to_owned()
        }
    }

    const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";
    const TAKE: &str = "return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])";

    fn bare_cycle(server: &RedisServer) -> impl FnMut() + use<> {
        let mut bare = Bare::new(server);
        let release = bare.load(RELEASE);
        move || {
            assert!(
                bare.ask(&["SET", "bare", "id", "NX", "PX", "20000"])
                    .starts_with("+OK")
            );
            assert_eq!(
                bare.ask(&["EVALSHA", &release, "1", "bare", "id"]),
                ":1\r\n"
            );
        }
    }

    fn bare_scripts(server: &RedisServer) -> impl FnMut() + use<> {
        let mut bare = Bare::new(server);
        let (take, release) = (bare.load(TAKE), bare.load(RELEASE));
        move || {
            assert!(
                bare.ask(&["EVALSHA", &take, "1", "bare", "id", "20000"])
                    .starts_with("+OK")
            );
            assert_eq!(
                bare.ask(&["EVALSHA", &release, "1", "bare", "id"]),
                ":1\r\n"
            );
        }
    }

    /// Each number is another handle that knows nothing of the others.
    fn lock(server: &RedisServer, number: usize, name: &str) -> Lock {
        let mut registry = Registry::local();
        sneck_redis::register(&mut registry);
        let place = format!(
            "redis://127.0.{}.{}:{}/{name}",
            number.min(1),
            number.max(1),
            server.port()
        );
        let place = registry.place(place).expect("it can be read");
        Lock::builder()
            .registry(&registry)
            .at(&place)
            .expect("it makes sense")
    }

    fn sneck_cycle(server: &RedisServer) -> impl FnMut() + use<> {
        let lock = lock(server, 0, "cycle");
        move || {
            let guard = lock.try_acquire().expect("it is free");
            guard.release().expect("it is held");
        }
    }

    fn bare_handover(server: &RedisServer) -> Duration {
        let (sender, woken) = mpsc::channel();
        let mut waiter = Bare::new(server);
        let (begin, begun) = mpsc::channel::<()>();
        thread::spawn(move || {
            for () in begun {
                waiter.ask(&["BLPOP", "wake", "10"]);
                let _ = sender.send(Instant::now());
            }
        });
        let mut holder = Bare::new(server);
        let each = (0..HANDOVERS).map(|_| {
            let _ = begin.send(());
            thread::sleep(Duration::from_millis(4));
            let start = Instant::now();
            holder.ask(&["RPUSH", "wake", "1"]);
            woken.recv().expect("it is woken") - start
        });
        median(each.collect())
    }

    fn handover(server: &RedisServer) -> Duration {
        let (one, other) = (lock(server, 1, "hand"), lock(server, 2, "hand"));
        let (begin, begun) = mpsc::channel::<()>();
        let (sender, entered) = mpsc::channel();
        thread::spawn(move || {
            for () in begun {
                let guard = other.acquire().expect("it can be had");
                let _ = sender.send(Instant::now());
                drop(guard);
            }
        });
        let each = (0..HANDOVERS).map(|_| {
            let guard = one.acquire().expect("it can be had");
            let _ = begin.send(());
            thread::sleep(Duration::from_millis(4));
            let start = Instant::now();
            guard.release().expect("it is held");
            entered.recv().expect("it enters") - start
        });
        median(each.collect())
    }

    /// A hundred handles in one queue at the server, each for itself: the time of a turn.
    fn crowd(server: &RedisServer) -> Duration {
        let gate = lock(server, 1, "crowd").acquire().expect("it is free");
        let waiters: Vec<_> = (0..CROWD)
            .map(|number| {
                // A line of its own for each: other spellings of one name.
                let mut registry = Registry::local();
                sneck_redis::register(&mut registry);
                let place = format!("redis://{}127.0.0.1:{}/crowd", "", server.port());
                let host = [
                    "127.0.0.1",
                    "127.0.1.1",
                    "127.0.1.2",
                    "127.0.1.3",
                    "127.0.1.4",
                    "127.0.1.5",
                    "127.0.1.6",
                    "127.0.1.7",
                    "127.0.1.8",
                    "127.0.1.9",
                ];
                let place = place.replace("127.0.0.1", host[number % host.len()]);
                let place = registry.place(place).expect("it can be read");
                let lock = Lock::builder()
                    .registry(&registry)
                    .at(&place)
                    .expect("sense");
                thread::spawn(move || lock.acquire().expect("it comes").release().expect("held"))
            })
            .collect();
        thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        gate.release().expect("it is held");
        for waiter in waiters {
            waiter.join().expect("it ends");
        }
        start.elapsed() / u32::try_from(CROWD).expect("a hundred")
    }

    /// As many as the terms say: three in a lease.
    fn renewals(server: &RedisServer) {
        let mut registry = Registry::local();
        sneck_redis::register(&mut registry);
        let place = registry
            .place(server.place("kept"))
            .expect("it can be read");
        let builder = Lock::builder()
            .registry(&registry)
            .ttl(Duration::from_secs(3));
        let guard = builder.at(&place).expect("sense").acquire().expect("free");
        let count = || {
            let calls = server.cli(&["INFO", "commandstats"]);
            let line = calls
                .lines()
                .find(|line| line.starts_with("cmdstat_evalsha"));
            let calls = line
                .and_then(|line| line.split(['=', ',']).nth(1))
                .unwrap_or("0");
            calls.parse::<u64>().unwrap_or(0)
        };
        let (before, begun) = (count(), Moment::now());
        thread::sleep(Duration::from_secs(9));
        let each = (count() - before) as f64 / begun.elapsed().as_secs_f64();
        println!(
            "{:40} {each:>8.2} a second, with a lease of 3 s",
            "renewals of a held lock"
        );
        guard.release().expect("it is held");
    }
}
