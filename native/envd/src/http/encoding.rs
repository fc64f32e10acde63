//! Which content codings of a file the two sides agree on.

use crate::fault::{Fault, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Identity,
    Gzip,
}

/// Chooses from `Accept-Encoding`.
///
/// Plain bytes win whenever they are acceptable and the client lists other codings besides gzip: that is what every
/// HTTP library sends by default, and compressing then costs the guest more than the loopback saves. A client that
/// asks for gzip alone wants it.
pub fn negotiate(accept: Option<&str>) -> Result<Coding, Fault> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return Ok(Coding::Identity);
    };
    let offers: Vec<(String, f32)> = accept.split(',').map(parse_offer).collect();
    let quality = |name: &str| {
        offers
            .iter()
            .find(|(offer, _)| offer == name)
            .map(|(_, quality)| *quality)
    };
    let any = quality("*");
    let gzip = quality("gzip").or(quality("x-gzip"));
    // Identity is acceptable unless it, or everything not named, is excluded.
    let identity = quality("identity").or(any).unwrap_or(1.0) > 0.0;
    let only_gzip = offers
        .iter()
        .filter(|(_, quality)| *quality > 0.0)
        .all(|(name, _)| name == "gzip" || name == "x-gzip");
    match gzip.or(any).is_some_and(|quality| quality > 0.0) {
        true if !identity || (gzip.is_some() && only_gzip) => Ok(Coding::Gzip),
        _ if identity => Ok(Coding::Identity),
        _ => Err(Fault::new(
            Kind::NotAcceptable,
            format!("no acceptable encoding in '{accept}', supported: identity, gzip"),
        )),
    }
}

/// Coding of an upload, from `Content-Encoding`.
pub fn of_upload(encoding: Option<&str>) -> Result<Coding, Fault> {
    match encoding.map(|encoding| encoding.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "identity") => Ok(Coding::Identity),
        Some("gzip" | "x-gzip") => Ok(Coding::Gzip),
        Some(other) => Err(Fault::invalid(format!(
            "unsupported content encoding '{other}', supported: identity, gzip"
        ))),
    }
}

/// `gzip;q=0.5` → name and quality.
fn parse_offer(offer: &str) -> (String, f32) {
    let mut parts = offer.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts
        .find_map(|part| part.strip_prefix("q="))
        .and_then(|quality| quality.parse().ok());
    (name, quality.unwrap_or(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_only_when_wanted_or_needed() {
        for (accept, expected) in [
            (None, Some(Coding::Identity)),
            (Some("gzip"), Some(Coding::Gzip)),
            (Some("gzip, deflate, br"), Some(Coding::Identity)),
            (Some("gzip;q=0.5, identity;q=0"), Some(Coding::Gzip)),
            (Some("*"), Some(Coding::Identity)),
            (Some("*;q=0, gzip"), Some(Coding::Gzip)),
            (Some("br"), Some(Coding::Identity)),
            (Some("identity;q=0"), None),
            (Some("br, *;q=0"), None),
        ] {
            assert_eq!(negotiate(accept).ok(), expected, "{accept:?}");
        }
    }

    #[test]
    fn uploads_are_plain_or_gzip() {
        assert_eq!(of_upload(Some("GZIP")).unwrap(), Coding::Gzip);
        assert!(of_upload(Some("br")).is_err());
    }
}
