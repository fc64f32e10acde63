//! What may talk to what (NET2, NET4). Two tables: one per agent on the host, one in each sandbox's namespace.
//!
//! Egress policies of single sandboxes are a table beside the latter (`egress.rs`): nothing on the host has to change for
//! them, and they go away with the namespace.

use std::{io, net::Ipv4Addr};

use netlink_packet_netfilter::nftables::InetHookNumber::{Forward, LocalIn, PostRouting, PreRouting};

use super::{
    netlink::Netlink,
    nft::{self, Chain, ChainKind, TableBatch},
    plan::{GUEST_ADDRESS, HOST_NET, Slot, SlotRange, TAP, TAP_ADDRESS, UPLINK, VETH_NET, VETH_PREFIX},
};

const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 0);
/// A little before a firewall's own filter chains (0), so that what we drop is dropped whatever they accept.
const BEFORE_FILTER: i32 = -10;
const DSTNAT: i32 = -100;
const SRCNAT: i32 = 100;
/// Table of a sandbox's namespace.
const GUEST_TABLE: &str = "wrenn";

/// The host's table of one agent. A veth of another agent's range falls under the same prohibitions.
pub fn install_host(netlink: &mut Netlink, range: SlotRange) -> io::Result<()> {
    let mut table = TableBatch::replacing(&range.table());

    table.chain(filter("input", LocalIn, false));
    table.rule(
        "input",
        [
            nft::from_interfaces(VETH_PREFIX),
            nft::established_or_related(),
            nft::accept(),
        ],
    );
    table.rule("input", [nft::from_interfaces(VETH_PREFIX), nft::drop()]);

    table.chain(filter("forward", Forward, false));
    table.rule(
        "forward",
        [
            nft::from_interfaces(VETH_PREFIX),
            nft::to_interfaces(VETH_PREFIX),
            nft::drop(),
        ],
    );
    table.rule(
        "forward",
        [nft::from_interfaces(VETH_PREFIX), nft::not_ipv4(), nft::drop()],
    );
    for net in [HOST_NET, VETH_NET, LINK_LOCAL] {
        table.rule(
            "forward",
            [nft::from_interfaces(VETH_PREFIX), nft::to_net(net, 16), nft::drop()],
        );
    }
    // From outside only answers come in: a sandbox is reached through its host's agent.
    table.rule(
        "forward",
        [
            nft::to_interfaces(VETH_PREFIX),
            nft::established_or_related(),
            nft::accept(),
        ],
    );
    table.rule("forward", [nft::to_interfaces(VETH_PREFIX), nft::drop()]);

    table.chain(Chain {
        name: "postrouting",
        kind: ChainKind::Nat,
        hook: PostRouting,
        priority: SRCNAT,
        drops_by_default: false,
    });
    let own = nft::from_between(range.first.veth_host_ip(), range.last.veth_guest_ip());
    table.rule(
        "postrouting",
        [own, nft::not_to_interfaces(VETH_PREFIX), nft::masquerade()],
    );
    table.commit(netlink)
}

pub fn remove_host(netlink: &mut Netlink, range: SlotRange) -> io::Result<()> {
    nft::delete_table(netlink, &range.table())
}

/// The table of the namespace that the netlink socket is in.
pub fn install_guest(netlink: &mut Netlink, slot: Slot) -> io::Result<()> {
    let mut table = TableBatch::replacing(GUEST_TABLE);

    // Nothing in the namespace is for anyone to talk to, but for the resolver of a policy with names (egress.rs).
    table.chain(filter("input", LocalIn, true));
    for port in [nft::to_udp_port(53), nft::to_tcp_port(53)] {
        let resolver = nft::to_net(TAP_ADDRESS, 32);
        // An answer to a forged address would leave for the world.
        let guest = nft::from_address(GUEST_ADDRESS);
        table.rule(
            "input",
            [nft::from_interface(TAP), guest, resolver, port, nft::accept()],
        );
    }

    table.chain(filter("forward", Forward, true));
    for net in [HOST_NET, VETH_NET, LINK_LOCAL] {
        let reply = nft::established_or_related();
        table.rule(
            "forward",
            [nft::from_interface(TAP), nft::to_net(net, 16), reply, nft::accept()],
        );
        table.rule("forward", [nft::from_interface(TAP), nft::to_net(net, 16), nft::drop()]);
    }
    let guest = nft::from_address(GUEST_ADDRESS);
    table.rule(
        "forward",
        [
            nft::from_interface(TAP),
            nft::to_interface(UPLINK),
            guest,
            nft::accept(),
        ],
    );
    table.rule(
        "forward",
        [nft::from_interface(UPLINK), nft::to_interface(TAP), nft::accept()],
    );

    table.chain(Chain {
        name: "prerouting",
        kind: ChainKind::Nat,
        hook: PreRouting,
        priority: DSTNAT,
        drops_by_default: false,
    });
    let to_host_ip = nft::to_net(slot.host_ip(), 32);
    table.rule(
        "prerouting",
        [
            nft::from_interface(UPLINK),
            to_host_ip,
            nft::destination_nat(GUEST_ADDRESS),
        ],
    );

    table.chain(Chain {
        name: "postrouting",
        kind: ChainKind::Nat,
        hook: PostRouting,
        priority: SRCNAT,
        drops_by_default: false,
    });
    table.rule(
        "postrouting",
        [nft::to_interface(UPLINK), nft::source_nat(slot.veth_guest_ip())],
    );
    table.commit(netlink)
}

fn filter(name: &'static str, hook: netlink_packet_netfilter::nftables::InetHookNumber, drops: bool) -> Chain {
    Chain {
        name,
        kind: ChainKind::Filter,
        hook,
        priority: BEFORE_FILTER,
        drops_by_default: drops,
    }
}
