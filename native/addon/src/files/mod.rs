//! Files as the agent needs them: locked, durable, sparse.

pub mod lock;
pub mod space;
