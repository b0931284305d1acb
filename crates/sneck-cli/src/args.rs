//! What can be typed. Not for: what it means (that is `plan.rs`).

use crate::duration::{self, NotADuration};
use crate::exit;
use crate::sys::{CLOSE, HOLDING, KILL_AFTER, LEASE, LIMIT, MAX_HOLD, PLACES};
use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};
use sneck::Requirement;
use std::ffi::OsString;
use std::time::Duration;

/// One lock for every lock file: run a command under a lock, see who holds one, break what is stale.
#[derive(Debug, Parser)]
#[command(name = "sneck", version, after_help = PLACES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a command while holding a lock
    #[command(after_help = run_help(), override_usage = "sneck run [OPTIONS] LOCK COMMAND...\n       sneck run [OPTIONS] LOCK... -- COMMAND...")]
    Run(RunArgs),
    /// Make a claim in a process's name and leave it there, for scripts
    #[command(after_help = acquire_help())]
    Acquire(AcquireArgs),
    /// Remove the claim that `acquire` made
    #[command(after_help = release_help())]
    Release(ReleaseArgs),
    /// Remove stale claims, or any by force
    #[command(after_help = break_help())]
    Break(BreakArgs),
    /// Wait until locks are free, without taking them
    #[command(after_help = wait_help())]
    Wait(WaitForArgs),
    /// Say who holds a lock, without touching it
    #[command(after_help = status_help())]
    Status(StatusArgs),
    /// Say what each protocol can and cannot promise
    #[command(after_help = PROTOCOLS)]
    Protocols(ProtocolsArgs),
    /// Print what makes a shell complete the arguments of sneck
    #[command(after_help = COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Print the manual page of sneck or of a verb
    #[command(after_help = MAN)]
    Man(ManArgs),
}

fn run_help() -> String {
    format!(
        "Examples:\n  \
         sneck run backup.lock -- tar cf /backup/home.tar /home\n  \
         sneck run -w 30 deploy.lock -- ./deploy         # give up after 30 seconds\n  \
         sneck run -n cron.lock -- ./job                 # or not at all, if it is held\n  \
         sneck run from.lock to.lock -- ./move           # all of them or none\n  \
         sneck run --max-hold 1h sync.lock -- ./sync     # ended after an hour\n  \
         sneck run --ttl 30s --require durable-fencing etcd://db1,db2,db3/deploy -- ./deploy\n\n\
         {HOLDING}\n\n\
         What stands before `--` are LOCKs, and are taken as one: while one is held by somebody else, none is held, so that no order in which they are named makes two wait \
         for each other. Without `--` the first word is the LOCK.\n\n\
         {LIMIT}\n\n{LEASE}\n\n{VARIABLES}\n\n{PLACES}\n\n{}",
        exit::TABLE
    )
}

const VARIABLES: &str = "\
COMMAND finds in its environment:
  SNECK_LOCK     LOCK, without a password
  SNECK_TOKEN    the fencing token in decimal, where there is one (servers): what COMMAND changes
                 elsewhere can refuse a smaller one than it has seen
  SNECK_LOCK_1, SNECK_TOKEN_1 ...
                 of several LOCKs, those of each, in the order of the command line; SNECK_TOKEN is
                 set then if exactly one of them has a token";

fn acquire_help() -> String {
    format!(
        "Examples:\n  \
         sneck acquire --pid $$ pidfile:/run/job.lock || exit   # in a script: it holds until it releases or ends\n  \
         trap 'sneck release --pid $$ pidfile:/run/job.lock' EXIT\n  \
         sneck acquire -w 10s --pid $$ shlock:/var/lock/LCK..ttyS0 && exec minicom\n\n\
         The claim says that PID holds the lock. It lasts until `sneck release` removes it or PID ends; then it is stale, and whoever acquires it next removes it. \
         Only protocols that write the holder down can do it: pidfile, shlock, dotlock, labm8, mkdir, symlink. \
         Nobody renews it: mkdir and dotlock may be taken for abandoned by other programs after a while (proper-lockfile: 10 s). \
         Where it can be used, `sneck run` is safer: its lock cannot outlive its command.\n\n{PLACES}\n\n{}",
        exit::TABLE
    )
}

fn release_help() -> String {
    format!(
        "Examples:\n  sneck release --pid $$ pidfile:/run/job.lock\n\n\
         Removes the claim only if it is PID's and no running program keeps it locked.\n\n{PLACES}\n\n{}",
        exit::TABLE
    )
}

