//! `GET /health`: answering at all is the answer.

use http::{StatusCode, header};

pub async fn health() -> (StatusCode, [(header::HeaderName, &'static str); 2]) {
    let version = header::HeaderName::from_static("x-envd-version");
    (
        StatusCode::NO_CONTENT,
        [(header::CACHE_CONTROL, "no-store"), (version, crate::VERSION)],
    )
}
