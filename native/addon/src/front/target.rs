//! What an address of the front means. Pure.

use super::refusal::Refusal;

/// The guest agent's port.
pub const ENVD_PORT: u16 = 49_983;

#[derive(Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// To envd, for the control plane.
    Guest { sandbox_id: &'a str, rest: &'a str },
    /// To any port, for whoever the gateway let through.
    Proxy {
        sandbox_id: &'a str,
        port: u16,
        rest: &'a str,
    },
    /// To the agent's own service.
    Agent,
}

/// Splits path and query, which are passed on as they came: `rest` begins with its slash, if there is any path left.
pub fn parse(path_and_query: &str) -> Result<Target<'_>, Refusal> {
    if let Some(tail) = path_and_query.strip_prefix("/guest/") {
        let (sandbox_id, rest) = split(tail);
        return Ok(Target::Guest { sandbox_id, rest });
    }
    if let Some(tail) = path_and_query.strip_prefix("/proxy/") {
        let (sandbox_id, tail) = split(tail);
        let (port, rest) = split(tail.strip_prefix('/').unwrap_or_default());
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port
            .parse()
            .ok()
            .filter(|port| digits && *port > 0)
            .ok_or(Refusal::BadPort)?;
        return Ok(Target::Proxy { sandbox_id, port, rest });
    }
    Ok(Target::Agent)
}

/// A segment, and what comes after it: a path, a query, or nothing.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(['/', '?']).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ag1_ag3_addresses_keep_slash_and_query() {
        let guest = |sandbox_id, rest| Ok(Target::Guest { sandbox_id, rest });
        let proxy = |sandbox_id, port, rest| Ok(Target::Proxy { sandbox_id, port, rest });
        for (address, target) in [
            ("/guest/sb1/files?path=%2Fa%20b", guest("sb1", "/files?path=%2Fa%20b")),
            ("/guest/sb1", guest("sb1", "")),
            ("/proxy/sb1/8080", proxy("sb1", 8080, "")),
            ("/proxy/sb1/8080/", proxy("sb1", 8080, "/")),
            (
                "/proxy/sb1/8080/a//b/?q=1&q=%2F",
                proxy("sb1", 8080, "/a//b/?q=1&q=%2F"),
            ),
            ("/proxy/sb1/8080?q", proxy("sb1", 8080, "?q")),
            ("/proxy/sb1/65535/", proxy("sb1", 65_535, "/")),
            ("/hostagent.v1.HostAgentService/CreateSandbox", Ok(Target::Agent)),
            ("/guests", Ok(Target::Agent)),
        ] {
            assert_eq!(parse(address), target, "{address}");
        }
        for address in [
            "/proxy/sb1",
            "/proxy/sb1/",
            "/proxy/sb1/0/",
            "/proxy/sb1/65536/",
            "/proxy/sb1/+80/",
            "/proxy/sb1/http/",
        ] {
            assert_eq!(parse(address), Err(Refusal::BadPort), "{address}");
        }
    }
}
