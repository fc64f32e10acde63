//! The few words of nftables that our rules need, as netlink messages.
//!
//! A batch is one transaction: the kernel takes all of it or nothing. `nat`, `masq` and `ct` have no type of their own
//! in `netlink-packet-netfilter`, so their attributes are written out (numbers from `linux/netfilter/nf_tables.h`).

use std::{io, net::Ipv4Addr};

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily,
    nftables::{
        Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, Expressions, Hook, HookNumber, Immediate,
        InetHookNumber, Meta, MetaKey, NfTablesMessage, Operator, Payload, Register, RuleAttribute, RuleMessage,
        TableAttribute, TableMessage, Verdict, VerdictAttribute,
    },
    none::ControlMessage,
};

use super::netlink::{Netlink, Request};

/// `NFNL_SUBSYS_NFTABLES`: the resource id of a batch.
const SUBSYSTEM: u16 = 10;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const CT_STATE_ESTABLISHED: u32 = 1 << 1;
const CT_STATE_RELATED: u32 = 1 << 2;

#[derive(Clone, Copy)]
pub enum ChainKind {
    Filter,
    Nat,
}

/// Where a chain hooks in. Priorities are the conventional ones (`filter` 0, `dstnat` -100, `srcnat` 100), filters a
/// little earlier so that ours see a packet before a firewall's.
pub struct Chain {
    pub name: &'static str,
    pub kind: ChainKind,
    pub hook: InetHookNumber,
    pub priority: i32,
    pub drops_by_default: bool,
}

pub type Match = Vec<Expressions>;

/// A transaction that makes one table anew, whatever was there before.
pub struct TableBatch {
    table: String,
    requests: Vec<Request<NetfilterMessage>>,
}

impl TableBatch {
    pub fn replacing(table: &str) -> Self {
        let mut batch = Self {
            table: table.to_owned(),
            requests: vec![control(ControlMessage::BatchBegin)],
        };
        // Deleting what is not there fails, so it is made first: add, delete, add.
        batch.push(NfTablesMessage::NewTable(table_message(table)), NLM_F_CREATE);
        batch.push(NfTablesMessage::DeleteTable(table_message(table)), 0);
        batch.push(NfTablesMessage::NewTable(table_message(table)), NLM_F_CREATE);
        batch
    }

    pub fn chain(&mut self, chain: Chain) {
        let kind = match chain.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        };
        let policy = if chain.drops_by_default { NF_DROP } else { NF_ACCEPT };
        let message = ChainMessage {
            attributes: vec![
                ChainAttribute::Table(self.table.clone()),
                ChainAttribute::Name(chain.name.to_owned()),
                ChainAttribute::Hook(vec![
                    Hook::Number(HookNumber::Inet(chain.hook)),
                    Hook::Priority(chain.priority.cast_unsigned()),
                ]),
                ChainAttribute::Policy(policy),
                ChainAttribute::Type(kind.to_owned()),
            ],
        };
        self.push(NfTablesMessage::NewChain(message), NLM_F_CREATE);
    }

    pub fn rule(&mut self, chain: &str, parts: impl IntoIterator<Item = Match>) {
        let message = RuleMessage {
            attributes: vec![
                RuleAttribute::Table(self.table.clone()),
                RuleAttribute::Chain(chain.to_owned()),
                RuleAttribute::Expressions(parts.into_iter().flatten().map(Into::into).collect()),
            ],
        };
        self.push(NfTablesMessage::NewRule(message), NLM_F_CREATE | NLM_F_APPEND);
    }

    pub fn commit(mut self, netlink: &mut Netlink) -> io::Result<()> {
        self.requests.push(control(ControlMessage::BatchEnd));
        netlink.send(self.requests)
    }

    fn push(&mut self, message: NfTablesMessage, flags: u16) {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0);
        self.requests
            .push(Request::new(NetfilterMessage::new(header, message), flags | NLM_F_ACK));
    }
}

/// Deletes a table; one that is not there is fine.
pub fn delete_table(netlink: &mut Netlink, table: &str) -> io::Result<()> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0);
    let message = NfTablesMessage::DeleteTable(table_message(table));
    let deletion = Request::new(NetfilterMessage::new(header, message), NLM_F_ACK);
    let batch = vec![
        control(ControlMessage::BatchBegin),
        deletion,
        control(ControlMessage::BatchEnd),
    ];
    match netlink.send(batch) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome,
    }
}

