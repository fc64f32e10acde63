//! Which requests are for sandboxes. What an address means, and what is wrong with it, JavaScript says.

use crate::h1::request::Request;

#[derive(Debug, PartialEq, Eq)]
pub struct Address<'a> {
    pub sandbox_id: &'a str,
    /// As it was written.
    pub port: &'a str,
    /// By E2B's headers, which count on every host name that is not a sandbox's.
    pub by_headers: bool,
}

/// `None`: the request is the API's. `suffix`: `.domain` in lower case, without a port.
pub fn address<'a>(request: &Request<'_, 'a>, suffix: &str) -> Option<Address<'a>> {
    let host = request.text("host").unwrap_or_default();
    from_host(host, suffix).or_else(|| {
        let sandbox_id = request.text("e2b-sandbox-id").filter(|id| !id.is_empty())?;
        Some(Address {
            // Early SDKs write `<id>-<client id>`.
            sandbox_id: sandbox_id.split('-').next().unwrap_or_default(),
            port: request.text("e2b-sandbox-port").unwrap_or_default(),
            by_headers: true,
        })
    })
}

fn from_host<'a>(host: &'a str, suffix: &str) -> Option<Address<'a>> {
    if !host.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let at = name
        .len()
        .checked_sub(suffix.len())
        .filter(|at| name.is_char_boundary(*at))?;
    let (label, domain) = name.split_at(at);
    let (port, sandbox_id) = label.split_once('-')?;
    let named = domain.eq_ignore_ascii_case(suffix) && port.bytes().all(|byte| byte.is_ascii_digit());
    named.then_some(Address {
        sandbox_id,
        port,
        by_headers: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn px1_host_names_of_sandboxes() {
        let find = |host| from_host(host, ".example.com").map(|found| (found.port, found.sandbox_id));
        assert_eq!(find("3000-sb1.example.com"), Some(("3000", "sb1")));
        assert_eq!(find("3000-sb1.Example.COM:8080"), Some(("3000", "sb1")));
        assert_eq!(find("70000-x-y.example.com"), Some(("70000", "x-y")));
        for host in [
            "",
            "example.com",
            "api.example.com",
            "3000-sb1.example.org",
            "3000-sb1",
            "30x-sb1.example.com",
            "127.0.0.1:80",
            "3000.example.com",
        ] {
            assert_eq!(find(host), None, "{host}");
        }
    }
}
