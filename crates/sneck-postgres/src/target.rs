//! One lock of one server: its place, its sessions, its questions.
//!
//! A session belongs to one claimant at a time, since locks of one session do not exclude each other. One that is done with is kept for the next claimant of the same handle,
//! for a while (`kept.rs`).
//!
//! Not for: when to ask (`seat.rs`, `tenure.rs`), what a session is (`session/`).

use crate::config::Config;
use crate::kept::Kept;
use crate::record;
use crate::session::{self, Row, Session, SessionError, Silence};
use sneck::lease::Terms;
use sneck::{Claim, Error, ErrorKind, Holder, Mode, Place, Result, Source};
use sneck_net::Deadline;
use std::time::{Duration, SystemTime};

/// How long connecting may take, unless the place says otherwise, and an answer to one who only looks.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const STANDBY: &str =
    "this server is a standby: its advisory locks exclude nobody on the primary";

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) config: Config,
    kept: Kept,
}

/// A session, and for whom it was opened.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) session: Session,
    pub(crate) whose: Whose,
    tried: Tried,
}

/// What the server knows of the question of one who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    Never,
    /// Asked once.
    Once(Mode),
    /// It need not be read and planned again.
    Prepared(Mode),
}

/// As whom a claimant is seen, and for how long it may be silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whose {
    pid: u32,
    label: Option<String>,
    pub(crate) terms: Terms,
}

impl Whose {
    pub(crate) fn of(claim: &Claim) -> Whose {
        Whose {
            pid: claim.party().pid(),
            label: claim.label().map(str::to_owned),
            terms: claim.terms(),
        }
    }
}

impl Target {
    pub(crate) fn new(place: &Place, config: Config) -> Target {
        Target {
            place: place.clone(),
            config,
            kept: Kept::default(),
        }
    }

    pub(crate) fn error(
        &self,
        kind: ErrorKind,
        doing: &'static str,
        what: impl Into<String>,
    ) -> Error {
        Error::new(kind, doing, what).at(&self.place)
    }

    pub(crate) fn failed(&self, doing: &'static str, error: &SessionError) -> Error {
        let kind = match error.kind() {
            session::ErrorKind::Unreachable => ErrorKind::Unreachable,
            session::ErrorKind::Refused => ErrorKind::NoPermission,
            session::ErrorKind::Protocol => ErrorKind::Foreign,
            session::ErrorKind::TooOld => ErrorKind::Unsupported,
            session::ErrorKind::Setup => ErrorKind::Usage,
            _ => ErrorKind::Io,
        };
        self.error(kind, doing, error.to_string())
    }

    /// A question was not answered in time.
    pub(crate) fn silent(&self, doing: &'static str, deadline: &Deadline) -> Error {
        let what = format!("PostgreSQL has fallen silent: {}", deadline.missed());
        self.error(ErrorKind::Unreachable, doing, what)
    }

    /// A session that nobody else uses: the one that was kept, or a new one.
    pub(crate) fn line(&self, whose: &Whose) -> Result<Line> {
        if let Some(mut line) = self.kept.take() {
            if line.whose == *whose && line.session.is_fit() {
                return Ok(line);
            }
            line.session.close();
        }
        self.open(whose)
    }

    /// A new one.
    pub(crate) fn open(&self, whose: &Whose) -> Result<Line> {
        let name = record::name(whose.pid, whose.label.as_deref());
        let silence = Silence::AtMost(whose.terms.on_server());
        let session = Session::connect_for(&self.config, &name, PATIENCE, silence)
            .map_err(|e| self.failed("connect", &e))?;
        if session.on_standby() {
            session.close();
            let refusal = self.error(ErrorKind::Unsupported, "connect", STANDBY);
            return Err(refusal.advise("name the primary"));
        }
        Ok(Line {
            session,
            whose: whose.clone(),
            tried: Tried::Never,
        })
    }

    /// Done with, and it holds nothing: for the next one.
    pub(crate) fn give_back(&self, line: Line) {
        // What ended it meanwhile is found out by whoever takes it.
        let more = match line.session.is_ours() && !line.session.is_busy() {
            true => self.kept.put(line),
            false => Some(line),
        };
        if let Some(line) = more {
            line.session.close();
        }
    }

    /// `pg_advisory_lock(key)` and its like; shared ones end in `_shared`.
    pub(crate) fn call(&self, function: &str, mode: Mode) -> String {
        let suffix = match mode {
            Mode::Exclusive => "",
            Mode::Shared => "_shared",
        };
        format!("pg_catalog.{function}{suffix}({})", self.config.key())
    }

