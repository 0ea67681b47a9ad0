use std::borrow::Cow;

use serde_json::{Value, json};

use super::super::add_path;
use super::file::COMPILED_HASHES;
use super::*;

fn embedder(dimensions: Option<usize>) -> StaticEmbedder {
    let options = StaticOptions { dimensions, ..StaticOptions::default() };
    StaticEmbedder::load(&options, Telemetry::detached()).expect("the built-in model is good")
}

fn document(embedder: &StaticEmbedder, text: &str) -> Vec<f32> {
    embedder.embed_documents(&[Document { path: "", text }]).expect("a static model cannot fail").remove(0)
}

#[track_caller]
fn check_close(vector: &[f32], golden: &Value, what: &str) {
    let golden: Vec<f64> = golden.as_array().expect("a vector").iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!(vector.len(), golden.len(), "{what}");
    for (place, (&value, golden)) in vector.iter().zip(golden).enumerate() {
        assert!((f64::from(value) - golden).abs() < 1e-5, "{what}: {value} for {golden} at {place}");
    }
}

#[test]
fn vectors_are_those_of_an_independent_implementation() {
    let golden: Value = serde_json::from_str(include_str!("../../../../model/golden.json")).expect("JSON");
    let (full, short) = (embedder(None), embedder(Some(64)));
    for case in golden["texts"].as_array().expect("a list") {
        let text = case["text"].as_str().expect("a text");
        check_close(&document(&full, text), &case["document"], text);
        check_close(&full.embed_query(text).unwrap(), &case["query"], text);
        check_close(&short.embed_query(text).unwrap(), &case["query_64"], text);
    }
    for case in golden["paths"].as_array().expect("a list") {
        let path = case["path"].as_str().expect("a path");
        check_close(&full.path_vector(path).expect("known words"), &case["vector"], path);
    }
    let chunk = &golden["chunk"];
    let mut vector = document(&full, chunk["text"].as_str().expect("a text"));
    let path = full.path_vector(chunk["path"].as_str().expect("a path")).expect("known words");
    add_path(&mut vector, &path, full.path_weight());
    check_close(&vector, &chunk["vector"], "text and path");
}

#[test]
fn the_files_compiled_in_are_the_ones_named_in_the_source() {
    let files = ModelFiles::compiled_in();
    let hashes = [&files.tensors, &files.vocabulary].map(|bytes| blake3::hash(bytes).to_hex().to_string());
    assert_eq!(hashes, COMPILED_HASHES);
}

#[test]
fn the_same_files_are_the_same_model_wherever_they_lie() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("model");
    for model in [folder.clone(), folder.join("model.safetensors")] {
        let options = StaticOptions { model: Some(model), ..StaticOptions::default() };
        let loaded = StaticEmbedder::load(&options, Telemetry::detached()).expect("the model in the tree is good");
        assert_eq!(loaded.identity(), embedder(None).identity());
        assert_eq!(document(&loaded, "read a file"), document(&embedder(None), "read a file"));
    }
}

#[test]
fn identities_differ_by_dimensions() {
    let identities =
        [None, Some(256), Some(128), Some(64)].map(|dimensions| embedder(dimensions).identity().to_owned());
    assert_eq!(embedder(Some(512)).identity(), identities[0]);
    let distinct: std::collections::HashSet<_> = identities.iter().collect();
    assert_eq!(distinct.len(), identities.len());
}

#[test]
fn other_dimensions_are_refused_with_those_allowed() {
    let options = StaticOptions { dimensions: Some(100), ..StaticOptions::default() };
    let error = StaticEmbedder::load(&options, Telemetry::detached()).unwrap_err();
    assert_eq!(
        error.message,
        "embedding.dimensions is 100, the built-in embedding model gives 512 or 256 or 128 or 64"
    );
}

#[test]
fn a_path_is_known_by_its_last_three_components() {
    assert_eq!(path_end("a/b/c/d.rs"), "b/c/d.rs");
    assert_eq!(path_end("a/b.rs"), "a/b.rs");
    assert_eq!(path_end(""), "");
    let embedder = embedder(None);
    assert_eq!(embedder.path_vector("x/server/http/client.rs"), embedder.path_vector("y/z/server/http/client.rs"));
    assert_eq!(embedder.path_vector("é/—"), None);
}

#[test]
fn text_without_known_words_is_all_zeros() {
    assert_eq!(document(&embedder(None), "— ?! 検索"), vec![0.0; 512]);
}

#[test]
fn threads_share_a_model() {
    let embedder = embedder(None);
    let expect = document(&embedder, "open a connection");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(document(&embedder, "open a connection"), expect)));
        }
    });
}

/// A model file of two tokens, with the header changed.
fn model(vocabulary: &str, change: impl FnOnce(&mut Value)) -> ModelFiles {
    let mut header = json!({
        "doc_weight": { "dtype": "F32", "shape": [2], "data_offsets": [0, 8] },
        "query_weight": { "dtype": "F32", "shape": [2], "data_offsets": [8, 16] },
        "embeddings": { "dtype": "I8", "shape": [2, 3], "data_offsets": [16, 22] },
    });
    change(&mut header);
    let header = header.to_string();
    let mut tensors = (header.len() as u64).to_le_bytes().to_vec();
    tensors.extend(header.as_bytes());
    for weight in [1.0_f32, 2.0, 3.0, 4.0] {
        tensors.extend(weight.to_le_bytes());
    }
    tensors.extend([1, 2, 3, 255, 254, 253]);
    ModelFiles { origin: "m".into(), tensors: Cow::Owned(tensors), vocabulary: Cow::Owned(vocabulary.into()) }
}

