//! `GET /envs`: the environment that `/init` set, for servers inside the guest.

use crate::guest::Guest;
use axum::Json;
use axum::extract::State;
use std::collections::BTreeMap;
use std::sync::Arc;

pub async fn envs(State(guest): State<Arc<Guest>>) -> Json<BTreeMap<String, String>> {
    Json(guest.settings.read().unwrap().envs.clone())
}
