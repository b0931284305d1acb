//! A real etcd cluster of a test's own: one member or several, in a fresh folder on free ports; each killed, stopped, restarted and robbed of its data at will; gone without a trace
//! when the test process ends, however it ends.
//!
//! It is no mock. It knows nothing of locks; `etcdctl` speaks for it.

use crate::keeper::{Keeper, free_ports, quoted, without_variables};
use crate::{PATIENCE, sys};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// The caller's `ETCDCTL_…` and `ETCD_…` are about another cluster.
const STRANGE: &str = "ETCD";

/// What the keeper does for it ([`Keeper`]). If it is killed itself, the members go with it.
const KEEPER: &str = r#"
trap '' HUP INT TERM PIPE
pids=
while read -r verb argument; do
    case $verb in
    start)
        . "$argument"
        pids="$pids $pid"
        echo "$pid"
        ;;
    end)
        kill -s KILL "$argument"
        wait "$argument"
        echo ended
        ;;
    esac
done
for pid in $pids; do kill -s KILL "$pid"; done
wait
rm -rf "$FOLDER"
"#;

/// How clients reach the members.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// Options of `etcd`: `--cert-file` and so on. None: not encrypted.
    pub member: Vec<String>,
    /// Options of `etcdctl`.
    pub client: Vec<String>,
}

/// Whether a member that has no data founds the cluster or joins it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Existing,
}

#[derive(Debug, Clone)]
struct Member {
    client: u16,
    peer: u16,
    /// None: it is down.
    pid: Option<u32>,
}

/// A private etcd cluster. Dropping it kills it and removes its folder.
pub struct EtcdServer {
    keeper: Keeper,
    folder: PathBuf,
    security: Security,
    members: Vec<Member>,
}

impl EtcdServer {
    /// One member that everybody on this machine may use.
    ///
    /// # Panics
    /// When etcd is not installed, or does not start.
    #[must_use]
    pub fn start() -> EtcdServer {
        EtcdServer::start_with(1, Security::default())
    }

    /// So many members.
    ///
    /// # Panics
    /// As [`EtcdServer::start`].
    #[must_use]
    pub fn cluster(members: usize) -> EtcdServer {
        EtcdServer::start_with(members, Security::default())
    }

    /// So many members, which are reached so.
    ///
    /// # Panics
    /// As [`EtcdServer::start`].
    #[must_use]
    pub fn start_with(members: usize, security: Security) -> EtcdServer {
        // Between our looking for free ports and etcd's taking them, another may take one.
        for _ in 0..5 {
            if let Some(server) = EtcdServer::begin(members, &security) {
                return server;
            }
        }
        panic!("etcd does not start; Debian has it in the package etcd-server");
    }

    fn begin(members: usize, security: &Security) -> Option<EtcdServer> {
        let folder = tempfile::Builder::new()
            .prefix("sneck-etcd-")
            .tempdir_in(base())
            .expect("a temporary folder for etcd")
            .keep();
        let keeper = Keeper::start(KEEPER, &folder, STRANGE, &[]);
        let ports = free_ports(members * 2);
        let member = |ports: &[u16]| Member {
            client: ports[0],
            peer: ports[1],
            pid: None,
        };
        let mut server = EtcdServer {
            keeper,
            folder,
            security: security.clone(),
            members: ports.chunks(2).map(member).collect(),
        };
        for member in 0..members {
            server.launch(member, State::New);
        }
        let all = (0..members).all(|member| server.is_ready_soon(member));
        all.then_some(server)
    }

