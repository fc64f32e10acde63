//! What the next hop is told of a request for a sandbox.

use super::ways::Way;
use crate::h1::{
    name::Name,
    request::{Request, put_field},
};

const ACCESS_COOKIE: &str = "wrenn_access=";
const SIGNATURE: &str = "wrenn_signature";
const TRAFFIC_TOKENS: [&str; 2] = ["wrenn-traffic-token", "e2b-traffic-access-token"];
/// Between control plane, door and agent, or a credential.
const OWN_PREFIX: &str = "wrenn-";

/// How a client reached us.
pub struct Arrival {
    pub remote: String,
    pub tls: bool,
}

/// All of a request that decides who may reach what: while an answer of JavaScript holds, it holds for the same key.
/// `None`: it must be asked about this one by itself.
pub fn key(request: &Request<'_, '_>, port: &str) -> Option<Vec<u8>> {
    if request.target.contains(SIGNATURE) {
        return None;
    }
    let mut key = port.as_bytes().to_vec();
    for field in request.fields() {
        let decides = is_credential(field.name, field.value) || is_access_cookie(field.name, field.value);
        if decides {
            key.extend_from_slice(b"\r");
            key.extend_from_slice(field.name.as_written().as_bytes());
            key.extend_from_slice(b":");
            key.extend_from_slice(field.value);
        }
    }
    Some(key)
}

/// The head for the agent. The guest sees the host name that the client used (or its mask), and who asked and how in
/// `X-Forwarded-*`; what a front proxy said there is kept. Names are as the client wrote them; where the door writes a
/// field it is by its usual name.
pub fn for_agent(request: &Request<'_, '_>, way: &Way, arrival: &Arrival, port: &str, out: &mut Vec<u8>) {
    let host = request.field("host").unwrap_or_default();
    let target = way.target.as_deref().unwrap_or(request.target);
    for part in [request.method, " ", &way.prefix, target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    match &way.mask_host {
        None => put_field(out, "Host", host),
        Some(mask) => put_field(out, "Host", mask.replace("${PORT}", port).as_bytes()),
    }
    out.extend_from_slice(&way.fields);
    out.extend_from_slice(b"X-Forwarded-For: ");
    for field in request.fields().filter(|field| field.name.is("x-forwarded-for")) {
        out.extend_from_slice(field.value);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(arrival.remote.as_bytes());
    out.extend_from_slice(b"\r\n");
    put_field(
        out,
        "X-Forwarded-Host",
        request.field("x-forwarded-host").unwrap_or(host),
    );
    let proto = request.field("x-forwarded-proto").unwrap_or(b"http");
    put_field(out, "X-Forwarded-Proto", if arrival.tls { b"https" } else { proto });
    for field in request.fields() {
        if is_access_cookie(field.name, field.value) {
            put_cookie(out, field.value);
        } else if is_passed_on(request, field.name, field.value) {
            put_field(out, field.name.as_written(), field.value);
        }
    }
    request.put_end(out);
}

/// The question to JavaScript: the same head, without a body. `question`: fields that tell what is asked.
pub fn for_question(request: &Request<'_, '_>, question: &str, out: &mut Vec<u8>) {
    for part in [request.method, " ", request.target, " HTTP/1.1\r\n", question] {
        out.extend_from_slice(part.as_bytes());
    }
    for field in request.fields() {
        let ours = field.name.begins(OWN_PREFIX) && !field.name.is_one_of(&TRAFFIC_TOKENS);
        if !ours && !request.ends_here(field.name) {
            put_field(out, field.name.as_written(), field.value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn is_passed_on(request: &Request<'_, '_>, name: Name<'_>, value: &[u8]) -> bool {
    let written_anew = name.is_one_of(&["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]);
    // Frames go through as they are; what was agreed upon in a handshake would be between client and guest alone.
    let extensions = name.is("sec-websocket-extensions");
    !written_anew && !extensions && !name.begins(OWN_PREFIX) && !is_credential(name, value) && !request.ends_here(name)
}

fn is_credential(name: Name<'_>, value: &[u8]) -> bool {
    name.is_one_of(&TRAFFIC_TOKENS) || name.is("x-api-key") && is_key_of_ours(value)
}

fn is_access_cookie(name: Name<'_>, value: &[u8]) -> bool {
    name.is("cookie") && contains(value, ACCESS_COOKIE.as_bytes())
}

/// A guest's own program may use the same header for keys of its own.
fn is_key_of_ours(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"wrn_").or_else(|| value.strip_prefix(b"e2b_"));
    digits.is_some_and(|digits| {
        digits.len() == 32 && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Our cookie is none of a guest's business.
fn put_cookie(out: &mut Vec<u8>, value: &[u8]) {
    let parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let kept: Vec<&[u8]> = parts
        .filter(|part| !part.starts_with(ACCESS_COOKIE.as_bytes()))
        .collect();
    if !kept.is_empty() {
        put_field(out, "Cookie", &kept.join(b"; ".as_slice()));
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}
