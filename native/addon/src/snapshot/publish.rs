//! Stores what a capture has and its chain has not (SN3, SN4). The VM runs on, or is gone, meanwhile.

use std::path::Path;

use super::{
    build_id::BuildId,
    capture::{Capture, Rest, Run},
    chain::{Chain, Reader, Source, Stretch},
    compare::{Verdict, compare},
    format::{BLOCK, Metadata},
    index::{Entries, Index},
    store::{self, Stored},
};
use crate::failure::{Failure, Outcome};

#[derive(Clone, Debug)]
pub struct Published {
    pub stored: Stored,
    pub unchanged_bytes: u64,
    /// Zeroed since the generation before.
    pub zeroed_bytes: u64,
}

/// Where a stretch of the new data is in the capture.
struct Piece {
    data_offset: u64,
    at: u64,
    length: u64,
}

/// Writes the generation after the last of `chain`. `build` names it.
pub fn publish(capture: &Capture, chain: &Chain, folder: &Path, name: &str, build: BuildId) -> Outcome<Published> {
    belongs(capture, chain)?;
    chain.spared_by(folder, name)?;
    let verdicts = compare(capture, chain)?;
    let (entries, pieces) = lay_out(capture, chain, &verdicts, build);
    let newest = chain.newest().metadata;
    let metadata = Metadata {
        memory_bytes: capture.memory_bytes,
        generation: newest.generation + 1,
        build,
        base: newest.base,
    };
    let index = Index::new(metadata, entries).map_err(|why| Failure::invalid("chain", why))?;
    let data_length = pieces.last().map_or(0, |piece| piece.data_offset + piece.length);
    let fill = |(): &mut (), start: u64, out: &mut [u8]| {
        let end = start + out.len() as u64;
        let first = pieces.partition_point(|piece| piece.data_offset + piece.length <= start);
        for piece in pieces[first..].iter().take_while(|piece| piece.data_offset < end) {
            let from = piece.data_offset.max(start);
            let to = (piece.data_offset + piece.length).min(end);
            let bytes = capture.bytes(piece.at + from - piece.data_offset, to - from);
            out[(from - start) as usize..(to - start) as usize].copy_from_slice(bytes);
        }
        Ok(())
    };
    let stored = store::write_compact(folder, name, &index, data_length, || (), fill)?;
    let blocks = |wanted| verdicts.iter().flatten().filter(|verdict| **verdict == wanted).count() as u64 * BLOCK;
    Ok(Published {
        stored,
        unchanged_bytes: blocks(Verdict::Unchanged),
        zeroed_bytes: blocks(Verdict::Zeros),
    })
}

/// Writes all of the captured memory as a new generation 0.
pub fn publish_flat(capture: &Capture, chain: &Chain, folder: &Path, name: &str, build: BuildId) -> Outcome<Stored> {
    belongs(capture, chain)?;
    chain.spared_by(folder, name)?;
    let state = || Reader::new(chain);
    store::write_flat(
        folder,
        name,
        build,
        capture.memory_bytes,
        state,
        |reader, start, out| {
            let mut filled = false;
            let length = out.len() as u64;
            for stretch in rest(capture, chain, start, length) {
                let part = &mut out[(stretch.offset - start) as usize..][..stretch.length as usize];
                filled |= stretch.source != Source::Zeros;
                reader.read(stretch.source, part)?;
            }
            for run in within(capture, start, length) {
                filled = true;
                let part = &mut out[(run.offset - start) as usize..][..run.length as usize];
                part.copy_from_slice(capture.bytes(run.at, run.length));
            }
            Ok(filled)
        },
    )
}

/// What is in a part of the memory of which nothing was captured. Where a process has no page of its own it sees the
/// base, whatever the chain says.
fn rest(capture: &Capture, chain: &Chain, offset: u64, length: u64) -> Vec<Stretch> {
    match capture.rest {
        Rest::Mapped(_) => chain.base_within(offset, length).collect(),
        Rest::Unchanged => chain.within(offset, length).collect(),
    }
}

fn belongs(capture: &Capture, chain: &Chain) -> Outcome<()> {
    if let Rest::Mapped(file) = capture.rest
        && chain.base().file_id()? != file
    {
        return Err(Failure::invalid(
            "chain",
            "its generation 0 is not the file that was mapped",
        ));
    }
    if chain.memory_bytes() != capture.memory_bytes {
        return Err(Failure::invalid(
            "chain",
            "its memory is not of the size that was mapped",
        ));
    }
    Ok(())
}

fn lay_out(
    capture: &Capture,
    chain: &Chain,
    verdicts: &[Vec<Verdict>],
    build: BuildId,
) -> (Vec<super::format::Entry>, Vec<Piece>) {
    let mut entries = Entries::default();
    let mut pieces: Vec<Piece> = vec![];
    let mut data_offset = 0;
    let mut verdicts = verdicts.iter().flatten();
    let push = |entries: &mut Entries, stretch: Stretch| {
        let (build, offset) = chain.build_of(stretch.source);
        entries.push(stretch.length, build, offset);
    };
    for run in &capture.runs {
        let gap = entries.end();
        for stretch in rest(capture, chain, gap, run.offset - gap) {
            push(&mut entries, stretch);
        }
        for (block, verdict) in (run.offset..run.offset + run.length)
            .step_by(BLOCK as usize)
            .zip(&mut verdicts)
        {
            match verdict {
                Verdict::Unchanged => chain
                    .within(block, BLOCK)
                    .for_each(|stretch| push(&mut entries, stretch)),
                Verdict::Zeros => entries.push(BLOCK, BuildId::NIL, 0),
                Verdict::Changed => {
                    entries.push(BLOCK, build, data_offset);
                    let at = run.at + block - run.offset;
                    match pieces.last_mut() {
                        Some(last) if last.at + last.length == at => last.length += BLOCK,
                        _ => pieces.push(Piece {
                            data_offset,
                            at,
                            length: BLOCK,
                        }),
                    }
                    data_offset += BLOCK;
                }
            }
        }
    }
    let gap = entries.end();
    for stretch in rest(capture, chain, gap, capture.memory_bytes - gap) {
        push(&mut entries, stretch);
    }
    (entries.finish(), pieces)
}

/// What was captured of a part of the memory.
fn within(capture: &Capture, offset: u64, length: u64) -> impl Iterator<Item = Run> {
    let first = capture.runs.partition_point(|run| run.offset + run.length <= offset);
    let end = offset + length;
    capture.runs[first..]
        .iter()
        .take_while(move |run| run.offset < end)
        .map(move |run| {
            let start = run.offset.max(offset);
            Run {
                offset: start,
                length: (run.offset + run.length).min(end) - start,
                at: run.at + start - run.offset,
            }
        })
}
