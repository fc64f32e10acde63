//! Makes servers that listen on 127.0.0.1 only reachable from outside: each gets a listener on the same port of the
//! guest's outer address, which passes connections on.

mod forward;
mod listeners;

use crate::guest::Guest;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

/// The interface that the host reaches the guest by.
const OUTER_INTERFACE: &str = "eth0";
/// Listening sockets are not announced by the kernel; the SDKs' users expect a server to be there within a second.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);

/// Scans for ever, but not while the guest is frozen, and not in the first second after, when there is other work. Does
/// nothing on a machine without the interface.
pub async fn run(guest: Arc<Guest>) {
    let mut forwarded: HashMap<u16, AbortHandle> = HashMap::new();
    let mut ticks = tokio::time::interval(SCAN_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = guest.freezer.frozen() => {
                guest.freezer.thawed().await;
                ticks.reset();
                continue;
            }
            _ = ticks.tick() => {}
        }
        let Some(outer) = listeners::address_of(OUTER_INTERFACE) else {
            continue;
        };
        let inner = wanted(&listeners::scan());
        forwarded.retain(|port, forward| {
            let keep = inner.contains_key(port) && !forward.is_finished();
            if !keep {
                forward.abort();
            }
            keep
        });
        for (port, target) in inner {
            if let std::collections::hash_map::Entry::Vacant(slot) = forwarded.entry(port) {
                // A port that cannot be bound is open on that address already.
                if let Ok(listener) = std::net::TcpListener::bind((outer, port)) {
                    slot.insert(tokio::spawn(forward::run(listener, (target, port).into())).abort_handle());
                }
            }
        }
    }
}

/// Ports that listen on a loopback address and nowhere else, with that address.
fn wanted(listening: &[(IpAddr, u16)]) -> HashMap<u16, IpAddr> {
    let everywhere = |port: u16| {
        listening
            .iter()
            .any(|(address, other)| *other == port && address.is_unspecified())
    };
    let loopback = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let mut ports = HashMap::new();
    for (address, port) in listening {
        // Of a server on both, the IPv4 one.
        if loopback.contains(address) && !everywhere(*port) && (address.is_ipv4() || !ports.contains_key(port)) {
            ports.insert(*port, *address);
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_reached_otherwise() {
        let listening: Vec<(IpAddr, u16)> = [
            ("127.0.0.1", 1),
            ("127.0.0.1", 2),
            ("0.0.0.0", 2),
            ("::1", 3),
            ("10.0.0.1", 4),
            ("::1", 1),
        ]
        .map(|(address, port)| (address.parse().unwrap(), port))
        .into();
        let expected = [(1, "127.0.0.1"), (3, "::1")].map(|(port, address)| (port, address.parse().unwrap()));
        assert_eq!(wanted(&listening), HashMap::from(expected));
    }
}
