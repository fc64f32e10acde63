//! nftables by netlink: a table is made in one transaction, the kernel takes all of it or nothing.

mod words;

use std::{io, net::Ipv4Addr, time::Duration};

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily,
    nftables::{
        ChainAttribute, ChainMessage, DataAttribute, Hook, HookNumber, InetHookNumber, ListAttribute, NfTablesMessage,
        RuleAttribute, RuleMessage, SetAttribute, SetDescription, SetElementAttribute, SetElementList,
        SetElementMessage, SetFlags, SetMessage, TableAttribute, TableMessage,
    },
    none::ControlMessage,
};

use super::netlink::{Netlink, Request};
pub use words::*;

/// `NFNL_SUBSYS_NFTABLES`: the resource id of a batch.
const SUBSYSTEM: u16 = 10;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

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

/// A set of IPv4 addresses each of which stays for a time of its own.
pub struct AddressSet {
    pub name: &'static str,
    pub most: u32,
}

/// An address and how long it stays in its set from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedAddress {
    pub address: Ipv4Addr,
    pub stays: Duration,
}

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

    pub fn set(&mut self, set: &AddressSet) {
        /// What `nft list` shows it as.
        const TYPE_IPV4_ADDR: u32 = 7;
        let message = SetMessage {
            attributes: vec![
                SetAttribute::Table(self.table.clone()),
                SetAttribute::Name(set.name.to_owned()),
                SetAttribute::Flags(SetFlags::Timeout),
                SetAttribute::KeyType(TYPE_IPV4_ADDR),
                SetAttribute::KeyLen(4),
                SetAttribute::Id(1),
                SetAttribute::Description(vec![SetDescription::Size(set.most)]),
            ],
        };
        self.push(NfTablesMessage::NewSet(message), NLM_F_CREATE);
    }

    /// Into a set of the same transaction.
    pub fn elements(&mut self, set: &AddressSet, addresses: &[TimedAddress]) {
        if !addresses.is_empty() {
            let message = elements(&self.table, set, addresses);
            self.push(NfTablesMessage::NewSetElement(message), NLM_F_CREATE);
        }
    }

    pub fn rule(&mut self, chain: &str, parts: impl IntoIterator<Item = Part>) {
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

/// Addresses into a set that is there; those that are in it stay for the new time. All or none.
pub fn put(netlink: &mut Netlink, table: &str, set: &AddressSet, addresses: &[TimedAddress]) -> io::Result<()> {
    let header = || NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0);
    let request = |message, flags| Request::new(NetfilterMessage::new(header(), message), flags | NLM_F_ACK);
    let all = || elements(table, set, addresses);
    // Adding what is there changes nothing, not even its time, and deleting what is not there fails: add, delete, add.
    netlink.send(vec![
        control(ControlMessage::BatchBegin),
        request(NfTablesMessage::NewSetElement(all()), NLM_F_CREATE),
        request(NfTablesMessage::DeleteSetElement(all()), 0),
        request(NfTablesMessage::NewSetElement(all()), NLM_F_CREATE),
        control(ControlMessage::BatchEnd),
    ])
}

fn elements(table: &str, set: &AddressSet, addresses: &[TimedAddress]) -> SetElementMessage {
    let element = |address: &TimedAddress| {
        ListAttribute::Element(vec![
            SetElementAttribute::Key(DataAttribute::Value(address.address.octets().to_vec())),
            SetElementAttribute::Timeout(address.stays.as_millis() as u64),
        ])
    };
    SetElementMessage {
        attributes: vec![
            SetElementList::Table(table.to_owned()),
            SetElementList::Set(set.name.to_owned()),
            SetElementList::Elements(addresses.iter().map(element).collect()),
        ],
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
