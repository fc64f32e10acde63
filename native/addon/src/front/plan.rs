//! What a front does with a request: who asks, what for, may it, and what the next hop is told.

use std::sync::Arc;

use super::{
    identity::{self, Identity},
    refusal::Refusal,
    route::Route,
    table::Table,
    target::{ENVD_PORT, Target, parse},
};
use crate::h1::{
    asked::Asked,
    name::Name,
    request::{HeadError, Request, no_fields, put_field},
};

const INCARNATION: &str = "wrenn-incarnation";
const ACCESS_TOKEN: &str = "x-access-token";

pub enum To {
    Guest { route: Arc<Route>, port: u16 },
    Agent,
}

pub struct Plan {
    pub asked: Asked,
    /// `Err`: nobody is asked.
    pub to: Result<To, Refusal>,
    /// For the next hop.
    pub head: Vec<u8>,
}

/// `head`: whole, of a client.
pub fn plan(head: &[u8], table: &Table, identity: Option<&Identity>) -> Result<Plan, HeadError> {
    let mut fields = no_fields();
    let request = Request::parse(head, &mut fields)?;
    let asked = Asked::from(&request);
    let mut out = Vec::with_capacity(head.len() + 64);
    let to = route(&request, table, identity, &mut out);
    Ok(Plan { asked, to, head: out })
}

fn route(
    request: &Request<'_, '_>,
    table: &Table,
    identity: Option<&Identity>,
    out: &mut Vec<u8>,
) -> Result<To, Refusal> {
    let target = parse(request.target);
    if target == Ok(Target::Agent) {
        // The agent's service asks for the credential itself.
        put_head(request, request.target, out, |_| true);
        request.put_end(out);
        return Ok(To::Agent);
    }
    if identity.is_some_and(|identity| !identity.admits(request)) {
        return Err(Refusal::Unauthorized);
    }
    let secret = identity.map_or("", |identity| identity.header.as_str());
    match target? {
        Target::Agent => unreachable!("returned above"),
        Target::Guest { sandbox_id, rest } => {
            let route = for_control_plane(request, table, sandbox_id)?;
            put_head(request, rest, out, |name| {
                !name.is_one_of(&[INCARNATION, ACCESS_TOKEN, "host", secret])
            });
            put_field(out, "Host", format!("{}:{ENVD_PORT}", route.guest_ip).as_bytes());
            put_field(out, ACCESS_TOKEN, route.access_token().as_bytes());
            request.put_end(out);
            Ok(To::Guest { route, port: ENVD_PORT })
        }
        Target::Proxy { sandbox_id, port, rest } => {
            let route = for_traffic(request, table, sandbox_id, port, rest)?;
            put_head(request, rest, out, |name| !name.is_one_of(&[INCARNATION, secret]));
            request.put_end(out);
            Ok(To::Guest { route, port })
        }
    }
}

/// AG1: the control plane speaks to envd of exactly the incarnation that it means.
fn for_control_plane(request: &Request<'_, '_>, table: &Table, sandbox_id: &str) -> Result<Arc<Route>, Refusal> {
    let route = table.find(sandbox_id).ok_or(Refusal::UnknownSandbox { status: 404 })?;
    if incarnation(request) != Some(route.incarnation) {
        return Err(Refusal::StaleIncarnation {
            current: route.incarnation,
        });
    }
    if route.ready() {
        Ok(route)
    } else {
        Err(Refusal::NotRunning { status: 409 })
    }
}

/// AG3: whoever the gateway let through speaks to a port of the sandbox.
fn for_traffic(
    request: &Request<'_, '_>,
    table: &Table,
    sandbox_id: &str,
    port: u16,
    rest: &str,
) -> Result<Arc<Route>, Refusal> {
    let route = table.find(sandbox_id).ok_or(Refusal::UnknownSandbox { status: 503 })?;
    if incarnation(request).is_some_and(|meant| meant != route.incarnation) {
        return Err(Refusal::StaleIncarnation {
            current: route.incarnation,
        });
    }
    if !route.ready() {
        return Err(Refusal::NotRunning { status: 503 });
    }
    if port == ENVD_PORT && !open_to_all(request.method, rest) && !has_access(request, &route) {
        return Err(Refusal::Forbidden);
    }
    Ok(route)
}

fn put_head(request: &Request<'_, '_>, target: &str, out: &mut Vec<u8>, keep: impl Fn(Name<'_>) -> bool) {
    let slash = if target.starts_with('/') { "" } else { "/" };
    for part in [request.method, " ", slash, target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for field in request.fields() {
        if keep(field.name) && !request.ends_here(field.name) {
            put_field(out, field.name.as_written(), field.value);
        }
    }
}

fn incarnation(request: &Request<'_, '_>) -> Option<u32> {
    request.text(INCARNATION)?.parse().ok()
}

/// What envd lets in without the token, or looks at itself: its health, files by signed URLs, and a browser's question
/// whether it may ask.
fn open_to_all(method: &str, rest: &str) -> bool {
    let path = rest.split_once('?').map_or(rest, |(path, _)| path);
    match method {
        "OPTIONS" => true,
        "GET" | "HEAD" => matches!(path, "/health" | "/files"),
        "POST" => path == "/files",
        _ => false,
    }
}

fn has_access(request: &Request<'_, '_>, route: &Route) -> bool {
    let token = route.access_token();
    let given = request.field(ACCESS_TOKEN).unwrap_or_default();
    !token.is_empty() && identity::same(given, token.as_bytes())
}
