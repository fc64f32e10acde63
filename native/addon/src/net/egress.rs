//! What one guest may reach (NET4): a table of its own in the slot's namespace, exchanged as a whole while the guest runs.
//! It only takes away: what the namespace's own rules drop stays dropped, and the table goes with the namespace.

use std::{io, net::Ipv4Addr};

use netlink_packet_netfilter::nftables::InetHookNumber::Forward;

use super::{
    namespace,
    netlink::Netlink,
    nft::{self, Chain, ChainKind, TableBatch},
    plan::{HOST_NET, Slot, TAP, VETH_NET},
};
use crate::failure::{During, Failure, Outcome};

const TABLE: &str = "wrenn_egress";
/// Behind the namespace's own chain (-10).
const AFTER_OURS: i32 = -5;
/// Rules are gone through one by one for each packet.
pub const MAX_NETWORKS: usize = 512;

/// An IPv4 network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

impl Network {
    /// `203.0.113.0/24`; bits behind the prefix do not count.
    pub fn parse(text: &str) -> Outcome<Self> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let address: Ipv4Addr = address.parse().ok()?;
            let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Some(Self {
                address: Ipv4Addr::from(u32::from(address) & mask),
                prefix,
            })
        });
        parsed.ok_or_else(|| Failure::invalid("egress", format!("{text:?} is no IPv4 network")))
    }
}

/// `allow` goes before `deny`; what neither names is allowed.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub allow: Vec<Network>,
    pub deny: Vec<Network>,
}

/// Puts a policy in force, in one transaction, for connections that are open as well. An empty one allows everything.
pub fn set(slot: Slot, policy: Policy) -> Outcome<()> {
    if policy.allow.len() + policy.deny.len() > MAX_NETWORKS {
        return Err(Failure::invalid("egress", format!("more than {MAX_NETWORKS} networks")));
    }
    namespace::inside(&slot.namespace(), move || {
        install(&policy).during(|| format!("the egress policy of slot {}", slot.index()))
    })
}

fn install(policy: &Policy) -> io::Result<()> {
    let mut netlink = Netlink::netfilter()?;
    if policy.deny.is_empty() {
        return nft::delete_table(&mut netlink, TABLE);
    }
    let mut table = TableBatch::replacing(TABLE);
    table.chain(Chain {
        name: "forward",
        kind: ChainKind::Filter,
        hook: Forward,
        priority: AFTER_OURS,
        drops_by_default: false,
    });
    // Answers to what reaches the guest through its host; the namespace's own rules let nothing else there.
    for net in [HOST_NET, VETH_NET] {
        table.rule(
            "forward",
            [nft::from_interface(TAP), nft::to_net(net, 16), nft::accept()],
        );
    }
    for (networks, verdict) in [
        (&policy.allow, nft::accept as fn() -> nft::Part),
        (&policy.deny, nft::drop),
    ] {
        for Network { address, prefix } in networks {
            table.rule(
                "forward",
                [nft::from_interface(TAP), nft::to_net(*address, *prefix), verdict()],
            );
        }
    }
    table.commit(&mut netlink)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn net4_networks_are_read_and_nothing_else() {
        let read = |text| Network::parse(text).ok().map(|net| (net.address, net.prefix));
        assert_eq!(read("10.1.2.3/8"), Some((Ipv4Addr::new(10, 0, 0, 0), 8)));
        assert_eq!(read("0.0.0.0/0"), Some((Ipv4Addr::UNSPECIFIED, 0)));
        assert_eq!(read("203.0.113.7/32"), Some((Ipv4Addr::new(203, 0, 113, 7), 32)));
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/0", "a/1", "10.0.0.0/-1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
