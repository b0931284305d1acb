//! The tree: under each file who holds it, who inherited that, who waits, and what is odd.
//!
//! Not for: the table's cells, some of whose words it shares (`rows.rs`).

use super::found::{Cycle, File};
use super::rows;
use crate::screen::{Screen, Tint};
use crate::seen::{Holding, Keeping, Process, Waiter};
use crate::shown;
use std::collections::HashMap;
use std::time::SystemTime;

/// A line with what stands below it.
#[derive(Debug)]
struct Node {
    text: String,
    tint: Tint,
    below: Vec<Node>,
    flow: Flow,
}

/// What becomes of a line that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Cut,
    /// It goes on in the next line: its end matters as much as its beginning.
    Wrapped,
}

impl Node {
    fn new(text: String) -> Node {
        Node {
            text,
            tint: Tint::Plain,
            below: Vec::new(),
            flow: Flow::Cut,
        }
    }

    fn note(text: String, tint: Tint) -> Node {
        Node {
            tint,
            flow: Flow::Wrapped,
            ..Node::new(text)
        }
    }
}

/// The lines of one file.
pub(super) fn lines(file: &File, cycles: &[Cycle], screen: &Screen) -> Vec<String> {
    let title = match file.remark() {
        Some(remark) => format!("{} {remark}", file.label()),
        None => file.label(),
    };
    let title = match screen.width {
        Some(width) => shown::cut_path(&title, width),
        None => title,
    };
    let mut lines = vec![screen.paint(&title, Tint::Title)];
    draw(&nodes(file, cycles), "", screen, &mut lines);
    lines
}

fn nodes(file: &File, cycles: &[Cycle]) -> Vec<Node> {
    let now = SystemTime::now();
    let (groups, places) = groups(&file.seen.holdings);
    let mut waiting: Vec<Vec<Node>> = groups.iter().map(|_| Vec::new()).collect();
    let mut strays = Vec::new();
    for waiter in &file.seen.waiters {
        let mut behind: Vec<usize> = waiter
            .behind
            .iter()
            .filter_map(|index| places.get(*index).copied())
            .collect();
        behind.sort_unstable();
        behind.dedup();
        let node = Node::new(waits(waiter, behind.len()));
        match behind.first() {
            Some(group) => waiting[*group].push(node),
            None => strays.push(node),
        }
    }
    let mut groups: Vec<_> = groups.iter().zip(waiting).collect();
    groups.sort_by_key(|(group, _)| group.first.kind != "claim");
    let nodes = groups.into_iter();
    let mut nodes: Vec<Node> = nodes
        .map(|(group, waiting)| holding(group, waiting, now))
        .collect();
    nodes.append(&mut strays);
    let entangled = cycles.iter().filter(|cycle| cycle.entangles(file));
    nodes.extend(entangled.map(|cycle| Node::note(cycle.text.clone(), Tint::Alarm)));
    let odd = file.seen.oddities.iter();
    nodes.extend(odd.map(|odd| Node::note(format!("odd: {}", odd.text), Tint::Warning)));
    let limits = file.seen.limits.iter();
    nodes.extend(limits.map(|limit| Node::note(format!("not seen: {}", limit.text), Tint::Plain)));
    nodes
}

/// Holdings of the same kind by the same processes.
struct Group<'a> {
    first: &'a Holding,
    ranges: usize,
}

/// The groups, and of each holding its group.
fn groups(holdings: &[Holding]) -> (Vec<Group<'_>>, Vec<usize>) {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut known = HashMap::new();
    let mut places = Vec::new();
    for holding in holdings {
        let who: Vec<_> = holding
            .keepers
            .iter()
            .map(|keeper| {
                (
                    keeper.process.pid,
                    keeper.process.host.as_deref(),
                    keeper.how,
                )
            })
            .collect();
        let key = (
            holding.by(),
            holding.mode,
            holding.state,
            &holding.beside,
            who,
        );
        let place = *known.entry(key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.ranges += 1,
            None => groups.push(Group {
                first: holding,
                ranges: 1,
            }),
        }
        places.push(place);
    }
    (groups, places)
}

fn holding(group: &Group<'_>, waiting: Vec<Node>, now: SystemTime) -> Node {
    let holding = group.first;
    let mut words = format!("{} {}", holding.by(), rows::mode(holding, group.ranges));
    if let Some(path) = &holding.beside {
        words += &format!(" at {}", shown::path(path));
    }
    if holding.state != "held" {
        words += &format!(", {}", holding.state);
        if let Some(text) = &holding.text {
            words += &format!(" ({text})");
        }
    }
    // Who took it, else the first who has it.
    let inherited = |keeper: &&Keeping| keeper.how == "inherited";
    let first = holding
        .keepers
        .iter()
        .position(|keeper| !inherited(&keeper));
    let main = holding.keepers.get(first.unwrap_or(0));
    words += ": ";
    words += &match (main, holding.taker) {
        (Some(keeper), _) if inherited(&keeper) => format!("inherited by {}", who(&keeper.process)),
        (Some(keeper), _) => who(&keeper.process),
        (None, Some(taker)) => format!("nobody who can be seen, taken by pid {taker}"),
        (None, None) => "nobody who can be seen".to_owned(),
    };
    if let Some(keeper) = main {
        let since = rows::since(holding, Some(&keeper.process), now);
        words += &match since.strip_prefix('<') {
            Some(most) => format!(", running for {most}"),
            None if since == "-" => String::new(),
            None => format!(", for {since}"),
        };
    }
    let tint = match holding.state {
        "held" | "unknown" => Tint::Plain,
        _ => Tint::Warning,
    };
    let others = holding.keepers.iter().enumerate();
    let others = others.filter(|(place, _)| *place != first.unwrap_or(0));
    let others = others.map(|(_, keeper)| {
        let how = if inherited(&keeper) {
            "inherited by"
        } else {
            "and"
        };
        Node::new(format!("{how} {}", who(&keeper.process)))
    });
    Node {
        tint,
        below: others.chain(waiting).collect(),
        ..Node::new(words)
    }
}

