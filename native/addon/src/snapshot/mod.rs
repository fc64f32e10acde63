//! Snapshots of guest memory as generations (SN2–SN5), the same for every VMM.
//!
//! Generation 0 is a flat sparse file that a VMM maps. Each later generation holds the blocks that changed since the
//! one before, and an index of *all* memory: for each stretch the build (the file) that has its bytes, or the nil build
//! for zeros. So the newest index alone says where every block is, and a chain is read without searching.
//!
//! What a VM's memory holds now is: the captured page where the kernel has one of the process's own (written since the
//! mapping was made), the base's block everywhere else. `publish` compares that with the chain and stores the rest;
//! `restore` writes whatever differs from the base into the mapping of a VMM that waits.
//!
//! A file appears under its name complete, checked and durable, or not at all (`aside`).

pub mod arena;
pub mod aside;
pub mod base;
pub mod build_id;
pub mod capture;
pub mod chain;
pub mod compare;
pub mod dirty;
pub mod flatten;
pub mod format;
pub mod generation;
pub mod index;
pub mod mapping;
pub mod merge;
pub mod parallel;
pub mod publish;
pub mod restore;
pub mod store;
pub mod verify;
