//! Routes: plain HTTP here, everything else is Connect.

pub mod asker;
mod compose;
mod download;
mod encoding;
mod envs;
mod health;
mod init;
mod linger;
pub mod metrics;
mod standstill;
mod upload;

use crate::auth;
use crate::fault::Fault;
use crate::filesystem::service::FilesystemService;
use crate::guest::Guest;
use crate::process::service::ProcessService;
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{get, post};
use connectrpc::{ConnectRpcService, Limits};
use http::{HeaderName, Method, Uri};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tower_http::cors::{Any, CorsLayer};

/// Largest Connect message; files go over `/files`, which has no limit.
const MAX_MESSAGE: usize = 64 << 20;
/// How long a browser may remember what CORS allows.
const CORS_MAX_AGE: Duration = Duration::from_secs(7200);

/// Query of `/files`.
#[derive(Deserialize, Default)]
struct FileQuery {
    path: Option<String>,
    username: Option<String>,
    signature: Option<String>,
    signature_expiration: Option<i64>,
}

impl FileQuery {
    fn of(uri: &Uri) -> Result<Self, Fault> {
        let query = Query::try_from_uri(uri).map_err(|error| Fault::invalid(format!("bad query: {error}")))?;
        Ok(query.0)
    }

    fn signed(&self, operation: &'static str) -> auth::Signed<'_> {
        auth::Signed {
            path: self.path.as_deref().unwrap_or_default(),
            operation,
            user: self.username.as_deref().unwrap_or_default(),
            signature: self.signature.as_deref(),
            expiration: self.signature_expiration,
        }
    }
}

/// Everything that envd serves.
pub fn router(guest: Arc<Guest>) -> Router {
    let services = connectrpc::Router::new()
        .add_service(Arc::new(ProcessService::new(guest.clone())))
        .add_service(Arc::new(FilesystemService::new(guest.clone())));
    let limits = Limits::default()
        .with_max_message_size(MAX_MESSAGE)
        .with_max_request_body_size(MAX_MESSAGE);
    Router::new()
        .route("/health", get(health::health))
        .route("/metrics", get(metrics::metrics))
        .route("/envs", get(envs::envs))
        .route("/init", post(init::init))
        .route("/files", get(download::download).post(upload::upload))
        .route("/files/compose", post(compose::compose))
        .fallback_service(ConnectRpcService::new(services).with_limits(limits))
        .layer(axum::middleware::from_fn_with_state(guest.clone(), wait_while_frozen))
        .route("/wrenn/freeze", post(standstill::freeze))
        .route("/wrenn/thaw", post(standstill::thaw))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(guest.clone(), auth::gate))
        .layer(cors())
        .with_state(guest)
}

/// Requests that arrive while a snapshot is made wait; only the health check, which was served before, does not.
async fn wait_while_frozen(State(guest): State<Arc<Guest>>, request: Request, next: Next) -> Response {
    if request.uri().path() != "/health" {
        guest.freezer.thawed().await;
    }
    next.run(request).await
}

fn cors() -> CorsLayer {
    let exposed = [
        "location",
        "cache-control",
        "x-content-type-options",
        "content-disposition",
        "content-range",
    ];
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([
            Method::HEAD,
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers(Any)
        .expose_headers(exposed.map(HeaderName::from_static))
        .max_age(CORS_MAX_AGE)
}
