//! Who may talk to us: the access token that the host set, signed file URLs, and the user of a request.

use crate::fault::{Fault, Kind};
use crate::guest::Guest;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq;

pub const TOKEN_HEADER: &str = "x-access-token";

/// Lets a request through when no token is set, when it carries the token, or when its route checks for itself.
pub async fn gate(State(guest): State<Arc<Guest>>, request: Request, next: Next) -> Response {
    let checks_itself = matches!(
        (request.method(), request.uri().path()),
        (&Method::GET | &Method::HEAD, "/health" | "/files") | (&Method::POST, "/files" | "/init" | "/wrenn/thaw")
    );
    if checks_itself || *request.method() == Method::OPTIONS || guest.token_matches(token(request.headers())) {
        return next.run(request).await;
    }
    unauthenticated("unauthorized access, please provide a valid access token").into_response()
}

/// The token that a request carries.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    headers.get(TOKEN_HEADER)?.to_str().ok()
}

/// Compares secrets without telling by time where they differ.
pub fn same_secret(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// User named by `Authorization: Basic base64(name:)`, if any.
pub fn user_name(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let name = decoded.split_once(':').map_or(decoded.as_str(), |(name, _)| name);
    (!name.is_empty()).then(|| name.to_owned())
}

/// What a signed URL signs, taken from its query.
pub struct Signed<'a> {
    pub path: &'a str,
    /// `read` or `write`.
    pub operation: &'a str,
    pub user: &'a str,
    pub signature: Option<&'a str>,
    /// Unix seconds.
    pub expiration: Option<i64>,
}

/// Access to `/files`: the token in the header, or a signature made with it.
pub fn check_files(guest: &Guest, headers: &HeaderMap, signed: &Signed) -> Result<(), Fault> {
    let Some(expected) = guest.access_token() else {
        return Ok(());
    };
    if let Some(given) = token(headers) {
        if same_secret(given, &expected) {
            return Ok(());
        }
        return Err(unauthenticated("access token present in header but does not match"));
    }
    let Some(given) = signed.signature else {
        return Err(unauthenticated("missing signature query parameter"));
    };
    if !same_secret(given, &signature(signed, &expected)) {
        return Err(unauthenticated("invalid signature"));
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    if signed.expiration.is_some_and(|expiration| expiration < now as i64) {
        return Err(unauthenticated("signature is already expired"));
    }
    Ok(())
}

/// `v1_` and the unpadded base64 of SHA-256 over `path:operation:user:token[:expiration]`.
fn signature(signed: &Signed, token: &str) -> String {
    let mut text = format!("{}:{}:{}:{token}", signed.path, signed.operation, signed.user);
    if let Some(expiration) = signed.expiration {
        text.push_str(&format!(":{expiration}"));
    }
    format!("v1_{}", STANDARD_NO_PAD.encode(Sha256::digest(text)))
}

fn unauthenticated(message: &str) -> Fault {
    Fault::new(Kind::Unauthenticated, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_user_of_basic_authorization() {
        let mut headers = HeaderMap::new();
        assert_eq!(user_name(&headers), None);
        headers.insert("authorization", "Basic dXNlcjo=".parse().unwrap());
        assert_eq!(user_name(&headers).as_deref(), Some("user"));
        headers.insert("authorization", "Bearer dXNlcjo=".parse().unwrap());
        assert_eq!(user_name(&headers), None);
    }

    #[test]
    fn signs_as_the_sdk_does() {
        let signed = Signed {
            path: "a.txt",
            operation: "read",
            user: "",
            signature: None,
            expiration: Some(7),
        };
        let expected = STANDARD_NO_PAD.encode(Sha256::digest("a.txt:read::secret:7"));
        assert_eq!(signature(&signed, "secret"), format!("v1_{expected}"));
    }
}
