//! Name resolution for guests whose egress policy names domains (NET4).

pub mod forwarder;
pub mod message;
