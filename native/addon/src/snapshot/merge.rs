//! Makes one generation of all after generation 0 (SN3).

use std::path::Path;

use super::{
    build_id::BuildId,
    chain::{Chain, Reader, Source, Stretch},
    format::{BLOCK, Metadata},
    index::{Entries, Index},
    store::{self, Stored},
};
use crate::failure::{Failure, Outcome};

/// With so many files a chain is merged.
pub const MERGE_AT: usize = 8;

/// The result has the number of the newest, and stands for all that came after generation 0; their files can go.
pub fn merge(chain: &Chain, folder: &Path, name: &str, build: BuildId) -> Outcome<Stored> {
    chain.spared_by(folder, name)?;
    let newest = chain.newest().metadata;
    if newest.generation == 0 {
        return Err(Failure::invalid("chain", "it is generation 0 alone"));
    }
    let mut entries = Entries::default();
    let mut moved: Vec<(u64, Stretch)> = vec![];
    let mut data_offset = 0;
    for stretch in chain.within(0, newest.memory_bytes) {
        match stretch.source {
            Source::Layer(1.., _) => {
                entries.push(stretch.length, build, data_offset);
                moved.push((data_offset, stretch));
                data_offset += stretch.length;
            }
            source => {
                let (build, offset) = chain.build_of(source);
                entries.push(stretch.length, build, offset);
            }
        }
    }
    let metadata = Metadata { build, ..newest };
    let index = Index::new(metadata, entries.finish()).map_err(|why| Failure::invalid("chain", why))?;
    let fill = |reader: &mut Reader<'_>, start: u64, out: &mut [u8]| {
        let end = start + out.len() as u64;
        let first = moved.partition_point(|(at, stretch)| at + stretch.length <= start);
        for (at, stretch) in moved[first..].iter().take_while(|(at, _)| *at < end) {
            let (from, to) = ((*at).max(start), (at + stretch.length).min(end));
            let memory = stretch.offset + from - at;
            reader.read_memory(memory, &mut out[(from - start) as usize..(to - start) as usize])?;
        }
        Ok(())
    };
    debug_assert!(data_offset.is_multiple_of(BLOCK));
    store::write_compact(folder, name, &index, data_offset, || Reader::new(chain), fill)
}
