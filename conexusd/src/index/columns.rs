//! Columns: which segments there are and which of their rows are alive, in a manifest that is replaced whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::IndexError;
use super::segment::Segment;
use super::segment::build::SegmentBuilder;
use super::segment::live::Live;
use super::segment::merge::{self, Input};
use super::vectors::graph::Graph;

/// Changes when the manifest's or the segments' form does; another number makes the columns anew from the store.
const FORMAT: u32 = 1;

/// Segments are merged up to this size.
const SEGMENT_BYTES_MAX: u64 = 3 << 30;

/// A segment of the index at one moment.
#[derive(Clone, Debug)]
pub struct Part {
    /// The rows.
    pub segment: Arc<Segment>,
    /// Which of them are alive.
    pub live: Arc<Live>,
    /// The graph over its vectors, if it is large and the graph is built.
    pub graph: Option<Arc<Graph>>,
    /// Chunks and terms of the living files.
    pub totals: (u64, u64),
}

impl Part {
    fn new(segment: Segment, live: Live) -> Self {
        let mut totals = (0, 0);
        for row in live.iter() {
            let columns = segment.file(row);
            totals.0 += u64::from(columns.chunks);
            totals.1 += u64::from(columns.terms);
        }
        let graph = Graph::open(&segment).map(Arc::new);
        Self { segment: Arc::new(segment), live: Arc::new(live), graph, totals }
    }
}

/// The columns of the whole index.
#[derive(Debug)]
pub struct Columns {
    folder: PathBuf,
    identity: String,
    dimensions: usize,
    generation: u64,
    next: u64,
    parts: Vec<Part>,
    /// The segment that a merge is writing: no stranger.
    merging: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// Of everything that the columns depend on beside the store's rows.
    identity: String,
    generation: u64,
    next: u64,
    segments: Vec<ManifestSegment>,
}

#[derive(Serialize, Deserialize)]
struct ManifestSegment {
    name: String,
    /// Rows that are dead.
    dead: Vec<u32>,
}

impl Columns {
    /// Opens what the manifest in `folder` names. Where it is missing, damaged, or of another identity, the columns
    /// are empty, of generation 0.
    pub fn open(folder: &Path, identity: &str, dimensions: usize) -> Result<Self, IndexError> {
        std::fs::create_dir_all(folder).map_err(|source| IndexError::io(folder, source))?;
        let mut columns = Self {
            folder: folder.to_owned(),
            identity: identity.to_owned(),
            dimensions,
            generation: 0,
            next: 1,
            parts: Vec::new(),
            merging: None,
        };
        if let Some(manifest) = columns.read_manifest() {
            columns.next = manifest.next;
            if manifest.identity == identity
                && manifest.format == FORMAT
                && let Ok(parts) = columns.open_parts(&manifest)
            {
                columns.generation = manifest.generation;
                columns.parts = parts;
            }
        }
        columns.remove_strangers();
        Ok(columns)
    }

    fn read_manifest(&self) -> Option<Manifest> {
        serde_json::from_slice(&std::fs::read(self.folder.join("manifest.json")).ok()?).ok()
    }

    fn open_parts(&self, manifest: &Manifest) -> Result<Vec<Part>, IndexError> {
        manifest
            .segments
            .iter()
            .map(|listed| {
                let segment = Segment::open(&self.folder.join(&listed.name))?;
                let counts = segment.counts();
                let mut live = Live::all(counts.files);
                if counts.dimensions as usize != self.dimensions || listed.dead.iter().any(|&row| row >= counts.files) {
                    return Err(IndexError::Derived(format!("{}: another shape", segment.path().display())));
                }
                listed.dead.iter().for_each(|&row| {
                    live.remove(row);
                });
                Ok(Part::new(segment, live))
            })
            .collect()
    }

    /// The generation that the columns show.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The segments, oldest file versions first.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The living file versions.
    pub fn ids(&self) -> FxHashSet<u32> {
        self.parts.iter().flat_map(|part| part.live.iter().map(|row| part.segment.id(row))).collect()
    }

    /// Writes what the builder holds as a new segment and takes the dead versions out, as of `generation`.
    pub fn commit(&mut self, builder: &mut SegmentBuilder, dead: &[u32], generation: u64) -> Result<(), IndexError> {
        if !builder.is_empty() {
            let path = self.next_path();
            builder.write(&path)?;
            let segment = Segment::open(&path)?;
            let live = Live::all(segment.counts().files);
            self.parts.push(Part::new(segment, live));
        }
        self.remove(dead);
        self.generation = generation;
        self.save()
    }

    fn remove(&mut self, dead: &[u32]) {
        for id in dead {
            for part in &mut self.parts {
                if let Some(row) = part.segment.row_of(*id)
                    && part.live.contains(row)
                {
                    Arc::make_mut(&mut part.live).remove(row);
                    let columns = part.segment.file(row);
                    part.totals.0 -= u64::from(columns.chunks);
                    part.totals.1 -= u64::from(columns.terms);
                    break;
                }
            }
        }
    }

