//! Merge: the living rows of neighbouring segments in, one segment out, section by section and without holding it.

use std::path::Path;
use std::sync::Arc;

use super::build::{write_definitions, write_path_index};
use super::live::Live;
use super::write::SegmentWriter;
use super::{Counts, DEFINITION_BYTES, Section, Segment, u32_at, u64_at};
use crate::index::IndexError;

/// A segment and what is alive in it.
pub type Input = (Arc<Segment>, Arc<Live>);

/// A living file: where it comes from.
struct Source<'a> {
    segment: &'a Segment,
    row: u32,
    first_chunk: u32,
    chunks: u32,
    /// First chunk, forward entry and string byte in the new segment.
    to: (u32, u32, u32),
}

/// Which of `segments` (bytes of the living part each, oldest first) to merge next: neighbours, so that file versions
/// stay ascending. `None` if all is well.
///
/// Sizes fall into levels of factor 8; eight neighbours of one level or below become one segment of the next. A
/// segment of which more than half is dead is written anew by itself.
pub fn plan(segments: &[(u64, f32)], max_bytes: u64) -> Option<std::ops::Range<usize>> {
    const FAN: usize = 8;
    let level = |bytes: u64| bytes.max(1).ilog2().saturating_sub(20) / 3;
    for top in 0..12 {
        let mut end = segments.len();
        while end > 0 {
            let mut start = end;
            let mut total = 0;
            while start > 0 && level(segments[start - 1].0) <= top && total + segments[start - 1].0 <= max_bytes {
                start -= 1;
                total += segments[start].0;
            }
            if end - start >= FAN {
                return Some(start..end);
            }
            end = start.min(end - 1);
        }
    }
    segments.iter().position(|&(bytes, dead)| dead > 0.5 && bytes > 0).map(|i| i..i + 1)
}

/// Writes the living files of `inputs` as one segment to `path`. An error also if `stop` says to.
pub fn merge(inputs: &[Input], path: &Path, stop: &dyn Fn() -> bool) -> Result<(), IndexError> {
    let (sources, counts) = sources(inputs);
    let mut out = SegmentWriter::create(path, stop)?;
    write_rows(&mut out, &sources)?;
    write_vectors(&mut out, &sources, counts.dimensions as usize)?;
    out.begin(Section::Strings)?;
    for source in &sources {
        out.put(source.strings())?;
    }
    out.finish(counts)
}

fn sources(inputs: &[Input]) -> (Vec<Source<'_>>, Counts) {
    let mut counts = Counts::default();
    let mut all = Vec::new();
    let (mut forward, mut strings) = (0, 0);
    for (segment, live) in inputs {
        counts.dimensions = segment.counts().dimensions;
        for row in live.iter() {
            let columns = segment.file(row);
            let to = (counts.chunks, forward, strings);
            let source = Source { segment, row, first_chunk: columns.first_chunk, chunks: columns.chunks, to };
            counts.files += 1;
            counts.chunks += columns.chunks;
            forward += source.segment.forward(row).1 as u32;
            strings += source.strings().len() as u32;
            all.push(source);
        }
        let alive = definitions(segment).filter(|row| live.contains(u32_at(row, 16))).count();
        counts.definitions += alive as u32;
    }
    (all, counts)
}

impl<'a> Source<'a> {
    fn record(&self) -> &'a [u8] {
        self.segment.file_row(self.row)
    }

    fn strings(&self) -> &'a [u8] {
        let record = self.record();
        let start = u32_at(record, 52) as usize;
        &self.segment.section(Section::Strings)[start..start + u32_at(record, 56) as usize]
    }

    /// A string's place in the new segment.
    fn moved(&self, offset: u32) -> u32 {
        // An empty string may stand before the file's block.
        offset.checked_sub(u32_at(self.record(), 52)).map_or(self.to.2, |within| within + self.to.2)
    }
}

