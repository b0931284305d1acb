//! `sneck protocols`: what each protocol of this build can promise, as it says itself.
//!
//! All of it comes from the registry and from [`Capabilities`]: a protocol that is added appears by itself, and none can be listed wrongly. Not for: what
//! the protocols write down and what their downsides are (PROTOCOLS.md), nor what one particular place can do.

use crate::exit::Exit;
use crate::plan::Form;
use comfy_table::{Table, presets};
use serde::Serialize;
use sneck::protocol::{
    Capabilities, Consistency, Crash, Leasing, LiveMark, Modes, Order, Protocol, Reach, Removable,
    Restart, Tokens,
};
use sneck::{Error, Place, Registry, text};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

/// Capabilities belong to a protocol at a place, so each is made at a sample: a path, or for servers an address. Making it reads the place and does no more:
/// nothing is opened and nobody is connected to. The user is named so that nobody has to look up who we are.
const SAMPLES: [&str; 2] = ["/sneck", "//sneck@localhost/sneck"];

const HEADER: [&str; 9] = [
    "PROTOCOL", "KIND", "SHARED", "FAIR", "REACH", "CRASH", "REMOVE", "MARK", "TOKENS",
];

/// What only servers differ in. It would make the table too wide.
const OF_SERVERS: [&str; 4] = ["SERVER", "LEASE", "RESTART", "CONSISTENCY"];

/// Print them all.
pub(crate) fn protocols(form: Form, registry: &Registry) -> Exit {
    let rows = rows(registry);
    let printed = match form {
        Form::People => people(&rows),
        Form::Json => json(&rows),
    };
    // A reader that went away (`| head`) wants no more; anything else is an error.
    if printed.is_err_and(|e| e.kind() != io::ErrorKind::BrokenPipe) {
        return Exit::Io;
    }
    Exit::Ok
}

/// One protocol.
struct Row {
    name: String,
    /// Its other names.
    also: Vec<String>,
    /// Two names of one protocol have the same. None: it could not be asked.
    identity: Option<String>,
    can: Result<Capabilities, Error>,
}

fn rows(registry: &Registry) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for scheme in registry.schemes() {
        let name = scheme.to_owned();
        let (identity, can) = match sample(registry, scheme) {
            Ok(protocol) => (Some(protocol.identity()), Ok(protocol.capabilities())),
            Err(error) => (None, Err(error)),
        };
        let known = |row: &&mut Row| identity.is_some() && row.identity == identity;
        match rows.iter_mut().find(known) {
            Some(row) => row.also.push(name),
            None => rows.push(Row {
                name,
                also: Vec::new(),
                identity,
                can,
            }),
        }
    }
    rows
}

/// The protocol at the first sample that it can read; the last one's error if there is none.
fn sample(registry: &Registry, scheme: &str) -> Result<Arc<dyn Protocol>, Error> {
    let [path, address] = SAMPLES.map(|rest| Place::file(scheme, rest));
    registry
        .protocol(&path)
        .or_else(|_| registry.protocol(&address))
}

fn people(rows: &[Row]) -> io::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(HEADER);
    // What would make the table too wide for a terminal stands below it.
    let mut notes = Vec::new();
    for row in rows {
        let name = row.name.as_str();
        table.add_row(match &row.can {
            Ok(can) => cells(name, can),
            Err(_) => vec![name, "?"],
        });
        notes.extend(
            row.also
                .iter()
                .map(|other| format!("{other}: the same as {name}")),
        );
        notes.extend(
            row.can
                .as_ref()
                .err()
                .map(|error| format!("{name}: {error}")),
        );
    }
    let mut servers = Table::new();
    servers.load_preset(presets::NOTHING).set_header(OF_SERVERS);
    for row in rows {
        if let Some(can) = row
            .can
            .as_ref()
            .ok()
            .filter(|can| can.reach == Reach::Network)
        {
            let lease = lease(can).map_or("no".to_owned(), |(shortest, _)| text::span(shortest));
            let name = row.name.clone();
            servers.add_row(vec![
                name,
                lease,
                restart(can).into(),
                consistency(can).into(),
            ]);
        }
    }
    let mut out = io::stdout().lock();
    let tables = [table, servers]
        .into_iter()
        .filter(|table| !table.is_empty());
    let tables: Vec<String> = tables.map(set).collect();
    writeln!(out, "{}", tables.join("\n\n"))?;
    if !notes.is_empty() {
        writeln!(out, "\n{}", notes.join("\n"))?;
    }
    Ok(())
}

