//! nftables by netlink: a table is made in one transaction, the kernel takes all of it or nothing.

mod words;

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily,
    nftables::{
        ChainAttribute, ChainMessage, Hook, HookNumber, InetHookNumber, NfTablesMessage, RuleAttribute, RuleMessage,
        TableAttribute, TableMessage,
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
