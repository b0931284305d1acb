//! Connections to servers, for the engines of sneck: blocking sockets on which nothing takes longer than its deadline, and TLS.
//!
//! ```no_run
//! use sneck_net::{Address, Connection, Deadline, Received};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), sneck_net::Error> {
//! let deadline = Deadline::after(Duration::from_secs(10));
//! let server = Address::Tcp { host: "cache.example".into(), port: 6379 };
//! let mut connection = Connection::dial(&server, &deadline)?;
//! connection.write_all(b"PING\r\n", &deadline)?;
//! let mut answer = [0; 64];
//! if let Received::Bytes(count) = connection.read_within(&mut answer, &deadline)? {
//!     assert_eq!(&answer[..count], b"+PONG\r\n");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! There is no thread behind a connection and no async runtime. Whoever waits for a server that may answer next week sleeps on the
//! descriptor ([`Connection::wake`]) beside everything else that sneck waits for, and looks with [`Connection::read_now`].
//!
//! | file | for |
//! |---|---|
//! | `connection.rs` | what can be done with one |
//! | `dial.rs` | finding the server: names, all of its addresses, the very same one again |
//! | `deadline.rs` | until when |
//! | `keepalive.rs` | how long a peer that says nothing is believed to be there |
//! | `tls/` | encryption: whom to trust, what to show, and the bytes in between |
//! | `error.rs` | what went wrong, in one line |
//! | `place.rs` | the text of a place, taken apart |
//! | `sys/` | what each operating system does in its own way |
//!
//! Not for: any server's messages, trying again, proxies, pools.

mod address;
mod connection;
mod deadline;
mod dial;
mod error;
mod keepalive;
pub mod place;
mod sys;
mod tls;

pub use address::Address;
pub use connection::{Connection, Received};
pub use deadline::Deadline;
pub use error::{Error, ErrorKind};
pub use keepalive::Keepalive;
pub use tls::{Certificate, Credential, Digest, Roots, Tls, Trust};
