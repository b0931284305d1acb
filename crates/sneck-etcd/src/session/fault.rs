//! What went wrong with one member: a kind to decide by, and a line for people.
//!
//! Not for: what it means for a lock (`protocol.rs`).

use serde_json::Value;
use sneck::{Error, ErrorKind, Place};

/// What went wrong, as far as it has to be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody is there, or nobody any more.
    Unreachable,
    /// It was asked, and nothing came in time.
    Silent,
    /// It answers, and cannot do it now: no leader, overloaded.
    Unavailable,
    /// Who we are, or what we may.
    Refused,
    /// What showed who we are is not known (any more).
    TokenIsOld,
    /// Nobody is asked who he is.
    NoUsers,
    /// One side does not trust the other's certificate.
    Untrusted,
    /// It answers encrypted connections only.
    WantsTls,
    /// No etcd.
    Foreign,
    /// An etcd of another cluster.
    OtherCluster,
    /// An etcd that cannot do it.
    Unsupported,
    /// A lease that is not there.
    NotFound,
    /// A certificate file of ours is of no use.
    Setup,
    /// Full, or what else etcd may say.
    Failed,
}

/// What went wrong with one member.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    member: String,
    what: String,
}

impl Fault {
    pub(crate) fn new(kind: Kind, member: &str, what: impl Into<String>) -> Fault {
        Fault {
            kind,
            member: member.to_owned(),
            what: what.into(),
        }
    }

    /// The connection could not be had, or broke.
    pub(crate) fn net(error: &sneck_net::Error) -> Fault {
        let kind = match error.kind() {
            sneck_net::ErrorKind::Unreachable => Kind::Unreachable,
            sneck_net::ErrorKind::Refused => Kind::Untrusted,
            sneck_net::ErrorKind::Protocol => Kind::Foreign,
            sneck_net::ErrorKind::Setup => Kind::Setup,
            _ => Kind::Failed,
        };
        let place = error.to_string();
        let place = place.split_once(": ").map_or("", |(place, _)| place);
        Fault::new(kind, place, error.why())
    }

    /// What etcd says: gRPC's code, and words. (3.4 puts a stream's error one level deeper than that of a single answer.)
    pub(crate) fn told(member: &str, answer: &Value) -> Fault {
        let inner = match &answer["error"] {
            Value::Object(_) => &answer["error"],
            _ => answer,
        };
        let code = inner["code"].as_u64().or(inner["grpc_code"].as_u64());
        let words = inner["message"].as_str().or(inner["error"].as_str());
        let words = words.unwrap_or("no reason given");
        let says = |part: &str| words.contains(part);
        let kind = match code {
            _ if says("invalid auth token") || says("revision of auth store is old") => {
                Kind::TokenIsOld
            }
            Some(16 | 7) => Kind::Refused,
            // It is an invalid argument, as it says, to be nobody, or to have a wrong password.
            _ if says("user name is empty") || says("authentication failed") => Kind::Refused,
            _ if says("authentication is not enabled") => Kind::NoUsers,
            Some(5) => Kind::NotFound,
            Some(1 | 4 | 14) => Kind::Unavailable,
            _ if says("too many requests") || says("no leader") || says("timed out") => {
                Kind::Unavailable
            }
            _ if says("raft proposal dropped") || says("leader changed") => Kind::Unavailable,
            Some(12) => Kind::Unsupported,
            _ => Kind::Failed,
        };
        Fault::new(kind, member, sneck::text::clean(words))
    }

    /// Whether another member, or the same one in a moment, may do better.
    pub(crate) fn passes(&self) -> bool {
        matches!(
            self.kind,
            Kind::Unreachable | Kind::Silent | Kind::Unavailable
        )
    }

    /// The same, about several members.
    pub(crate) fn and(mut self, others: &[Fault]) -> Fault {
        for other in others {
            if other.member != self.member {
                self.what += &format!("; {}: {}", other.member, other.what);
            }
        }
        self
    }

    /// For whoever wanted a lock.
    pub(crate) fn error(&self, place: &Place, doing: &'static str) -> Error {
        let (kind, advice) = match self.kind {
            Kind::Unreachable | Kind::Silent => (ErrorKind::Unreachable, None),
            Kind::Unavailable => (
                ErrorKind::Unreachable,
                Some(
                    "most members of the cluster must be up and reach each other: `etcdctl endpoint status` shows them",
                ),
            ),
            Kind::Refused | Kind::TokenIsOld => (
                ErrorKind::NoPermission,
                Some(
                    "check user and password (etcd://user:password@host/name, or ETCDCTL_USER) and the role's rights on the prefix NAME/",
                ),
            ),
            Kind::Untrusted => (
                ErrorKind::NoPermission,
                Some(
                    "check cacert, cert and key (options of the place, or ETCDCTL_CACERT, ETCDCTL_CERT, ETCDCTL_KEY)",
                ),
            ),
            Kind::WantsTls => (
                ErrorKind::Foreign,
                Some("write etcds:// instead of etcd://"),
            ),
            Kind::Foreign => (ErrorKind::Foreign, Some("check host and port")),
            Kind::OtherCluster => (
                ErrorKind::Foreign,
                Some("name the members of one cluster only"),
            ),
            Kind::Unsupported => (
                ErrorKind::Unsupported,
                Some("use etcd 3.4 or newer, with --enable-grpc-gateway"),
            ),
            Kind::Setup => (ErrorKind::Usage, None),
            Kind::NoUsers | Kind::NotFound | Kind::Failed => (ErrorKind::Io, None),
        };
        let error = Error::new(kind, doing, self.to_string()).at(place);
        match advice {
            Some(advice) => error.advise(advice),
            None => error,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.member, self.what)
    }
}
