//! An opened generation: its index checked, its data read with or without their checksums.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    build_id::BuildId,
    format::{BLOCK, CHUNK, ENTRY_BYTES, FOOTER_BYTES, Footer, METADATA_BYTES, Metadata, checksum},
    index::Index,
};
use crate::failure::{During, Failure, Outcome};

#[derive(Debug)]
pub struct Generation {
    path: PathBuf,
    file: File,
    footer: Footer,
    index: Index,
    /// CRC-32 of each chunk of the data.
    table: Vec<u32>,
}

impl Generation {
    /// Reads and checks everything but the data. A file that is not there is damage too: a snapshot lacks a part.
    pub fn open(path: &Path) -> Outcome<Self> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged(path, "it is missing")),
            opened => opened.during(|| format!("opening {}", path.display()))?,
        };
        let read = read_outline(&file);
        let (footer, index, table) = read.map_err(|problem| match problem {
            Problem::Damaged(why) => damaged(path, why),
            Problem::System(source) => Failure::System {
                action: format!("reading {}", path.display()),
                source,
            },
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            footer,
            index,
            table,
        })
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    pub fn build(&self) -> BuildId {
        self.index.metadata.build
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn data_length(&self) -> u64 {
        self.footer.data_length
    }

    pub fn checksum_of(&self, chunk: usize) -> u32 {
        self.table[chunk]
    }

    pub fn chunks(&self) -> usize {
        self.table.len()
    }

    /// Generation 0: the memory as it is, at offset 0.
    pub fn is_flat(&self) -> bool {
        self.index.metadata.generation == 0
    }

    /// Device and inode: whether a process maps this very file.
    pub fn file_id(&self) -> Outcome<(u64, u64)> {
        let metadata = self
            .file
            .metadata()
            .during(|| format!("looking at {}", self.path.display()))?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// Data as they are on disk, from an offset in the data. For comparisons: nothing is believed on their strength
    /// but that a block is equal to what somebody else has.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Outcome<()> {
        match self.file.read_exact_at(out, self.footer.data_offset + offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged("it was cut")),
            read => read.during(|| format!("reading {}", self.path.display())),
        }
    }

    /// One chunk of the data, its checksum compared.
    pub fn read_chunk(&self, chunk: usize, out: &mut Vec<u8>) -> Outcome<()> {
        let start = chunk as u64 * CHUNK;
        out.resize((self.footer.data_length - start).min(CHUNK) as usize, 0);
        self.read(start, out)?;
        if checksum(out) == self.table[chunk] {
            Ok(())
        } else {
            Err(self.damaged("its data are not what was written"))
        }
    }

    pub fn damaged(&self, why: &'static str) -> Failure {
        damaged(&self.path, why)
    }
}

fn damaged(path: &Path, why: &str) -> Failure {
    Failure::SnapshotDamaged {
        path: path.display().to_string(),
        why: why.to_owned(),
    }
}

enum Problem {
    Damaged(&'static str),
    System(io::Error),
}

impl From<&'static str> for Problem {
    fn from(why: &'static str) -> Self {
        Self::Damaged(why)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Damaged("it was cut")
        } else {
            Self::System(error)
        }
    }
}

fn read_outline(file: &File) -> Result<(Footer, Index, Vec<u32>), Problem> {
    let size = file.metadata()?.len();
    let footer_at = size.checked_sub(FOOTER_BYTES as u64).ok_or("it is too short")?;
    let mut bytes = [0; FOOTER_BYTES];
    file.read_exact_at(&mut bytes, footer_at)?;
    let footer = Footer::parse(&bytes)?;
    if footer.index_length < METADATA_BYTES as u64 {
        return Err("it has no index".into());
    }
    let mut bytes = [0; METADATA_BYTES];
    file.read_exact_at(&mut bytes, footer.index_offset)?;
    let metadata = Metadata::parse(&bytes)?;
    let table_at = check_layout(&footer, &metadata, footer_at).ok_or("its parts do not fit together")?;

    // Checked before memory is taken for it.
    if stream_checksum(file, footer.index_offset, footer.index_length)? != footer.index_checksum {
        return Err("its index is damaged".into());
    }
    let index = Index::parse(&read(file, footer.index_offset, footer.index_length)?)?;
    let table = read(file, table_at, footer.table_length())?;
    if checksum(&table) != footer.table_checksum {
        return Err("its checksums are damaged".into());
    }
    for entry in index.entries().iter().filter(|entry| entry.build == metadata.build) {
        let flat = metadata.generation == 0;
        if entry.build_offset + entry.length > footer.data_length || (flat && entry.build_offset != entry.offset) {
            return Err("an entry points nowhere".into());
        }
    }
    let (words, _) = table.as_chunks::<4>();
    let table = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    Ok((footer, index, table))
}

/// Where the checksums begin, if every byte of the file has its place.
fn check_layout(footer: &Footer, metadata: &Metadata, footer_at: u64) -> Option<u64> {
    let blocks = metadata.memory_bytes / BLOCK;
    let index_limit = METADATA_BYTES as u64 + blocks.min(super::format::MEMORY_LIMIT / BLOCK) * ENTRY_BYTES as u64;
    if footer.index_length > index_limit
        || footer.data_length > metadata.memory_bytes
        || !footer.data_length.is_multiple_of(BLOCK)
    {
        return None;
    }
    let (first, last) = if metadata.generation == 0 {
        let flat = footer.data_offset == 0 && footer.data_length == metadata.memory_bytes;
        (
            flat && footer.index_offset == footer.data_length,
            footer.index_offset.checked_add(footer.index_length)?,
        )
    } else {
        let compact = footer.index_offset == 0 && footer.data_offset == footer.index_length.next_multiple_of(BLOCK);
        (compact, footer.data_offset.checked_add(footer.data_length)?)
    };
    (first && last.checked_add(footer.table_length())? == footer_at).then_some(last)
}

fn stream_checksum(file: &File, offset: u64, length: u64) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut piece = vec![0; length.min(CHUNK) as usize];
    let mut done = 0;
    while done < length {
        let wanted = (length - done).min(CHUNK) as usize;
        file.read_exact_at(&mut piece[..wanted], offset + done)?;
        hasher.update(&piece[..wanted]);
        done += wanted as u64;
    }
    Ok(hasher.finalize())
}

fn read(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut out = vec![];
    out.try_reserve_exact(length as usize).map_err(io::Error::other)?;
    out.resize(length as usize, 0);
    file.read_exact_at(&mut out, offset)?;
    Ok(out)
}
