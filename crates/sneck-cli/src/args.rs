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
    /// List locks: who holds them, since when, and who waits
    #[command(after_help = list_help())]
    List(ListArgs),
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
        "Examples:\n  sneck status deploy.lock\n  sneck status --probe deploy.lock   # in a container: who is outside cannot be seen\n  sneck status --json *.lock | jq .\n\n\
         The first line says whether it is held, and by whom. Those below it, where there is anything to say: who inherited it, who waits (first the one who is next), what is odd, what to do. \
         Looking harms nothing: no lock is tried for. Who waits is known on Linux, and at servers.\n\n{JSON}\n\n{PLACES}\n\n{}",
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
  waiters   the same, of those who wait, first the one who is next, where the kernel or a server
            shows them
  unseen    the same, of those who hold the file by the other family of kernel locks (fcntl where the
            place is a flock, and the other way round): neither sees the other. state is not about them
  inspection
            everything that is known of the file whatever the protocol, as an object of `files` of
            `sneck list --json` (`sneck list --help` has its fields); null at a server";

fn list_help() -> String {
    format!("{LIST}\n\n{LIST_JSON}\n\n{SEEN_JSON}\n\n{LIST_EXIT}")
}

const LIST: &str = "\
Examples:
  sneck list                       # all that the kernel and the folder of locks know
  sneck list /var/lib ~/projects   # there and below: lock files of any name, and what is locked
  sneck list --tree --waiting      # who keeps whom waiting
  sneck list --pid 812
  sneck list --json | jq '.files[] | select(.deadlock)'
  sneck list --ndjson | grep '^{\"type\":\"cycle\"'

Looking harms nothing: no lock is tried for, and no file that might be locked is opened. Of several filters all must hold of a file; then it is shown with all who hold \
it. What could not be seen is said on stderr, never passed over. What files are locked is known on Linux only; elsewhere lock files are listed.

Table: one row for each process that keeps a file in one way:
  LOCK     the file; (deleted): it has no name any more; (nameless): it was made in this folder
           without one, as a claim on its way is; (replaced): the path names another file by now;
           (as pid N sees it): in that process's mount namespace; without a path, its inode
  KIND     flock, posix, ofd (a POSIX lock of an open file), lease (F_SETLEASE: excludes no lock),
           or the protocol of a claim, with the lock that marks it as alive
  MODE     exclusive or shared, and which bytes if not all; of several ranges how many
  STATE    held; inherited: held through a descriptor that another process locked; stale: the
           claim's holder is proved gone; damaged; deadlock, or deadlock? where it may end by
           itself: processes wait for each other, in the order that stands below the table
  PID      the process; PID@HOST on another machine; -: not known
  USER     whose process it is
  SINCE    how old the claim is; <2m: not known, but its process runs for two minutes
  WAIT     how many wait for it
  COMMAND  the command line, or the label of a claim

On a terminal columns that do not fit are left out, the least important first, and the others cut (COLUMNS counts where there is no terminal). Colours are for \
terminals; NO_COLOR, CLICOLOR, CLICOLOR_FORCE and TERM=dumb are heard.";

/// New fields and new words may come; none of these changes its meaning.
const LIST_JSON: &str = "\
JSON: one object:
  files   a list of the files, by path
  cycles  a list of processes that wait for each other: certainty (deadlock, or perhaps: it may end
          by itself), text, and links, a list of each wait: waiter and holder (pids), path,
          path_bytes, device, inode. The holder is the waiter of the next link
  limits  what could not be seen of the whole, as limits of a file
  errors  a list of what could not be read: path, path_bytes, kind (usage: it is not there;
          no-permission, io, unsupported), text

NDJSON: the same objects, one a line, each with its type:
  type  file, cycle, limit or error";

