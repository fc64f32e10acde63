//! The kernel's command line, as far as it speaks to us.

use std::net::Ipv4Addr;

/// Static addresses in the kernel's own notation,
/// `ip=<client>:<server>:<gateway>:<netmask>:<hostname>:<device>:<autoconf>:<dns0>[:<dns1>]`.
/// The kernel cannot apply them itself: its network driver is a module that is loaded later.
#[derive(Debug, PartialEq, Eq)]
pub struct StaticIp {
    pub client: Ipv4Addr,
    pub gateway: Option<Ipv4Addr>,
    pub netmask: Ipv4Addr,
    pub hostname: Option<String>,
    pub device: String,
    pub dns: Vec<Ipv4Addr>,
}

/// The value of `ip=`; none when it is absent, and an error that names the field when it is wrong.
pub fn static_ip(cmdline: &str) -> Result<Option<StaticIp>, String> {
    let Some(value) = cmdline
        .split_ascii_whitespace()
        .rev()
        .find_map(|word| word.strip_prefix("ip="))
    else {
        return Ok(None);
    };
    let fields: Vec<&str> = value.split(':').collect();
    let field = |index: usize| fields.get(index).copied().filter(|text| !text.is_empty());
    let address = |index: usize, name: &str| -> Result<Option<Ipv4Addr>, String> {
        field(index)
            .map(|text| text.parse().map_err(|_| format!("ip=: {name} {text:?} is no address")))
            .transpose()
    };
    let Some(client) = address(0, "client")? else {
        return Ok(None); // ip=dhcp, ip=off and the like are not for us
    };
    let dns = [address(7, "dns0")?, address(8, "dns1")?]
        .into_iter()
        .flatten()
        .collect();
    Ok(Some(StaticIp {
        client,
        gateway: address(2, "gateway")?,
        netmask: address(3, "netmask")?.unwrap_or(Ipv4Addr::new(255, 255, 255, 255)),
        hostname: field(4).map(str::to_owned),
        device: field(5).unwrap_or("eth0").to_owned(),
        dns,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vm5_reads_every_field_of_ip() {
        let parsed = static_ip("quiet ip=169.254.0.21::169.254.0.22:255.255.255.252:sandbox:eth0:off:9.9.9.9 panic=-1");
        let expected = StaticIp {
            client: Ipv4Addr::new(169, 254, 0, 21),
            gateway: Some(Ipv4Addr::new(169, 254, 0, 22)),
            netmask: Ipv4Addr::new(255, 255, 255, 252),
            hostname: Some("sandbox".into()),
            device: "eth0".into(),
            dns: vec![Ipv4Addr::new(9, 9, 9, 9)],
        };
        assert_eq!(parsed, Ok(Some(expected)));
    }

    #[test]
    fn vm5_absent_fields_have_defaults() {
        let parsed = static_ip("ip=10.0.0.2").unwrap().unwrap();
        assert_eq!(parsed.device, "eth0");
        assert_eq!(parsed.gateway, None);
        assert!(parsed.dns.is_empty());
        assert_eq!(static_ip("quiet"), Ok(None));
    }

    #[test]
    fn vm5_a_wrong_address_is_named() {
        assert_eq!(
            static_ip("ip=10.0.0.2::10.0.0"),
            Err("ip=: gateway \"10.0.0\" is no address".into())
        );
    }
}