    /// Who has to do with it: one row each, those who hold first, those who wait in their order.
    pub(crate) fn look(&self, session: &mut Session) -> Result<Vec<Known>> {
        // The server hides where a client of another user comes from, and since when, unless we may read all statistics; port -1 is a socket file.
        let sql = format!(
            "SELECT l.granted, l.mode, a.usename, a.application_name, \
             CASE a.client_port WHEN -1 THEN 'local' ELSE host(a.client_addr) END, \
             {STARTED}, l.pid, (extract(epoch FROM l.waitstart) * 1000)::bigint \
             FROM pg_catalog.pg_locks l \
             LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE {} ORDER BY l.granted DESC, l.waitstart, a.backend_start",
            self.is_the_lock()
        );
        let rows = session
            .query(&sql)
            .map_err(|e| self.failed("ask the server", &e))?;
        Ok(rows.iter().map(Known::read).collect())
    }

    /// What of `pg_locks` is this lock.
    pub(crate) fn is_the_lock(&self) -> String {
        // A 64-bit key is shown as two halves, and as objsubid 1.
        let key = self.config.key() as u64;
        format!(
            "l.locktype = 'advisory' AND l.objsubid = 1 AND l.classid = {} AND l.objid = {} AND l.database = \
             (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
            key >> 32,
            key & 0xffff_ffff
        )
    }
}

/// When a server process began, in microseconds since 1970: with its number it is one process, and no other.
pub(crate) const STARTED: &str = "(extract(epoch FROM a.backend_start) * 1000000)::bigint";

impl Line {
    /// SQL that tries for the lock by this call, and draws a token if that succeeds: one question, so that whoever gets it has its token, and only who gets it writes anything.
    ///
    /// Whoever comes again has it prepared: reading and planning it takes as long as all the rest.
    pub(crate) fn attempt(&mut self, call: &str, mode: Mode) -> String {
        let name = match mode {
            Mode::Exclusive => "sneck_try",
            Mode::Shared => "sneck_try_shared",
        };
        if self.tried == Tried::Prepared(mode) {
            return format!("EXECUTE {name}");
        }
        let sql = format!("SELECT CASE WHEN {call} THEN {} END", self.token());
        match self.tried {
            Tried::Once(before) if before == mode => {
                self.tried = Tried::Prepared(mode);
                format!("PREPARE {name} AS {sql}; EXECUTE {name}")
            }
            Tried::Never => {
                self.tried = Tried::Once(mode);
                sql
            }
            _ => sql,
        }
    }

    /// SQL that draws a token, after the grant, and puts it into the session's name: first word.
    ///
    /// The number of a transaction that wrote nothing may be given out again after a crash of the server; so this one leaves a message in the log, which is on disk before it
    /// counts. (`pg_current_xact_id` is the newer name of the same.)
    pub(crate) fn token(&self) -> String {
        let token = "pg_catalog.txid_current()";
        let whose = &self.whose;
        let name = record::name_of_holder(whose.pid, whose.label.as_deref(), token);
        format!(
            "pg_catalog.concat({token}, ' ', pg_catalog.pg_logical_emit_message(true, 'sneck', ''), \
             pg_catalog.set_config('application_name', {name}, false))"
        )
    }
}

/// One who holds or waits, as the server shows it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) holds: bool,
    pub(crate) holder: Holder,
    /// The very session, if we are shown which: the number of its process, when that began, and its name, which with us changes from holding to holding.
    pub(crate) session: Option<(i32, i64, String)>,
}

impl Known {
    fn read(row: &Row) -> Known {
        let column = |index: usize| {
            let text = row.get(index).and_then(Option::as_deref);
            text.filter(|text| !text.is_empty())
        };
        let number = |index| column(index).and_then(|text| text.parse::<i64>().ok());
        let since_1970 = |length| SystemTime::UNIX_EPOCH.checked_add(length);
        let holds = column(0) == Some("t");
        let mut holder = Holder::unknown(Source::Server);
        holder.mode = column(1).map(|mode| match mode.starts_with("Share") {
            true => Mode::Shared,
            false => Mode::Exclusive,
        });
        holder.user = column(2).map(str::to_owned);
        holder.host = column(4).map(str::to_owned);
        let began = number(5);
        match column(3).map(|name| (name, record::read(name))) {
            Some((_, Some(told))) => {
                holder.pid = told.pid;
                holder.label = told.label.map(str::to_owned);
                if holds {
                    holder.token = told.token;
                    holder.since = told.since;
                }
            }
            name => holder.command = name.map(|(name, _)| name.to_owned()),
        }
        let waits = number(7).and_then(|millis| u64::try_from(millis).ok());
        if !holds {
            holder.since = waits.and_then(|millis| since_1970(Duration::from_millis(millis)));
        }
        let micros = began.and_then(|micros| u64::try_from(micros).ok());
        holder.started = micros.and_then(|micros| since_1970(Duration::from_micros(micros)));
        let pid = number(6).and_then(|pid| i32::try_from(pid).ok());
        Known {
            holds,
            holder,
            session: pid.zip(began).map(|(pid, began)| {
                let name = column(3).unwrap_or_default();
                (pid, began, name.to_owned())
            }),
        }
    }
}
