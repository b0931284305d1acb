//! `sneck run --max-hold` on a terminal: keys, stops, and who may read from it. Each test has a terminal of its own.
//!
//! What is to be stopped forks nothing meanwhile: a shell that waits for a child that has not begun yet cannot be stopped, with sneck or without.
#![allow(clippy::disallowed_methods)]

mod stage;

use stage::terminal::{CTRL_C, CTRL_Z, Terminal};
use stage::{Place, until};
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// A script that leads the session, as on a terminal without job control: sneck is in its group.
fn plain(place: &Place, script: &str) -> Terminal {
    Terminal::start(place, &["sh", "-c", script])
}

/// One with job control: sneck gets a group of its own, as from people's shells.
fn with_jobs(place: &Place, script: &str) -> Terminal {
    Terminal::start(place, &["bash", "-c", &format!("set -m; {script}")])
}

/// `sneck run` with a limit that is not reached. Words are cut so that what is echoed is not what is waited for.
fn run(script: &str) -> String {
    format!("sneck run --max-hold 1h l -- sh -c '{script}'")
}

/// The state letter of a process.
fn state(pid: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn the_command_reads_from_the_terminal_and_the_script_after_it_does_too() {
    for start in [plain, with_jobs] {
        let place = Place::new();
        let reads = run("echo rea\"\"dy; read line; echo go\"\"t $line");
        let script = format!("{reads}; echo sta''tus $?; read line; echo aft''er $line");
        let mut terminal = start(&place, &script);
        terminal.shows("ready");
        terminal.types("one\n");
        terminal.shows("got one");
        terminal.shows("status 0");
        terminal.types("two\n");
        terminal.shows("after two");
        assert_eq!(terminal.code(), Some(0));
    }
}

#[test]
fn the_command_has_the_terminal_from_its_first_step_and_again_after_a_stop() {
    let place = Place::new();
    let look = "look() { set -- $(cat /proc/$$/stat); [ $5 = $8 ] && echo fo\"\"re-$n; }";
    let looks = run(&format!(
        "{look}; n=1; look; n=2; trap \"look; exit 6\" CONT; sleep 100 & echo rea\"\"dy; wait"
    ));
    let script = format!("{looks}; echo stop''ped $?; fg; echo sta''tus $?");
    let mut terminal = with_jobs(&place, &script);
    terminal.shows("fore-1");
    terminal.shows("ready");
    terminal.types(CTRL_Z);
    terminal.shows("stopped 148");
    terminal.shows("status 6");
    let screen = terminal.screen();
    assert!(screen.contains("fore-2"), "{screen}");
}

#[test]
fn ctrl_c_reaches_the_command_once_and_sneck_survives() {
    for start in [plain, with_jobs] {
        let place = Place::new();
        let counts = "trap \"echo int >> log\" INT; echo rea\"\"dy; while [ -d $PWD ] && [ ! -s log ]; do sleep 0.02; done; sleep 0.2; exit 4";
        let script = format!("trap : INT; {}; echo sta''tus $?", run(counts));
        let mut terminal = start(&place, &script);
        terminal.shows("ready");
        terminal.types(CTRL_C);
        terminal.shows("status 4");
        assert_eq!(place.text("log"), "int\n");
    }
}

#[test]
fn ctrl_c_that_ends_the_command_ends_the_script_around_sneck_too() {
    let place = Place::new();
    let script = format!(
        "trap 'echo script >> log; exit 9' INT; {}; echo after >> log",
        run("echo rea\"\"dy; exec sleep 100")
    );
    let mut terminal = plain(&place, &script);
    terminal.shows("ready");
    terminal.types(CTRL_C);
    assert_eq!(terminal.code(), Some(9));
    assert_eq!(place.text("log"), "script\n");
}

#[test]
fn an_interrupt_that_no_key_sent_is_the_commands_alone() {
    let place = Place::new();
    let script = format!(
        "trap 'echo script >> log' INT; {} < /dev/null; echo after $? >> log",
        run("kill -INT $$; sleep 100")
    );
    assert_eq!(plain(&place, &script).code(), Some(0));
    assert_eq!(place.text("log"), "after 130\n");
}

#[test]
fn ctrl_z_gives_the_shell_its_prompt_back_and_fg_goes_on() {
    let place = Place::new();
    let reads = run("echo rea\"\"dy; read line; echo go\"\"t $line; exit 6");
    let script = format!("{reads}; echo stop''ped $?; fg; echo sta''tus $?");
    let mut terminal = with_jobs(&place, &script);
    terminal.shows("ready");
    terminal.types(CTRL_Z);
    // 128 + SIGTSTP: what bash says of a job that stopped.
    terminal.shows("stopped 148");
    terminal.types("on\n");
    terminal.shows("got on");
    terminal.shows("status 6");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn ctrl_z_stops_the_script_around_sneck_too() {
    let place = Place::new();
    let reads = run("echo rea\"\"dy; read line; echo go\"\"t $line; exit 6");
    // One job: the script, and sneck in its group.
    let job = format!("{reads}; exit $(($? + 1))");
    fs::write(place.path().join("job"), job).expect("written");
    let script = "sh ./job; echo stop''ped $?; fg; echo sta''tus $?";
    let mut terminal = with_jobs(&place, script);
    terminal.shows("ready");
    terminal.types(CTRL_Z);
    terminal.shows("stopped 148");
    terminal.types("on\n");
    terminal.shows("got on");
    terminal.shows("status 7");
}

#[test]
fn a_command_that_is_stopped_and_continued_in_the_background_stops_when_it_wants_to_read() {
    let place = Place::new();
    let reads = run("echo rea\"\"dy; read line; echo go\"\"t $line; exit 6");
    let script = format!(
        "{reads}; bg; while ! jobs -s | grep -q .; do sleep 0.05; done; echo stop''ped; fg; echo sta''tus $?"
    );
    let mut terminal = with_jobs(&place, &script);
    terminal.shows("ready");
    terminal.types(CTRL_Z);
    terminal.shows("stopped");
    terminal.types("on\n");
    terminal.shows("got on");
    terminal.shows("status 6");
}

#[test]
fn a_job_that_runs_in_the_background_can_be_brought_to_read() {
    let place = Place::new();
    let reads = run(
        "echo > in; while [ -d $PWD ] && [ ! -e go ]; do sleep 0.02; done; \
                     read line; echo go\"\"t $line; exit 6",
    );
    // Brought to the foreground while it runs: no signal tells it.
    let script = format!(
        "{reads} & while [ ! -e in ]; do sleep 0.02; done; echo rea''dy; fg; echo sta''tus $?"
    );
    let mut terminal = with_jobs(&place, &script);
    terminal.shows("ready");
    sleep(Duration::from_millis(200));
    fs::write(place.path().join("go"), "").expect("written");
    terminal.types("on\n");
    terminal.shows("got on");
    terminal.shows("status 6");
}

#[test]
fn in_a_pipeline_the_others_keep_the_terminal_and_the_keys() {
    let place = Place::new();
    // As a pager: it reads what comes, and keys from the terminal.
    let pager = "sh -c 'trap \"echo pager >> log; exit\" INT; read line; echo ha\"\"s $line; \
                 read key < /dev/tty; echo key-$key; read key < /dev/tty'";
    let writes = run(
        "trap \"echo command >> log; exit\" INT; echo text; echo > in; \
                      while [ -d $PWD ]; do sleep 0.02; done",
    );
    let mut terminal = with_jobs(&place, &format!("{writes} | {pager}"));
    terminal.shows("has text");
    terminal.types("q\n");
    terminal.shows("key-q");
    until("the command is in", || place.has("in"));
    // Ctrl-C reaches all of them.
    terminal.types(CTRL_C);
    until("both were told", || {
        let log = place.text("log");
        log.contains("pager\n") && log.contains("command\n")
    });
    terminal.code();
}

#[test]
fn a_command_in_a_pipeline_gets_the_terminal_when_it_asks() {
    let place = Place::new();
    let reads = run("read line; echo go\"\"t $line");
    let mut terminal = with_jobs(&place, &format!("{reads} | cat; echo sta''tus $?"));
    terminal.types("one\n");
    terminal.shows("got one");
    terminal.shows("status 0");
}

#[test]
fn a_stop_that_nobody_could_undo_stops_nothing() {
    let place = Place::new();
    // It leads the session: its group is an orphan.
    let script = format!(
        "exec {}",
        run("sleep 0.5 & echo rea\"\"dy; wait; echo do\"\"ne; exit 5")
    );
    let mut terminal = plain(&place, &script);
    terminal.shows("ready");
    terminal.types(CTRL_Z);
    terminal.shows("done");
    assert_eq!(terminal.code(), Some(5));
}

#[test]
fn a_command_that_stops_itself_for_good_does_not_lock_the_keyboard() {
    let place = Place::new();
    let script = format!(
        "{}; echo stop''ped $?; fg; echo sta''tus $?",
        run("echo rea\"\"dy; kill -STOP 0; exit 6")
    );
    let terminal = with_jobs(&place, &script);
    terminal.shows("stopped 148");
    terminal.shows("status 6");
}

#[test]
fn the_terminal_is_set_back_after_a_command_that_was_killed() {
    let place = Place::new();
    let script = "sneck run --max-hold 1.5 --kill-after 0 l -- sh -c 'stty -echo; echo rea\"\"dy; touch in; exec sleep 100'; \
                  echo sta''tus $?; read line";
    let mut terminal = plain(&place, script);
    terminal.shows("ready");
    until("it is set", || place.has("in"));
    terminal.shows("status 124");
    assert!(terminal.echoes());
    terminal.types("x\n");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn what_a_command_sets_that_ends_by_itself_stays() {
    let place = Place::new();
    let script = format!("{}; echo sta''tus $?; read line", run("stty -echo"));
    let mut terminal = plain(&place, &script);
    terminal.shows("status 0");
    assert!(!terminal.echoes());
    terminal.types("x\n");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn a_limit_that_passed_while_sneck_was_stopped_holds_once_it_is_continued() {
    let place = Place::new();
    let script = "sneck run --max-hold 1.5 l -- sh -c 'echo $$ > in; echo rea\"\"dy; exec sleep 100'; \
                  echo stop''ped $?; sleep 1.7; fg; echo sta''tus $?";
    let mut terminal = with_jobs(&place, script);
    terminal.shows("ready");
    terminal.types(CTRL_Z);
    terminal.shows("stopped 148");
    terminal.shows("status 124");
    let command = place.text("in");
    assert!(matches!(state(command.trim()), None | Some('Z')));
}

#[test]
fn the_end_is_told_on_a_terminal_that_stops_those_who_write_in_the_background() {
    let place = Place::new();
    let script = "stty tostop; sneck run --max-hold 1.5 --kill-after 0.2 l -- sh -c 'trap \"\" TERM; echo rea\"\"dy; while [ -d $PWD ]; do sleep 0.02; done'; \
                  echo sta''tus $?";
    let terminal = with_jobs(&place, script);
    terminal.shows("TERM to pid");
    terminal.shows("KILL to process group");
    terminal.shows("status 124");
}
