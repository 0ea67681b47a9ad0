//! Model files: what is in `model.safetensors` and `vocab.txt`, and what is wrong with them if they cannot be used.
//!
//! The first holds `embeddings` (i8, one row a token), `doc_weight` and `query_weight` (f32, one a token, the rows'
//! scale folded in); the second one token a line in the order of the rows. <https://huggingface.co/docs/safetensors>
//! defines the container: the header's length (u64, little endian), a JSON header, the tensors.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::paths_of;

const COMPILED_TENSORS: &[u8] = include_bytes!("../../../../model/model.safetensors");
const COMPILED_VOCABULARY: &[u8] = include_bytes!("../../../../model/vocab.txt");

/// The BLAKE3 hashes of the files compiled in.
pub(super) const COMPILED_HASHES: [&str; 2] = [
    "8bc550dd8243d2e3c86c455ac2cb5fabbe2747d7608ab76a6fd301cab940104c",
    "b1c12a31d0e86cbe32cac2f2f48721d8bbf092b81a095fd1dd5ffc77359c8fcf",
];

/// Larger files are refused unread.
const FILE_BYTES_MAX: u64 = 1 << 30;
const HEADER_BYTES_MAX: u64 = 1 << 20;
const WIDTH_MAX: usize = 4096;
/// Tokens have numbers of 16 bits.
const TOKENS_MAX: usize = 1 << 16;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(super) enum ModelError {
    #[error("cannot read the embedding model {}: {problem}", path.display())]
    Read { path: PathBuf, problem: std::io::Error },
    #[error("the embedding model {} is no regular file of at most {FILE_BYTES_MAX} bytes", path.display())]
    NoFile { path: PathBuf },
    #[error("{origin}: {problem}")]
    Tensors { origin: String, problem: String },
    #[error("the vocabulary of {origin}: {problem}")]
    Vocabulary { origin: String, problem: String },
}

/// The two files in memory.
pub(super) struct ModelFiles {
    /// For messages: the path, or that it is compiled in.
    pub(super) origin: String,
    pub(super) tensors: Cow<'static, [u8]>,
    pub(super) vocabulary: Cow<'static, [u8]>,
}

impl ModelFiles {
    pub(super) fn compiled_in() -> Self {
        Self {
            origin: "the built-in embedding model".into(),
            tensors: Cow::Borrowed(COMPILED_TENSORS),
            vocabulary: Cow::Borrowed(COMPILED_VOCABULARY),
        }
    }

    pub(super) fn read(model: &Path) -> Result<Self, ModelError> {
        let (tensors, vocabulary) = paths_of(model);
        Ok(Self {
            origin: tensors.display().to_string(),
            tensors: Cow::Owned(read(tensors)?),
            vocabulary: Cow::Owned(read(vocabulary)?),
        })
    }

    /// The beginning of the BLAKE3 hash over both files' hashes: what tells one model from another.
    pub(super) fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        match (&self.tensors, &self.vocabulary) {
            // Known, and checked by a test: the program need not hash itself at each start.
            (Cow::Borrowed(_), Cow::Borrowed(_)) => COMPILED_HASHES.iter().for_each(|hash| {
                hasher.update(hash.as_bytes());
            }),
            (tensors, vocabulary) => [tensors, vocabulary].iter().for_each(|bytes| {
                hasher.update(blake3::hash(bytes).to_hex().as_bytes());
            }),
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

fn read(path: PathBuf) -> Result<Vec<u8>, ModelError> {
    let error = |problem| ModelError::Read { path: path.clone(), problem };
    let metadata = fs::metadata(&path).map_err(error)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(ModelError::NoFile { path });
    }
    fs::read(&path).map_err(error)
}

/// A model whose parts fit together.
pub(super) struct Model {
    /// Tokens in the order of their rows.
    pub(super) vocabulary: Vec<Box<str>>,
    /// One a token, for documents and paths.
    pub(super) document_weights: Vec<f32>,
    /// One a token, for queries.
    pub(super) query_weights: Vec<f32>,
    /// Length of a row.
    pub(super) width: usize,
    tensors: Cow<'static, [u8]>,
    rows: Range<usize>,
}

#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

impl Model {
    /// Checks the files and takes them apart.
    pub(super) fn parse(files: ModelFiles) -> Result<Self, ModelError> {
        let ModelFiles { origin, tensors, vocabulary } = files;
        let vocabulary =
            tokens(&vocabulary).map_err(|problem| ModelError::Vocabulary { origin: origin.clone(), problem })?;
        let count = vocabulary.len();
        let parse = || -> Result<Self, String> {
            let (header, data) = header(&tensors)?;
            let [rows, width] = shape(&header, "embeddings", "I8")?;
            if rows != count {
                return Err(format!("has {rows} rows for {count} tokens in vocab.txt"));
            }
            if width == 0 || width > WIDTH_MAX {
                return Err(format!("has rows of {width} dimensions, 1 to {WIDTH_MAX} are allowed"));
            }
            let document_weights = weights(&header, "doc_weight", count, &tensors[data.clone()])?;
            let query_weights = weights(&header, "query_weight", count, &tensors[data.clone()])?;
            let rows = bytes_of(&header["embeddings"], "embeddings", rows * width, data.len())?;
            let rows = data.start + rows.start..data.start + rows.end;
            Ok(Self { vocabulary, document_weights, query_weights, width, tensors: Cow::Borrowed(&[]), rows })
        };
        let model = parse().map_err(|problem| ModelError::Tensors { origin, problem })?;
        Ok(Self { tensors, ..model })
    }

