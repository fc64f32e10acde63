//! `POST /wrenn/freeze` and `/wrenn/thaw`: the guest's part in a snapshot (SN1, SN11). Only the host calls them; the
//! agent's proxy answers 404 for them to everyone else. A freeze needs the access token where one is set; a thaw needs
//! the key of the freeze, since the caller may know nothing of whom this guest was cloned from.

use crate::fault::Fault;
use crate::guest::Guest;
use crate::identity::{self, Assumed, Identity};
use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Memory is part of a snapshot, so that unsynced data is not lost: a slow disk must not hold the snapshot up.
const SYNC_LIMIT: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeRequest {
    thaw_key: String,
}

#[derive(Serialize)]
pub struct Frozen {
    synced: bool,
    sync_ms: f64,
    freeze_ms: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThawRequest {
    thaw_key: String,
    /// For a clone and after a pause; absent where the same VM runs on.
    identity: Option<Identity>,
}

#[derive(Serialize)]
pub struct Thawed {
    #[serde(flatten)]
    assumed: Assumed,
    ms: f64,
}

pub async fn freeze(State(guest): State<Arc<Guest>>, body: Bytes) -> Result<Json<Frozen>, Fault> {
    let FreezeRequest { thaw_key } = parse(&body)?;
    let started = Instant::now();
    let sync = tokio::task::spawn_blocking(rustix::fs::sync);
    let synced = tokio::time::timeout(SYNC_LIMIT, sync).await.is_ok();
    let sync_ms = millis(started);
    let started = Instant::now();
    if guest.freezer.freeze(&thaw_key)?
        && let Err(error) = guest.processes.cgroups.freeze().await
    {
        guest.processes.cgroups.thaw();
        guest.freezer.thaw();
        return Err(Fault::io("cannot freeze the processes", &error));
    }
    Ok(Json(Frozen {
        synced,
        sync_ms,
        freeze_ms: millis(started),
    }))
}

/// Thawing what is not frozen is done already; but an identity is never passed over in silence.
pub async fn thaw(State(guest): State<Arc<Guest>>, body: Bytes) -> Result<Json<Thawed>, Fault> {
    let ThawRequest { thaw_key, identity } = parse(&body)?;
    let started = Instant::now();
    let frozen = guest.freezer.check(&thaw_key)?;
    let assumed = match identity {
        Some(_) if !frozen => return Err(Fault::invalid("nothing is frozen, so no identity can be assumed")),
        Some(identity) => identity::assume(&guest, identity).await?,
        None => Assumed::default(),
    };
    if frozen {
        guest.processes.cgroups.thaw();
        guest.freezer.thaw();
    }
    Ok(Json(Thawed {
        assumed,
        ms: millis(started),
    }))
}

fn parse<Request: DeserializeOwned>(body: &Bytes) -> Result<Request, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::invalid(format!("bad body: {error}")))
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
