//! `POST /files/compose`: makes one file of several, which are gone afterwards.

use super::upload::Written;
use crate::fault::Fault;
use crate::filesystem::compose;
use crate::filesystem::metadata::Metadata;
use crate::guest::Guest;
use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Deserialize)]
struct Compose {
    /// In their order.
    source_paths: Vec<String>,
    destination: String,
    username: Option<String>,
}

pub async fn compose(State(guest): State<Arc<Guest>>, body: Bytes) -> Result<Json<Written>, Fault> {
    let compose: Compose =
        serde_json::from_slice(&body).map_err(|error| Fault::invalid(format!("bad body: {error}")))?;
    let user = guest.user(compose.username.as_deref())?;
    let sources: Vec<PathBuf> = compose
        .source_paths
        .iter()
        .map(|path| guest.resolve(path, &user))
        .collect::<Result<_, _>>()?;
    let destination = guest.resolve(&compose.destination, &user)?;
    let composed = destination.clone();
    tokio::task::spawn_blocking(move || compose::compose(&sources, &composed, &user))
        .await
        .map_err(|error| Fault::internal(error.to_string()))??;
    Ok(Json(Written::new(&destination, &Metadata::default())))
}