fn waits(waiter: &Waiter, behind: usize) -> String {
    let place = match (waiter.waits, waiter.before) {
        ("queued", Some(0)) => "next".to_owned(),
        ("queued", Some(before)) => ordinal(before + 1),
        ("watches", _) => "watches".to_owned(),
        _ => "waits".to_owned(),
    };
    let mut words = format!("{place}: {}", who(&waiter.process));
    if waiter.mode == "shared" {
        words += ", shared";
    }
    if (waiter.start, waiter.end) != (0, None) {
        words += &format!(", bytes {}", rows::bytes(waiter.start, waiter.end));
    }
    if behind > 1 {
        words += &format!(", behind {behind} of these");
    }
    words
}

/// `2nd`, `11th`.
fn ordinal(number: usize) -> String {
    let end = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{end}")
}

/// `pid 812 (make -j4), user ada, stopped`
fn who(process: &Process) -> String {
    let mut words = match (process.pid, &process.host) {
        (Some(pid), _) => format!("pid {pid}"),
        (None, Some(_)) => "a process".to_owned(),
        (None, None) => "an unknown process".to_owned(),
    };
    if let Some(command) = &process.command {
        words += &format!(" ({})", shown::whole(command));
    }
    if let Some(label) = &process.label {
        words += &format!(", {}", shown::whole(label));
    }
    let facts = [
        ("user", &process.user),
        ("host", &process.host),
        ("in", &process.container),
    ];
    for (word, fact) in facts {
        if let Some(fact) = fact {
            words += &format!(", {word} {}", shown::whole(fact));
        }
    }
    match process.pace {
        "stopped" => words += ", stopped",
        "ended" => words += ", ended and not reaped",
        _ => {}
    }
    words
}

fn draw(nodes: &[Node], before: &str, screen: &Screen, lines: &mut Vec<String>) {
    for (place, node) in nodes.iter().enumerate() {
        let (branch, below) = match place + 1 == nodes.len() {
            true => ("└─ ", "   "),
            false => ("├─ ", "│  "),
        };
        let room = screen
            .width
            .map(|width| width.saturating_sub(shown::width(before) + 3));
        let pieces = match (room, node.flow) {
            (None, _) => vec![node.text.clone()],
            (Some(room), Flow::Cut) => vec![shown::cut_end(&node.text, room)],
            (Some(room), Flow::Wrapped) => shown::wrapped(&node.text, room),
        };
        for (number, piece) in pieces.iter().enumerate() {
            let branch = if number == 0 { branch } else { below };
            let line = format!("{before}{branch}{}", screen.paint(piece, node.tint));
            lines.push(line);
        }
        draw(&node.below, &format!("{before}{below}"), screen, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Colours;
    use crate::seen::{Odd, Seen};

    fn process(pid: u32) -> Process {
        Process {
            pid: Some(pid),
            command: Some("job\n".into()),
            ..Process::default()
        }
    }

    fn file() -> File {
        let keeper = |pid, how| Keeping {
            process: process(pid),
            how,
            ..Keeping::default()
        };
        let waiter = |pid, before| Waiter {
            process: process(pid),
            kind: "flock",
            mode: "exclusive",
            waits: "queued",
            before: Some(before),
            behind: vec![0],
            ..Waiter::default()
        };
        let held = Holding {
            kind: "flock",
            mode: "exclusive",
            state: "held",
            keepers: vec![keeper(2, "inherited"), keeper(1, "took")],
            ..Holding::default()
        };
        File {
            seen: Seen {
                path: Some("/run/a".into()),
                name: "deleted",
                holdings: vec![held],
                waiters: vec![waiter(3, 0), waiter(4, 1)],
                oddities: vec![Odd {
                    text: "the file was deleted while it is held".into(),
                    ..Odd::default()
                }],
                ..Seen::default()
            },
            ..File::default()
        }
    }

    fn drawn(width: Option<usize>) -> Vec<String> {
        let screen = Screen {
            width,
            colours: Colours::Plain,
        };
        lines(&file(), &[], &screen)
    }

    #[test]
    fn holders_have_their_heirs_and_waiters_below_them() {
        assert_eq!(
            drawn(None),
            [
                "/run/a (deleted)",
                r"├─ flock exclusive: pid 1 (job\n)",
                r"│  ├─ inherited by pid 2 (job\n)",
                r"│  ├─ next: pid 3 (job\n)",
                r"│  └─ 2nd: pid 4 (job\n)",
                "└─ odd: the file was deleted while it is held",
            ]
        );
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_and_what_is_odd_is_said_whole() {
        for width in 20..60 {
            let lines = drawn(Some(width));
            for line in &lines {
                assert!(shown::width(line) <= width, "{width}: {line}");
            }
            let said = lines.join(" ").replace(['└', '─'], "");
            let words: Vec<&str> = said.split_whitespace().collect();
            assert!(
                words
                    .join(" ")
                    .ends_with("odd: the file was deleted while it is held")
            );
        }
    }

    #[test]
    fn places_in_a_queue_are_counted_as_people_do() {
        let words = [2, 3, 4, 11, 12, 13, 21, 22, 111].map(ordinal);
        assert_eq!(
            words.join(" "),
            "2nd 3rd 4th 11th 12th 13th 21st 22nd 111th"
        );
    }
}
