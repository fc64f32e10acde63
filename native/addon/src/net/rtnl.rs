//! The rtnetlink requests that slots are made of.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, BorrowedFd},
};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

use super::netlink::{Netlink, Request};

pub type RouteRequest = Request<RouteNetlinkMessage>;

/// A veth pair, its far end born in another namespace with a known interface index.
pub fn new_veth(name: &str, peer: &str, peer_index: u32, peer_namespace: BorrowedFd<'_>) -> RouteRequest {
    let mut far = LinkMessage::default();
    far.header.index = peer_index;
    far.attributes = vec![
        LinkAttribute::IfName(peer.to_owned()),
        LinkAttribute::NetNsFd(peer_namespace.as_raw_fd()),
    ];
    let mut near = LinkMessage::default();
    near.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]),
    ];
    Request::new(
        RouteNetlinkMessage::NewLink(near),
        NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK,
    )
}

pub fn link_up(index: u32) -> RouteRequest {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    Request::new(RouteNetlinkMessage::SetLink(link), NLM_F_ACK)
}

pub fn new_address(index: u32, address: Ipv4Addr, prefix: u8) -> RouteRequest {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(address)),
        AddressAttribute::Address(IpAddr::V4(address)),
    ];
    Request::new(
        RouteNetlinkMessage::NewAddress(message),
        NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK,
    )
}

/// `to` is an address and its prefix; prefix 0 is the default route.
pub fn new_route(to: (Ipv4Addr, u8), gateway: Ipv4Addr, through: u32) -> RouteRequest {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = to.1;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    if to.1 > 0 {
        message
            .attributes
            .push(RouteAttribute::Destination(RouteAddress::Inet(to.0)));
    }
    message
        .attributes
        .push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
    message.attributes.push(RouteAttribute::Oif(through));
    Request::new(
        RouteNetlinkMessage::NewRoute(message),
        NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK,
    )
}

/// A neighbour that is known beforehand and never asked for by ARP.
pub fn new_neighbour(index: u32, address: Ipv4Addr, mac: [u8; 6]) -> RouteRequest {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
        NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
    ];
    Request::new(
        RouteNetlinkMessage::NewNeighbour(message),
        NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK,
    )
}

pub fn link_index(netlink: &mut Netlink, name: &str) -> io::Result<u32> {
    let mut link = LinkMessage::default();
    link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    match netlink.ask(RouteNetlinkMessage::GetLink(link))? {
        RouteNetlinkMessage::NewLink(found) => Ok(found.header.index),
        other => Err(io::Error::other(format!("unexpected answer {other:?}"))),
    }
}

pub fn set_mac(index: u32, mac: [u8; 6]) -> RouteRequest {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.attributes = vec![LinkAttribute::Address(mac.to_vec())];
    Request::new(RouteNetlinkMessage::SetLink(link), NLM_F_ACK)
}

/// Deletes a link and with it its addresses, routes and peer; one that is not there is fine.
pub fn delete_link(netlink: &mut Netlink, name: &str) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    match netlink.tell(RouteNetlinkMessage::DelLink(link), 0) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        outcome => outcome,
    }
}

pub fn link_names(netlink: &mut Netlink) -> io::Result<Vec<String>> {
    let links = netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    Ok(links
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            }),
            _ => None,
        })
        .collect())
}

/// Every IPv4 /32 that the main table routes somewhere.
pub fn routed_addresses(netlink: &mut Netlink) -> io::Result<Vec<Ipv4Addr>> {
    let mut wanted = RouteMessage::default();
    wanted.header.address_family = AddressFamily::Inet;
    let routes = netlink.dump(RouteNetlinkMessage::GetRoute(wanted))?;
    Ok(routes
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewRoute(route)
                if route.header.destination_prefix_length == 32 && route.header.table == RouteHeader::RT_TABLE_MAIN =>
            {
                route.attributes.into_iter().find_map(|attribute| match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(address),
                    _ => None,
                })
            }
            _ => None,
        })
        .collect())
}
