//! What an agent does to its host's network once per start, and takes back at the end.

use std::fs;

use super::{netlink::Netlink, plan::SlotRange, rules, slot};
use crate::failure::{During, Outcome};

/// Forwarding on, and the range's rules as they should be, whatever was there. Running sandboxes notice nothing.
pub fn prepare(range: SlotRange) -> Outcome<()> {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").during(|| "switching IPv4 forwarding on".to_owned())?;
    let mut netfilter = Netlink::netfilter().during(|| "opening nfnetlink".to_owned())?;
    rules::install_host(&mut netfilter, range).during(|| format!("installing nftables table {}", range.table()))
}

/// Removes the range's slots and rules. Forwarding stays on: others may need it.
pub fn remove(range: SlotRange) -> Outcome<()> {
    for presence in slot::list(range)? {
        slot::remove(presence.slot)?;
    }
    let mut netfilter = Netlink::netfilter().during(|| "opening nfnetlink".to_owned())?;
    rules::remove_host(&mut netfilter, range).during(|| format!("deleting nftables table {}", range.table()))
}