fn break_help() -> String {
    format!(
        "Examples:\n  \
         sneck break pidfile:/run/job.lock              # if its holder is proved gone\n  \
         sneck break --stale likely symlink:twistd.lock # also if its pid is a younger process's\n  \
         sneck break --force mkdir:build.lock           # WHOEVER HOLDS IT\n\n\
         Says in one line for each lock what was done: on stdout what is free now, on stderr what was left and why. Takes no lock. \
         flock and fcntl leave no claims: to free such a lock, end its holder. At a server a claim ends by itself when its holder falls silent; by force it is ended now, and its holder is told.\n\n{PLACES}\n\n{}",
        exit::TABLE
    )
}

fn wait_help() -> String {
    format!(
        "Examples:\n  \
         sneck wait deploy.lock && notify-send 'the deployment is over'\n  \
         sneck wait -w 5m apt.lock pidfile:/run/job.pid || echo 'still busy'\n  \
         sneck wait -n fcntl:/var/lib/dpkg/lock-frontend   # just look\n\n\
         Ends as soon as one look found all of them free. Takes no lock and makes no file: nobody is refused because of it. So by the time it ends somebody else \
         may hold one of them again: to do something under a lock use `sneck run`. With -s, shared holders are in nobody's way. A claim whose holder is proved gone \
         counts as free: whoever acquires it next removes it.\n\n{PLACES}\n\n{}",
        exit::TABLE
    )
}

fn status_help() -> String {
    format!(
        "Examples:\n  sneck status deploy.lock\n  sneck status --json *.lock | jq .\n\n{JSON}\n\n{PLACES}\n\n{}",
        exit::TABLE
    )
}

/// New fields may come; none of these changes its meaning.
const JSON: &str = "\
JSON: a list with one object for each LOCK:
  lock      the place
  protocol  the protocol that it was looked at by
  state     free, held, stale, damaged, foreign, unknown or error
  verdict   what is known of a claim's holder: alive, marked (alive: it keeps the claim locked), gone,
            younger (its pid is a younger process's), unknown; null where nobody judges
  text      all of this in words
  advice    what to do next, or null
  holders   a list of objects: pid, host, user, command, label, token (the
            fencing token), mode (exclusive, shared), since, started, source (who says so),
            protocol (whose claim it is, if another one's); null: not known
  waiters   the same, of those who wait, first the one who is next, where a server shows them
  unseen    the same, of those who hold the file by the other family of kernel locks (fcntl where the
            place is a flock, and the other way round): neither sees the other. state is not about them";

/// The columns are those of the table, and the fields the same things for programs.
const PROTOCOLS: &str = "\
Examples:
  sneck protocols
  sneck protocols --json | jq -r '.[] | select(.shared) | .name'

The table:
  KIND    kernel (a lock of the kernel on a file), claim (an entry in a folder
          that names its holder), memory (threads of one process), server
  SHARED  whether there are shared locks, too (-s)
  FAIR    whether waiting processes get it in the order of their coming: yes,
          no, or exclusive (only exclusive claims; readers that overlap can keep
          a writer out)
  REACH   who is excluded: the threads of a process, the processes of a machine,
          or whoever on the network uses the same server
  CRASH   what a holder that crashed leaves: a free lock, or a stale claim that
          the next one removes
  REMOVE  whether a claim can be removed from outside (sneck break)
  MARK    whether a claim of sneck's shows by more than a number that its maker
          lives
  TOKENS  fencing tokens: no, best effort (they grow unless the server loses
          data), or durable

Of servers:
  LEASE        how short the time can be (--ttl and --lock-delay together) after
               which a holder that falls silent has lost it; no: it is held until
               the connection ends
  RESTART      what a restart of the server leaves: the lock survives, or is freed
  CONSISTENCY  linearizable (what one sees, all see), or until-failover (a new
               server may know less than the one that failed)

JSON: a list with one object for each protocol:
  name       what stands before the colon of a place
  also       a list of other names of the same protocol
  kind       kernel, claim, memory or server
  shared     true or false
  order      fifo, exclusive-fifo or none
  reach      process, machine or network
  crash      free or stale
  removable  true or false
  mark       true or false
  tokens     none, best-effort or durable
  lease      the shortest lease in seconds; null: there is none
  lease_step what it is rounded up to, in seconds; null likewise
  restart    none (no server), survives or freed
  consistency
             linearizable or until-failover
  error      null, or why all but the names could not be told and is null";

const COMPLETIONS: &str = "\
Examples:
  source <(sneck completions bash)   # in this shell only
  sneck completions bash > ~/.local/share/bash-completion/completions/sneck
  sneck completions fish > ~/.config/fish/completions/sneck.fish
  sneck completions zsh > ~/.zfunc/_sneck   # a folder of your fpath";

const MAN: &str = "\
Examples:
  sneck man | man -l -
  sneck man run > /usr/local/share/man/man1/sneck-run.1

The page is written as roff, as man(1) reads it.";

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Hold it together with other shared holders
    #[arg(short, long, conflicts_with = "exclusive")]
    pub(crate) shared: bool,
    /// Hold it alone (usual)
    #[arg(short = 'x', short_alias = 'e', long)]
    pub(crate) exclusive: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// End with CODE instead of 75 if it is held
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = 75)]
    pub(crate) conflict_exit_code: u8,
    #[arg(short = 'o', long, help = CLOSE)]
    pub(crate) close: bool,
    #[arg(long, help = MAX_HOLD, value_name = "DURATION", value_parser = limit, allow_hyphen_values = true)]
    pub(crate) max_hold: Option<Duration>,
    /// At a server: how long the lock lasts without a word from sneck, which renews it meanwhile. Usual: what LOCK says (?ttl=), else 15s
    #[arg(long, value_name = "DURATION", value_parser = span, allow_hyphen_values = true)]
    pub(crate) ttl: Option<Duration>,
    /// At a server: how much longer others are kept out when that time is over, so that COMMAND can be ended. Usual: what LOCK says (?lock-delay=), else 5s
    #[arg(long, value_name = "DURATION", value_parser = span, allow_hyphen_values = true)]
    pub(crate) lock_delay: Option<Duration>,
    #[arg(long, help = KILL_AFTER, value_name = "DURATION", value_parser = span, allow_hyphen_values = true)]
    pub(crate) kill_after: Option<Duration>,
    #[command(flatten)]
    pub(crate) require: RequireArgs,
    /// The protocol by which each LOCK is locked; LOCK is then taken as it stands
    #[arg(long, value_name = "P")]
    pub(crate) protocol: Option<String>,
    #[command(flatten)]
    pub(crate) others: OthersArgs,
    #[command(flatten)]
    pub(crate) speech: SpeechArgs,
    /// The place to lock; more of them before `--`
    #[arg(value_name = "LOCK", value_hint = ValueHint::AnyPath)]
    pub(crate) lock: OsString,
    /// The command to run, with its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true, action = ArgAction::Append, value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

