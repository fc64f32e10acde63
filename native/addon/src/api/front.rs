//! The byte path (AG1 `/guest`, AG3 `/proxy`). Changing the table costs nothing, so those calls are not promises.

use std::time::Duration;

use napi::{Env, bindgen_prelude::Object};
use napi_derive::napi;

use super::{RUNTIME, into_js, number, promise};
use crate::{
    failure::{Failure, Outcome},
    front::{
        identity::Identity,
        route::RouteSpec,
        server::{self, FrontOptions},
        table::TABLE,
    },
};

/// Callers of `/guest` and `/proxy` must send exactly this. The header does not reach the guest.
#[napi(object)]
pub struct FrontIdentity {
    pub header: String,
    pub value: String,
}

#[napi(object, use_nullable = true)]
pub struct FrontSpec {
    /// `ip:port`; port 0 takes a free one.
    pub address: String,
    /// Path of the unix socket where everything else goes.
    pub upstream: String,
    /// Null: everyone is let in, for development.
    pub identity: Option<FrontIdentity>,
}

#[napi(object)]
pub struct Route {
    pub sandbox_id: String,
    pub incarnation: u32,
    /// Where the host reaches the guest: the slot's `hostIp`.
    pub guest_ip: String,
    pub access_token: String,
    /// Served only while `ready`.
    pub state: String,
}

#[napi(object)]
pub struct RouteActivity {
    pub sandbox_id: String,
    pub last_active_ms_ago: f64,
    /// Requests under way and upgraded connections.
    pub open_streams: u32,
    /// To the guest.
    pub bytes_in: f64,
    /// From the guest.
    pub bytes_out: f64,
}

/// A listening front.
#[napi]
pub struct Front {
    front: server::Front,
}

#[napi]
impl Front {
    #[napi(getter)]
    pub fn port(&self) -> u16 {
        self.front.address().port()
    }

    /// Who is let in from the next request on.
    #[napi(ts_args_type = "identity: FrontIdentity | null")]
    pub fn set_identity(&self, env: &Env, identity: Option<FrontIdentity>) -> napi::Result<()> {
        let identity = identity.map(parse_identity).transpose();
        identity
            .map(|identity| self.front.set_identity(identity))
            .map_err(|failure| into_js(env, &failure))
    }

    /// Stops listening and ends every connection.
    #[napi]
    pub fn close(&self) {
        self.front.close();
    }
}

/// Starts to listen. Rejects with `listen_failed`.
#[napi(ts_return_type = "Promise<Front>")]
pub fn front_listen<'env>(env: &'env Env, spec: FrontSpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let options = FrontOptions {
            address: spec.address,
            upstream: spec.upstream.into(),
            identity: spec.identity.map(parse_identity).transpose()?,
        };
        Ok(Front {
            front: server::Front::listen(options, &TABLE)?,
        })
    })
}

/// Adds or changes a route. A new incarnation takes the earlier one's place and resets its connections.
#[napi]
pub fn route_set(env: &Env, route: Route) -> napi::Result<()> {
    let guest_ip = route
        .guest_ip
        .parse()
        .map_err(|_| Failure::invalid("guestIp", "it is not an IPv4 address"));
    let spec = guest_ip.map(|guest_ip| RouteSpec {
        sandbox_id: route.sandbox_id,
        incarnation: route.incarnation,
        guest_ip,
        access_token: route.access_token,
        ready: route.state == "ready",
    });
    spec.map(|spec| TABLE.set(&spec))
        .map_err(|failure| into_js(env, &failure))
}

/// Removes a route and resets its connections. False: there is none.
#[napi]
pub fn route_delete(sandbox_id: String) -> bool {
    TABLE.delete(&sandbox_id)
}

/// Lets nothing new in, waits until nothing is under way, at most for `limitMs`, and removes the route. False: something
/// was still open then, and has been reset. `routeSet` opens it again.
#[napi(ts_return_type = "Promise<boolean>")]
pub fn route_drain<'env>(env: &'env Env, sandbox_id: String, limit_ms: u32) -> napi::Result<Object<'env>> {
    TABLE.close(&sandbox_id); // from this call on, not from when a thread takes it up
    promise(env, move || {
        let limit = Duration::from_millis(limit_ms.into());
        Ok(RUNTIME.block_on(TABLE.drain(&sandbox_id, limit)))
    })
}

/// Counts as activity (SN8). False: there is no such route.
#[napi]
pub fn route_touch(sandbox_id: String) -> bool {
    TABLE.touch(&sandbox_id)
}

/// What goes on with each sandbox in the table.
#[napi]
pub fn route_activity() -> Vec<RouteActivity> {
    let reports = TABLE.activity().into_iter().map(|report| RouteActivity {
        sandbox_id: report.sandbox_id,
        last_active_ms_ago: report.last_active.as_secs_f64() * 1000.0,
        open_streams: report.open_streams,
        bytes_in: number(report.bytes_in),
        bytes_out: number(report.bytes_out),
    });
    reports.collect()
}

fn parse_identity(identity: FrontIdentity) -> Outcome<Identity> {
    let FrontIdentity { header, value } = identity;
    if header.is_empty() || !header.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Failure::invalid("identity.header", "it is no header name"));
    }
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(Failure::invalid("identity.value", "it is no header value"));
    }
    Ok(Identity { header, value })
}
