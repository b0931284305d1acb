//! TCP passed on over the loopback, and all that a network does to it: silence in one or both directions, delay, cuts, answers that are lost.
//!
//! What is *held* is as on a network that loses packets: both ends believe in the connection, nobody hears of FIN or RST, and when it heals what was sent arrives after all.
//! What is *dropped* never arrives; such a connection is of no use afterwards. Both count for connections that are there and for those to come: a new one is
//! accepted by the system, and then silent.
//!
//! Not for: anything but TCP on this machine; faults inside the bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How often a pump looks whether something has changed.
const TICK: Duration = Duration::from_millis(2);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server: requests.
    ToServer,
    /// From the server to the client: answers.
    ToClient,
}

/// What becomes of bytes that go one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They arrive.
    Open,
    /// They wait, and the end of the connection with them.
    Held,
    /// They are lost.
    Dropped,
}

#[derive(Debug)]
struct State {
    to_server: Way,
    to_client: Way,
    delay: Duration,
    /// After so many more requests the answers are dropped.
    answers: Option<usize>,
    requests: usize,
    /// Pumps of an earlier generation end, by RST.
    generation: u64,
    connections: usize,
    over: bool,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
}

/// Passes TCP connections on to a server. Dropping it cuts all of them.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// One in front of the server at this address, on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When no port is to be had.
    #[must_use]
    pub fn to(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its number");
        let shared = Arc::new(Shared {
            server,
            state: Mutex::new(State {
                to_server: Way::Open,
                to_client: Way::Open,
                delay: Duration::ZERO,
                answers: None,
                requests: 0,
                generation: 0,
                connections: 0,
                over: false,
            }),
        });
        thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Proxy { address, shared }
    }

    /// One in front of the server at this port of 127.0.0.1.
    ///
    /// # Panics
    /// When no port is to be had.
    #[must_use]
    pub fn to_port(port: u16) -> Proxy {
        Proxy::to(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What becomes of bytes that go this way from now on.
    pub fn set(&self, direction: Direction, way: Way) {
        let mut state = self.shared.state();
        match direction {
            Direction::ToServer => state.to_server = way,
            Direction::ToClient => state.to_client = way,
        }
    }

    /// Nothing goes in either direction, nor is any end told: no FIN, no RST.
    pub fn blackhole(&self) {
        self.set(Direction::ToServer, Way::Held);
        self.set(Direction::ToClient, Way::Held);
    }

    /// Everything goes again, at once; what was held arrives.
    pub fn heal(&self) {
        let mut state = self.shared.state();
        state.to_server = Way::Open;
        state.to_client = Way::Open;
        state.delay = Duration::ZERO;
        state.answers = None;
    }

    /// Each piece takes this much longer, either way.
    pub fn delay(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// The next `requests` requests are passed on and answered; after the one that follows, what the server answers is lost, though the server did what it was asked. A request is
    /// what the client writes at one go.
    pub fn drop_answers_after(&self, requests: usize) {
        let mut state = self.shared.state();
        state.answers = Some(state.requests + requests);
    }

    /// Cuts all connections there are, by RST to both ends. New ones are passed on.
    pub fn cut(&self) {
        self.shared.state().generation += 1;
    }

    /// How many connections came so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// How many requests were passed on or lost so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.state().requests
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.over = true;
            state.generation += 1;
        }
        // Wakes the one who accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let generation = {
            let mut state = shared.state();
            if state.over {
                return;
            }
            state.connections += 1;
            state.generation
        };
        let Ok(client) = client else { continue };
        let shared = shared.clone();
        thread::spawn(move || pass(client, &shared, generation));
    }
}

fn pass(client: TcpStream, shared: &Arc<Shared>, generation: u64) {
    // The other end of a network that is silent hears of no new connection.
    while shared.state().to_server == Way::Held {
        if shared.state().generation != generation {
            return reset(&client);
        }
        thread::sleep(TICK);
    }
    let Ok(server) = TcpStream::connect(shared.server) else {
        return reset(&client);
    };
    let (Ok(()), Ok(()), Ok(from_client), Ok(to_client)) = (
        client.set_nodelay(true),
        server.set_nodelay(true),
        client.try_clone(),
        client.try_clone(),
    ) else {
        return;
    };
    let (Ok(to_server), Ok(from_server)) = (server.try_clone(), server.try_clone()) else {
        return;
    };
    let answers = thread::spawn({
        let shared = shared.clone();
        move || {
            pump(
                from_server,
                to_client,
                &shared,
                Direction::ToClient,
                generation,
            )
        }
    });
    pump(
        from_client,
        to_server,
        shared,
        Direction::ToServer,
        generation,
    );
    let _ = answers.join();
    // Both directions are over. After a cut, what is closed last is reset.
    if shared.state().generation != generation {
        reset(&client);
        reset(&server);
    }
}

/// Passes on what comes, until it ends, or breaks, or is cut.
fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    shared: &Shared,
    direction: Direction,
    generation: u64,
) {
    let mut chunk = vec![0; 64 << 10];
    let _ = from.set_read_timeout(Some(TICK));
    loop {
        let count = match from.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if is_tick(&error) => {
                if shared.state().generation != generation {
                    return;
                }
                continue;
            }
            Err(_) => 0,
        };
        match admit(shared, direction, generation, count) {
            Way::Open if count == 0 => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Way::Open => {
                if to.write_all(&chunk[..count]).is_err() {
                    // Nobody takes it: so the one who sends hears.
                    let _ = from.shutdown(Shutdown::Both);
                    return;
                }
            }
            Way::Dropped if count == 0 => return,
            Way::Dropped => {}
            Way::Held => return,
        }
    }
}

/// Waits until what has come may go on, and says what becomes of it. Held: never, it was cut.
fn admit(shared: &Shared, direction: Direction, generation: u64, count: usize) -> Way {
    let delay = {
        let mut state = shared.state();
        if direction == Direction::ToServer && count > 0 {
            state.requests += 1;
            if state.answers.is_some_and(|limit| state.requests > limit) {
                state.to_client = Way::Dropped;
                state.answers = None;
            }
        }
        state.delay
    };
    thread::sleep(delay);
    loop {
        {
            let state = shared.state();
            if state.generation != generation {
                return Way::Held;
            }
            let way = match direction {
                Direction::ToServer => state.to_server,
                Direction::ToClient => state.to_client,
            };
            if way != Way::Held {
                return way;
            }
        }
        thread::sleep(TICK);
    }
}

fn is_tick(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Closing it from now on is an RST.
fn reset(socket: &TcpStream) {
    let _ = crate::sys::linger_not(socket);
}