// No doc comments on what is flattened: they would replace the verb's own.

// How long to wait.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Do not wait: if it is held, end with 75
    #[arg(
        short,
        long = "nonblock",
        visible_alias = "nb",
        conflicts_with = "wait"
    )]
    pub(crate) nonblock: bool,
    /// Wait at most this long: seconds (0.5), or with a unit (500ms, 10s, 5m, 2h, 1d). Usual: for ever
    #[arg(short, long, visible_alias = "timeout", value_name = "DURATION", value_parser = wait, allow_hyphen_values = true)]
    pub(crate) wait: Option<Duration>,
}

// What a place must be able to promise.
#[derive(Debug, Args)]
pub(crate) struct RequireArgs {
    /// Refuse a LOCK that cannot promise this (64): fencing, durable-fencing, fair, shared, lease, survives-restart, linearizable;
    /// several with commas. `sneck protocols` shows what each protocol can
    #[arg(long, value_name = "CAPABILITY,...", value_delimiter = ',')]
    pub(crate) require: Vec<Requirement>,
}

// What may be done to the claims of others.
#[derive(Debug, Args)]
pub(crate) struct OthersArgs {
    /// Which claims of others may be removed: never, dead (usual: holder proved gone), likely (its pid is a younger process's), or a
    /// DURATION: any older one, WHOEVER HOLDS IT
    #[arg(long, value_name = "POLICY", default_value = "dead", value_parser = stale)]
    pub(crate) stale: StaleArg,
    /// Remove the claim that is in the way, WHOEVER HOLDS IT. A holder that is robbed learns it at its end: what the lock guards may
    /// have been used by two at once
    #[arg(long, conflicts_with = "stale")]
    pub(crate) force: bool,
}

// How much to say.
#[derive(Debug, Args)]
pub(crate) struct SpeechArgs {
    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say each step
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AcquireArgs {
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) require: RequireArgs,
    #[command(flatten)]
    pub(crate) others: OthersArgs,
    #[command(flatten)]
    pub(crate) speech: SpeechArgs,
    /// The process that is to hold it; `$$` in a shell script
    #[arg(long, value_name = "PID", value_parser = pid())]
    pub(crate) pid: u32,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The process that holds it
    #[arg(long, value_name = "PID", value_parser = pid())]
    pub(crate) pid: u32,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

// One place.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The protocol by which LOCK is locked; LOCK is then taken as it stands
    #[arg(long, value_name = "P")]
    pub(crate) protocol: Option<String>,
    /// The place of the lock
    #[arg(value_name = "LOCK", value_hint = ValueHint::AnyPath)]
    pub(crate) lock: OsString,
}

