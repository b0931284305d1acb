//! What goes over the wire: RESP3, as bytes and as values.
//!
//! Not for: sockets, deadlines (`session.rs`). Bytes are read as if they came from anybody: nothing here trusts a length.

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Bytes, with or without a length ahead; a number that is none of 64 bits.
    Text(Vec<u8>),
    Number(i64),
    Null,
    /// An answer that begins with a word such as `WRONGPASS`.
    Error(String),
    List(Vec<Value>),
    /// Said unasked: by a channel.
    Push(Vec<Value>),
}

impl Value {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub(crate) fn number(&self) -> Option<i64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> &[Value] {
        match self {
            Value::List(values) | Value::Push(values) => values,
            _ => &[],
        }
    }
}

/// What stands there cannot be what a Redis server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Nonsense;

/// No answer to a question of ours is longer.
const LONGEST: usize = 4 << 20;
const DEEPEST: usize = 8;

/// One question, as an array of texts.
pub(crate) fn write(to: &mut Vec<u8>, words: &[&[u8]]) {
    to.extend(format!("*{}\r\n", words.len()).bytes());
    for word in words {
        to.extend(format!("${}\r\n", word.len()).bytes());
        to.extend_from_slice(word);
        to.extend(b"\r\n");
    }
}

/// The first value, and how many bytes it takes; None if it is not complete yet.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Value, usize)>, Nonsense> {
    let mut reader = Reader { bytes, at: 0 };
    match reader.value(0) {
        Ok(value) => Ok(Some((value, reader.at))),
        Err(Stop::More) if bytes.len() > LONGEST => Err(Nonsense),
        Err(Stop::More) => Ok(None),
        Err(Stop::Nonsense) => Err(Nonsense),
    }
}

enum Stop {
    More,
    Nonsense,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        let kind = *self.bytes.get(self.at).ok_or(Stop::More)?;
        if !b"+-:$*_#,(!=%~>|".contains(&kind) || depth > DEEPEST {
            return Err(Stop::Nonsense);
        }
        self.at += 1;
        let line = self.line()?;
        Ok(match kind {
            b'+' | b',' | b'(' => Value::Text(line.to_vec()),
            b'-' => Value::Error(String::from_utf8_lossy(line).into_owned()),
            b':' => Value::Number(number(line)?),
            b'_' => Value::Null,
            b'#' => Value::Number(i64::from(line == b"t")),
            b'$' | b'=' | b'!' => match self.length(line)? {
                None => Value::Null,
                Some(length) => {
                    let end = self.at + length;
                    let text = self.bytes.get(self.at..end).ok_or(Stop::More)?;
                    let after = self.bytes.get(end..end + 2).ok_or(Stop::More)?;
                    if after != b"\r\n" {
                        return Err(Stop::Nonsense);
                    }
                    self.at = end + 2;
                    match kind {
                        b'!' => Value::Error(String::from_utf8_lossy(text).into_owned()),
                        // `txt:` and the like.
                        b'=' => Value::Text(text.get(4..).unwrap_or_default().to_vec()),
                        _ => Value::Text(text.to_vec()),
                    }
                }
            },
            b'*' | b'~' | b'>' => match self.length(line)? {
                None => Value::Null,
                Some(length) => {
                    let values = self.values(length, depth)?;
                    if kind == b'>' {
                        Value::Push(values)
                    } else {
                        Value::List(values)
                    }
                }
            },
            // A map is a list of names and values; an attribute stands before what is meant.
            b'%' => {
                let length = self.length(line)?.ok_or(Stop::Nonsense)?;
                Value::List(self.values(length * 2, depth)?)
            }
            _ => {
                let length = self.length(line)?.ok_or(Stop::Nonsense)?;
                self.values(length * 2, depth)?;
                self.value(depth + 1)?
            }
        })
    }

    fn values(&mut self, length: usize, depth: usize) -> Result<Vec<Value>, Stop> {
        // No memory is taken for what has not come.
        let mut values = Vec::new();
        for _ in 0..length {
            values.push(self.value(depth + 1)?);
        }
        Ok(values)
    }

    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let end = rest
            .windows(2)
            .position(|two| two == b"\r\n")
            .ok_or(Stop::More)?;
        self.at += end + 2;
        Ok(&rest[..end])
    }

    /// -1 is none.
    fn length(&self, line: &[u8]) -> Result<Option<usize>, Stop> {
        match number(line)? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) if length <= LONGEST => Ok(Some(length)),
                _ => Err(Stop::Nonsense),
            },
        }
    }
}

fn number(line: &[u8]) -> Result<i64, Stop> {
    let text = std::str::from_utf8(line).map_err(|_| Stop::Nonsense)?;
    text.parse().map_err(|_| Stop::Nonsense)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    /// Every kind of value, after each other.
    const ALL: &[u8] = b"+OK\r\n-ERR no\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n*2\r\n:1\r\n*0\r\n_\r\n#t\r\n,1.5\r\n(123\r\n!5\r\nERR x\r\n\
        =6\r\ntxt:hi\r\n%1\r\n+a\r\n:1\r\n~1\r\n+b\r\n|1\r\n+c\r\n+d\r\n+e\r\n>2\r\n+message\r\n+f\r\n";

    #[test]
    fn every_kind_is_read_and_takes_what_it_takes() {
        let mut rest = ALL;
        let mut values = Vec::new();
        while !rest.is_empty() {
            let (value, length) = read(rest).expect("sense").expect("whole");
            values.push(value);
            rest = &rest[length..];
        }
        let expected = [
            text("OK"),
            Value::Error("ERR no".into()),
            Value::Number(-7),
            text("a\r\n"),
            Value::Null,
            Value::List(vec![Value::Number(1), Value::List(vec![])]),
            Value::Null,
            Value::Number(1),
            text("1.5"),
            text("123"),
            Value::Error("ERR x".into()),
            text("hi"),
            Value::List(vec![text("a"), Value::Number(1)]),
            Value::List(vec![text("b")]),
            text("e"),
            Value::Push(vec![text("message"), text("f")]),
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn what_is_cut_short_is_waited_for() {
        let (_, whole) = read(ALL).expect("sense").expect("whole");
        for end in 0..whole {
            assert_eq!(read(&ALL[..end]), Ok(None), "{end}");
        }
        for end in 0..ALL.len() {
            // Never a panic, wherever it is cut.
            let _ = read(&ALL[end..]);
        }
    }

    #[test]
    fn nonsense_is_told_and_takes_no_memory() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"$99999999999\r\n",
            b"*99999999999\r\n",
            b"$-2\r\n",
            b"$x\r\n",
            b"$1\r\nab\r\n",
            b":\r\n",
            b"\0",
        ] {
            assert_eq!(read(bytes), Err(Nonsense), "{}", bytes.escape_ascii());
        }
        let deep = b"*1\r\n".repeat(100);
        assert_eq!(read(&deep), Err(Nonsense));
    }

    #[test]
    fn a_question_is_a_list_of_texts() {
        let mut bytes = Vec::new();
        write(&mut bytes, &[b"GET", b"a\r\nb", b""]);
        assert_eq!(bytes, b"*3\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n");
        let same = Value::List(vec![text("GET"), text("a\r\nb"), text("")]);
        assert_eq!(read(&bytes), Ok(Some((same, bytes.len()))));
    }
}
