//! Stand-ins for machines: threads in namespaces of their own that do what they are told.
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, poll};
use wrenn_addon::net::{
    host, namespace,
    netlink::Netlink,
    plan::{GUEST_ADDRESS, GUEST_MAC, Slot, SlotRange, TAP, TAP_ADDRESS, TAP_PREFIX},
    rtnl, slot, tap,
};

type Job = Box<dyn FnOnce() + Send>;

/// A machine with an IP stack of its own (a thread in an unnamed namespace). It ends when it is dropped.
pub struct Machine {
    jobs: Option<Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Machine {
    /// `plug` runs in the new namespace before anything else.
    fn start(plug: impl FnOnce() + Send + 'static) -> Self {
        let (jobs, todo): (Sender<Job>, Receiver<Job>) = channel();
        let (started, ready) = channel();
        let thread = thread::spawn(move || {
            namespace::enter_unnamed().unwrap();
            plug();
            started.send(()).unwrap();
            for job in todo {
                job();
            }
        });
        ready.recv().expect("the machine starts");
        Self {
            jobs: Some(jobs),
            thread: Some(thread),
        }
    }

    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job = Box::new(move || done.send(work()).unwrap());
        self.jobs.as_ref().unwrap().send(job).unwrap();
        result.recv().expect("the machine answers")
    }

    /// Listens on every address and answers each connection with the caller's address as this machine sees it.
    pub fn serve(&self, port: u16) {
        self.run(move || {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
            thread::spawn(move || serve_on(&listener));
        });
    }

    pub fn call(&self, address: Ipv4Addr, port: u16) -> Option<String> {
        self.run(move || call(address, port))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.jobs.take());
        self.thread.take().map(thread::JoinHandle::join);
    }
}

pub fn serve_on(listener: &TcpListener) {
    while let Ok((mut stream, peer)) = listener.accept() {
        let _ = stream.write_all(peer.ip().to_string().as_bytes());
    }
}

/// What the server at that address says, or nothing if it cannot be reached.
pub fn call(address: Ipv4Addr, port: u16) -> Option<String> {
    let address = SocketAddr::from((address, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(400)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
}

/// A guest in a slot: a machine whose network card is wired to the slot's tap, as a VMM would do it.
pub fn guest(slot: Slot) -> Machine {
    let wire = namespace::inside(&slot.namespace(), || Ok(tap::attach(TAP).unwrap())).unwrap();
    Machine::start(move || {
        let card = tap::attach("eth0").unwrap();
        let mut netlink = Netlink::route().unwrap();
        let index = rtnl::link_index(&mut netlink, "eth0").unwrap();
        netlink
            .send(vec![
                rtnl::set_mac(index, GUEST_MAC),
                rtnl::new_address(index, GUEST_ADDRESS, TAP_PREFIX),
                rtnl::link_up(index),
                rtnl::new_route((Ipv4Addr::UNSPECIFIED, 0), TAP_ADDRESS, index),
            ])
            .unwrap();
        thread::spawn(move || pump(wire, card));
    })
}

/// Carries frames both ways until an end is gone. The thread holds the guest's namespace, its device and the tap.
fn pump(mut one: std::fs::File, mut other: std::fs::File) {
    let mut frame = vec![0; 65_536];
    loop {
        let mut ends = [PollFd::new(&one, PollFlags::IN), PollFd::new(&other, PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
        // A test is over when nothing has moved for that long.
        if poll(&mut ends, Some(&limit)).unwrap() == 0 {
            return;
        }
        let ready = ends.map(|end| end.revents());
        if ready
            .iter()
            .any(|events| events.intersects(PollFlags::ERR | PollFlags::HUP))
        {
            return;
        }
        for (from, to, events) in [(0, 1, ready[0]), (1, 0, ready[1])] {
            if events.contains(PollFlags::IN) {
                let files = [&mut one, &mut other];
                let Ok(length) = files[from].read(&mut frame) else {
                    return;
                };
                if files[to].write(&frame[..length]).is_err() {
                    return;
                }
            }
        }
    }
}

/// A machine next to this one, over a cable `name` with 10.99.`net`.1 here and 10.99.`net`.2 there. It routes the
/// sandboxes' addresses to us, and has the cloud's metadata address.
pub fn neighbour(name: &'static str, net: u8) -> Machine {
    let here = Ipv4Addr::new(10, 99, net, 1);
    let there = Ipv4Addr::new(10, 99, net, 2);
    let (made, ready) = channel();
    let machine = Machine::start(move || {
        let namespace = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        made.send(namespace).unwrap();
    });
    let mut host = Netlink::route().unwrap();
    let namespace = ready.recv().unwrap();
    host.send(vec![rtnl::new_veth(name, "cable", 2, namespace.as_fd())])
        .unwrap();
    let index = rtnl::link_index(&mut host, name).unwrap();
    host.send(vec![rtnl::new_address(index, here, 24), rtnl::link_up(index)])
        .unwrap();
    machine.run(move || {
        let mut netlink = Netlink::route().unwrap();
        netlink
            .send(vec![
                rtnl::link_up(1),
                rtnl::new_address(1, METADATA, 32),
                rtnl::new_address(2, there, 24),
                rtnl::link_up(2),
                rtnl::new_route((Ipv4Addr::new(10, 11, 0, 0), 16), here, 2),
                rtnl::new_route((Ipv4Addr::new(10, 12, 0, 0), 16), here, 2),
            ])
            .unwrap();
    });
    let route = rtnl::new_route((METADATA, 32), there, index);
    // Two tests may run at once; the first one's route serves.
    let _ = host.send(vec![route]);
    machine
}

pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The range, without what a run that failed has left of it.
pub fn range(first: u32, last: u32) -> SlotRange {
    let range = SlotRange::new(first, last).unwrap();
    host::remove(range).unwrap();
    range
}

pub fn anything_left(range: SlotRange) -> bool {
    !slot::list(range).unwrap().is_empty()
}
