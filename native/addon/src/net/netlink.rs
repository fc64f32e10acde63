//! One blocking conversation with the kernel over a netlink socket, for rtnetlink and nfnetlink alike.
//!
//! The socket belongs to the network namespace that its thread was in when it was opened, and stays there: a thread
//! can hold one for the host and one for the namespace it has just made.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE},
};

pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// A message with the header flags it needs beside `NLM_F_REQUEST` (and the id of what it belongs to, set here).
pub struct Request<M> {
    pub message: M,
    pub flags: u16,
}

impl<M> Request<M> {
    pub fn new(message: M, flags: u16) -> Self {
        Self { message, flags }
    }
}

impl Netlink {
    pub fn route() -> io::Result<Self> {
        Self::open(NETLINK_ROUTE)
    }

    pub fn netfilter() -> io::Result<Self> {
        Self::open(NETLINK_NETFILTER)
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends the requests in one system call and waits until the kernel has acknowledged each; the first refusal is
    /// the error. rtnetlink does them one by one, nfnetlink as one transaction if they are a batch (`nft.rs`).
    /// A request without `NLM_F_ACK` is not waited for.
    pub fn send<M>(&mut self, requests: Vec<Request<M>>) -> io::Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut buffer = Vec::new();
        let mut awaited = 0usize;
        let first = self.sequence + 1;
        for request in requests {
            awaited += usize::from(request.flags & NLM_F_ACK != 0);
            self.append(&mut buffer, request);
        }
        self.socket.send(&buffer, 0)?;
        let mut refusal = None;
        while awaited > 0 {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages::<M>(&datagram)? {
                if message.header.sequence_number < first {
                    continue; // belongs to a batch that was refused before
                }
                if let NetlinkPayload::Error(answer) = message.payload {
                    awaited = awaited.saturating_sub(1);
                    if answer.code.is_some() && refusal.is_none() {
                        refusal = Some(answer.to_io());
                        // A refused batch may leave its other messages unanswered.
                        awaited = 0;
                    }
                }
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// One request that only has to be acknowledged.
    pub fn tell<M>(&mut self, message: M, flags: u16) -> io::Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.send(vec![Request::new(message, flags | NLM_F_ACK)])
    }

    /// One request that has one answer.
    pub fn ask<M>(&mut self, message: M) -> io::Result<M>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut buffer = Vec::new();
        self.append(&mut buffer, Request::new(message, 0));
        self.socket.send(&buffer, 0)?;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages::<M>(&datagram)? {
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => return Ok(answer),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    /// Everything of one kind, as the kernel lists it.
    pub fn dump<M>(&mut self, message: M) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut buffer = Vec::new();
        self.append(&mut buffer, Request::new(message, NLM_F_DUMP));
        self.socket.send(&buffer, 0)?;
        let mut found = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages::<M>(&datagram)? {
                match message.payload {
                    NetlinkPayload::InnerMessage(item) => found.push(item),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::Done(_) => return Ok(found),
                    _ => {}
                }
            }
        }
    }

    fn append<M: NetlinkSerializable>(&mut self, buffer: &mut Vec<u8>, request: Request<M>) {
        self.sequence += 1;
        let mut message = NetlinkMessage::new(Default::default(), NetlinkPayload::InnerMessage(request.message));
        message.header.flags = NLM_F_REQUEST | request.flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let start = buffer.len();
        buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut buffer[start..]);
    }
}

fn messages<M: NetlinkDeserializable>(datagram: &[u8]) -> io::Result<Vec<NetlinkMessage<M>>> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::deserialize(rest)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        let length = (message.header.length as usize).next_multiple_of(4);
        found.push(message);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(found)
}
