//! What our rules are made of: matches and statements, each a few of the kernel's expressions.
//!
//! `nat`, `masq` and `ct` have no type of their own in `netlink-packet-netfilter`, so their attributes are written out
//! (numbers from `linux/netfilter/nf_tables.h`).

use std::net::Ipv4Addr;

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, Expressions, Immediate, Lookup, Meta, MetaKey, Operator, Payload, Register, Verdict,
    VerdictAttribute,
};

use super::{AddressSet, NF_ACCEPT, NF_DROP};

const CT_STATE_ESTABLISHED: u32 = 1 << 1;
const CT_STATE_RELATED: u32 = 1 << 2;

/// A part of a rule.
pub type Part = Vec<Expressions>;

// Partes

/// Not IPv4: sandboxes have no IPv6, so what comes as IPv6 is not ours.
pub fn not_ipv4() -> Part {
    vec![
        meta(MetaKey::Nfproto),
        compare(Operator::NotEqual, vec![libc::NFPROTO_IPV4 as u8]),
    ]
}

/// The protocol must be known before an address is read in an `inet` table.
fn ipv4() -> Part {
    vec![
        meta(MetaKey::Nfproto),
        compare(Operator::Equal, vec![libc::NFPROTO_IPV4 as u8]),
    ]
}

pub fn from_interface(name: &str) -> Part {
    vec![meta(MetaKey::Iifname), compare(Operator::Equal, whole_name(name))]
}

pub fn to_interface(name: &str) -> Part {
    vec![meta(MetaKey::Oifname), compare(Operator::Equal, whole_name(name))]
}

pub fn from_interfaces(prefix: &str) -> Part {
    vec![meta(MetaKey::Iifname), compare(Operator::Equal, prefix.into())]
}

pub fn to_interfaces(prefix: &str) -> Part {
    vec![meta(MetaKey::Oifname), compare(Operator::Equal, prefix.into())]
}

pub fn not_to_interfaces(prefix: &str) -> Part {
    vec![meta(MetaKey::Oifname), compare(Operator::NotEqual, prefix.into())]
}

pub fn to_net(address: Ipv4Addr, prefix: u8) -> Part {
    let mut found = ipv4();
    found.extend([
        address_at(DESTINATION_OFFSET),
        mask(prefix),
        compare(Operator::Equal, octets(address)),
    ]);
    found
}

pub fn from_address(address: Ipv4Addr) -> Part {
    let mut found = ipv4();
    found.extend([address_at(SOURCE_OFFSET), compare(Operator::Equal, octets(address))]);
    found
}

pub fn from_between(first: Ipv4Addr, last: Ipv4Addr) -> Part {
    let mut found = ipv4();
    found.extend([
        address_at(SOURCE_OFFSET),
        compare(Operator::GreatherThanEqual, octets(first)),
        compare(Operator::LessThanEqual, octets(last)),
    ]);
    found
}

/// Destinations that are in a set of the same table.
pub fn to_address_in(set: &AddressSet) -> Part {
    let mut found = ipv4();
    found.push(address_at(DESTINATION_OFFSET));
    found.push(Expressions::Lookup(vec![
        Lookup::Set(set.name.to_owned()),
        Lookup::SourceRegister(Register::Reg1),
    ]));
    found
}

pub fn to_udp_port(port: u16) -> Part {
    to_port(libc::IPPROTO_UDP as u8, port)
}

pub fn to_tcp_port(port: u16) -> Part {
    to_port(libc::IPPROTO_TCP as u8, port)
}

fn to_port(protocol: u8, port: u16) -> Part {
    const TRANSPORT_HEADER: u32 = 2;
    const DESTINATION_PORT_OFFSET: u32 = 2;
    vec![
        meta(MetaKey::L4Proto),
        compare(Operator::Equal, vec![protocol]),
        Expressions::Payload(vec![
            Payload::DestinationRegister(Register::Reg1),
            Payload::Base(TRANSPORT_HEADER),
            Payload::Offset(DESTINATION_PORT_OFFSET),
            Payload::Len(2),
        ]),
        compare(Operator::Equal, port.to_be_bytes().to_vec()),
    ]
}

const CT_DREG: u16 = 1;
const CT_KEY: u16 = 2;
const CT_SREG: u16 = 4;
const CT_KEY_STATE: u32 = 0;
const CT_KEY_MARK: u32 = 3;