fn table_message(table: &str) -> TableMessage {
    TableMessage {
        attributes: vec![TableAttribute::Name(table.to_owned())],
    }
}

fn control(message: ControlMessage) -> Request<NetfilterMessage> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM);
    Request::new(NetfilterMessage::new(header, message), 0)
}

// Matches

/// Not IPv4: sandboxes have no IPv6, so what comes as IPv6 is not ours.
pub fn not_ipv4() -> Match {
    vec![
        meta(MetaKey::Nfproto),
        compare(Operator::NotEqual, vec![libc::NFPROTO_IPV4 as u8]),
    ]
}

/// The protocol must be known before an address is read in an `inet` table.
fn ipv4() -> Match {
    vec![
        meta(MetaKey::Nfproto),
        compare(Operator::Equal, vec![libc::NFPROTO_IPV4 as u8]),
    ]
}

pub fn from_interface(name: &str) -> Match {
    vec![meta(MetaKey::Iifname), compare(Operator::Equal, whole_name(name))]
}

pub fn to_interface(name: &str) -> Match {
    vec![meta(MetaKey::Oifname), compare(Operator::Equal, whole_name(name))]
}

pub fn from_interfaces(prefix: &str) -> Match {
    vec![meta(MetaKey::Iifname), compare(Operator::Equal, prefix.into())]
}

pub fn to_interfaces(prefix: &str) -> Match {
    vec![meta(MetaKey::Oifname), compare(Operator::Equal, prefix.into())]
}

pub fn not_to_interfaces(prefix: &str) -> Match {
    vec![meta(MetaKey::Oifname), compare(Operator::NotEqual, prefix.into())]
}

pub fn to_net(address: Ipv4Addr, prefix: u8) -> Match {
    let mut found = ipv4();
    found.extend([
        address_at(DESTINATION_OFFSET),
        mask(prefix),
        compare(Operator::Equal, octets(address)),
    ]);
    found
}

pub fn from_address(address: Ipv4Addr) -> Match {
    let mut found = ipv4();
    found.extend([address_at(SOURCE_OFFSET), compare(Operator::Equal, octets(address))]);
    found
}

pub fn from_between(first: Ipv4Addr, last: Ipv4Addr) -> Match {
    let mut found = ipv4();
    found.extend([
        address_at(SOURCE_OFFSET),
        compare(Operator::GreatherThanEqual, octets(first)),
        compare(Operator::LessThanEqual, octets(last)),
    ]);
    found
}

/// Replies, and ICMP errors about a known connection.
pub fn established_or_related() -> Match {
    const CT_DREG: u16 = 1;
    const CT_KEY: u16 = 2;
    const CT_KEY_STATE: u32 = 0;
    let state = Expressions::Other {
        expression_type: "ct".to_owned(),
        attributes: vec![
            DefaultNla::new(CT_DREG, big_endian(Register::Reg1.into())),
            DefaultNla::new(CT_KEY, big_endian(CT_KEY_STATE)),
        ],
    };
    let wanted = (CT_STATE_ESTABLISHED | CT_STATE_RELATED).to_ne_bytes().to_vec();
    vec![state, bitwise(wanted), compare(Operator::NotEqual, vec![0; 4])]
}

// Statements

pub fn drop() -> Match {
    verdict(NF_DROP)
}

pub fn accept() -> Match {
    verdict(NF_ACCEPT)
}

pub fn masquerade() -> Match {
    vec![Expressions::Other {
        expression_type: "masq".to_owned(),
        attributes: vec![],
    }]
}

pub fn source_nat(to: Ipv4Addr) -> Match {
    nat(0, to)
}

pub fn destination_nat(to: Ipv4Addr) -> Match {
    nat(1, to)
}

fn nat(kind: u32, to: Ipv4Addr) -> Match {
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

fn verdict(code: u32) -> Match {
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
    bitwise((u32::MAX << (32 - u32::from(prefix))).to_be_bytes().to_vec())
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