    /// All rows, one after the other, each byte an i8.
    pub(super) fn rows(&self) -> &[u8] {
        &self.tensors[self.rows.clone()]
    }
}

/// The lines of the vocabulary.
fn tokens(vocabulary: &[u8]) -> Result<Vec<Box<str>>, String> {
    let text = std::str::from_utf8(vocabulary)
        .map_err(|error| format!("vocab.txt is not UTF-8 at byte {}", error.valid_up_to()))?;
    let tokens: Vec<Box<str>> = text.lines().map(Box::from).collect();
    if tokens.is_empty() || tokens.len() > TOKENS_MAX {
        return Err(format!("vocab.txt has {} lines, 1 to {TOKENS_MAX} are allowed", tokens.len()));
    }
    Ok(tokens)
}

/// The header's tensors, and where their data lie in the file.
fn header(file: &[u8]) -> Result<(HashMap<String, Tensor>, Range<usize>), String> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return Err(format!("is not safetensors: {} bytes are too few", file.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_BYTES_MAX {
        return Err(format!("is not safetensors: its header would be {length} bytes"));
    }
    let length = length as usize;
    let Some(header) = rest.get(..length) else {
        return Err(format!("is cut off: its header is {length} bytes, the file {}", file.len()));
    };
    let mut entries: HashMap<String, serde_json::Value> =
        serde_json::from_slice(header).map_err(|error| format!("is not safetensors: its header: {error}"))?;
    entries.remove("__metadata__");
    let mut tensors = HashMap::new();
    for (name, entry) in entries {
        let tensor = serde_json::from_value(entry)
            .map_err(|error| format!("is not safetensors: tensor {name:?} in its header: {error}"))?;
        tensors.insert(name, tensor);
    }
    Ok((tensors, 8 + length..file.len()))
}

/// The shape of a tensor that must be there with this type and as many dimensions.
fn shape<const N: usize>(header: &HashMap<String, Tensor>, name: &str, dtype: &str) -> Result<[usize; N], String> {
    let tensor = header.get(name).ok_or_else(|| format!("has no tensor {name:?}"))?;
    if tensor.dtype != dtype {
        return Err(format!("tensor {name:?} is of type {}, {dtype} is needed", tensor.dtype));
    }
    <[usize; N]>::try_from(&tensor.shape[..])
        .map_err(|_| format!("tensor {name:?} has the shape {:?}, {N} dimensions are needed", tensor.shape))
}

/// Where a tensor of so many bytes lies in the data.
fn bytes_of(tensor: &Tensor, name: &str, length: usize, data: usize) -> Result<Range<usize>, String> {
    let [start, end] = tensor.data_offsets;
    if end > data {
        return Err(format!("is cut off: tensor {name:?} ends at byte {end} of the data, which have {data}"));
    }
    if end.checked_sub(start) != Some(length) {
        return Err(format!("tensor {name:?} lies at bytes {start} to {end}, its shape needs {length}"));
    }
    Ok(start..end)
}

/// A tensor of one finite f32 a token.
fn weights(header: &HashMap<String, Tensor>, name: &str, count: usize, data: &[u8]) -> Result<Vec<f32>, String> {
    let [length] = shape(header, name, "F32")?;
    if length != count {
        return Err(format!("tensor {name:?} has {length} values for {count} tokens in vocab.txt"));
    }
    let bytes = bytes_of(&header[name], name, length * 4, data.len())?;
    let (quads, _) = data[bytes].as_chunks::<4>();
    let weights: Vec<f32> = quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect();
    match weights.iter().position(|weight| !weight.is_finite()) {
        Some(place) => Err(format!("tensor {name:?} has {} at place {place}", weights[place])),
        None => Ok(weights),
    }
}
