//! Write: sections, in their order, to a segment's file that appears whole or not at all.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Counts, HEADER_BYTES, MAGIC, SECTIONS, Section, hash64};
use crate::index::IndexError;

/// Sections begin at multiples of this.
const ALIGNMENT: u64 = 64;

const ASK_BYTES: u64 = 4 << 20;

/// A segment being written.
pub struct SegmentWriter<'a> {
    stop: &'a dyn Fn() -> bool,
    /// Where it is asked next.
    ask_at: u64,
    out: BufWriter<File>,
    at: u64,
    sections: [(u64, u64); SECTIONS],
    next: usize,
    path: PathBuf,
    partial: PathBuf,
}

impl<'a> SegmentWriter<'a> {
    /// Starts a segment that will stand at `path`; every few megabytes `stop` is asked whether to give up.
    pub fn create(path: &Path, stop: &'a dyn Fn() -> bool) -> Result<Self, IndexError> {
        let partial = path.with_extension("partial");
        let file = File::create(&partial).map_err(|source| IndexError::io(&partial, source))?;
        let mut out = BufWriter::with_capacity(1 << 18, file);
        out.write_all(&[0; HEADER_BYTES]).map_err(|source| IndexError::io(&partial, source))?;
        Ok(Self {
            stop,
            ask_at: ASK_BYTES,
            out,
            at: HEADER_BYTES as u64,
            sections: [(0, 0); SECTIONS],
            next: 0,
            path: path.to_owned(),
            partial,
        })
    }

    /// Starts the next section, which must be `section`.
    pub(crate) fn begin(&mut self, section: Section) -> Result<(), IndexError> {
        assert_eq!(section as usize, self.next, "sections are written in their order");
        self.end();
        let padding = self.at.next_multiple_of(ALIGNMENT) - self.at;
        self.put(&[0; ALIGNMENT as usize][..padding as usize])?;
        self.sections[self.next].0 = self.at;
        self.next += 1;
        Ok(())
    }

    /// Adds bytes to the section.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), IndexError> {
        self.at += bytes.len() as u64;
        if self.at >= self.ask_at {
            self.ask_at = self.at + ASK_BYTES;
            if (self.stop)() {
                return Err(IndexError::Derived(format!("{}: stopped", self.partial.display())));
            }
        }
        self.out.write_all(bytes).map_err(|source| IndexError::io(&self.partial, source))
    }

    /// Writes a whole section.
    pub(crate) fn section(&mut self, section: Section, bytes: &[u8]) -> Result<(), IndexError> {
        self.begin(section)?;
        self.put(bytes)
    }

    /// Ends the segment: header, sync, rename.
    pub fn finish(mut self, counts: Counts) -> Result<(), IndexError> {
        assert_eq!(self.next, SECTIONS, "all sections are written");
        self.end();
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        for count in [counts.files, counts.chunks, counts.definitions, counts.dimensions] {
            header.extend_from_slice(&count.to_le_bytes());
        }
        header.resize(32, 0);
        for (start, length) in self.sections {
            header.extend_from_slice(&start.to_le_bytes());
            header.extend_from_slice(&length.to_le_bytes());
        }
        // Two segments of equal shape have different checksums, so that what is derived from one is not taken for
        // the other's.
        header.resize(HEADER_BYTES - 16, 0);
        let name = self.path.file_name().unwrap_or_default();
        header.extend_from_slice(&hash64(name.as_encoded_bytes()).to_le_bytes());
        let checksum = hash64(&header);
        header.extend_from_slice(&checksum.to_le_bytes());
        let (path, partial) = (&self.path, &self.partial);
        let finish = |out: &mut BufWriter<File>| -> std::io::Result<()> {
            out.seek(SeekFrom::Start(0))?;
            out.write_all(&header)?;
            out.flush()?;
            out.get_ref().sync_data()?;
            std::fs::rename(partial, path)
        };
        finish(&mut self.out).map_err(|source| IndexError::io(path, source))
    }

    fn end(&mut self) {
        if let Some(last) = self.next.checked_sub(1) {
            self.sections[last].1 = self.at - self.sections[last].0;
        }
    }
}
