//! Waiting for a key to go: an answer that goes on.
//!
//! Not for: what it means that it went (`protocol.rs`).

use super::{Fault, Question, Session, encoded, number};
use serde_json::{Value, json};
use sneck::protocol::Wake;
use sneck_net::Deadline;
use std::io;

/// A session that has become a watch on one key.
#[derive(Debug)]
pub(crate) struct Watching {
    session: Session,
    key: Vec<u8>,
    /// The first revision of interest.
    from: u64,
    head: Head,
    /// What has come of the stream and is no whole line yet.
    lines: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
enum Head {
    ToCome,
    Read,
}

/// What a watch has to say.
#[derive(Debug)]
pub(crate) enum Seen {
    /// Nothing yet.
    Nothing,
    /// The key went, or may have gone before the watch began: look.
    Look,
    /// The watch is over, for whatever reason (compaction, no leader, a broken connection): look, and begin another one.
    Over,
}

impl Watching {
    /// Watch this key for its removal. `after`: what was seen is of this revision.
    ///
    /// From the revision after it, and not from the revision itself: a watch that begins in the past is served by a loop that runs ten times a second, one
    /// that begins in the future at once (`watchableStore.watch`, 3.4 to 3.6). Nothing is missed: the key was there at that revision.
    pub(crate) fn begin(
        mut session: Session,
        key: &[u8],
        after: u64,
        deadline: &Deadline,
    ) -> Result<Watching, Fault> {
        let from = after + 1;
        let question = Question::new(
            "/v3/watch",
            json!({"create_request": {
                "key": encoded(key),
                "start_revision": from.to_string(),
                "filters": ["NOPUT"],
            }}),
        );
        session.put(&question);
        session.http.send(deadline).map_err(|b| session.broken(b))?;
        Ok(Watching {
            session,
            key: key.to_owned(),
            from,
            head: Head::ToCome,
            lines: Vec::new(),
        })
    }

    /// Which member it watches at.
    pub(crate) fn member(&self) -> usize {
        self.session.member()
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// What has come. Does not wait.
    pub(crate) fn look(&mut self) -> Seen {
        if self.head == Head::ToCome {
            match self.session.http.head_now() {
                Ok(Some(200)) => self.head = Head::Read,
                Ok(None) => return Seen::Nothing,
                Ok(Some(_)) | Err(_) => return Seen::Over,
            }
        }
        let Ok(ended) = self.session.http.body_now(&mut self.lines) else {
            return Seen::Over;
        };
        while let Some(end) = self.lines.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.lines.drain(..=end).collect();
            match super::first_value(&line).map(|value| self.meaning(&value)) {
                None | Some(Seen::Nothing) => {}
                Some(seen) => return seen,
            }
        }
        match ended {
            true => Seen::Over,
            false => Seen::Nothing,
        }
    }

    fn meaning(&self, value: &Value) -> Seen {
        let result = &value["result"];
        let ours = self.session.check_cluster(result).is_ok();
        // Compacted: what we wait for lies in the past.
        let cancelled = result["canceled"].as_bool() == Some(true);
        if value.get("error").is_some() || !ours || cancelled {
            return Seen::Over;
        }
        let created = result["created"].as_bool() == Some(true);
        let revision = number(&result["header"]["revision"]).unwrap_or(0);
        // 1. We see the key at revision 7. 2. It is removed at 8. 3. Our watch begins at 8, which is past by now: its news would come with that slow loop.
        let late = created && revision >= self.from;
        let went = result["events"].as_array().is_some_and(|e| !e.is_empty());
        if late || went {
            Seen::Look
        } else {
            Seen::Nothing
        }
    }

    /// What wakes a sleeper when there is news.
    pub(crate) fn wake(&self) -> io::Result<Option<Wake>> {
        self.session.http.connection().wake()
    }

    /// End it.
    pub(crate) fn close(self) {
        self.session.close();
    }
}
