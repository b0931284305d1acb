//! As much of HTTP/1.1 as etcd's gateway speaks: requests one behind the other on one connection, answers of known length or in chunks, and an
//! answer that goes on for as long as somebody watches.
//!
//! Not for: what is asked (`mod.rs`); redirects, compression, proxies: the gateway uses none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sneck_net::{Connection, Deadline, Error, Received};

/// More than that is no answer of etcd's: it takes no request beyond 1.5 MB, unless told to.
const LONGEST: usize = 64 << 20;
/// More than that is no head of etcd's.
const LONGEST_HEAD: usize = 32 << 10;
const HEADERS: usize = 64;

/// Why no answer was had.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection.
    Net(Error),
    /// It came in time, and ended too early.
    Ended,
    /// Nothing came in time.
    Silent,
    /// What came is no HTTP: the beginning of it.
    Foreign(String),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Broken {
        Broken::Net(error)
    }
}

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// How far the body of an answer has come.
#[derive(Debug)]
enum Body {
    Length(usize),
    /// So much of a chunk is still to come, its end included.
    Chunk(usize),
    ChunkEnd,
    ChunkSize,
    Trailers,
    /// Until the connection ends.
    Rest,
    Done,
}

/// A connection on which HTTP is spoken.
#[derive(Debug)]
pub(super) struct Http {
    connection: Connection,
    host: String,
    /// What was read and not yet understood.
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// The answer that is being read.
    body: Body,
}

impl Http {
    pub(super) fn new(connection: Connection, host: String) -> Http {
        Http {
            connection,
            host,
            inbox: Vec::new(),
            outbox: Vec::new(),
            body: Body::Done,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn shutdown(&mut self) {
        self.connection.shutdown();
    }

    /// Another request, behind those that are not sent yet. No body: GET.
    pub(super) fn put(&mut self, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) {
        let method = if body.is_some() { "POST" } else { "GET" };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            head += &format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            );
        }
        head += "\r\n";
        self.outbox.extend_from_slice(head.as_bytes());
        self.outbox.extend_from_slice(body.unwrap_or_default());
    }

    /// Send what was put.
    pub(super) fn send(&mut self, deadline: &Deadline) -> Result<(), Broken> {
        let bytes = std::mem::take(&mut self.outbox);
        Ok(self.connection.write_all(&bytes, deadline)?)
    }

    /// The next answer, all of it.
    pub(super) fn response(&mut self, deadline: &Deadline) -> Result<Response, Broken> {
        let status = self.head(deadline)?;
        let mut body = Vec::new();
        while !self.part(&mut body)? {
            if !self.fill(Some(deadline))? && !self.ends_here() {
                return Err(Broken::Ended);
            }
        }
        Ok(Response { status, body })
    }

    /// The head of the next answer.
    pub(super) fn head(&mut self, deadline: &Deadline) -> Result<u16, Broken> {
        loop {
            if let Some(status) = self.read_head()? {
                return Ok(status);
            }
            if !self.fill(Some(deadline))? {
                return Err(match self.inbox.is_empty() {
                    true => Broken::Ended,
                    false => foreign(&self.inbox),
                });
            }
        }
    }

    /// The same, if it has come.
    pub(super) fn head_now(&mut self) -> Result<Option<u16>, Broken> {
        loop {
            if let Some(status) = self.read_head()? {
                return Ok(Some(status));
            }
            let before = self.inbox.len();
            if !self.fill(None)? {
                return Err(Broken::Ended);
            }
            if self.inbox.len() == before {
                return Ok(None);
            }
        }
    }

    /// What has come of the body until now. True: the answer has ended.
    pub(super) fn body_now(&mut self, into: &mut Vec<u8>) -> Result<bool, Broken> {
        loop {
            if self.part(into)? {
                return Ok(true);
            }
            let before = self.inbox.len();
            match self.fill(None) {
                Ok(true) if self.inbox.len() > before => {}
                Ok(true) => return Ok(false),
                Ok(false) if self.ends_here() => {}
                Ok(false) => return Err(Broken::Ended),
                Err(broken) => return Err(broken),
            }
        }
    }

