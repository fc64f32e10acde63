//! The processes that belong to one, found in `/proc`: for kernels without a writable cgroup v2.
//!
//! A process belongs to its ancestor's tree, or to its session. One that left both (a daemon that forked twice) is
//! found only if this looks while its parents live.

use std::collections::HashSet;
use std::fs;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
    zombie: bool,
}

/// Living members of the tree and session of `root`, the root among them.
pub fn members(root: i32) -> Vec<i32> {
    let all: Vec<Process> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect();
    belonging(&all, root)
}

fn belonging(all: &[Process], root: i32) -> Vec<i32> {
    let mut found: HashSet<i32> = all
        .iter()
        .filter(|process| process.pid == root || process.session == root)
        .map(|process| process.pid)
        .collect();
    loop {
        let before = found.len();
        found.extend(
            all.iter()
                .filter(|process| found.contains(&process.parent))
                .map(|process| process.pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            break;
        }
    }
    all.iter()
        .filter(|process| found.contains(&process.pid) && !process.zombie)
        .map(|process| process.pid)
        .collect()
}

/// `pid (name) state parent group session …`; the name may contain anything.
fn parse(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(' ')?;
    let fields: Vec<&str> = rest.rsplit_once(") ")?.1.split(' ').collect();
    let [state, parent, _, session, ..] = fields[..] else {
        return None;
    };
    Some(Process {
        pid: pid.parse().ok()?,
        parent: parent.parse().ok()?,
        session: session.parse().ok()?,
        zombie: matches!(state, "Z" | "X"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_with_brackets() {
        let process = parse("7 (a) b) S 1 5 6 0 -1").unwrap();
        assert_eq!(
            process,
            Process {
                pid: 7,
                parent: 1,
                session: 6,
                zombie: false
            }
        );
    }

    #[test]
    fn follows_children_and_the_session() {
        let process = |pid, parent, session| Process {
            pid,
            parent,
            session,
            zombie: false,
        };
        let all = [
            process(1, 0, 1),
            process(10, 1, 10),
            process(11, 10, 11), // child with a session of its own
            process(12, 11, 11),
            process(13, 1, 10), // orphan of the session
            process(20, 1, 20), // somebody else
        ];
        assert_eq!(belonging(&all, 10), [10, 11, 12, 13]);
    }
}
