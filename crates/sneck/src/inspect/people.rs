//! Who processes are, looked up once each: a survey names the same ones over and over.

use super::found::{How, Keeper, Life};
use crate::holder::{Holder, Source};
use crate::sys::process;
use std::collections::HashMap;

/// What was looked up so far.
#[derive(Debug, Default)]
pub(super) struct People {
    known: HashMap<u32, Person>,
}

#[derive(Debug)]
struct Person {
    /// Nothing but what this machine knows.
    described: Holder,
    life: Life,
    parent: Option<u32>,
}

impl People {
    fn person(&mut self, pid: u32) -> &Person {
        self.known.entry(pid).or_insert_with(|| {
            let status = process::status(pid);
            Person {
                described: Holder::process(Source::Kernel, pid).described(),
                life: Life {
                    container: container(&status.groups),
                    inner_pid: status.inner_pid.filter(|inner| *inner != pid),
                    pace: status.pace,
                    threads: status.threads,
                },
                parent: status.parent,
            }
        })
    }

    /// What is known of this holder, and what this machine adds: user, command, start, where it lives. A holder of another machine or namespace is left as it is.
    pub(super) fn describe(&mut self, mut holder: Holder) -> (Holder, Life) {
        let Some(pid) = holder.here() else {
            return (holder, Life::default());
        };
        let person = self.person(pid);
        let known = &person.described;
        holder.user = holder.user.or_else(|| known.user.clone());
        holder.command = holder.command.or_else(|| known.command.clone());
        holder.started = holder.started.or(known.started);
        (holder, person.life.clone())
    }

    /// The same of one who keeps something up.
    pub(super) fn keeper(&mut self, holder: Holder, how: How, descriptors: Vec<u32>) -> Keeper {
        let (holder, life) = self.describe(holder);
        Keeper {
            holder,
            how,
            descriptors,
            life,
        }
    }

    /// Whether one process is a forefather of another, which it most likely waits for.
    pub(super) fn is_forefather(&mut self, elder: u32, pid: u32) -> bool {
        // Numbers may come around; nobody has so many forefathers.
        const DEEPEST: usize = 64;
        let mut parent = self.person(pid).parent;
        for _ in 0..DEEPEST {
            match parent {
                Some(pid) if pid == elder => return true,
                Some(pid) if pid > 1 => parent = self.person(pid).parent,
                _ => return false,
            }
        }
        false
    }
}

/// The container that control groups belong to, by the names that the usual programs give them:
///
/// | group | made by |
/// |---|---|
/// | `…/docker-HEX.scope`, `/docker/HEX` | Docker |
/// | `…/libpod-HEX.scope`, `/libpod_parent/libpod-HEX` | Podman |
/// | `…/crio-HEX.scope` | CRI-O |
/// | `…/cri-containerd-HEX.scope`, `/kubepods/…/HEX` | containerd, Kubernetes |
/// | `/lxc/NAME`, `/lxc.payload.NAME` | LXC, LXD |
/// | `/machine.slice/machine-NAME.scope`, `systemd-nspawn@NAME.service` | systemd-nspawn |
fn container(groups: &str) -> Option<String> {
    let parts = || groups.lines().flat_map(|line| line.split('/').skip(1));
    parts().find_map(named).or_else(|| {
        let lines = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        let paths: Vec<Vec<&str>> = lines
            .map(|path| path.split('/').skip(1).collect())
            .collect();
        paths.iter().find_map(|path| below(path))
    })
}

/// By the name of one group alone.
fn named(group: &str) -> Option<String> {
    const SCOPES: [(&str, &str); 4] = [
        ("docker-", "docker"),
        ("libpod-", "podman"),
        ("crio-", "cri-o"),
        ("cri-containerd-", "containerd"),
    ];
    let bare = group.strip_suffix(".scope").unwrap_or(group);
    for (prefix, program) in SCOPES {
        if let Some(id) = bare.strip_prefix(prefix).filter(|id| is_id(id)) {
            return Some(format!("{program} {}", short(id)));
        }
    }
    let lxc = bare.strip_prefix("lxc.payload.");
    let nspawn = group
        .strip_prefix("systemd-nspawn@")
        .and_then(|name| name.strip_suffix(".service"));
    let machine = group
        .strip_prefix("machine-")
        .and_then(|name| name.strip_suffix(".scope"));
    lxc.map(|name| format!("lxc {name}"))
        .or_else(|| nspawn.or(machine).map(|name| format!("machine {name}")))
}

/// By the group that it is in.
fn below(path: &[&str]) -> Option<String> {
    let at = |place: usize| path.get(place).copied();
    match path {
        ["docker", id, ..] if is_id(id) => Some(format!("docker {}", short(id))),
        ["lxc", name, ..] => Some(format!("lxc {name}")),
        [first, ..] if first.starts_with("kubepods") => {
            let id = (1..path.len())
                .rev()
                .find_map(|place| at(place).filter(|id| is_id(id)));
            id.map(|id| format!("kubernetes {}", short(id)))
        }
        _ => None,
    }
}

/// 64 hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// As their programs show it.
fn short(id: &str) -> &str {
    &id[..12]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_its_control_group() {
        let id = "0123456789abcdef".repeat(4);
        for (groups, container_of) in [
            (
                format!("0::/system.slice/docker-{id}.scope\n"),
                "docker 0123456789ab",
            ),
            (
                format!("5:memory:/docker/{id}\n0::/\n"),
                "docker 0123456789ab",
            ),
            (
                format!("0::/machine.slice/libpod-{id}.scope/container\n"),
                "podman 0123456789ab",
            ),
            (
                format!("0::/kubepods/burstable/pod12-3/{id}\n"),
                "kubernetes 0123456789ab",
            ),
            (
                "0::/lxc.payload.web/system.slice/cron.service\n".into(),
                "lxc web",
            ),
            (
                "0::/machine.slice/systemd-nspawn@deb.service\n".into(),
                "machine deb",
            ),
        ] {
            assert_eq!(
                container(&groups).as_deref(),
                Some(container_of),
                "{groups}"
            );
        }
        for none in [
            "",
            "0::/\n",
            "0::/system.slice/cron.service\n",
            "0::/user.slice/docker-compose.scope\n",
        ] {
            assert_eq!(container(none), None, "{none}");
        }
    }
}
