//! Makes a generation 0 of a whole chain: one file that can be mapped, with nothing to write before it is used.

use std::path::Path;

use super::{
    build_id::BuildId,
    chain::{Chain, Reader},
    store::{self, Stored},
};
use crate::failure::Outcome;

pub fn flatten(chain: &Chain, folder: &Path, name: &str, build: BuildId) -> Outcome<Stored> {
    chain.spared_by(folder, name)?;
    let state = || Reader::new(chain);
    store::write_flat(
        folder,
        name,
        build,
        chain.memory_bytes(),
        state,
        |reader, start, out| reader.read_memory(start, out),
    )
}
