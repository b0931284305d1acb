//! What may stand together where there are two families of kernel locks.

use super::*;

fn refused(written: &str) -> String {
    let error = protocol(written).expect_err(written);
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    error.to_string()
}

#[test]
fn a_claim_stands_beside_the_file_that_is_locked() {
    let parts = |written: &str| places(&protocol(written).unwrap().parts());
    assert_eq!(parts("flock+fcntl:/run/a"), ["/run/a", "fcntl:/run/a"]);
    let mail = ["fcntl:/run/a", "dotlock:/run/a.lock"];
    assert_eq!(parts("fcntl+dotlock:/run/a"), mail);
    let other_way_round = ["dotlock:/run/a.lock", "fcntl:/run/a"];
    assert_eq!(parts("dotlock+fcntl:/run/a"), other_way_round);
    let three = ["/run/a", "pidfile:/run/a.lock", "fcntl:/run/a"];
    assert_eq!(parts("flock+pidfile+fcntl:/run/a"), three);
    assert_eq!(parts("mkdir:/run/a"), [""; 0]);
}

#[test]
fn the_order_of_the_names_means_nothing() {
    let identity = |written: &str| protocol(written).unwrap().identity();
    assert_eq!(
        identity("flock+fcntl:/run/a"),
        identity("fcntl+flock:/run/a")
    );
    assert_ne!(
        identity("flock+fcntl:/run/a"),
        identity("fcntl+flock:/run/b")
    );
    assert_ne!(
        identity("flock+fcntl:/run/a"),
        identity("flock+pidfile:/run/a")
    );
}

#[test]
fn what_cannot_share_a_path_is_refused() {
    assert!(refused("flock+flock:/run/a").contains("named twice"));
    let same_name = refused("flock+pidfile+dotlock:/run/a");
    assert!(same_name.contains("pidfile and dotlock"), "{same_name}");
    assert!(same_name.contains("Lock::all"), "{same_name}");
    assert!(refused("pidfile+symlink:/run/a").contains("Lock::all"));
    assert!(refused("flock+memory:/run/a").contains("memory does not"));
    for unknown in ["flock+flok:/run/a", "flock+:/run/a", "fl+ock:/run/a"] {
        let said = refused(unknown);
        assert!(said.contains("there is no protocol"), "{said}");
        let scheme = unknown.split(':').next().unwrap();
        assert!(said.contains(&format!("./{scheme}:")), "{said}");
    }
}

/// A protocol of another kind of place.
#[derive(Debug)]
struct Elsewhere {
    inner: Arc<dyn Protocol>,
    can: Capabilities,
    ground: Ground,
}

impl Protocol for Elsewhere {
    fn place(&self) -> &Place {
        self.inner.place()
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }

    fn capabilities(&self) -> Capabilities {
        self.can
    }

    fn ground(&self) -> Ground {
        self.ground
    }

    fn contend(&self, claim: &Arc<Claim>) -> Result<Box<dyn Contender>> {
        self.inner.contend(claim)
    }

    fn inspect(&self) -> Result<Sighting> {
        self.inner.inspect()
    }
}

fn elsewhere(
    written: &str,
    ground: Ground,
    change: impl FnOnce(&mut Capabilities),
) -> Arc<dyn Protocol> {
    let inner = protocol(written).unwrap();
    let mut can = inner.capabilities();
    change(&mut can);
    Arc::new(Elsewhere { inner, can, ground })
}

#[test]
fn both_families_at_one_path_of_a_network_file_system_would_wait_for_themselves() {
    let place = Place::file("flock+fcntl", "/run/a");
    let stack = |paths: [&str; 2], ground| {
        let parts = paths.map(|written| elsewhere(written, ground, |_| {}));
        Stack::new(place.clone(), parts)
    };
    let there = ["/run/a", "fcntl:/run/a"];
    let error = stack(there, Ground::NetworkFiles).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("`fcntl` alone"), "{error}");
    assert!(stack(there, Ground::Local).is_ok());
    assert!(stack(["/run/a", "fcntl:/run/b"], Ground::NetworkFiles).is_ok());
    let two = stack(["/run/a", "fcntl:/run/b"], Ground::NetworkFiles);
    assert_eq!(two.unwrap().ground(), Ground::NetworkFiles);
}

#[test]
fn one_lock_twice_and_two_claims_of_one_name_are_refused() {
    let stack = |parts: &[&str]| {
        let parts: Vec<_> = parts.iter().map(|p| protocol(p).unwrap()).collect();
        Stack::new(Place::file("test", "x"), parts).map_err(|e| e.to_string())
    };
    let same = stack(&["/run/a", "/run/../run/./a"]).unwrap_err();
    assert!(same.contains("same lock"), "{same}");
    let within = stack(&["/run/a", "flock+fcntl:/run/a"]).unwrap_err();
    assert!(within.contains("same lock"), "{within}");
    for pair in [
        ["pidfile:/run/a", "dotlock:/run/a"],
        ["flock:/run/a", "pidfile:/run/a"],
        ["symlink:/run/a", "fcntl:/run/a"],
    ] {
        let name = stack(&pair).unwrap_err();
        assert!(name.contains("the same name"), "{name}");
    }
    assert!(stack(&["/run/a", "pidfile:/run/a.lock", "memory:a"]).is_ok());
    assert!(stack(&[]).unwrap_err().contains("no lock"));
}

#[test]
fn it_promises_no_more_than_all_of_its_parts_do() {
    let can = |parts: [&str; 2]| {
        let parts = parts.map(|written| protocol(written).unwrap());
        Stack::new(Place::file("test", "x"), parts)
            .unwrap()
            .capabilities()
    };
    let kernel = can(["/run/a", "fcntl:/run/a"]);
    let all_kernel = Capabilities {
        modes: Modes::SharedToo,
        crash: Crash::Free,
        ..Capabilities::LEAST
    };
    assert_eq!(kernel, all_kernel);
    let mixed = can(["/run/a", "symlink:/run/b"]);
    let some_claims = Capabilities {
        removal: Removable::Yes,
        ..Capabilities::LEAST
    };
    assert_eq!(mixed, some_claims);
    assert_eq!(can(["/run/a", "pidfile:/run/b"]).mark, LiveMark::Yes);
    assert_eq!(can(["symlink:/run/a", "pidfile:/run/b"]).mark, LiveMark::No);
    assert_eq!(can(["memory:a", "memory:b"]).reach, Reach::Process);
    assert_eq!(can(["memory:a", "/run/b"]).reach, Reach::Machine);
    let server = elsewhere("/run/b", Ground::Local, |can| {
        can.reach = Reach::Network;
        can.tokens = Tokens::Durable;
    });
    let parts = [protocol("/run/a").unwrap(), server];
    let can = Stack::new(Place::file("test", "x"), parts)
        .unwrap()
        .capabilities();
    assert_eq!((can.reach, can.tokens), (Reach::Network, Tokens::Durable));
}