    /// Replaces the manifest, and removes files that no manifest names any more.
    fn save(&mut self) -> Result<(), IndexError> {
        self.parts.retain(|part| part.live.alive() > 0);
        let segments = self.parts.iter().map(|part| ManifestSegment {
            name: part.segment.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            dead: (0..part.live.rows()).filter(|&row| !part.live.contains(row)).collect(),
        });
        let manifest = Manifest {
            format: FORMAT,
            identity: self.identity.clone(),
            generation: self.generation,
            next: self.next,
            segments: segments.collect(),
        };
        let bytes = serde_json::to_vec(&manifest).expect("a manifest has no maps with other keys than texts");
        replace(&self.folder.join("manifest.json"), &bytes)?;
        self.remove_strangers();
        Ok(())
    }

    /// What to merge next, if anything: its inputs and where to write it.
    pub fn plan(&mut self) -> Option<(Vec<Input>, PathBuf)> {
        let sizes: Vec<(u64, f32)> = self
            .parts
            .iter()
            .map(|part| {
                let alive = part.live.alive() as f32 / part.live.rows().max(1) as f32;
                ((part.segment.bytes() as f32 * alive) as u64, 1.0 - alive)
            })
            .collect();
        let range = merge::plan(&sizes, SEGMENT_BYTES_MAX)?;
        let inputs = self.parts[range].iter().map(|part| (Arc::clone(&part.segment), Arc::clone(&part.live))).collect();
        let path = self.next_path();
        self.merging = Some(path.clone());
        Some((inputs, path))
    }

    /// Puts a merged segment in the place of its inputs. Versions that died meanwhile stay dead. Returns false, and
    /// changes nothing, if an input is no longer there.
    pub fn install(&mut self, inputs: &[Input], path: &Path) -> Result<bool, IndexError> {
        self.merging = None;
        let place = self.parts.iter().position(|part| Arc::ptr_eq(&part.segment, &inputs[0].0));
        let Some(start) = place.filter(|&start| {
            let there = self.parts.get(start..start + inputs.len());
            there
                .is_some_and(|parts| parts.iter().zip(inputs).all(|(part, input)| Arc::ptr_eq(&part.segment, &input.0)))
        }) else {
            let _ = std::fs::remove_file(path);
            return Ok(false);
        };
        let segment = Segment::open(path)?;
        let mut live = Live::all(segment.counts().files);
        for (part, (_, then)) in self.parts[start..].iter().zip(inputs) {
            for row in then.iter().filter(|&row| !part.live.contains(row)) {
                if let Some(row) = segment.row_of(part.segment.id(row)) {
                    live.remove(row);
                }
            }
        }
        let merged = Part::new(segment, live);
        self.parts.splice(start..start + inputs.len(), [merged]);
        self.save()?;
        Ok(true)
    }

    /// Forgets a merge that failed.
    pub fn abandon(&mut self, path: &Path) {
        self.merging = None;
        let _ = std::fs::remove_file(path.with_extension("partial"));
    }

    /// A segment that is large enough for a graph and has none.
    pub fn wants_graph(&self) -> Option<Arc<Segment>> {
        self.parts
            .iter()
            .find(|part| part.graph.is_none() && Graph::pays(&part.segment))
            .map(|part| Arc::clone(&part.segment))
    }

    /// Adds the graph of a segment, if the segment is still there.
    pub fn add_graph(&mut self, segment: &Arc<Segment>, graph: Graph) {
        if let Some(part) = self.parts.iter_mut().find(|part| Arc::ptr_eq(&part.segment, segment)) {
            part.graph = Some(Arc::new(graph));
        }
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.segment.bytes()).sum()
    }

    fn next_path(&mut self) -> PathBuf {
        let path = self.folder.join(format!("{:08}.seg", self.next));
        self.next += 1;
        path
    }

    /// Removes what the manifest does not name: left by a crash, or merged away. Mappings of it stay valid.
    fn remove_strangers(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Some((stem, extension)) = name.split_once('.') else { continue };
            let mut listed = self.parts.iter().map(|part| part.segment.path()).chain(self.merging.as_deref());
            let listed = listed.any(|path| path.file_stem().is_some_and(|listed| listed.to_string_lossy() == stem));
            if !listed && (extension == "seg" || extension == "partial" || extension.ends_with("graph")) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// Replaces a small file: whole or not at all, also over a power loss.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), IndexError> {
    use std::io::Write as _;
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        std::fs::rename(&partial, path)?;
        // The new name is only durable once the folder is.
        std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_data()
    };
    write().map_err(|source| IndexError::io(path, source))
}
