//! What must be known of a request once its head is gone.

use super::{framing::Framing, request::Request};

#[derive(Clone)]
pub struct Asked {
    pub body: Framing,
    pub to_head: bool,
    pub keep_alive: bool,
    pub expects_continue: bool,
    pub upgrade: bool,
    pub idempotent: bool,
}

impl From<&Request<'_, '_>> for Asked {
    fn from(request: &Request<'_, '_>) -> Self {
        Self {
            body: request.body.clone(),
            to_head: request.method == "HEAD",
            keep_alive: request.keep_alive,
            expects_continue: request.expects_continue,
            upgrade: request.upgrade.is_some(),
            idempotent: request.is_idempotent(),
        }
    }
}
