//! Users and groups, read from `/etc/passwd` and `/etc/group` by ourselves:
//! a static glibc binary cannot rely on getpwnam, which loads shared libraries.

use crate::fault::{Fault, Kind};
use std::collections::HashMap;
use std::path::PathBuf;

/// A line of `/etc/passwd` with the groups that name the user.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
    /// Primary and supplementary groups.
    pub groups: Vec<u32>,
}

/// Looks a user up by name; the fault is what a request with an unknown user gets.
pub fn find(name: &str) -> Result<User, Fault> {
    parse_user(&read("/etc/passwd"), &read("/etc/group"), name)
        .ok_or_else(|| Fault::new(Kind::Unauthenticated, format!("invalid username: '{name}'")))
}

/// Names of owners and groups, for directory listings.
pub struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    pub fn load() -> Self {
        Self {
            users: parse_names(&read("/etc/passwd")),
            groups: parse_names(&read("/etc/group")),
        }
    }

    pub fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    pub fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }
}

/// A missing or unreadable file is an empty one: then there are no users.
fn read(path: &str) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn parse_user(passwd: &str, group: &str, name: &str) -> Option<User> {
    let line = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == name)?;
    let [name, _, uid, gid, _, home, ..] = line[..] else {
        return None;
    };
    let gid = gid.parse().ok()?;
    let mut groups = vec![gid];
    for fields in group.lines().map(|line| line.split(':').collect::<Vec<_>>()) {
        let [_, _, id, members, ..] = fields[..] else { continue };
        let Ok(id) = id.parse() else { continue };
        if id != gid && members.split(',').any(|member| member == name) {
            groups.push(id);
        }
    }
    Some(User {
        name: name.into(),
        uid: uid.parse().ok()?,
        gid,
        home: home.into(),
        groups,
    })
}

/// `name:password:id:…` lines; the first name of an id counts.
fn parse_names(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(Ok(id))) = (fields.next(), fields.next(), fields.next().map(str::parse)) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1001::/home/user:/bin/bash\nbroken:x:\n";
    const GROUP: &str = "root:x:0:\nsudo:x:27:other,user\nuser:x:1001:user\nusers:x:100:superuser\n";

    #[test]
    fn finds_a_user_with_groups() {
        let user = parse_user(PASSWD, GROUP, "user").unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (1000, 1001, vec![1001, 27]));
        assert_eq!(user.home, PathBuf::from("/home/user"));
    }

    #[test]
    fn unknown_and_broken_lines_are_nobody() {
        assert_eq!(parse_user(PASSWD, GROUP, "nobody"), None);
        assert_eq!(parse_user(PASSWD, GROUP, "broken"), None);
        assert_eq!(parse_user(PASSWD, GROUP, ""), None);
    }
}