    /// One server for all tests of this process that neither stop it nor change its settings.
    ///
    /// # Panics
    /// As [`EtcdServer::start`].
    #[must_use]
    pub fn shared() -> &'static EtcdServer {
        static SHARED: OnceLock<EtcdServer> = OnceLock::new();
        SHARED.get_or_init(EtcdServer::start)
    }

    /// The place of the lock `name` in this cluster; `name` is written as it stands, options included.
    #[must_use]
    pub fn place(&self, name: &str) -> String {
        let members: Vec<String> = (0..self.members.len())
            .map(|member| format!("127.0.0.1:{}", self.port(member)))
            .collect();
        format!("etcd://{}/{name}", members.join(","))
    }

    /// The port for clients on 127.0.0.1, which stays the same after a restart.
    #[must_use]
    pub fn port(&self, member: usize) -> u16 {
        self.members[member].client
    }

    /// How many members it has.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// The process of a member.
    ///
    /// # Panics
    /// When it is down.
    #[must_use]
    pub fn pid(&self, member: usize) -> u32 {
        self.members[member].pid.expect("it is up")
    }

    /// Let a member stand still (SIGSTOP): its connections stay, and nothing comes of them.
    pub fn pause(&self, member: usize) {
        sys::stop(self.pid(member));
    }

    /// Let a member that stands still go on.
    pub fn go_on(&self, member: usize) {
        sys::go_on(self.pid(member));
    }

    /// Kill a member (SIGKILL). It stays down until [`EtcdServer::restart`].
    ///
    /// # Panics
    /// When it is down already.
    pub fn kill9(&mut self, member: usize) {
        let pid = self.members[member].pid.take().expect("it is up");
        assert_eq!(self.keeper.order(&format!("end {pid}")), "ended");
    }

    /// Start those that are down again, and wait until all of them serve.
    ///
    /// # Panics
    /// When one does not.
    pub fn restart(&mut self) {
        let down = |server: &EtcdServer| {
            let members = (0..server.members.len()).collect::<Vec<_>>();
            let is_down = |member: &usize| server.members[*member].pid.is_none();
            members.into_iter().filter(is_down).collect::<Vec<_>>()
        };
        // After a crash the kernel may need a moment until the old one's ports are free.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let started = down(self);
            started
                .iter()
                .for_each(|member| self.launch(*member, State::New));
            let ready = |member: &usize| self.is_ready_soon(*member);
            if started.iter().all(ready) {
                return;
            }
            assert!(Instant::now() < deadline, "etcd does not start again");
            for member in started {
                if self.members[member].pid.is_some() {
                    self.kill9(member);
                }
            }
        }
    }

    /// Take all its data from a member that is down.
    ///
    /// # Panics
    /// When it is up, or its folder cannot be removed.
    pub fn wipe(&self, member: usize) {
        assert_eq!(self.members[member].pid, None, "it is up");
        fs::remove_dir_all(self.data(member)).expect("its folder");
    }

    /// Take a member that is down out of the cluster, and put it in again without its data, as an operator does whose disk broke.
    ///
    /// # Panics
    /// When the others do not agree.
    pub fn replace(&mut self, member: usize) {
        self.wipe(member);
        let name = format!("m{member}");
        let list = self.patiently(&["member", "list"]);
        let line = list
            .lines()
            .find(|line| line.contains(&format!(" {name},")));
        let id = line.and_then(|line| line.split(',').next());
        self.patiently(&["member", "remove", id.expect("it is a member")]);
        let peer = format!("--peer-urls=http://127.0.0.1:{}", self.members[member].peer);
        self.patiently(&["member", "add", &name, &peer]);
        self.launch(member, State::Existing);
        assert!(self.is_ready_soon(member), "{}", self.log(member));
    }

    /// What `etcdctl` prints once it succeeds: not before those who are left have a leader and have seen each other for a while.
    fn patiently(&self, arguments: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.command(arguments).output().expect("etcdctl");
            let problem = String::from_utf8_lossy(&output.stderr);
            // It timed out, and was done all the same.
            if output.status.success()
                || ["ot found", "already exists"]
                    .iter()
                    .any(|w| problem.contains(w))
            {
                return String::from_utf8_lossy(&output.stdout).into_owned();
            }
            assert!(Instant::now() < deadline, "{arguments:?}: {problem}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The member that leads.
    ///
    /// # Panics
    /// When none does for a long time.
    #[must_use]
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for member in 0..self.members.len() {
                let one = ["endpoint", "status", "--write-out=fields"];
                let output = self.command_at(&[member], &one).output().expect("etcdctl");
                let text = String::from_utf8_lossy(&output.stdout);
                let field = |name: &str| {
                    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
                    Some(line.trim_start_matches([' ', ':']).to_owned())
                };
                let own = field("\"MemberID\"");
                if own.is_some() && own == field("\"Leader\"") {
                    return member;
                }
            }
            assert!(Instant::now() < deadline, "there is no leader");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// `etcdctl` with these arguments, at all members.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let all: Vec<usize> = (0..self.members.len()).collect();
        self.command_at(&all, arguments)
    }

    fn command_at(&self, members: &[usize], arguments: &[&str]) -> Command {
        let endpoints: Vec<String> = members
            .iter()
            .map(|member| self.url(self.port(*member)))
            .collect();
        let mut command = Command::new("etcdctl");
        without_variables(&mut command, STRANGE)
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", endpoints.join(",")))
            .args(&self.security.client)
            .args(arguments);
        command
    }

    /// What `etcdctl` prints.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn etcdctl(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("etcdctl");
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {arguments:?}: {problem}");
        let text = String::from_utf8(output.stdout).expect("UTF-8 from etcdctl");
        text.trim_end().to_owned()
    }

    /// The keys that begin so, the oldest first.
    ///
    /// # Panics
    /// When `etcdctl` fails.
    #[must_use]
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let text = self.etcdctl(&[
            "get",
            "--prefix",
            "--keys-only",
            "--sort-by=CREATE",
            "--order=ASCEND",
            prefix,
        ]);
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    }

    /// How many leases there are.
    ///
    /// # Panics
    /// When `etcdctl` fails.
    #[must_use]
    pub fn leases(&self) -> usize {
        let text = self.etcdctl(&["lease", "list"]);
        text.lines().count().saturating_sub(1)
    }

    /// What a member has logged since it was started.
    #[must_use]
    pub fn log(&self, member: usize) -> String {
        fs::read_to_string(self.log_path(member)).unwrap_or_default()
    }

    fn url(&self, port: u16) -> String {
        let scheme = match self.security.member.is_empty() {
            true => "http",
            false => "https",
        };
        format!("{scheme}://127.0.0.1:{port}")
    }

    fn data(&self, member: usize) -> PathBuf {
        self.folder.join(format!("data{member}"))
    }

    fn log_path(&self, member: usize) -> PathBuf {
        self.folder.join(format!("log{member}"))
    }

    /// A script for the keeper: arguments may hold anything.
    fn launch(&mut self, member: usize, state: State) {
        let own = &self.members[member];
        let peer = |member: &Member| format!("http://127.0.0.1:{}", member.peer);
        let all = self.members.iter().enumerate();
        let all: Vec<String> = all.map(|(n, m)| format!("m{n}={}", peer(m))).collect();
        let mut arguments = vec![
            format!("--name=m{member}"),
            format!("--data-dir={}", self.data(member).display()),
            format!("--listen-client-urls={}", self.url(own.client)),
            format!("--advertise-client-urls={}", self.url(own.client)),
            format!("--listen-peer-urls={}", peer(own)),
            format!("--initial-advertise-peer-urls={}", peer(own)),
            format!("--initial-cluster={}", all.join(",")),
            "--logger=zap".to_owned(),
            format!("--log-outputs={}", self.log_path(member).display()),
        ];
        if state == State::Existing {
            arguments.push("--initial-cluster-state=existing".to_owned());
        }
        arguments.extend(self.security.member.iter().cloned());
        let _ = fs::remove_file(self.log_path(member));
        let program = match Path::new("/usr/bin/setpriv").exists() {
            true => "setpriv --pdeathsig KILL etcd",
            false => "etcd",
        };
        let words: Vec<String> = arguments.iter().map(|a| quoted(a)).collect();
        let script = format!(
            "{program} {} </dev/null >/dev/null 2>&1 &\npid=$!\n",
            words.join(" ")
        );
        let path = self.folder.join(format!("start{member}"));
        fs::write(&path, script).expect("a script for the keeper");
        let pid = self.keeper.order(&format!("start {}", path.display()));
        self.members[member].pid = Some(pid.parse().expect("its number"));
    }

    /// Whether it comes to serve; false if it ends instead.
    fn is_ready_soon(&self, member: usize) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.log(member).contains("serving client traffic") {
                return true;
            }
            if !sys::runs(self.pid(member)) {
                return false;
            }
            let log = self.log(member);
            assert!(Instant::now() < deadline, "etcd does not serve:\n{log}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl fmt::Debug for EtcdServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdServer")
            .field("folder", &self.folder)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

/// Memory, where there is a file system of it: etcd flushes each write, and tests are not about disks.
fn base() -> PathBuf {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    }
}