    /// Take in what comes by the deadline, or what is there. False: nothing will come any more.
    fn fill(&mut self, deadline: Option<&Deadline>) -> Result<bool, Broken> {
        let mut chunk = [0; 16 << 10];
        let received = match deadline {
            Some(deadline) => self.connection.read_within(&mut chunk, deadline)?,
            None => self.connection.read_now(&mut chunk)?,
        };
        match received {
            Received::Bytes(count) => {
                self.inbox.extend_from_slice(&chunk[..count]);
                Ok(true)
            }
            Received::Nothing if deadline.is_some_and(Deadline::has_passed) => Err(Broken::Silent),
            Received::Nothing => Ok(true),
            Received::End => Ok(false),
        }
    }

    /// An answer without a length is over when the connection is.
    fn ends_here(&mut self) -> bool {
        let over = matches!(self.body, Body::Rest);
        if over {
            self.body = Body::Done;
        }
        over
    }

    /// The head, if all of it has come.
    fn read_head(&mut self) -> Result<Option<u16>, Broken> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(&self.inbox) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.inbox.len() < LONGEST_HEAD => return Ok(None),
            _ => return Err(foreign(&self.inbox)),
        };
        let status = response.code.unwrap_or_default();
        let value = |name: &str| {
            let found = response.headers.iter();
            let mut found = found.filter(|h| h.name.eq_ignore_ascii_case(name));
            found.next().and_then(|h| std::str::from_utf8(h.value).ok())
        };
        let chunked = value("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
        let body = match value("content-length").map(|v| v.trim().parse::<usize>()) {
            _ if chunked => Body::ChunkSize,
            _ if matches!(status, 100..=199 | 204 | 304) => Body::Length(0),
            Some(Ok(length)) if length <= LONGEST => Body::Length(length),
            Some(_) => return Err(foreign(&self.inbox)),
            None => Body::Rest,
        };
        self.inbox.drain(..length);
        self.body = body;
        Ok(Some(status))
    }

    /// Pass on what is there of the body. True: that was all.
    fn part(&mut self, into: &mut Vec<u8>) -> Result<bool, Broken> {
        let mut used = 0;
        let done = loop {
            let rest = &self.inbox[used..];
            match self.body {
                Body::Done | Body::Length(0) => break true,
                Body::Rest => {
                    into.extend_from_slice(rest);
                    used = self.inbox.len();
                    break false;
                }
                Body::Chunk(0) => self.body = Body::ChunkEnd,
                _ if rest.is_empty() => break false,
                Body::Length(left) => {
                    let now = left.min(rest.len());
                    into.extend_from_slice(&rest[..now]);
                    used += now;
                    self.body = Body::Length(left - now);
                }
                Body::Chunk(left) => {
                    let now = left.min(rest.len());
                    into.extend_from_slice(&rest[..now]);
                    used += now;
                    self.body = Body::Chunk(left - now);
                }
                Body::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        used += 2;
                        self.body = Body::ChunkSize;
                    }
                    [b'\r'] => break false,
                    _ => return Err(foreign(rest)),
                },
                Body::ChunkSize => match httparse::parse_chunk_size(rest) {
                    Ok(httparse::Status::Complete((length, size))) => {
                        used += length;
                        self.body = match usize::try_from(size) {
                            Ok(0) => Body::Trailers,
                            Ok(size) if size <= LONGEST => Body::Chunk(size),
                            _ => return Err(foreign(rest)),
                        };
                    }
                    Ok(httparse::Status::Partial) => break false,
                    Err(_) => return Err(foreign(rest)),
                },
                // Whatever etcd tells there, an empty line ends it.
                Body::Trailers => match rest.iter().position(|b| *b == b'\n') {
                    Some(end) => {
                        used += end + 1;
                        if matches!(&rest[..end], [] | [b'\r']) {
                            self.body = Body::Done;
                        }
                    }
                    None if rest.len() < LONGEST_HEAD => break false,
                    None => return Err(foreign(rest)),
                },
            }
            if into.len() > LONGEST {
                return Err(foreign(rest));
            }
        };
        self.inbox.drain(..used);
        Ok(done)
    }
}

fn foreign(bytes: &[u8]) -> Broken {
    let start = &bytes[..bytes.len().min(60)];
    Broken::Foreign(String::from_utf8_lossy(start).into_owned())
}

/// Bytes as the gateway writes them in JSON.
pub(crate) fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes again. None: it is no base64.
pub(crate) fn decoded(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}
