use conexus_proto::facts::{FAMILIES, Family, Shape};

use super::*;

fn span() -> v1::Span {
    v1::Span { trace_id: vec![1; 16], span_id: 2, name: "mcp.search".into(), ..v1::Span::default() }
}

fn batch(record: record::Record) -> v1::Batch {
    v1::Batch {
        sequence: 1,
        records: vec![v1::Record { record: Some(record) }],
        accounting: Some(accounting()),
        ..v1::Batch::default()
    }
}

fn accounting() -> v1::Accounting {
    v1::Accounting { emitted: vec![1; KINDS], dropped: vec![0; DROPS], sent: vec![1; KINDS] }
}

fn snapshot(snapshot: v1::Snapshot) -> v1::Batch {
    v1::Batch { sequence: 1, snapshot: Some(snapshot), ..v1::Batch::default() }
}

fn refused(batch: &v1::Batch, reason: Reason, words: &str) {
    let (rejection, _) = check(batch).expect_err("must be refused");
    assert_eq!(rejection.reason, reason, "{rejection}");
    assert!(rejection.to_string().contains(words), "{rejection}");
}

#[test]
fn a_good_batch_is_admitted_with_its_counts() {
    let mut good = batch(record::Record::Span(span()));
    good.records.push(v1::Record { record: Some(record::Record::Log(v1::Log::default())) });
    good.records.push(v1::Record { record: Some(record::Record::Error(v1::Error::default())) });
    good.snapshot = Some(v1::Snapshot { cells: vec![3], values: vec![9], ..v1::Snapshot::default() });
    let admitted = check(&good).unwrap();
    assert_eq!(admitted.records, [1, 1, 1]);
    let measures = admitted.measures.unwrap();
    assert_eq!((measures.cells.len(), measures.cells[3], measures.cells[4]), (CELLS, 9, 0));
}

#[test]
fn a_snapshot_with_wrong_numbers_is_refused() {
    let cells = |cells: Vec<u32>, values: Vec<u64>| snapshot(v1::Snapshot { cells, values, ..v1::Snapshot::default() });
    refused(&cells(vec![CELLS as u32], vec![1]), Reason::Cells, "does not exist");
    refused(&cells(vec![3, 3], vec![1, 1]), Reason::Cells, "cell 3 stands twice");
    refused(&cells(vec![3], vec![]), Reason::Arrays, "1 cells with 0 values");
    let gauges = |gauges: Vec<u32>, gauge_values: Vec<f64>| {
        snapshot(v1::Snapshot { gauges, gauge_values, ..v1::Snapshot::default() })
    };
    refused(&gauges(vec![99], vec![1.0]), Reason::Cells, "gauge 99 does not exist");
    refused(&gauges(vec![0], vec![f64::NAN]), Reason::Cells, "gauge 0 is NaN");
    refused(&gauges(vec![], vec![1.0]), Reason::Arrays, "0 gauges with 1 gauge_values");
}

#[test]
fn a_record_with_a_bad_id_is_refused() {
    let with = |change: fn(&mut v1::Span)| {
        let mut span = span();
        change(&mut span);
        batch(record::Record::Span(span))
    };
    refused(&with(|span| span.trace_id = vec![1; 8]), Reason::Ids, "record 0: trace_id of 8 bytes");
    refused(&with(|span| span.trace_id = vec![0; 16]), Reason::Ids, "all 0");
    refused(&with(|span| span.span_id = 0), Reason::Ids, "span_id is 0");
    refused(&with(|span| span.exemplar_series = u32::MAX), Reason::Ids, "is no histogram's");
    refused(&with(|span| span.links = vec![v1::SpanLink::default()]), Reason::Ids, "trace_id");
    let log = v1::Log { trace_id: vec![1], ..v1::Log::default() };
    refused(&batch(record::Record::Log(log)), Reason::Ids, "trace_id of 1 bytes");
}

#[test]
fn texts_and_lists_over_their_limits_are_refused() {
    let mut long = span();
    long.name = "x".repeat(NAME_BYTES_MAX + 1);
    refused(&batch(record::Record::Span(long)), Reason::Size, "name of 4097 bytes, at most 4096");
    let log = v1::Log { message: "x".repeat(TEXT_BYTES_MAX + 1), ..v1::Log::default() };
    refused(&batch(record::Record::Log(log)), Reason::Size, "message of 65537 bytes");
    let error = v1::Error { stack: vec![v1::Frame::default(); LIST_MAX + 1], ..v1::Error::default() };
    refused(&batch(record::Record::Error(error)), Reason::Size, "16385 stack");
    let mut many = batch(record::Record::Span(span()));
    many.records = vec![many.records[0].clone(); RECORDS_MAX + 1];
    let (_, records) = check(&many).unwrap_err();
    assert_eq!(records, [RECORDS_MAX as u64 + 1, 0, 0], "the records of a refused batch are counted");
}

#[test]
fn records_need_content_and_accounting() {
    let empty = v1::Batch {
        records: vec![v1::Record { record: None }],
        accounting: Some(accounting()),
        ..v1::Batch::default()
    };
    refused(&empty, Reason::Protocol, "record 0: no content");
    let mut bare = batch(record::Record::Span(span()));
    bare.accounting = None;
    refused(&bare, Reason::Accounting, "without accounting");
    let mut short = batch(record::Record::Span(span()));
    short.accounting.as_mut().unwrap().dropped.pop();
    refused(&short, Reason::Arrays, "accounting.dropped has 17 values, not 18");
}

#[test]
fn an_exemplar_series_is_the_first_cell_of_a_histogram_plus_one() {
    for info in &FAMILIES {
        for series in 0..info.series() {
            let cell = info.cell(series);
            let expected = (info.shape == Shape::Histogram).then_some(cell);
            assert_eq!(exemplar_cell(cell as u32 + 1), expected, "{} {series}", info.name);
        }
    }
    assert_eq!(exemplar_cell(0), None);
    assert_eq!(exemplar_cell(Family::Searched.info().cell(0) as u32 + 2), None, "a bucket is not a series");
}
