//! Files and directories: the Connect service, and what `/files` writes with.

pub mod compose;
pub mod entry;
mod list;
pub mod metadata;
mod mounts;
mod moving;
pub mod owned;
pub mod service;
mod watch;
pub mod watchers;
pub mod write;
