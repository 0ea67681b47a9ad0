use super::*;
use crate::aggregate::tally::{BATCHES, CRASHES};

fn row(sequence: u64) -> Row {
    let mut row = Row { sequence, serving: true, lost: true, dead: true, ..Row::default() };
    row.tally[3] = sequence * 10;
    row
}

#[test]
fn what_is_committed_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut base = Tally::default();
    base[BATCHES] = 7;
    {
        let mut store = Store::open(dir.path()).unwrap().store;
        let rows = vec![(1, row(5)), (2, row(6))];
        store.commit(&Writes { base: Some(base.clone()), rows, ended: vec![] }).unwrap();
        store.commit(&Writes { base: None, rows: vec![], ended: vec![2] }).unwrap();
    }
    let opened = Store::open(dir.path()).unwrap();
    assert_eq!(opened.persisted.base, base);
    assert_eq!(opened.persisted.rows, HashMap::from([(1, row(5))]));
    assert_eq!(opened.persisted.ended, HashSet::from([2]));
    assert_eq!(opened.set_aside, None);
}

#[test]
fn a_second_sidecar_on_the_same_state_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[test]
fn a_damaged_file_is_set_aside_and_the_start_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE_NAME), vec![0xa5; 20_000]).unwrap();
    let opened = Store::open(dir.path()).unwrap();
    assert_eq!(opened.persisted, Persisted::default());
    assert_eq!(std::fs::read(opened.set_aside.unwrap()).unwrap(), vec![0xa5; 20_000]);
}

#[test]
fn a_cut_file_is_set_aside_or_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    drop(Store::open(dir.path()).unwrap());
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    Store::open(dir.path()).unwrap();
}

#[test]
fn values_of_an_older_layout_are_found_by_name() {
    let dir = tempfile::tempdir().unwrap();
    {
        let database = builder().create(dir.path().join(FILE_NAME)).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut meta = transaction.open_table(META).unwrap();
            meta.insert("layout", b"crashes\nsomething forgotten\nbatches".as_slice()).unwrap();
            meta.insert("base", [3u8, 4, 5].as_slice()).unwrap();
            transaction.open_table(ROWS).unwrap().insert(9, [1u8, 2, 10, 11, 12].as_slice()).unwrap();
        }
        transaction.commit().unwrap();
    }
    for _ in 0..2 {
        let persisted = Store::open(dir.path()).unwrap().persisted;
        assert_eq!((persisted.base[CRASHES], persisted.base[BATCHES]), (3, 5));
        assert_eq!(persisted.rows[&9].sequence, 2);
        assert_eq!((persisted.rows[&9].tally[CRASHES], persisted.rows[&9].tally[BATCHES]), (10, 12));
    }
}
