//! Connections that the host's NAT remembers of a slot. They outlive its veth (an established TCP connection for days),
//! so whoever gets the slot next would find its packets translated as its predecessor's.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use netlink_packet_core::NLM_F_ACK;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, Tuple},
};

use super::{
    netlink::{Netlink, Request},
    plan::Slot,
};

/// Deletes every connection from or to one of the slot's addresses. Returns when the kernel has forgotten them.
pub fn flush(slot: Slot) -> io::Result<()> {
    let mut netlink = Netlink::netfilter()?;
    for tuple in of(slot, &mut netlink)? {
        let deletion = ConntrackMessage::Delete(vec![ConntrackAttribute::CtaTupleOrig(tuple)]);
        match netlink.send(vec![Request::new(conntrack(deletion), NLM_F_ACK)]) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {} // ended by itself meanwhile
            outcome => outcome?,
        }
    }
    Ok(())
}

/// How many connections of the slot are remembered.
pub fn count(slot: Slot) -> io::Result<usize> {
    Ok(of(slot, &mut Netlink::netfilter()?)?.len())
}

/// The original directions of the slot's connections.
fn of(slot: Slot, netlink: &mut Netlink) -> io::Result<Vec<Vec<Tuple>>> {
    let own = [slot.host_ip(), slot.veth_host_ip(), slot.veth_guest_ip()];
    let all = netlink.dump(conntrack(ConntrackMessage::Get(vec![])))?.into_iter();
    let original = all.filter_map(|message| match message.inner {
        NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) => {
            attributes.into_iter().find_map(|attribute| match attribute {
                ConntrackAttribute::CtaTupleOrig(tuple) => Some(tuple),
                _ => None,
            })
        }
        _ => None,
    });
    Ok(original.filter(|tuple| touches(tuple, &own)).collect())
}

fn touches(tuple: &[Tuple], own: &[Ipv4Addr]) -> bool {
    tuple.iter().any(|part| match part {
        Tuple::Ip(addresses) => addresses.iter().any(|address| match address {
            IPTuple::SourceAddress(IpAddr::V4(ip)) | IPTuple::DestinationAddress(IpAddr::V4(ip)) => own.contains(ip),
            _ => false,
        }),
        _ => false,
    })
}

fn conntrack(message: ConntrackMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0), message)
}
