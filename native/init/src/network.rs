//! Loopback and the guest's one interface, configured by the classic ioctls: a dozen system calls, no library.

use crate::{
    cmdline::StaticIp,
    report::{Doing, Failure},
};
use std::{
    fs, io, mem,
    net::Ipv4Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

pub fn loopback_up() -> Result<(), Failure> {
    let socket = control_socket()?;
    set_address(&socket, "lo", libc::SIOCSIFADDR, Ipv4Addr::LOCALHOST)?;
    bring_up(&socket, "lo")
}

/// Hostname, addresses, default route and `/etc/resolv.conf`.
pub fn apply(ip: &StaticIp) -> Result<(), Failure> {
    if let Some(hostname) = &ip.hostname {
        rustix::system::sethostname(hostname.as_bytes()).doing("setting the hostname")?;
        fs::write("/etc/hostname", format!("{hostname}\n")).doing("/etc/hostname")?;
        fs::write("/etc/hosts", hosts(hostname)).doing("/etc/hosts")?;
    }
    if !ip.dns.is_empty() {
        let lines: String = ip.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
        fs::write("/etc/resolv.conf", lines).doing("/etc/resolv.conf")?;
    }
    // The guest has no IPv6 route: without this, each link-up sends router solicitations and probes for duplicates.
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", ip.device), "1");
    // The host may have asked for this address while the guest booted and repeats that only once a second: tell it.
    let _ = fs::write(format!("/proc/sys/net/ipv4/conf/{}/arp_notify", ip.device), "1");
    let socket = control_socket()?;
    set_address(&socket, &ip.device, libc::SIOCSIFADDR, ip.client)?;
    set_address(&socket, &ip.device, libc::SIOCSIFNETMASK, ip.netmask)?;
    bring_up(&socket, &ip.device)?;
    ip.gateway.map_or(Ok(()), |gateway| add_default_route(&socket, gateway))
}

fn hosts(hostname: &str) -> String {
    format!("127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost ip6-localhost ip6-loopback\n")
}

fn control_socket() -> Result<OwnedFd, Failure> {
    // SAFETY: a plain system call; a negative answer is an error and is not wrapped.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).doing("control socket");
    }
    // SAFETY: `fd` was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_address(socket: &OwnedFd, device: &str, request: libc::c_ulong, address: Ipv4Addr) -> Result<(), Failure> {
    let mut interface = request_for(device)?;
    interface.ifr_ifru.ifru_addr = socket_address(address);
    ioctl(socket, request, &raw const interface).doing(&format!("{device}: address {address}"))
}

fn bring_up(socket: &OwnedFd, device: &str) -> Result<(), Failure> {
    let mut interface = request_for(device)?;
    interface.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    ioctl(socket, libc::SIOCSIFFLAGS, &raw const interface).doing(&format!("{device}: up"))
}

fn add_default_route(socket: &OwnedFd, gateway: Ipv4Addr) -> Result<(), Failure> {
    // SAFETY: rtentry is plain data for which all zeros is a valid, empty value.
    let mut route: libc::rtentry = unsafe { mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    ioctl(socket, libc::SIOCADDRT, &raw const route).doing(&format!("route by {gateway}"))
}

fn request_for(device: &str) -> Result<libc::ifreq, Failure> {
    if device.len() >= libc::IFNAMSIZ {
        return Err("the name is too long").doing(device);
    }
    // SAFETY: ifreq is plain data for which all zeros is a valid, empty value.
    let mut interface: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in interface.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(interface)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let inet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from(address).to_be(),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: the kernel defines sockaddr_in as one shape of sockaddr; both are 16 bytes.
    unsafe { mem::transmute(inet) }
}

fn ioctl<T>(socket: &OwnedFd, request: libc::c_ulong, argument: *const T) -> io::Result<()> {
    // SAFETY: the descriptor is open, and `argument` points to the structure that the request reads.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), request, argument) };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
