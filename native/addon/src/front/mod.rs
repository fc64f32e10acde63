//! The agent's byte path: one HTTP port in front of the guests (`/guest`, AG1; `/proxy`, AG3) and of the agent's own
//! Connect service (everything else, over a unix socket). Bytes to a guest never pass through JavaScript; who may be
//! reached, and how, is a table that JavaScript keeps.

pub mod identity;
pub mod plan;
pub mod refusal;
pub mod relay;
pub mod route;
pub mod server;
pub mod table;
pub mod target;
pub mod wire;