fn load(files: ModelFiles) -> Result<StaticEmbedder, String> {
    StaticEmbedder::from_files(files, &StaticOptions::default(), Telemetry::detached())
}

#[track_caller]
fn check_refused(files: ModelFiles, expect: &str) {
    let problem = load(files).expect_err("refused");
    assert!(problem.starts_with(expect), "{problem}");
}

#[test]
fn a_small_good_file_gives_its_vectors() {
    let embedder = load(model("foo\nbar\n", |_| ())).expect("good");
    assert_eq!(embedder.dimensions(), 3);
    let length = 14.0_f32.sqrt();
    let expect = [-1.0 / length, -2.0 / length, -3.0 / length];
    for (value, expect) in document(&embedder, "Bar").iter().zip(expect) {
        assert!((value - expect).abs() < 1e-6);
    }
}

#[test]
fn a_bad_file_is_refused_with_what_is_wrong() {
    let good = || model("foo\nbar\n", |_| ());
    let cut = |length: usize| {
        let mut files = good();
        files.tensors.to_mut().truncate(length);
        files
    };
    let length = good().tensors.len();
    check_refused(cut(0), "m: is not safetensors: 0 bytes are too few");
    check_refused(cut(100), "m: is cut off: its header is");
    check_refused(cut(length - 1), "m: is cut off: tensor \"embeddings\" ends at byte 22 of the data, which have 21");
    let mut other = good();
    other.tensors = Cow::Borrowed(b"PK\x03\x04 this is a zip archive");
    check_refused(other, "m: is not safetensors: its header would be");
    let mut other = good();
    other.tensors.to_mut()[8] = b'[';
    check_refused(other, "m: is not safetensors: its header: ");
    check_refused(
        model("foo\nbar\n", |h| h["embeddings"] = json!(1)),
        "m: is not safetensors: tensor \"embeddings\" in its header: ",
    );
    check_refused(
        model("foo\nbar\n", |h| h["embeddings"]["dtype"] = json!("F16")),
        "m: tensor \"embeddings\" is of type F16, I8 is needed",
    );
    check_refused(
        model("foo\nbar\n", |h| h["doc_weight"]["dtype"] = json!("I8")),
        "m: tensor \"doc_weight\" is of type I8, F32 is needed",
    );
    check_refused(
        model("foo\nbar\n", |h| h["embeddings"]["shape"] = json!([6])),
        "m: tensor \"embeddings\" has the shape [6], 2 dimensions are needed",
    );
    check_refused(
        model("foo\nbar\n", |h| h["embeddings"]["shape"] = json!([2, 4])),
        "m: tensor \"embeddings\" lies at bytes 16 to 22, its shape needs 8",
    );
    check_refused(
        model("foo\nbar\n", |h| h["embeddings"]["shape"] = json!([2, 0])),
        "m: has rows of 0 dimensions, 1 to 4096 are allowed",
    );
    check_refused(
        model("foo\nbar\n", |h| h["query_weight"]["shape"] = json!([3])),
        "m: tensor \"query_weight\" has 3 values for 2 tokens",
    );
    check_refused(
        model("foo\nbar\n", |h| h["query_weight"]["data_offsets"] = json!([16, 8])),
        "m: tensor \"query_weight\" lies at bytes 16 to 8",
    );
    check_refused(
        model("foo\nbar\n", |h| drop(h.as_object_mut().unwrap().remove("embeddings"))),
        "m: has no tensor \"embeddings\"",
    );
}

#[test]
fn a_bad_vocabulary_is_refused_with_its_line() {
    check_refused(model("foo\n", |_| ()), "m: has 2 rows for 1 tokens in vocab.txt");
    check_refused(model("", |_| ()), "the vocabulary of m: vocab.txt has 0 lines");
    check_refused(model("foo\nfoo\n", |_| ()), "m: line 2 of vocab.txt repeats \"foo\" of line 1");
    check_refused(model("foo\nBar\n", |_| ()), "m: line 2 of vocab.txt is \"Bar\"");
    check_refused(model("foo\n\n", |_| ()), "m: line 2 of vocab.txt is \"\"");
    let mut files = model("foo\nbar\n", |_| ());
    files.vocabulary.to_mut()[4] = 0xff;
    check_refused(files, "the vocabulary of m: vocab.txt is not UTF-8 at byte 4");
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let mut files = model("foo\nbar\n", |_| ());
    let nan = f32::NAN.to_le_bytes();
    let at = files.tensors.len() - 22;
    files.tensors.to_mut()[at..at + 4].copy_from_slice(&nan);
    check_refused(files, "m: tensor \"doc_weight\" has NaN at place 0");
}

#[test]
fn a_missing_model_is_named() {
    for (model, missing) in [("/nonexistent/model", "/nonexistent/model"), ("/nonexistent/", "/nonexistent/")] {
        let options = StaticOptions { model: Some(model.into()), ..StaticOptions::default() };
        let error = StaticEmbedder::load(&options, Telemetry::detached()).unwrap_err();
        assert!(error.message.contains(missing), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn a_damaged_header_is_refused_or_harmless(place in 0_usize..300, byte: u8) {
        let mut files = model("foo\nbar\n", |_| ());
        let tensors = files.tensors.to_mut();
        let place = place % tensors.len();
        tensors[place] = byte;
        if let Ok(embedder) = load(files) {
            document(&embedder, "foo bar");
        }
    }
}
