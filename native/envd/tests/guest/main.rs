//! The guest agent as its clients meet it: the real binary on a port of its own. One program, since linking one is what
//! takes the time.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod directories;
mod files;
mod ports;
mod process;
mod standstill;
mod terminal;
