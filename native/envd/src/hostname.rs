//! The guest's own name, set by the host; clones of one snapshot must not share it (spec SN11).

use crate::fault::Fault;
use crate::rewrite::rewrite;
use std::fs;

/// Linux allows 64 bytes.
const MAX_LENGTH: usize = 64;

/// Sets the kernel's host name, `/etc/hostname`, and the line of `/etc/hosts` that lets sudo resolve it.
pub fn set(name: &str) -> Result<(), Fault> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if name.is_empty() || name.len() > MAX_LENGTH || !name.bytes().all(allowed) {
        return Err(Fault::invalid(format!("bad hostname '{name}'")));
    }
    rustix::system::sethostname(name.as_bytes())
        .map_err(|error| Fault::io("cannot set the host name", &error.into()))?;
    // Files only make the name last and resolve; a read-only /etc does not matter.
    let _ = rewrite("/etc/hostname", &format!("{name}\n"));
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_else(|_| "127.0.0.1\tlocalhost\n".into());
    let updated = with_host(&hosts, name);
    if updated != hosts {
        let _ = rewrite("/etc/hosts", &updated);
    }
    Ok(())
}

/// Replaces Debian's line for the machine's own name, 127.0.1.1.
fn with_host(hosts: &str, name: &str) -> String {
    let others = hosts
        .lines()
        .filter(|line| line.split_whitespace().next() != Some("127.0.1.1"));
    others
        .map(str::to_owned)
        .chain([format!("127.0.1.1\t{name}")])
        .map(|line| line + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_only_its_own_line() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1\told\n::1 ip6-localhost\n";
        let updated = with_host(hosts, "sb1");
        assert_eq!(updated, "127.0.0.1 localhost\n::1 ip6-localhost\n127.0.1.1\tsb1\n");
        assert_eq!(with_host(&updated, "sb1"), updated);
    }

    #[test]
    fn refuses_what_is_no_host_name() {
        assert!(set("").is_err() && set("a b").is_err() && set("a\nb").is_err());
    }
}