#[derive(Debug, Args)]
pub(crate) struct BreakArgs {
    #[command(flatten)]
    pub(crate) others: OthersArgs,
    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The protocol by which each LOCK is locked; LOCK is then taken as it stands
    #[arg(long, value_name = "P")]
    pub(crate) protocol: Option<String>,
    /// The places to free
    #[arg(value_name = "LOCK", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) locks: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct WaitForArgs {
    /// Until one could hold it together with other shared holders
    #[arg(short, long)]
    pub(crate) shared: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) require: RequireArgs,
    #[command(flatten)]
    pub(crate) speech: SpeechArgs,
    /// The protocol by which each LOCK is locked; LOCK is then taken as it stands
    #[arg(long, value_name = "P")]
    pub(crate) protocol: Option<String>,
    /// The places to wait for
    #[arg(value_name = "LOCK", required = true)]
    pub(crate) locks: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// The protocol by which each LOCK is locked; LOCK is then taken as it stands
    #[arg(long, value_name = "P")]
    pub(crate) protocol: Option<String>,
    /// The places to look at
    #[arg(value_name = "LOCK", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) locks: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ProtocolsArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The verb; without it, sneck itself
    #[arg(value_name = "VERB")]
    pub(crate) verb: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StaleArg {
    Never,
    Dead,
    Likely,
    After(Duration),
}

/// No process has another number.
fn pid() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(i32::MAX))
}

fn wait(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|e| e.to_string())
}

/// A time that is no wait.
fn span(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| match error {
        NotADuration::Negative => "a time cannot be negative".to_owned(),
        NotADuration::TooLong => "that is more than a hundred years".to_owned(),
        NotADuration::Endless => "this time must have an end".to_owned(),
        NotADuration::Malformed => error.to_string(),
    })
}

fn limit(text: &str) -> Result<Duration, String> {
    match span(text)? {
        Duration::ZERO => Err(
            "in no time nothing can be done; leave the option out to hold it as long as it takes"
                .into(),
        ),
        most => Ok(most),
    }
}

fn stale(text: &str) -> Result<StaleArg, String> {
    match text {
        "never" => Ok(StaleArg::Never),
        "dead" => Ok(StaleArg::Dead),
        "likely" => Ok(StaleArg::Likely),
        other => duration::parse(other)
            .map(StaleArg::After)
            .map_err(|e| format!("neither never, dead, likely nor a duration: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(words: &[&str]) -> RunArgs {
        match Cli::try_parse_from(words).unwrap().verb {
            Verb::Run(args) => args,
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_lock_is_the_commands_own() {
        for words in [
            ["sneck", "run", "-n", "l", "--", "ls", "-n"],
            ["sneck", "run", "-n", "l", "ls", "-n", "-w"],
        ] {
            let args = run(&words);
            assert_eq!(args.lock, "l");
            assert_eq!(args.command[..2], ["ls", "-n"]);
        }
    }

    #[test]
    fn letters_of_flock_mean_the_same() {
        let args = run(&[
            "sneck", "run", "-s", "-w", ".5", "-E", "9", "-o", "-v", "l", "true",
        ]);
        assert!(args.shared && args.close);
        assert!(args.speech.verbose);
        assert_eq!(args.wait.wait, Some(Duration::from_millis(500)));
        assert_eq!(args.conflict_exit_code, 9);
        for bad in [
            &["-s", "-x"][..],
            &["-n", "-w", "1"],
            &["-q", "-v"],
            &["-w", "-1"],
            &["-E", "256"],
            &["--stale", "old"],
            &["--stale", "dead", "--force"],
        ] {
            let words = [&["sneck", "run"], bad, &["l", "true"]].concat();
            assert!(Cli::try_parse_from(&words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_pid_is_one_that_a_process_can_have() {
        let parses = |pid: &str| Cli::try_parse_from(["sneck", "acquire", "--pid", pid, "l"]);
        assert!(parses("1").is_ok() && parses("2147483647").is_ok());
        for bad in ["0", "-1", "2147483648", "99999999999", "", "$$", "1 "] {
            assert!(parses(bad).is_err(), "{bad}");
        }
        assert!(Cli::try_parse_from(["sneck", "acquire", "l"]).is_err());
    }

    #[test]
    fn the_list_of_places_names_every_protocol() {
        // Two are written otherwise, and one cannot protect a command.
        let others = ["flock", "postgresql", "memory"];
        for scheme in crate::plan::registry()
            .schemes()
            .filter(|s| !others.contains(s))
        {
            assert!(PLACES.contains(&format!(" {scheme}:")), "{scheme}");
        }
    }

    #[test]
    fn what_verbs_share_does_not_replace_what_they_are_for() {
        let command = Cli::command();
        let about = |verb: &str| {
            let found = command.find_subcommand(verb).unwrap().get_about().unwrap();
            found.to_string()
        };
        assert!(about("acquire").contains("process's name"));
        assert!(about("break").contains("stale"));
        assert!(about("run").contains("command"));
        assert!(about("wait").contains("without taking"));
    }
}
