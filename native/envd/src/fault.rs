//! What can go wrong with a request, and how HTTP and Connect say it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use connectrpc::{ConnectError, ErrorCode};
use http::StatusCode;
use std::io;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    InvalidArgument,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    AlreadyExists,
    NotAcceptable,
    NoSpace,
    /// Events were lost; the client must look anew.
    DataLoss,
    Internal,
}

/// A failure with a message for the caller.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub message: String,
}

impl Fault {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidArgument, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Classifies an operating system error; `what` says what was tried.
    pub fn io(what: impl std::fmt::Display, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::AlreadyExists => Kind::AlreadyExists,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::PermissionDenied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
            io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::InvalidInput => Kind::InvalidArgument,
            _ => Kind::Internal,
        };
        Self::new(kind, format!("{what}: {error}"))
    }

    fn status(&self) -> StatusCode {
        match self.kind {
            Kind::InvalidArgument => StatusCode::BAD_REQUEST,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::PermissionDenied => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::AlreadyExists => StatusCode::CONFLICT,
            Kind::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Kind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
            Kind::DataLoss | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = self.status();
        (
            status,
            Json(serde_json::json!({ "code": status.as_u16(), "message": self.message })),
        )
            .into_response()
    }
}

impl From<Fault> for ConnectError {
    fn from(fault: Fault) -> Self {
        let code = match fault.kind {
            Kind::InvalidArgument | Kind::NotAcceptable => ErrorCode::InvalidArgument,
            Kind::Unauthenticated => ErrorCode::Unauthenticated,
            Kind::PermissionDenied => ErrorCode::PermissionDenied,
            Kind::NotFound => ErrorCode::NotFound,
            Kind::AlreadyExists => ErrorCode::AlreadyExists,
            Kind::NoSpace => ErrorCode::ResourceExhausted,
            Kind::DataLoss => ErrorCode::DataLoss,
            Kind::Internal => ErrorCode::Internal,
        };
        ConnectError::new(code, fault.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_507_over_http_and_resource_exhausted_over_connect() {
        for errno in [libc::ENOSPC, libc::EDQUOT] {
            let fault = Fault::io("write", &io::Error::from_raw_os_error(errno));
            assert_eq!(fault.status(), StatusCode::INSUFFICIENT_STORAGE);
            assert_eq!(ConnectError::from(fault).code, ErrorCode::ResourceExhausted);
        }
    }
}
