//! What listens on this machine, and where.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// State of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Address and port of every listening TCP socket.
pub fn scan() -> Vec<(IpAddr, u16)> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .flat_map(|path| parse(&fs::read_to_string(path).unwrap_or_default()))
        .collect()
}

fn parse(table: &str) -> Vec<(IpAddr, u16)> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next()?;
            (fields.nth(1)? == LISTEN).then_some(())?;
            let (address, port) = local.split_once(':')?;
            Some((parse_address(address)?, u16::from_str_radix(port, 16).ok()?))
        })
        .collect()
}

/// Words of 32 bits in the byte order of the machine, in hex.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let word = hex.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for index in 0..4 {
                bytes[index * 4..index * 4 + 4].copy_from_slice(&word(index)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// IPv4 address of an interface, by the ioctl that every kernel has.
pub fn address_of(interface: &str) -> Option<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    // SAFETY: all zeros is a valid request; the name fits with its NUL; the kernel fills the address in.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (target, byte) in request
            .ifr_name
            .iter_mut()
            .take(libc::IFNAMSIZ - 1)
            .zip(interface.bytes())
        {
            *target = byte as libc::c_char;
        }
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        if libc::ioctl(fd, libc::SIOCGIFADDR, &mut request) != 0 {
            return None;
        }
        let address: *const libc::sockaddr_in = (&raw const request.ifr_ifru.ifru_addr).cast();
        Some(Ipv4Addr::from(address.read_unaligned().sin_addr.s_addr.to_ne_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_tables() {
        let table = "  sl  local_address rem_address   st\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
             1: 0100007F:1F91 0100007F:0001 01 00000000:00000000\n";
        assert_eq!(parse(table), [(IpAddr::from([127, 0, 0, 1]), 8080)]);
        let table = "head\n 0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A\n";
        assert_eq!(parse(table), [(IpAddr::V6(Ipv6Addr::LOCALHOST), 80)]);
    }

    #[test]
    fn finds_a_real_listener_and_a_real_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(scan().contains(&(IpAddr::from([127, 0, 0, 1]), port)));
        assert_eq!(address_of("lo"), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(address_of("no-such-interface"), None);
    }
}