fn write_rows(out: &mut SegmentWriter<'_>, sources: &[Source<'_>]) -> Result<(), IndexError> {
    out.begin(Section::Ids)?;
    for source in sources {
        out.put(&source.segment.id(source.row).to_le_bytes())?;
    }
    out.begin(Section::Files)?;
    for source in sources {
        let mut record = source.record().to_vec();
        set32(&mut record, 0, source.moved(u32_at(source.record(), 0)));
        set32(&mut record, 28, source.to.0);
        set32(&mut record, 40, source.to.1);
        set32(&mut record, 52, source.to.2);
        out.put(&record)?;
    }
    let mut pairs: Vec<(u64, u32)> = sources
        .iter()
        .enumerate()
        .map(|(row, source)| (super::hash64(source.segment.file(source.row).path.as_bytes()), row as u32))
        .collect();
    pairs.sort_unstable();
    write_path_index(out, &pairs)?;
    out.begin(Section::Chunks)?;
    for (file, source) in sources.iter().enumerate() {
        for chunk in source.first_chunk..source.first_chunk + source.chunks {
            let mut row = source.segment.chunk_row(chunk).to_vec();
            set32(&mut row, 0, file as u32);
            set32(&mut row, 20, source.moved(u32_at(source.segment.chunk_row(chunk), 20)));
            set32(&mut row, 24, source.moved(u32_at(source.segment.chunk_row(chunk), 24)));
            out.put(&row)?;
        }
    }
    write_definitions(out, &moved_definitions(sources))?;
    out.begin(Section::ForwardHashes)?;
    for source in sources {
        let (start, length) = source.segment.forward(source.row);
        out.put(&source.segment.section(Section::ForwardHashes)[start * 4..(start + length) * 4])?;
    }
    out.begin(Section::ForwardCounts)?;
    for source in sources {
        let (start, length) = source.segment.forward(source.row);
        out.put(&source.segment.section(Section::ForwardCounts)[start * 2..(start + length) * 2])?;
    }
    Ok(())
}

fn definitions(segment: &Segment) -> impl Iterator<Item = &[u8]> {
    segment.section(Section::Definitions).chunks_exact(DEFINITION_BYTES)
}

/// The definitions of living files with their rows in the new segment, sorted.
fn moved_definitions(sources: &[Source<'_>]) -> Vec<(u64, [u8; 24])> {
    let mut all = Vec::new();
    let mut start = 0;
    while start < sources.len() {
        let segment = sources[start].segment;
        let end = sources[start..]
            .iter()
            .position(|source| !std::ptr::eq(source.segment, segment))
            .map_or(sources.len(), |length| start + length);
        let mut rows = vec![None; segment.counts().files as usize];
        for (i, source) in sources[start..end].iter().enumerate() {
            rows[source.row as usize] = Some((source, (start + i) as u32));
        }
        for bytes in definitions(segment) {
            let Some((source, file)) = rows[u32_at(bytes, 16) as usize] else { continue };
            let mut rest: [u8; 24] = bytes[8..].try_into().expect("six words");
            set32(&mut rest, 0, source.moved(u32_at(bytes, 8)));
            set32(&mut rest, 8, file);
            set32(&mut rest, 12, u32_at(bytes, 20) - source.first_chunk + source.to.0);
            all.push((u64_at(bytes, 0), rest));
        }
        start = end;
    }
    all.sort_unstable();
    all
}

fn write_vectors(out: &mut SegmentWriter<'_>, sources: &[Source<'_>], dimensions: usize) -> Result<(), IndexError> {
    for (section, width) in [(Section::Vectors, dimensions), (Section::VectorNorms, 4)] {
        out.begin(section)?;
        for source in sources {
            let (start, end) = (source.first_chunk as usize, (source.first_chunk + source.chunks) as usize);
            out.put(&source.segment.section(section)[start * width..end * width])?;
        }
    }
    for (section, width) in [(Section::Means, dimensions), (Section::MeanNorms, 4)] {
        out.begin(section)?;
        for source in sources {
            out.put(&source.segment.section(section)[source.row as usize * width..][..width])?;
        }
    }
    Ok(())
}

fn set32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
