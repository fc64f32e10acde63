//! Which names and addresses a slot has (NET1). Pure: everything follows from the slot's number.

use std::net::Ipv4Addr;

use crate::failure::{Failure, Outcome};

/// An interface name has 15 characters, `wrenn-veth-` takes eleven.
pub const LAST_SLOT: u16 = 9999;
pub const VETH_PREFIX: &str = "wrenn-veth-";
pub const NAMESPACE_PREFIX: &str = "wrenn-ns-";
/// The guest's side of the veth pair, as the namespace sees it.
pub const UPLINK: &str = "eth0";
pub const TAP: &str = "tap0";
pub const TAP_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 22);
pub const TAP_PREFIX: u8 = 30;
pub const GUEST_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 21);
/// The guest's side of the wire is the same in every slot: what a guest remembers of its gateway is right wherever it is restored.
pub const TAP_MAC: [u8; 6] = [0x02, 0xfc, 0, 0, 0, 0x06];
pub const GUEST_MAC: [u8; 6] = [0x02, 0xfc, 0, 0, 0, 0x05];
/// Where a sandbox is reachable from its host: 10.11.0.0/16.
pub const HOST_NET: Ipv4Addr = Ipv4Addr::new(10, 11, 0, 0);
/// The veth pairs: 10.12.0.0/16.
pub const VETH_NET: Ipv4Addr = Ipv4Addr::new(10, 12, 0, 0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u16);

impl Slot {
    pub fn new(index: u32) -> Outcome<Self> {
        match u16::try_from(index) {
            Ok(number @ 1..=LAST_SLOT) => Ok(Self(number)),
            _ => Err(Failure::invalid("slot", format!("{index} is not in 1..{LAST_SLOT}"))),
        }
    }

    /// The slot whose namespace or veth has this name.
    pub fn named(name: &str, prefix: &str) -> Option<Self> {
        let digits = name.strip_prefix(prefix)?;
        let canonical = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        canonical
            .then(|| digits.parse().ok())
            .flatten()
            .and_then(|index: u32| Self::new(index).ok())
    }

    pub fn index(self) -> u16 {
        self.0
    }

    pub fn namespace(self) -> String {
        format!("{NAMESPACE_PREFIX}{}", self.0)
    }

    pub fn veth(self) -> String {
        format!("{VETH_PREFIX}{}", self.0)
    }

    /// 10.11.(idx>>8).(idx&255)
    pub fn host_ip(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(HOST_NET) + u32::from(self.0))
    }

    pub fn of_host_ip(address: Ipv4Addr) -> Option<Self> {
        Self::new(u32::from(address).checked_sub(u32::from(HOST_NET))?).ok()
    }

    /// The lower address of the /31.
    pub fn veth_host_ip(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(VETH_NET) + 2 * u32::from(self.0))
    }

    pub fn veth_guest_ip(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.veth_host_ip()) + 1)
    }
}

/// The slots of one agent (`WRENN_SLOTS`), both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRange {
    pub first: Slot,
    pub last: Slot,
}

impl SlotRange {
    pub fn new(first: u32, last: u32) -> Outcome<Self> {
        let range = Self {
            first: Slot::new(first)?,
            last: Slot::new(last)?,
        };
        if first > last {
            return Err(Failure::invalid("slots", format!("{first}-{last} runs backwards")));
        }
        Ok(range)
    }

    pub fn contains(self, slot: Slot) -> bool {
        (self.first.0..=self.last.0).contains(&slot.0)
    }

    /// Name of the range's nftables table on the host.
    pub fn table(self) -> String {
        format!("wrenn_{}", self.first.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn net1_addresses_follow_from_the_number() {
        let slot = Slot::new(300).unwrap();
        assert_eq!(slot.host_ip(), Ipv4Addr::new(10, 11, 1, 44));
        assert_eq!(slot.veth_host_ip(), Ipv4Addr::new(10, 12, 2, 88));
        assert_eq!(slot.veth_guest_ip(), Ipv4Addr::new(10, 12, 2, 89));
        assert_eq!(Slot::of_host_ip(slot.host_ip()), Some(slot));
        assert!(Slot::new(LAST_SLOT.into()).unwrap().veth().len() <= 15);
    }

    #[test]
    fn net3_foreign_names_are_not_slots() {
        for name in [
            "wrenn-ns-",
            "wrenn-ns-0",
            "wrenn-ns-007",
            "wrenn-ns-10000",
            "wrenn-ns-1x",
            "wrenn-nsx-1",
            "x",
        ] {
            assert_eq!(Slot::named(name, NAMESPACE_PREFIX), None, "{name}");
        }
        assert_eq!(Slot::named("wrenn-ns-17", NAMESPACE_PREFIX), Some(Slot(17)));
    }
}
