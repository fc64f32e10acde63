//! `POST /init`: the host tells the guest who it is.
//!
//! Only the host may call it; the agent's proxy answers 404 for it to everyone else. Once a token is set, a further
//! call must carry that token (as header, or again as `accessToken`), so that a process inside the guest cannot
//! take the sandbox over.

use crate::auth;
use crate::clock;
use crate::fault::{Fault, Kind};
use crate::guest::Guest;
use crate::hostname;
use axum::extract::State;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Fields of the upstream protocol that we have no use for (mounts, certificates, life-cycle ids) are ignored.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Init {
    access_token: Option<String>,
    /// Added to the environment; a name that is not mentioned stays.
    env_vars: Option<BTreeMap<String, String>>,
    default_user: Option<String>,
    default_workdir: Option<String>,
    /// RFC 3339.
    timestamp: Option<String>,
    /// Ours.
    hostname: Option<String>,
}

pub async fn init(
    State(guest): State<Arc<Guest>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, [(&'static str, &'static str); 2]), Fault> {
    let init: Init = match body.is_empty() {
        true => Init::default(),
        false => serde_json::from_slice(&body).map_err(|error| Fault::invalid(format!("bad body: {error}")))?,
    };
    if !guest.token_matches(auth::token(&headers)) && !guest.token_matches(init.access_token.as_deref()) {
        return Err(Fault::new(
            Kind::Unauthenticated,
            "an access token is already set, a new /init must carry it",
        ));
    }
    if let Some(timestamp) = &init.timestamp {
        clock::set(timestamp)?;
    }
    if let Some(hostname) = &init.hostname {
        hostname::set(hostname)?;
    }
    let mut settings = guest.settings.write().unwrap();
    if let Some(token) = init.access_token.filter(|token| !token.is_empty()) {
        settings.access_token = Some(token);
    }
    settings.envs.extend(init.env_vars.into_iter().flatten());
    if let Some(user) = init.default_user.filter(|user| !user.is_empty()) {
        settings.default_user = user;
    }
    if let Some(workdir) = init.default_workdir.filter(|workdir| !workdir.is_empty()) {
        settings.default_workdir = Some(workdir);
    }
    Ok((
        StatusCode::NO_CONTENT,
        [("x-envd-version", crate::VERSION), ("cache-control", "no-store")],
    ))
}
