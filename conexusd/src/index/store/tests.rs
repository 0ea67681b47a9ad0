//! Tests of references, what is kept for a while, and identities.

use super::record::{FileRecord, Stat};
use super::*;

fn open(folder: &Path, embedder: &str) -> (Store, Option<String>) {
    Store::open(&folder.join("store.redb"), embedder, 1 << 20).unwrap()
}

fn put(store: &Store, path: &str, id: u32, key: u8, text: &str) -> Committed {
    let record = FileRecord { id, stat: Stat::default(), content: [key; 16], language: 0 };
    let mut batch = Batch::default();
    batch.files.insert(path.into(), Some(Entry::Indexed(record)));
    let content = record::encode_content(text, &ParsedFile::default());
    batch.add_content([key; 16], ContentRow { content, vectors: vec![key] });
    store.commit(&batch, id + 1).unwrap()
}

fn remove(store: &Store, path: &str) -> Committed {
    let mut batch = Batch::default();
    batch.files.insert(path.into(), None);
    store.commit(&batch, 9).unwrap()
}

/// Text that does not compress.
fn noise(mut seed: u64) -> String {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        char::from(33 + (seed >> 40) as u8 % 64)
    };
    (0..10_000).map(|_| next()).collect()
}

#[test]
fn a_content_lives_as_long_as_a_file_has_it_and_a_while_longer() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reset) = open(folder.path(), "e");
    store.doomed_bytes_max = 100_000;
    assert_eq!(reset, None);
    put(&store, "a", 1, 7, "seven");
    let second = put(&store, "b", 2, 7, "not written: it is there");
    assert_eq!(second.meta, Meta { generation: 2, next_file: 3, complete: false, checked: 0 });
    assert_eq!(remove(&store, "a").dead, [1]);
    assert_eq!(store.text(&[7; 16]).unwrap().as_deref(), Some("seven"));
    assert_eq!(remove(&store, "b").dead, [2]);
    assert_eq!(store.text(&[7; 16]).unwrap().as_deref(), Some("seven"), "kept for a branch that comes back");
    // More than is kept: the oldest goes, in a later commit.
    for i in 0..20u8 {
        let noise = noise(u64::from(i) + 1);
        put(&store, "big", 10 + u32::from(i), 100 + i, &noise);
    }
    assert_eq!(store.text(&[7; 16]).unwrap(), None);
    assert_eq!(store.vectors(&[7; 16]).unwrap(), None);
    assert!(store.text(&[119; 16]).unwrap().is_some());
}

#[test]
fn a_new_version_of_a_path_kills_the_old_one_and_a_touch_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), "e");
    put(&store, "a", 1, 1, "one");
    assert_eq!(put(&store, "a", 2, 2, "two").dead, [1]);
    let stat = Stat { modified: 5, ..Stat::default() };
    let record = FileRecord { id: 2, stat, content: [2; 16], language: 0 };
    let mut batch = Batch::default();
    batch.files.insert(b"a".to_vec(), Some(Entry::Indexed(record)));
    let touched = store.commit(&batch, 3).unwrap();
    assert_eq!((touched.dead, touched.touched), (vec![], vec![(2, 5)]));
    assert_eq!(store.touched().unwrap(), [(2, 5)]);
    remove(&store, "a");
    assert_eq!(store.touched().unwrap(), []);
}

#[test]
fn rows_of_another_embedder_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), "e");
    put(&store, "a", 1, 1, "one");
    store.set_checked(true, 77).unwrap();
    drop(store);
    let (store, reset) = open(folder.path(), "e");
    assert_eq!((reset, store.meta().unwrap().checked), (None, 77));
    drop(store);
    let (store, reset) = open(folder.path(), "f");
    assert_eq!(reset.as_deref(), Some("the index was made with the embedder `e`, now it is `f`"));
    assert_eq!(store.entry(b"a").unwrap(), None);
    let meta = store.meta().unwrap();
    assert_eq!((meta.generation, meta.next_file, meta.complete, meta.checked), (2, 2, false, 0));
}

#[test]
fn paths_below_a_folder_are_those_and_not_their_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), "e");
    for (i, path) in ["a", "a/b", "a/b/c", "a/bc", "ab"].into_iter().enumerate() {
        put(&store, path, i as u32, i as u8, "x");
    }
    let under = |folder: &str| {
        let mut paths = Vec::new();
        store
            .for_each_under(folder.as_bytes(), |path, _| paths.push(String::from_utf8(path.to_vec()).unwrap()))
            .unwrap();
        paths
    };
    assert_eq!(under("a"), ["a", "a/b", "a/b/c", "a/bc"]);
    assert_eq!(under("a/b"), ["a/b", "a/b/c"]);
    assert_eq!(under("").len(), 5);
    assert!(under("b").is_empty());
}
