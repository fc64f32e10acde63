//! Namespaces, rules, block devices.

use std::{fs::OpenOptions, io, os::fd::AsRawFd};

use super::{checked, failed};
use crate::{
    dm::control,
    net::{namespace, netlink::Netlink, plan::SlotRange, rules, tap},
};

pub fn make_a_namespace() -> io::Result<()> {
    namespace::enter_unnamed().map_err(|error| failed("making a network namespace", error))?;
    tap::create("tap0", None)
        .map(|_| ())
        .map_err(|error| failed("making a tap device", error))
}

pub fn install_rules() -> io::Result<()> {
    namespace::enter_unnamed().map_err(|error| failed("making a network namespace", error))?;
    let range = SlotRange::new(1, 1).map_err(io::Error::other)?;
    let mut netfilter = Netlink::netfilter().map_err(|error| failed("opening nfnetlink", error))?;
    rules::install_host(&mut netfilter, range).map_err(|error| failed("installing an nftables table", error))?;
    rules::install_guest(&mut netfilter, range.first).map_err(|error| failed("installing NAT rules", error))?;
    rules::remove_host(&mut netfilter, range).map_err(|error| failed("deleting the table", error))
}

pub fn device_mapper() -> io::Result<()> {
    control::version().map_err(|error| failed("asking device-mapper for its version", error))
}

pub fn loop_devices() -> io::Result<()> {
    const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control");
    let control = control.map_err(|error| failed("opening /dev/loop-control", error))?;
    // SAFETY: LOOP_CTL_GET_FREE takes no argument.
    checked("asking for a free loop device", unsafe {
        libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE)
    })
    .map(|_| ())
}
