//! What the front answers by itself. The header `wrenn-error-code` tells its answers from a guest's, which never have it.

use crate::h1::request::{HeadError, put_field, put_number};

/// An agent's own word; a guest's answers never have it.
pub const ERROR_CODE: &str = "wrenn-error-code";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Unauthorized,
    /// The address is not one of ours.
    NotFound(&'static str),
    BadPort,
    UnknownSandbox {
        status: u16,
    },
    NotRunning {
        status: u16,
    },
    StaleIncarnation {
        current: u32,
    },
    Forbidden,
    GuestUnreachable,
    AgentUnreachable,
    Malformed(&'static str),
    Version,
    HeadTooLarge,
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Malformed(why) => Self::Malformed(why),
            HeadError::Version => Self::Version,
            HeadError::TooLarge => Self::HeadTooLarge,
        }
    }
}

impl Refusal {
    /// Status and its reason.
    fn status(&self) -> (u16, &'static str) {
        match self {
            Self::Malformed(_) | Self::BadPort => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden => (403, "Forbidden"),
            Self::NotFound(_) => (404, "Not Found"),
            Self::StaleIncarnation { .. } => (409, "Conflict"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Self::GuestUnreachable => (502, "Bad Gateway"),
            Self::AgentUnreachable => (503, "Service Unavailable"),
            Self::Version => (505, "HTTP Version Not Supported"),
            Self::UnknownSandbox { status } | Self::NotRunning { status } => (*status, "Not Available"),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::NotFound(_) | Self::UnknownSandbox { .. } => "not_found",
            Self::BadPort | Self::Malformed(_) | Self::Version | Self::HeadTooLarge => "bad_request",
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
            Self::NotFound(what) | Self::Malformed(what) => what,
            Self::BadPort => "the port must be a number from 1 to 65535",
            Self::UnknownSandbox { .. } => "there is no such sandbox on this host",
            Self::NotRunning { .. } => "the sandbox is not running",
            Self::StaleIncarnation { .. } => "the sandbox has been started again since",
            Self::Forbidden => "this port needs the sandbox's access token",
            Self::GuestUnreachable => "nothing answers there in the sandbox",
            Self::AgentUnreachable => "the agent's service does not answer",
            Self::Version => "only HTTP/1.1 is spoken here",
            Self::HeadTooLarge => "the head of the request is too large",
        }
    }

    /// The whole answer. `to_head`: without its body. `close`: the connection ends after it.
    pub fn answer(&self, to_head: bool, close: bool) -> Vec<u8> {
        let details = match self {
            Self::StaleIncarnation { current } => serde_json::json!({ "incarnation": current }),
            _ => serde_json::json!({}),
        };
        let error = serde_json::json!({
            "error": { "code": self.code(), "message": self.message(), "details": details },
        });
        let (status, reason) = self.status();
        let mut out = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
        let body = error.to_string();
        put_field(&mut out, "content-type", b"application/json");
        put_field(&mut out, ERROR_CODE, self.code().as_bytes());
        put_number(&mut out, "content-length", body.len() as u64);
        if close {
            put_field(&mut out, "connection", b"close");
        }
        out.extend_from_slice(b"\r\n");
        if !to_head {
            out.extend_from_slice(body.as_bytes());
        }
        out
    }
}
