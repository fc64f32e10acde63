//! `POST /wrenn/freeze` and `/wrenn/thaw`: the guest's part in a snapshot (SN1, SN11). Only the host calls them; the
//! agent's proxy answers 404 for them to everyone else. A freeze needs the access token where one is set; a thaw needs
//! the key of the freeze, since the caller may know nothing of whom this guest was cloned from.

use super::asker::Asker;
use crate::fault::Fault;
use crate::guest::Guest;
use crate::identity::{self, Assumed, Identity};
use axum::extract::{Query, State};
use axum::{Extension, Json};
use bytes::Bytes;
use http::Uri;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Memory is part of a snapshot, so that unsynced data is not lost: a slow disk must not hold the snapshot up.
const SYNC_LIMIT: Duration = Duration::from_secs(1);

/// In the query, not in the body: an envd that does not know it yet passes it over, and syncs.
#[derive(Deserialize)]
struct FreezeQuery {
    #[serde(default = "yes")]
    sync: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeRequest {
    thaw_key: String,
}

#[derive(Serialize)]
pub struct Frozen {
    /// The file systems were written, before the processes were stopped.
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

pub async fn freeze(
    State(guest): State<Arc<Guest>>,
    Extension(asker): Extension<Asker>,
    uri: Uri,
    body: Bytes,
) -> Result<Json<Frozen>, Fault> {
    let query = Query::try_from_uri(&uri).map_err(|error| Fault::invalid(format!("bad query: {error}")))?;
    let Query(FreezeQuery { sync }) = query;
    let FreezeRequest { thaw_key } = parse(&body)?;
    let _turn = guest.freezer.turn.lock().await;
    let started = Instant::now();
    let synced = sync && write_file_systems().await;
    let sync_ms = millis(started);
    let started = Instant::now();
    if guest.freezer.freeze(&thaw_key)? {
        let undo = Undo { guest: Some(&guest) };
        let frozen = guest.processes.cgroups.freeze().await;
        frozen.map_err(|error| Fault::io("cannot freeze the processes", &error))?;
        if !asker.waits() {
            return Err(Fault::invalid("nobody waits for this freeze any more"));
        }
        undo.never();
    }
    Ok(Json(Frozen {
        synced,
        sync_ms,
        freeze_ms: millis(started),
    }))
}

/// False: it took longer, and goes on.
async fn write_file_systems() -> bool {
    let sync = tokio::task::spawn_blocking(rustix::fs::sync);
    tokio::time::timeout(SYNC_LIMIT, sync).await.is_ok()
}

/// Undoes a freeze that fails, or whose asker goes away before it is done: nobody would come to thaw it.
struct Undo<'a> {
    guest: Option<&'a Guest>,
}

impl Undo<'_> {
    fn never(mut self) {
        self.guest = None;
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Some(guest) = self.guest {
            guest.processes.cgroups.thaw();
            guest.freezer.thaw();
        }
    }
}

/// Thawing what is not frozen is done already; but an identity is never passed over in silence.
pub async fn thaw(State(guest): State<Arc<Guest>>, body: Bytes) -> Result<Json<Thawed>, Fault> {
    let ThawRequest { thaw_key, identity } = parse(&body)?;
    let _turn = guest.freezer.turn.lock().await;
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
