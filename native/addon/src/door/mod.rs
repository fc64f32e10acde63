//! The gateway's port: every connection of clients ends here. Requests for sandboxes go on to the agent of their host as
//! bytes; JavaScript is asked once who may reach what, and its answers hold until it takes them back. All other requests
//! go on to the API, over a unix socket, as they came.

pub mod address;
pub mod ask;
pub mod busy;
pub mod client;
pub mod head;
pub mod server;
pub mod tls;
pub mod ways;
