//! On a terminal, with a shell that has job control: keys, stops, and who may read. What is the same with `--max-hold` is tested there (`hold_terminal.rs`).

use crate::stage::Place;
use crate::stage::terminal::{CTRL_C, CTRL_Z, Terminal};
use sneck_testkit::redis::RedisServer;

/// A shell as people have it, with a prompt.
fn shell(place: &Place) -> Terminal {
    let mut terminal = Terminal::start(place, &["bash", "--norc", "--noprofile", "-i"]);
    terminal.types("PS1='ready> '\n");
    terminal.shows("\nready> ");
    terminal
}

fn run(name: &str, terms: &str, script: &str) -> String {
    let lock = RedisServer::shared().place(name);
    format!("sneck run {terms} {lock} -- sh -c '{script}'\n")
}

#[test]
fn the_command_reads_what_is_typed_and_the_shell_gets_the_terminal_back() {
    let place = Place::new();
    let mut terminal = shell(&place);
    terminal.types(&run(
        "reads",
        "",
        "echo go\"\"ing; read line; echo go\"\"t $line",
    ));
    terminal.shows("going");
    terminal.types("words\n");
    terminal.shows("got words");
    terminal.types("echo sta''tus $?\n");
    terminal.shows("status 0");
    terminal.types("exit 3\n");
    assert_eq!(terminal.code(), Some(3));
}

#[test]
fn ctrl_c_ends_the_command_and_not_the_shell() {
    let place = Place::new();
    let mut terminal = shell(&place);
    terminal.types(&run("interrupt", "", "echo go\"\"ing; exec sleep 1000"));
    terminal.shows("going");
    terminal.types(CTRL_C);
    terminal.types("echo sta''tus $?\n");
    terminal.shows("status 130");
    terminal.types("exit 3\n");
    assert_eq!(terminal.code(), Some(3));
}

#[test]
fn ctrl_z_stops_it_and_bg_and_fg_let_it_go_on_under_its_lock() {
    let place = Place::new();
    let mut terminal = shell(&place);
    terminal.types(&run(
        "stops",
        "--ttl 30s",
        "echo go\"\"ing; read line; echo go\"\"t $line; exit 6",
    ));
    terminal.shows("going");
    terminal.types(CTRL_Z);
    terminal.shows("nobody renews the lock meanwhile");
    terminal.shows("Stopped");
    terminal.types("bg\n");
    terminal.types("sleep 0.3; jobs; echo dem''anded\n");
    // It wants to read, and may not in the background.
    terminal.shows("demanded");
    terminal.types("fg\n");
    terminal.types("on\n");
    terminal.shows("got on");
    terminal.types("echo sta''tus $?\n");
    terminal.shows("status 6");
    terminal.types("exit 3\n");
    assert_eq!(terminal.code(), Some(3));
}

#[test]
fn one_that_stays_stopped_for_longer_than_its_lease_has_lost_it() {
    let place = Place::new();
    let mut terminal = shell(&place);
    terminal.types(&run(
        "stays-stopped",
        "--ttl 1s --lock-delay 1s",
        "echo go\"\"ing; read line",
    ));
    terminal.shows("going");
    terminal.types(CTRL_Z);
    terminal.shows("Stopped");
    terminal.shows("the keeper of pid");
    terminal.types("fg\n");
    terminal.shows("was lost at");
    terminal.types("echo sta''tus $?\n");
    terminal.shows("status 76");
    terminal.types("exit 3\n");
    assert_eq!(terminal.code(), Some(3));
}
