//! Who waits for whom across processes, and those who wait for each other.
//!
//! An edge leads from a process that waits to each that keeps up what it waits for. Within a knot of processes that all reach each other, one shortest cycle is told.
//!
//! Not for: lines inside one process, which nobody outside can see, and waits for anything but locks.

use super::found::{Certainty, Cycle, Inspection, Link, Waits};
use super::people::People;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

#[derive(Debug, Default)]
struct Graph {
    /// From who waits to whom it waits for, and for which file.
    edges: BTreeMap<u32, BTreeMap<u32, usize>>,
    /// Those who watch a claim: they may only be curious.
    unsure: BTreeSet<u32>,
}

/// All knots, each told by one cycle.
pub(super) fn find(files: &[Inspection], people: &mut People) -> Vec<Cycle> {
    let graph = Graph::of(files);
    graph
        .knots()
        .iter()
        .filter_map(|knot| {
            let links = graph.shortest(knot)?;
            let certainty = graph.certainty(knot, files, people);
            Some(Cycle { links, certainty })
        })
        .collect()
}

impl Graph {
    fn of(files: &[Inspection]) -> Graph {
        let mut graph = Graph::default();
        for (index, file) in files.iter().enumerate() {
            for waiter in &file.waiters {
                let Some(pid) = waiter.holder.here() else {
                    continue;
                };
                let holdings = waiter.behind.iter().filter_map(|at| file.holdings.get(*at));
                let keepers = holdings.flat_map(|holding| &holding.keepers);
                let edges = graph.edges.entry(pid).or_default();
                for keeper in keepers.filter_map(|keeper| keeper.holder.here()) {
                    edges.entry(keeper).or_insert(index);
                }
                if waiter.waits == Waits::Watches {
                    graph.unsure.insert(pid);
                }
            }
        }
        graph
    }

    /// All that can be reached from here in one step or more.
    fn reached(&self, from: u32) -> BTreeSet<u32> {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(pid) = next.pop() {
            for (pid, _) in self.edges.get(&pid).into_iter().flatten() {
                if reached.insert(*pid) {
                    next.push(*pid);
                }
            }
        }
        reached
    }

    /// Processes that all reach each other. Only those who wait can be in one, and they are few.
    fn knots(&self) -> Vec<BTreeSet<u32>> {
        let reached: HashMap<u32, BTreeSet<u32>> = self
            .edges
            .keys()
            .map(|pid| (*pid, self.reached(*pid)))
            .filter(|(pid, reached)| reached.contains(pid))
            .collect();
        let (mut knots, mut told) = (Vec::new(), BTreeSet::<u32>::new());
        for pid in self.edges.keys() {
            let Some(there) = reached.get(pid).filter(|_| !told.contains(pid)) else {
                continue;
            };
            let back = |other: &&u32| reached.get(other).is_some_and(|r| r.contains(pid));
            let knot: BTreeSet<u32> = there.iter().filter(back).copied().collect();
            told.extend(&knot);
            knots.push(knot);
        }
        knots
    }

    /// The shortest way from the first of a knot back to itself, inside it.
    fn shortest(&self, knot: &BTreeSet<u32>) -> Option<Vec<Link>> {
        let start = *knot.first()?;
        let mut came: HashMap<u32, Link> = HashMap::new();
        let mut next = VecDeque::from([start]);
        while let Some(waiter) = next.pop_front() {
            for (holder, file) in self.edges.get(&waiter)? {
                let (holder, file) = (*holder, *file);
                let link = Link {
                    waiter,
                    file,
                    holder,
                };
                if !knot.contains(&holder) || came.contains_key(&holder) {
                    continue;
                }
                came.insert(holder, link);
                if holder != start {
                    next.push_back(holder);
                    continue;
                }
                let (mut links, mut at) = (vec![link], link.waiter);
                while at != start {
                    let link = came.get(&at)?;
                    links.push(*link);
                    at = link.waiter;
                }
                links.reverse();
                return Some(links);
            }
        }
        None
    }

    /// A process with other threads may release by one of them. Somebody outside of the knot who keeps the same lock up could unlock it, unless it is a forefather: most likely that one waits for its
    /// child, as flock(1) does.
    fn certainty(
        &self,
        knot: &BTreeSet<u32>,
        files: &[Inspection],
        people: &mut People,
    ) -> Certainty {
        let waiters = files.iter().flat_map(|file| {
            let inside = |pid: u32| knot.contains(&pid);
            let here = file.waiters.iter();
            here.filter(move |waiter| waiter.holder.here().is_some_and(inside))
                .map(move |waiter| (file, waiter))
        });
        for (file, waiter) in waiters {
            let several = waiter.life.threads.is_some_and(|threads| threads > 1);
            if several || waiter.waits == Waits::Watches {
                return Certainty::Perhaps;
            }
            for holding in waiter.behind.iter().filter_map(|at| file.holdings.get(*at)) {
                for keeper in holding.keepers.iter().filter_map(|k| k.holder.here()) {
                    let waits_too = knot.contains(&keeper)
                        || knot.iter().any(|pid| people.is_forefather(keeper, *pid));
                    if !waits_too && holding.keepers.len() > 1 {
                        return Certainty::Perhaps;
                    }
                }
            }
        }
        Certainty::Deadlock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(u32, u32)]) -> Graph {
        let mut graph = Graph::default();
        for (file, (waiter, holder)) in edges.iter().enumerate() {
            let of = graph.edges.entry(*waiter).or_default();
            of.insert(*holder, file);
        }
        graph
    }

    fn told(edges: &[(u32, u32)]) -> Vec<Vec<(u32, u32)>> {
        let graph = graph(edges);
        let cycles = graph.knots();
        cycles
            .iter()
            .map(|knot| {
                let links = graph.shortest(knot).expect("a knot has a cycle");
                links.iter().map(|l| (l.waiter, l.holder)).collect()
            })
            .collect()
    }

    #[test]
    fn whoever_waits_in_a_line_is_in_no_cycle() {
        assert!(told(&[]).is_empty());
        assert!(told(&[(1, 2), (2, 3), (4, 2), (5, 3)]).is_empty());
    }

    #[test]
    fn each_knot_is_told_once_by_its_shortest_cycle() {
        assert_eq!(told(&[(1, 1)]), [[(1, 1)]]);
        assert_eq!(told(&[(1, 2), (2, 1)]), [[(1, 2), (2, 1)]]);
        assert_eq!(
            told(&[(9, 1), (1, 2), (2, 3), (3, 1), (3, 7)]),
            [[(1, 2), (2, 3), (3, 1)]]
        );
        // Two ways round: the short one.
        assert_eq!(
            told(&[(1, 2), (2, 3), (3, 4), (4, 1), (2, 1)]),
            [[(1, 2), (2, 1)]]
        );
        let two = [(1, 2), (2, 1), (5, 6), (6, 5), (2, 5)];
        assert_eq!(told(&two), [[(1, 2), (2, 1)], [(5, 6), (6, 5)]]);
    }
}
