//! The engines under one name: where a lock is, what is done to a server, what is left at it.
//!
//! Not for: which faults there are (`faults.rs`).

use crate::registry;
use sneck::protocol::{Capabilities, Restart};
use sneck::{Lock, Place};
use sneck_testkit::etcd::EtcdServer;
use sneck_testkit::postgres::PostgresServer;
use sneck_testkit::redis::RedisServer;
use std::fmt;
use std::time::Duration;

/// How long a lease lasts in these tests, and how much longer others are kept out. Short, since many are waited for; the delay is long enough for a busy machine to end a process.
pub(crate) const TTL: Duration = Duration::from_secs(1);
pub(crate) const DELAY: Duration = Duration::from_secs(1);

/// The lock that is fought for.
pub(crate) const NAME: &str = "fought";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Engine {
    Etcd,
    /// Three members.
    Etcd3,
    Postgres,
    Redis,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Etcd => "etcd",
            Engine::Etcd3 => "etcd3",
            Engine::Postgres => "postgres",
            Engine::Redis => "redis",
        })
    }
}

impl Engine {
    /// The lock where these ports of 127.0.0.1 lead to.
    pub(crate) fn place(self, ports: &[u16]) -> String {
        self.place_for(ports, TTL, DELAY)
    }

    /// The same, with leases of this length.
    pub(crate) fn place_for(self, ports: &[u16], ttl: Duration, delay: Duration) -> String {
        let hosts: Vec<String> = ports.iter().map(|p| format!("127.0.0.1:{p}")).collect();
        let hosts = hosts.join(",");
        let (ttl, delay) = (ttl.as_millis(), delay.as_millis());
        let terms = format!("ttl={ttl}ms&lock-delay={delay}ms");
        match self {
            Engine::Etcd | Engine::Etcd3 => format!("etcd://{hosts}/{NAME}?{terms}"),
            Engine::Postgres => format!("postgres://postgres@{hosts}/postgres/{NAME}?{terms}"),
            Engine::Redis => format!("redis://{hosts}/{NAME}?{terms}"),
        }
    }

    /// What it says of itself.
    pub(crate) fn capabilities(self) -> Capabilities {
        lock(&self.place(&[1])).capabilities()
    }

    /// Whether its server forgets who holds when it is started anew.
    pub(crate) fn forgets(self) -> bool {
        self.capabilities().restart == Restart::Freed
    }

    /// Whether a lease ends with its connection, at once and without a lock delay: whoever is inside is told then, and may be in the middle of something. Where it does not, a lease outlives its connections.
    pub(crate) fn ends_with_connections(self) -> bool {
        self == Engine::Postgres
    }
}

/// The lock at this place, as it is written.
pub(crate) fn lock(place: &str) -> Lock {
    let registry = registry();
    let place: Place = registry.place(place).expect("the place can be read");
    Lock::builder()
        .registry(&registry)
        .at(&place)
        .expect("the place makes sense")
}

#[derive(Debug)]
pub(crate) enum Server {
    Etcd(EtcdServer),
    Postgres(PostgresServer),
    Redis(RedisServer),
}

impl Server {
    pub(crate) fn start(engine: Engine) -> Server {
        match engine {
            Engine::Etcd => Server::Etcd(EtcdServer::start()),
            Engine::Etcd3 => Server::Etcd(EtcdServer::cluster(3)),
            Engine::Postgres => Server::Postgres(PostgresServer::start()),
            Engine::Redis => {
                let mut server = RedisServer::start();
                server.restart_with_a_clock_of_its_own();
                Server::Redis(server)
            }
        }
    }

    /// One for each member.
    pub(crate) fn ports(&self) -> Vec<u16> {
        match self {
            Server::Etcd(server) => (0..self.members()).map(|m| server.port(m)).collect(),
            Server::Postgres(server) => vec![server.port()],
            Server::Redis(server) => vec![server.port()],
        }
    }

    fn members(&self) -> usize {
        match self {
            Server::Etcd(server) => server.members(),
            _ => 1,
        }
    }

    /// All of it stands still: connections stay, and nothing comes of them.
    pub(crate) fn stand_still(&mut self) {
        match self {
            Server::Etcd(server) => (0..server.members()).for_each(|m| server.pause(m)),
            Server::Postgres(server) => server.signal("STOP"),
            Server::Redis(server) => server.signal("STOP"),
        }
    }

    /// It goes on.
    pub(crate) fn go_on(&mut self) {
        match self {
            Server::Etcd(server) => (0..server.members()).for_each(|m| server.go_on(m)),
            Server::Postgres(server) => server.signal("CONT"),
            Server::Redis(server) => server.signal("CONT"),
        }
    }

    /// All of it, at one blow.
    pub(crate) fn kill(&mut self) {
        match self {
            Server::Etcd(server) => (0..server.members()).for_each(|m| server.kill9(m)),
            Server::Postgres(server) => server.kill9(),
            Server::Redis(server) => server.kill9(),
        }
    }

    /// Whatever is down is up again.
    pub(crate) fn restart(&mut self) {
        match self {
            Server::Etcd(server) => server.restart(),
            Server::Postgres(server) => server.restart(),
            Server::Redis(server) => server.restart(),
        }
    }

    /// All that it has, those who hold and wait and the tokens too. Of several members one loses it, by chance.
    pub(crate) fn lose_data(&mut self, chance: usize) {
        match self {
            Server::Etcd(server) if server.members() > 1 => {
                let member = chance % server.members();
                server.kill9(member);
                server.replace(member);
            }
            Server::Etcd(server) => {
                server.kill9(0);
                server.wipe(0);
                server.restart();
            }
            Server::Postgres(server) => server.lose_data(),
            Server::Redis(server) => assert_eq!(server.cli(&["FLUSHALL"]), "OK"),
        }
    }

    /// What stands there of holders and waiters.
    pub(crate) fn left(&self) -> Vec<String> {
        match self {
            Server::Etcd(server) => server.keys(&format!("{NAME}/")),
            Server::Postgres(server) => {
                let locks = "SELECT pid, mode, granted FROM pg_locks WHERE locktype = 'advisory'";
                server.psql(locks).lines().map(str::to_owned).collect()
            }
            Server::Redis(server) => {
                let keys = server.cli(&["--scan"]);
                // The counter stays, and so do, for a minute, the marks of those who gave up: they hold no place.
                let is_left = |key: &&str| !key.ends_with(":token") && !key.contains(":gone:");
                keys.lines().filter(is_left).map(str::to_owned).collect()
            }
        }
    }
}
