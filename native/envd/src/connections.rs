//! After a resume the other ends of a guest's TCP connections are gone: its address translation is new, and a clone's
//! peers belong to what it was cloned from. Left alone, a program would wait on such a socket for minutes; here each is
//! ended, so that the program sees an error at once and connects again (sock_diag(7), `SOCK_DESTROY`).

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const HEADER: usize = 16;
/// `inet_diag_sockid` in an `inet_diag_msg` begins after family, state, timer and retransmissions.
const ID_OFFSET: usize = HEADER + 4;
const ID_SIZE: usize = 48;
/// All but LISTEN (10), TIME_WAIT (6) and CLOSE (7), which have nobody at the other end.
const CONNECTED: u32 = 0xfff & !(1 << 10) & !(1 << 6) & !(1 << 7) & !1;

/// `inet_diag_sockid`: ports, addresses, interface and the kernel's cookie.
#[derive(Clone, Copy)]
struct SocketId([u8; ID_SIZE]);

/// Kept for the next time: a clone that opens one has to learn how.
static SOCKET: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Ends every TCP connection to another machine, but for those that `own_port` serves. Returns how many.
pub fn reset_all(own_port: u16) -> io::Result<usize> {
    let kept = SOCKET.lock().unwrap().take();
    let socket = kept.map_or_else(open, Ok)?;
    let mut ended = 0;
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        for id in list(&socket, family)? {
            if id.local_port() != own_port && !id.is_local(family) && destroy(&socket, family, id)? {
                ended += 1;
            }
        }
    }
    *SOCKET.lock().unwrap() = Some(socket); // after a failure answers may be left in it
    Ok(ended)
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

fn list(socket: &OwnedFd, family: u8) -> io::Result<Vec<SocketId>> {
    let no_id = SocketId([0; ID_SIZE]);
    request(socket, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, CONNECTED, no_id)?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 32 << 10];
    loop {
        let length = recv(socket, &mut buffer[..], RecvFlags::empty())?.0;
        for (kind, message) in Messages(&buffer[..length]) {
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return Err(error_of(message)),
                _ => found.extend(
                    message
                        .get(ID_OFFSET..ID_OFFSET + ID_SIZE)
                        .and_then(|id| Some(SocketId(id.try_into().ok()?))),
                ),
            }
        }
    }
}

/// False: it had ended by itself.
fn destroy(socket: &OwnedFd, family: u8, id: SocketId) -> io::Result<bool> {
    request(socket, SOCK_DESTROY, NLM_F_ACK, family, CONNECTED, id)?;
    let mut answer = [0; 512];
    let length = recv(socket, &mut answer[..], RecvFlags::empty())?.0;
    let error = error_of(&answer[..length]);
    match error.raw_os_error() {
        Some(0) => Ok(true),
        Some(libc::ENOENT) => Ok(false),
        _ => Err(error),
    }
}

/// One `inet_diag_req_v2` after a netlink header.
fn request(socket: &OwnedFd, kind: u16, flags: u16, family: u8, states: u32, id: SocketId) -> io::Result<()> {
    let mut message = Vec::with_capacity(HEADER + 8 + ID_SIZE);
    message.extend(((HEADER + 8 + ID_SIZE) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    message.extend([0; 8]); // sequence, port
    message.extend([family, libc::IPPROTO_TCP as u8, 0, 0]);
    message.extend(states.to_ne_bytes());
    message.extend(id.0);
    send(socket, &message, SendFlags::empty())?;
    Ok(())
}

/// The kernel's messages in one datagram: their kind, and each whole.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = u32::from_ne_bytes(self.0.get(..4)?.try_into().ok()?) as usize;
        let message = self.0.get(..length).filter(|message| message.len() >= HEADER)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([message[4], message[5]]), message))
    }
}

/// Of an `NLMSG_ERROR`; 0 is an acknowledgement.
fn error_of(message: &[u8]) -> io::Error {
    let code = message.get(HEADER..HEADER + 4).and_then(|code| code.try_into().ok());
    io::Error::from_raw_os_error(-code.map_or(-libc::EPROTO, i32::from_ne_bytes))
}

impl SocketId {
    fn local_port(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    fn address(&self, family: u8, at: usize) -> IpAddr {
        let bytes: [u8; 16] = self.0[at..at + 16].try_into().expect("16 bytes");
        match family == libc::AF_INET as u8 {
            true => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
            false => Ipv6Addr::from(bytes).to_canonical(),
        }
    }

    /// Both ends are in this guest, and so both are still there.
    fn is_local(&self, family: u8) -> bool {
        let (ours, theirs) = (self.address(family, 4), self.address(family, 20));
        theirs.is_loopback() || ours == theirs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_which_connections_stay_in_the_guest() {
        let id = |ours: [u8; 4], theirs: [u8; 4]| {
            let mut bytes = [0; ID_SIZE];
            bytes[..2].copy_from_slice(&49983u16.to_be_bytes());
            bytes[4..8].copy_from_slice(&ours);
            bytes[20..24].copy_from_slice(&theirs);
            SocketId(bytes)
        };
        let family = libc::AF_INET as u8;
        assert_eq!(id([0; 4], [0; 4]).local_port(), 49983);
        assert!(id([127, 0, 0, 1], [127, 0, 0, 1]).is_local(family));
        assert!(id([169, 254, 0, 21], [169, 254, 0, 21]).is_local(family));
        assert!(!id([169, 254, 0, 21], [10, 0, 0, 1]).is_local(family));
    }

    #[test]
    fn reads_messages_and_stops_at_nonsense() {
        let mut two = vec![0; 36];
        two[0] = 17;
        two[4] = 3;
        two[20] = 16;
        two[24] = 2;
        assert_eq!(Messages(&two).map(|(kind, _)| kind).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(Messages(&[200, 0, 0, 0, 1]).count(), 0);
        assert_eq!(Messages(&[0; 64]).count(), 0);
    }
}
