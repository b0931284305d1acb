//! The lock beside the bare questions that it is made of, and beside `etcdctl lock`: a cycle, a hand-over, a hundred who wait, what a held lock costs.
//!
//! `cargo bench -p sneck-etcd`. The cluster is one member, started here, with its data in memory where there is a file system for that: what is compared is the way, not the disk.

#![allow(clippy::disallowed_methods, reason = "a bench looks at the clock")]

#[cfg(unix)]
fn main() {
    unix::all();
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod unix {
    use sneck::{Lock, Registry};
    use sneck_testkit::etcd::EtcdServer;
    use sneck_testkit::proxy::Proxy;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::{Duration, Instant};

    const CYCLES: usize = 1000;
    const HAND_OVERS: usize = 300;
    const WAITERS: usize = 100;
    const HOLD: Duration = Duration::from_millis(4);

    pub(crate) fn all() {
        let server = EtcdServer::start();
        cycles(&server);
        hand_overs(&server);
        crowd(&server);
        renewals(&server);
        stock(&server);
    }

    fn lock(place: &str) -> Lock {
        let mut registry = Registry::empty();
        sneck_etcd::register(&mut registry);
        let place = registry.place(place).expect("a place");
        let builder = Lock::builder().registry(&registry);
        builder.at(&place).expect("a lock")
    }

    fn show(what: &str, mut times: Vec<Duration>) {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!(
            "{what:<46} p50 {:>9.3?}  p90 {:>9.3?}  p99 {:>9.3?}",
            at(50),
            at(90),
            at(99)
        );
    }

    fn timed(count: usize, mut work: impl FnMut()) -> Vec<Duration> {
        let one = |_| {
            let start = Instant::now();
            work();
            start.elapsed()
        };
        (0..count).map(one).collect()
    }

    /// HTTP with nothing around it: a request, and all of its answer.
    struct Bare(TcpStream);

    impl Bare {
        fn dial(port: u16) -> Bare {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("etcd");
            stream.set_nodelay(true).expect("a socket");
            Bare(stream)
        }

        /// So many answers to what is sent in one go.
        fn ask(&mut self, questions: &[(&str, String)]) -> String {
            let mut text = String::new();
            for (path, body) in questions {
                text += &format!(
                    "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
            self.0.write_all(text.as_bytes()).expect("etcd");
            let mut answer = Vec::new();
            let mut chunk = [0; 8192];
            while whole(&answer) < questions.len() {
                let count = self.0.read(&mut chunk).expect("etcd");
                answer.extend_from_slice(&chunk[..count]);
            }
            String::from_utf8_lossy(&answer).into_owned()
        }

        /// What an uncontended lock asks: a lease, a key, and the end of both.
        fn cycle(&mut self) {
            let granted = self.ask(&[("/v3/lease/grant", "{\"TTL\":\"20\"}".into())]);
            let lease = granted
                .split("\"ID\":\"")
                .nth(1)
                .and_then(|t| t.split('"').next());
            let lease = lease.expect("a lease");
            let key = "\"key\":\"YmFyZS8x\"";
            let txn = format!(
                "{{\"compare\":[{{{key},\"target\":\"CREATE\",\"create_revision\":\"0\"}}],\
                 \"success\":[{{\"request_put\":{{{key},\"lease\":\"{lease}\"}}}},{{\"request_range\":{{{key}}}}}]}}"
            );
            self.ask(&[("/v3/kv/txn", txn)]);
            self.ask(&[
                (
                    "/v3/kv/txn",
                    format!("{{\"compare\":[{{{key},\"target\":\"VERSION\",\"version\":\"1\"}}],\"success\":[{{\"request_delete_range\":{{{key}}}}}]}}"),
                ),
                ("/v3/lease/revoke", format!("{{\"ID\":\"{lease}\"}}")),
            ]);
        }
    }

    /// How many answers of known length there are, whole.
    fn whole(answer: &[u8]) -> usize {
        let text = String::from_utf8_lossy(answer);
        let (mut rest, mut count) = (&*text, 0);
        while let Some((head, after)) = rest.split_once("\r\n\r\n") {
            let length = head.split("Content-Length: ").nth(1);
            let length = length.and_then(|l| l.split("\r\n").next()?.parse::<usize>().ok());
            let Some(next) = after.get(length.expect("a length")..) else {
                break;
            };
            (rest, count) = (next, count + 1);
        }
        count
    }

    fn cycles(server: &EtcdServer) {
        let port = server.port(0);
        let mut bare = Bare::dial(port);
        let ours = lock(&server.place("cycle"));
        let held = || ours.acquire().expect("free").release().expect("held");
        timed(50, || bare.cycle());
        timed(50, held);
        show(
            "cycle: the bare questions, one connection",
            timed(CYCLES, || bare.cycle()),
        );
        let fresh = timed(CYCLES, || Bare::dial(port).cycle());
        show("cycle: the bare questions, each on its own", fresh);
        show("cycle: acquire, release", timed(CYCLES, held));
    }

    fn hand_overs(server: &EtcdServer) {
        let places = [
            server.place("hand"),
            server.place("hand").replace("127.0.0.1", "localhost"),
        ];
        let [one, two] = places.map(|place| lock(&place));
        let mut times = Vec::new();
        for _ in 0..HAND_OVERS {
            let guard = one.acquire().expect("free");
            let (sender, entered) = channel();
            let two = two.clone();
            let waiter = thread::spawn(move || {
                let guard = two.acquire().expect("free");
                sender.send(Instant::now()).expect("it listens");
                guard.release().expect("held");
            });
            thread::sleep(HOLD * 2);
            let start = Instant::now();
            guard.release().expect("held");
            times.push(entered.recv().expect("it enters") - start);
            waiter.join().expect("no panic");
        }
        show("hand-over: from before the release to entry", times);
    }

    /// As if of many processes: each by another way to write the machine's name, so that they stand in no line with each other.
    fn crowd(server: &EtcdServer) {
        let name = |number: usize| {
            let letters = "localhost".chars().enumerate();
            let upper = letters.map(|(at, c)| match number >> at & 1 {
                1 => c.to_ascii_uppercase(),
                _ => c,
            });
            server
                .place("crowd")
                .replace("127.0.0.1", &upper.collect::<String>())
        };
        let guard = lock(&server.place("crowd")).acquire().expect("free");
        let start = Instant::now();
        let waiters: Vec<_> = (0..WAITERS)
            .map(|number| {
                let lock = lock(&name(number));
                thread::spawn(move || lock.acquire().expect("free").release().expect("held"))
            })
            .collect();
        while server.keys("crowd/").len() <= WAITERS {
            thread::sleep(Duration::from_millis(5));
        }
        println!("{:<46} all in {:?}", "100 waiters: queued", start.elapsed());
        let start = Instant::now();
        guard.release().expect("held");
        waiters
            .into_iter()
            .for_each(|w| w.join().expect("no panic"));
        let each = start.elapsed() / WAITERS as u32;
        println!("{:<46} {each:?} each", "100 waiters: one after the other");
    }

    fn renewals(server: &EtcdServer) {
        let proxy = Proxy::to_port(server.port(0));
        let place = format!("etcd://127.0.0.1:{}/renewed?ttl=3s", proxy.port());
        let guard = lock(&place).acquire().expect("free");
        let (before, start) = (proxy.requests(), Instant::now());
        thread::sleep(Duration::from_secs(6));
        let rate = (proxy.requests() - before) as f64 / start.elapsed().as_secs_f64();
        println!(
            "{:<46} {rate:.2} a second",
            "a held lock with a ttl of 3 s: renewals"
        );
        guard.release().expect("held");
    }

    fn stock(server: &EtcdServer) {
        let run = || {
            let done = server.command(&["lock", "stock", "true"]).status();
            assert!(done.expect("etcdctl").success());
        };
        show("etcdctl lock NAME true, a process each", timed(20, run));
        // The second one finds the first one's key a moment before it goes, as with short work. What is timed is the second's way from that moment to its end.
        let mut times = Vec::new();
        for _ in 0..10 {
            let mut first = server
                .command(&["lock", "stock", "sleep", "0.06"])
                .spawn()
                .expect("etcdctl");
            while server.keys("stock/").is_empty() {
                thread::sleep(Duration::from_millis(1));
            }
            let mut second = server
                .command(&["lock", "stock", "true"])
                .spawn()
                .expect("etcdctl");
            first.wait().expect("etcdctl");
            let start = Instant::now();
            second.wait().expect("etcdctl");
            times.push(start.elapsed());
        }
        show("etcdctl lock: hand-over, from end to end", times);
    }
}