/// As above. `status` has the same objects.
const SEEN_JSON: &str = "\
File: an object, in which null means not known, or none:
  path        what is no UTF-8 in it is replaced
  path_bytes  its bytes in hexadecimal, where it is no UTF-8; else null
  name        leads (the path leads there), deleted, nameless (it was made in this folder without a
              name, and has none), replaced (it leads to another file by now),
              elsewhere (it leads there in another mount namespace), nothing (nothing is there),
              unknown
  name_pid    a process of that mount namespace
  device      MAJOR:MINOR as the kernel's list of locks has it
  inode       its number
  mount       where its file system is mounted, if there is no better path
  state       held, stale, damaged, free, unknown
  deadlock    deadlock or perhaps, as the certainty of the cycle that it is part of, or null (not
              in `sneck status`, which looks at one file)
  holdings    a list of the ways in which it is held: kind (flock, posix, ofd, lease, claim),
              protocol (of a claim), mode (exclusive, shared), start (its first byte), end (its last;
              null: the file's end), state (held, stale, damaged), verdict (what is known of a
              claim's holder: alive, marked (alive: it keeps the claim locked), gone, younger,
              unknown), text (the same in words), taker (the pid that took it), since, beside and
              beside_bytes (where the claim stands, if elsewhere), keepers
  keepers     a list of who keeps a holding up, a process each, with how (took, inherited, has (the
              kernel does not say who took it), listed (whether it has it still cannot be seen),
              named (by the claim)) and descriptors (a list)
  waiters     a list of who waits, of each kind first the one who is next: a process each, with
              kind, protocol, mode, start, end, waits (queued, somewhere (in the queue), watches
              (the claim)), before (how many turns are before it; readers who get in together are
              one), behind (which holdings are in its way: a list, counted from 0)
  process     pid, host, user, command, label, token, since (it holds; UTC), started (UTC), source
              (who says so), container, inner_pid (in its own pid namespace), pace (runs, stopped,
              ended), threads
  oddities    a list: what (deleted, replaced, former (a process holds a file that had this path and
              was deleted), two-families, claim-and-lock, other-host, taker-ended, passed-on, nobody,
              stopped, waits-for-itself), pid, host, protocol, text
  limits      a list of what could not be seen of it: what (pid-namespace, hidden-descriptors,
              hidden-processes, network-files, no-list, too-fast, not-probed), processes, text";

const LIST_EXIT: &str = "\
Exit status:
    0  it could look, whatever it found
   64  the command line makes no sense, or a PATH is not there
   74  input or output failed
   77  no permission to look into a folder
Of several the worst counts: 64, 77, 74, the last being the worst. What can be read is shown all the same.";

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
    /// Where it cannot be seen whether it is held (in a pid namespace, on a network file system), ask for it: for an instant sneck may hold it, and whoever tries for it then without waiting is refused
    #[arg(long)]
    pub(crate) probe: bool,
    /// The protocol by which each LOCK is locked; LOCK is then taken as it stands
    #[arg(long, value_name = "P")]
    pub(crate) protocol: Option<String>,
    /// The places to look at
    #[arg(value_name = "LOCK", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) locks: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only files that somebody holds
    #[arg(long)]
    pub(crate) held: bool,
    /// Only files with a claim that is stale
    #[arg(long)]
    pub(crate) stale: bool,
    /// Only files that somebody waits for
    #[arg(long)]
    pub(crate) waiting: bool,
    /// Only files that this process holds or waits for; may be given several times, and means any of them
    #[arg(long, value_name = "PID", value_parser = pid(), action = ArgAction::Append)]
    pub(crate) pid: Vec<u32>,
    /// Only files that a process of this user holds or waits for
    #[arg(long, value_name = "USER", value_hint = ValueHint::Username)]
    pub(crate) user: Option<String>,
    /// As a tree: under each file who holds it, who inherited that, who waits, and what is odd
    #[arg(long, conflicts_with_all = ["json", "ndjson"])]
    pub(crate) tree: bool,
    /// As one JSON object, for programs
    #[arg(long, conflicts_with = "ndjson")]
    pub(crate) json: bool,
    /// As JSON with one object a line, for pipes
    #[arg(long)]
    pub(crate) ndjson: bool,
    /// The folders and files to look at. Usual: all of the machine
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<OsString>,
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
    fn a_list_is_written_in_one_way_and_its_filters_go_together() {
        let parses = |words: &[&str]| Cli::try_parse_from([&["sneck", "list"], words].concat());
        for bad in [
            &["--json", "--ndjson"][..],
            &["--tree", "--json"],
            &["--tree", "--ndjson"],
            &["--pid", "0"],
        ] {
            assert!(parses(bad).is_err(), "{bad:?}");
        }
        let all = parses(&["--held", "--stale", "--pid", "1", "--pid", "2", "a", "b"]);
        match all.unwrap().verb {
            Verb::List(args) => assert_eq!((args.pid, args.paths.len()), (vec![1, 2], 2)),
            other => panic!("not list: {other:?}"),
        }
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
