//! What the front answers by itself. The header `wrenn-error-code` tells its answers from a guest's, which never have it.

use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};

use super::body::Body;

pub const ERROR_CODE: HeaderName = HeaderName::from_static("wrenn-error-code");

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Unauthorized,
    /// The address is not one of ours.
    NotFound(&'static str),
    BadPort,
    UnknownSandbox {
        status: StatusCode,
    },
    NotRunning {
        status: StatusCode,
    },
    StaleIncarnation {
        current: u32,
    },
    Forbidden,
    GuestUnreachable,
    AgentUnreachable,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::BadPort => StatusCode::BAD_REQUEST,
            Self::UnknownSandbox { status } | Self::NotRunning { status } => *status,
            Self::StaleIncarnation { .. } => StatusCode::CONFLICT,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::GuestUnreachable => StatusCode::BAD_GATEWAY,
            Self::AgentUnreachable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::NotFound(_) | Self::UnknownSandbox { .. } => "not_found",
            Self::BadPort => "bad_request",
            Self::NotRunning { .. } => "not_running",
            Self::StaleIncarnation { .. } => "stale_incarnation",
            Self::Forbidden => "forbidden",
            Self::GuestUnreachable => "guest_error",
            Self::AgentUnreachable => "unavailable",
        }
    }

    fn message(&self) -> &'static str {
        match self {
            Self::Unauthorized => "this address is for the control plane only",
            Self::NotFound(what) => what,
            Self::BadPort => "the port must be a number from 1 to 65535",
            Self::UnknownSandbox { .. } => "there is no such sandbox on this host",
            Self::NotRunning { .. } => "the sandbox is not running",
            Self::StaleIncarnation { .. } => "the sandbox has been started again since",
            Self::Forbidden => "this port needs the sandbox's access token",
            Self::GuestUnreachable => "nothing answers there in the sandbox",
            Self::AgentUnreachable => "the agent's service does not answer",
        }
    }

    pub fn into_response(self) -> Response<Body> {
        let details = match self {
            Self::StaleIncarnation { current } => serde_json::json!({ "incarnation": current }),
            _ => serde_json::json!({}),
        };
        let error = serde_json::json!({
            "error": { "code": self.code(), "message": self.message(), "details": details },
        });
        let mut response = Response::new(Body::own(error.to_string()));
        *response.status_mut() = self.status();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
            .headers_mut()
            .insert(ERROR_CODE, HeaderValue::from_static(self.code()));
        response
    }
}
