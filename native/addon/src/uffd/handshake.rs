//! Firecracker's side of the deal: it connects, sends one message that says where it has mapped which part of its
//! guest's memory, and with it the userfaultfd of that memory.

use std::{
    fs, io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, PermissionsExt, chown},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt::socket_peercred};
use serde_json::Value;

use super::faults::Faults;
use crate::snapshot::format::BLOCK;

/// Firecracker sends some hundred bytes; it has two regions at most.
const MESSAGE_LIMIT: usize = 64 << 10;
const MOST_REGIONS: usize = 64;

/// Listens until dropped; then the name goes.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// Who may connect.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub pid: i32,
    pub uid: u32,
}

/// A part of the guest's memory in the VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// In the VMM.
    pub address: u64,
    /// In the guest's memory as it is stored.
    pub offset: u64,
    pub length: u64,
}

impl Socket {
    /// Only `uid` and root can connect. A socket that an earlier run left is replaced.
    pub fn listen(path: &Path, uid: u32) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let socket = Self {
            listener,
            path: path.to_owned(),
        };
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        chown(path, Some(uid), None)?;
        socket.listener.set_nonblocking(true)?;
        Ok(socket)
    }

    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Takes a connection that waits. `None`: it was of somebody else, and is closed.
    pub fn accept(&self, expected: Peer) -> io::Result<Option<UnixStream>> {
        let (stream, _) = match self.listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let peer = socket_peercred(&stream)?;
        let right = peer.pid.as_raw_nonzero().get() == expected.pid && peer.uid.as_raw() == expected.uid;
        stream.set_nonblocking(true)?;
        Ok(right.then_some(stream))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The message while it comes in.
#[derive(Default)]
pub struct Handshake {
    text: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

impl Handshake {
    /// Reads what is there. `Some` once it is whole.
    pub fn receive(&mut self, stream: &UnixStream, memory_bytes: u64) -> io::Result<Option<(Vec<Region>, Faults)>> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [io::IoSliceMut::new(&mut bytes)];
        let received = match recvmsg(stream.as_fd(), &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => received,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
                // Those that are too many are closed here.
                self.descriptor = self.descriptor.take().or(descriptors.next());
            }
        }
        if received.bytes == 0 {
            return Err(io::Error::other(
                "the VMM ended the connection before it had said where its memory is",
            ));
        }
        self.text.extend_from_slice(&bytes[..received.bytes]);
        if self.text.len() > MESSAGE_LIMIT {
            return Err(io::Error::other("the VMM says too much"));
        }
        let message = match serde_json::from_slice::<Value>(&self.text) {
            Ok(message) => message,
            Err(error) if error.is_eof() => return Ok(None),
            Err(error) => return Err(io::Error::other(format!("the VMM's message is no JSON: {error}"))),
        };
        let descriptor = self.descriptor.take();
        let descriptor = descriptor.ok_or_else(|| io::Error::other("the VMM sent no userfaultfd"))?;
        let regions = regions(&message, memory_bytes).map_err(io::Error::other)?;
        Ok(Some((regions, Faults::new(descriptor)?)))
    }
}

/// Sorted by address.
pub fn regions(message: &Value, memory_bytes: u64) -> Result<Vec<Region>, String> {
    let list = message.as_array().ok_or("the VMM's message is no array of regions")?;
    if list.is_empty() || list.len() > MOST_REGIONS {
        return Err(format!("the VMM has {} regions", list.len()));
    }
    let mut found = list.iter().map(region).collect::<Result<Vec<_>, _>>()?;
    found.sort_by_key(|region| region.offset);
    let mut next = 0;
    for region in &found {
        if region.offset != next || region.length > memory_bytes - next {
            return Err("the VMM's regions are not the snapshot's memory".to_owned());
        }
        next += region.length;
    }
    if next != memory_bytes {
        return Err(format!(
            "the VMM has {next} bytes of memory, the snapshot {memory_bytes}"
        ));
    }
    found.sort_by_key(|region| region.address);
    if found
        .windows(2)
        .any(|pair| pair[0].address + pair[0].length > pair[1].address)
    {
        return Err("the VMM's regions lie upon each other".to_owned());
    }
    Ok(found)
}

fn region(value: &Value) -> Result<Region, String> {
    let number = |name: &str| value.get(name).and_then(Value::as_u64);
    // `page_size_kib` is the older name, and means bytes as well.
    let page_size = number("page_size").or_else(|| number("page_size_kib")).unwrap_or(BLOCK);
    if page_size != BLOCK {
        return Err(format!(
            "the VMM's pages are of {page_size} bytes; only 4096 are served"
        ));
    }
    let parts = (number("base_host_virt_addr"), number("size"), number("offset"));
    let (Some(address), Some(length), Some(offset)) = parts else {
        return Err(format!("not a region: {value}"));
    };
    let whole = [address, length, offset]
        .iter()
        .all(|bytes| bytes.is_multiple_of(BLOCK));
    if !whole || length == 0 || address.checked_add(length).is_none() {
        return Err(format!("not a possible region: {value}"));
    }
    Ok(Region {
        address,
        offset,
        length,
    })
}