/// Replies, and ICMP errors about a known connection.
pub fn established_or_related() -> Part {
    let wanted = (CT_STATE_ESTABLISHED | CT_STATE_RELATED).to_ne_bytes().to_vec();
    vec![
        connection(CT_KEY_STATE),
        bitwise(wanted),
        compare(Operator::NotEqual, vec![0; 4]),
    ]
}

/// Packets of a connection that `mark_connection` has seen before.
pub fn of_marked_connection(mark: u32) -> Part {
    vec![
        connection(CT_KEY_MARK),
        compare(Operator::Equal, mark.to_ne_bytes().to_vec()),
    ]
}

fn connection(key: u32) -> Expressions {
    Expressions::Other {
        expression_type: "ct".to_owned(),
        attributes: vec![
            DefaultNla::new(CT_DREG, big_endian(Register::Reg1.into())),
            DefaultNla::new(CT_KEY, big_endian(key)),
        ],
    }
}

// Statements

pub fn drop() -> Part {
    verdict(NF_DROP)
}

pub fn accept() -> Part {
    verdict(NF_ACCEPT)
}

/// What the connection is remembered by, in its namespace alone.
pub fn mark_connection(mark: u32) -> Part {
    let load = Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Reg1),
        Immediate::Data(DataAttribute::Value(mark.to_ne_bytes().to_vec())),
    ]);
    let store = Expressions::Other {
        expression_type: "ct".to_owned(),
        attributes: vec![
            DefaultNla::new(CT_KEY, big_endian(CT_KEY_MARK)),
            DefaultNla::new(CT_SREG, big_endian(Register::Reg1.into())),
        ],
    };
    vec![load, store]
}

pub fn masquerade() -> Part {
    vec![Expressions::Other {
        expression_type: "masq".to_owned(),
        attributes: vec![],
    }]
}

pub fn source_nat(to: Ipv4Addr) -> Part {
    nat(0, to)
}

pub fn destination_nat(to: Ipv4Addr) -> Part {
    nat(1, to)
}

fn nat(kind: u32, to: Ipv4Addr) -> Part {
    const NAT_TYPE: u16 = 1;
    const NAT_FAMILY: u16 = 2;
    const NAT_REG_ADDR_MIN: u16 = 3;
    let load = Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Reg1),
        Immediate::Data(DataAttribute::Value(octets(to))),
    ]);
    let translate = Expressions::Other {
        expression_type: "nat".to_owned(),
        attributes: vec![
            DefaultNla::new(NAT_TYPE, big_endian(kind)),
            DefaultNla::new(NAT_FAMILY, big_endian(libc::NFPROTO_IPV4 as u32)),
            DefaultNla::new(NAT_REG_ADDR_MIN, big_endian(Register::Reg1.into())),
        ],
    };
    vec![load, translate]
}

fn verdict(code: u32) -> Part {
    vec![Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(vec![VerdictAttribute::Code(Verdict::Other(
            code,
        ))])),
    ])]
}

fn meta(key: MetaKey) -> Expressions {
    Expressions::Meta(vec![Meta::DestinationRegister(Register::Reg1), Meta::Key(key)])
}

fn compare(operator: Operator, value: Vec<u8>) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value)),
    ])
}

const SOURCE_OFFSET: u32 = 12;
const DESTINATION_OFFSET: u32 = 16;

fn address_at(offset: u32) -> Expressions {
    const NETWORK_HEADER: u32 = 1;
    Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(NETWORK_HEADER),
        Payload::Offset(offset),
        Payload::Len(4),
    ])
}

fn mask(prefix: u8) -> Expressions {
    // A shift by all 32 bits is none for the processor.
    let bits = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    bitwise(bits.to_be_bytes().to_vec())
}

fn bitwise(mask: Vec<u8>) -> Expressions {
    let length = mask.len();
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(Register::Reg1),
        Bitwise::DestinationRegister(Register::Reg1),
        Bitwise::Length(length as u32),
        Bitwise::Mask(DataAttribute::Value(mask)),
        Bitwise::Xor(DataAttribute::Value(vec![0; length])),
    ])
}

/// A whole name is compared with its padding, a prefix without.
fn whole_name(name: &str) -> Vec<u8> {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(libc::IFNAMSIZ, 0);
    padded
}

fn octets(address: Ipv4Addr) -> Vec<u8> {
    address.octets().to_vec()
}

fn big_endian(value: u32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}