fn set(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

fn cells<'a>(name: &'a str, can: &Capabilities) -> Vec<&'a str> {
    let yes_or_no = |yes: bool| if yes { "yes" } else { "no" };
    vec![
        name,
        kind(can),
        yes_or_no(is_shared(can)),
        match can.order {
            Order::None => "no",
            Order::ExclusiveFifo => "exclusive",
            Order::Fifo => "yes",
        },
        reach(can),
        crash(can),
        yes_or_no(is_removable(can)),
        yes_or_no(has_mark(can)),
        match can.tokens {
            Tokens::None => "no",
            Tokens::BestEffort => "best-effort",
            Tokens::Durable => "durable",
        },
    ]
}

fn json(rows: &[Row]) -> io::Result<()> {
    let objects: Vec<Object<'_>> = rows.iter().map(Object::of).collect();
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &objects)?;
    writeln!(out)
}

/// One protocol as `--json` shows it. The help of `protocols` documents the fields; programs rely on them.
#[derive(Serialize)]
struct Object<'a> {
    name: &'a str,
    also: &'a [String],
    kind: Option<&'static str>,
    shared: Option<bool>,
    order: Option<&'static str>,
    reach: Option<&'static str>,
    crash: Option<&'static str>,
    removable: Option<bool>,
    mark: Option<bool>,
    tokens: Option<&'static str>,
    /// Seconds.
    lease: Option<f64>,
    lease_step: Option<f64>,
    restart: Option<&'static str>,
    consistency: Option<&'static str>,
    error: Option<String>,
}

impl Object<'_> {
    fn of(row: &Row) -> Object<'_> {
        let can = row.can.as_ref().ok();
        Object {
            name: &row.name,
            also: &row.also,
            kind: can.map(kind),
            shared: can.map(is_shared),
            order: can.map(|can| match can.order {
                Order::None => "none",
                Order::ExclusiveFifo => "exclusive-fifo",
                Order::Fifo => "fifo",
            }),
            reach: can.map(reach),
            crash: can.map(crash),
            removable: can.map(is_removable),
            mark: can.map(has_mark),
            tokens: can.map(|can| match can.tokens {
                Tokens::None => "none",
                Tokens::BestEffort => "best-effort",
                Tokens::Durable => "durable",
            }),
            lease: can
                .and_then(lease)
                .map(|(shortest, _)| shortest.as_secs_f64()),
            lease_step: can.and_then(lease).map(|(_, step)| step.as_secs_f64()),
            restart: can.map(restart),
            consistency: can.map(consistency),
            error: row.can.as_ref().err().map(ToString::to_string),
        }
    }
}

/// What it is, in one word. On one machine, what a crash leaves tells a kernel's lock from a claim that is written down.
fn kind(can: &Capabilities) -> &'static str {
    match (can.reach, can.crash) {
        (Reach::Process, _) => "memory",
        (Reach::Network, _) => "server",
        (Reach::Machine, Crash::Free) => "kernel",
        (Reach::Machine, Crash::Stale) => "claim",
    }
}

fn reach(can: &Capabilities) -> &'static str {
    match can.reach {
        Reach::Process => "process",
        Reach::Machine => "machine",
        Reach::Network => "network",
    }
}

fn crash(can: &Capabilities) -> &'static str {
    match can.crash {
        Crash::Free => "free",
        Crash::Stale => "stale",
    }
}

/// The shortest, and in which steps; None: there is none.
fn lease(can: &Capabilities) -> Option<(Duration, Duration)> {
    match can.lease {
        Leasing::None => None,
        Leasing::Leased { shortest, step } => Some((shortest, step)),
    }
}

fn restart(can: &Capabilities) -> &'static str {
    match can.restart {
        Restart::NoServer => "none",
        Restart::Survives => "survives",
        Restart::Freed => "freed",
    }
}

fn consistency(can: &Capabilities) -> &'static str {
    match can.consistency {
        Consistency::Linearizable => "linearizable",
        Consistency::UntilFailover => "until-failover",
    }
}

fn is_shared(can: &Capabilities) -> bool {
    can.modes == Modes::SharedToo
}

fn is_removable(can: &Capabilities) -> bool {
    can.removal == Removable::Yes
}

fn has_mark(can: &Capabilities) -> bool {
    can.mark == LiveMark::Yes
}
