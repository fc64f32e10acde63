//! Making, removing and listing slots (NET1-NET3).

use std::{collections::BTreeMap, fs, io, os::fd::AsFd};

use super::{
    conntrack, egress, namespace,
    netlink::Netlink,
    plan::{
        GUEST_ADDRESS, GUEST_MAC, NAMESPACE_PREFIX, Slot, SlotRange, TAP, TAP_ADDRESS, TAP_MAC, TAP_PREFIX, UPLINK,
        VETH_PREFIX,
    },
    rtnl, rules, tap,
};
use crate::failure::{During, Failure, Outcome};

const LOOPBACK_INDEX: u32 = 1;
/// Chosen by us when the veth pair is made, so that it need not be looked up.
const UPLINK_INDEX: u32 = 2;

/// The steps in their order, by the name that an error gives them.
pub const STEPS: [&str; 6] = ["namespace", "veth", "tap", "inside", "rules", "outside"];

#[derive(Clone, Copy, Default)]
pub struct SlotOptions {
    /// The user that a VMM runs as; root alone may open the tap otherwise.
    pub tap_owner: Option<u32>,
    /// For tests: this step of `STEPS` does its work and fails then.
    pub fail_at: Option<&'static str>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct SlotPresence {
    pub slot: Slot,
    pub namespace: bool,
    pub veth: bool,
    pub route: bool,
}

/// Makes a slot whole or not at all. `SlotExists` leaves the one that is there alone.
pub fn create(slot: Slot, options: SlotOptions) -> Outcome<()> {
    namespace::on_own_thread(move || {
        let mut host = Netlink::route().during(|| "opening rtnetlink".to_owned())?;
        let mut made = Made::default();
        let outcome = build(slot, options, &mut host, &mut made);
        if outcome.is_err() {
            made.undo(slot, &mut host)?;
        }
        outcome
    })
}

/// What has been made so far: only that is undone. All else goes with the namespace and the veth.
#[derive(Default)]
struct Made {
    namespace: bool,
    veth: bool,
}

impl Made {
    fn undo(&self, slot: Slot, host: &mut Netlink) -> Outcome<()> {
        if self.veth {
            rtnl::delete_link(host, &slot.veth()).during(|| format!("deleting {}", slot.veth()))?;
        }
        if self.namespace {
            namespace::remove(&slot.namespace()).during(|| format!("removing {}", slot.namespace()))?;
        }
        Ok(())
    }
}

fn build(slot: Slot, options: SlotOptions, host: &mut Netlink, made: &mut Made) -> Outcome<()> {
    let step = |name: &'static str, result: io::Result<()>| {
        let result = match options.fail_at {
            Some(wanted) if wanted == name => result.and(Err(io::Error::other("failed on purpose"))),
            _ => result,
        };
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Failure::SlotExists { index: slot.index() })
            }
            Err(error) => Err(Failure::SlotStep {
                index: slot.index(),
                step: name,
                source: Box::new(Failure::System {
                    action: format!("making slot {}", slot.index()),
                    source: error,
                }),
            }),
        }
    };

    let entered = namespace::enter_new(&slot.namespace());
    made.namespace = entered.is_ok();
    step("namespace", entered.and_then(|()| set_sysctls()))?;

    let veth = new_veth(slot, host);
    made.veth = veth.is_ok();
    step("veth", veth)?;

    let mut tap_index = 0;
    step(
        "tap",
        tap::create(TAP, options.tap_owner).map(|index| tap_index = index),
    )?;
    step("inside", configure_inside(slot, tap_index))?;
    step(
        "rules",
        Netlink::netfilter().and_then(|mut netfilter| rules::install_guest(&mut netfilter, slot)),
    )?;
    step("outside", configure_outside(slot, host))
}

/// The thread is in the new namespace, and /proc/sys/net shows that one's values.
fn set_sysctls() -> io::Result<()> {
    for family in ["all", "default"] {
        match fs::write(format!("/proc/sys/net/ipv6/conf/{family}/disable_ipv6"), "1") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {} // a kernel without IPv6 has nothing to switch off
        }
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")
}

fn new_veth(slot: Slot, host: &mut Netlink) -> io::Result<()> {
    let inside = fs::File::open("/proc/thread-self/ns/net")?;
    host.send(vec![rtnl::new_veth(&slot.veth(), UPLINK, UPLINK_INDEX, inside.as_fd())])
}

fn configure_inside(slot: Slot, tap: u32) -> io::Result<()> {
    Netlink::route()?.send(vec![
        rtnl::link_up(LOOPBACK_INDEX),
        rtnl::new_address(UPLINK_INDEX, slot.veth_guest_ip(), 31),
        rtnl::link_up(UPLINK_INDEX),
        rtnl::set_mac(tap, TAP_MAC),
        rtnl::new_address(tap, TAP_ADDRESS, TAP_PREFIX),
        rtnl::link_up(tap),
        // The guest's MAC is given (NET1): no ARP, neither at the first packet nor after a resume.
        rtnl::new_neighbour(tap, GUEST_ADDRESS, GUEST_MAC),
        rtnl::new_route((std::net::Ipv4Addr::UNSPECIFIED, 0), slot.veth_host_ip(), UPLINK_INDEX),
    ])
}

fn configure_outside(slot: Slot, host: &mut Netlink) -> io::Result<()> {
    let veth = rtnl::link_index(host, &slot.veth())?;
    host.send(vec![
        rtnl::new_address(veth, slot.veth_host_ip(), 31),
        rtnl::link_up(veth),
        rtnl::new_route((slot.host_ip(), 32), slot.veth_guest_ip(), veth),
    ])
}

/// Removes a slot, as much of it as there is. Processes in its namespace are left alone, they only lose the veth.
pub fn remove(slot: Slot) -> Outcome<()> {
    egress::forget(slot);
    let mut host = Netlink::route().during(|| "opening rtnetlink".to_owned())?;
    Made {
        namespace: true,
        veth: true,
    }
    .undo(slot, &mut host)?;
    conntrack::flush(slot).during(|| format!("forgetting the connections of slot {}", slot.index()))
}

/// The slots of a range of which anything is there, lowest first. Others' slots are not looked at.
pub fn list(range: SlotRange) -> Outcome<Vec<SlotPresence>> {
    let mut found: BTreeMap<u16, SlotPresence> = BTreeMap::new();
    let mut mark = |slot: Option<Slot>, part: fn(&mut SlotPresence)| {
        if let Some(slot) = slot.filter(|slot| range.contains(*slot)) {
            part(found.entry(slot.index()).or_insert(SlotPresence {
                slot,
                namespace: false,
                veth: false,
                route: false,
            }));
        }
    };
    let mut host = Netlink::route().during(|| "opening rtnetlink".to_owned())?;
    for name in namespace::names().during(|| "listing namespaces".to_owned())? {
        mark(Slot::named(&name, NAMESPACE_PREFIX), |presence| {
            presence.namespace = true
        });
    }
    for name in rtnl::link_names(&mut host).during(|| "listing links".to_owned())? {
        mark(Slot::named(&name, VETH_PREFIX), |presence| presence.veth = true);
    }
    for address in rtnl::routed_addresses(&mut host).during(|| "listing routes".to_owned())? {
        mark(Slot::of_host_ip(address), |presence| presence.route = true);
    }
    Ok(found.into_values().collect())
}
