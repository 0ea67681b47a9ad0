use conexus_proto::v1::attribute;
use serde_json::Value;

use super::*;
use crate::aggregate::Committer;
use crate::export::CoreStart;

struct Setup {
    reporter: Reporter,
    outlet: Arc<Outlet>,
    gate: Gate,
    aggregate: Aggregate,
    committer: Committer,
    _folder: tempfile::TempDir,
}

fn start(sample_rate: f64, traces_sample_rate: f64) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let (aggregate, committer, _) = Aggregate::open(folder.path()).unwrap();
    let outlet = Arc::new(Outlet::new(PLAN.number, PLAN.wanted, PLAN.queue, PLAN.chunk, aggregate.clone()));
    let options = Options {
        dsn: Dsn::parse("http://key@localhost/1").unwrap(),
        environment: "testing".into(),
        release: "v9".into(),
        sample_rate,
        traces_sample_rate,
    };
    let gate = Gate::default();
    let reporter = Reporter::new(options, aggregate.clone(), outlet.clone(), gate.clone());
    Setup { reporter, outlet, gate, aggregate, committer, _folder: folder }
}

impl Setup {
    fn offer(&self, records: Vec<record::Record>) {
        let records = records.into_iter().map(|record| v1::Record { record: Some(record) }).collect();
        self.reporter.offer(&Arc::new(RecordBatch::new(7, records)));
    }

    /// The items of all envelopes since the last call: type and content.
    fn sent(&self) -> Vec<(String, Value)> {
        let mut sent = Vec::new();
        loop {
            let pieces = self.outlet.take_chunk();
            if pieces.is_empty() {
                return sent;
            }
            for record in pieces.iter().flat_map(|piece| piece.records()) {
                let (_, text) = transport::open(record).unwrap();
                let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                sent.push((lines[1]["type"].as_str().unwrap().to_owned(), lines[2].clone()));
            }
        }
    }
}

fn error(kind: &str, message: &str) -> record::Record {
    record::Record::Error(v1::Error {
        unix_nanos: 2_000_000_000,
        error_type: kind.into(),
        message: message.into(),
        method: "tools/call".into(),
        request_id: "5".into(),
        tool: "context_search".into(),
        context: vec![v1::Attribute {
            key: "parameter.query".into(),
            value: Some(attribute::Value::Text("idle".into())),
        }],
        ..v1::Error::default()
    })
}

fn log(at: i64, message: &str) -> record::Record {
    record::Record::Log(v1::Log { unix_nanos: at, message: message.into(), ..v1::Log::default() })
}

#[test]
fn an_event_says_what_failed_where_and_what_came_before() {
    let setup = start(1.0, 1.0);
    let build = CoreStart { rustc: "rustc 1.95.0".into(), pid: 12, version: "1.2".into(), ..CoreStart::default() };
    setup.reporter.life(7, &Life::Connected(build));
    setup.offer(vec![log(1, "before"), log(3_000_000_000, "after"), error("tool", "store is \"x\"")]);
    let sent = setup.sent();
    let [(kind, event)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((kind.as_str(), &event["release"], &event["environment"]), ("event", &"v9".into(), &"testing".into()));
    let tags = &event["tags"];
    let seen = [&tags["service"], &tags["mcp.method"], &tags["mcp.request_id"], &tags["tool.name"]];
    assert_eq!(seen, ["conexus-mcp", "tools/call", "5", "context_search"]);
    assert_eq!(event["exception"]["values"][0]["type"], "Tool");
    assert_eq!(event["contexts"]["parameters"]["query"], "idle");
    assert_eq!(event["contexts"]["runtime"]["version"], "1.95.0");
    let crumbs = event["breadcrumbs"]["values"].as_array().unwrap();
    assert_eq!((crumbs.len(), &crumbs[0]["message"]), (1, &"before".into()));
    setup.committer.stop();
}

#[test]
fn crashes_ignore_the_sample_rate_and_repeats_are_sent_once() {
    let setup = start(0.0, 1.0);
    setup.offer(vec![error("tool", "a"), error("panic", "b"), error("crash", "killed"), error("crash", "killed")]);
    assert_eq!(setup.sent().len(), 2, "both crashes, and nothing else");
    setup.committer.stop();
    let setup = start(1.0, 1.0);
    (0..50).for_each(|_| setup.offer(vec![error("tool", "a")]));
    assert_eq!(setup.sent().len(), 1);
    setup.reporter.finish();
    let sent = setup.sent();
    assert_eq!((sent.len(), &sent[0].1["extra"]["repeats"]), (1, &49.into()));
    setup.committer.stop();
}

#[test]
fn half_of_the_errors_are_half_of_the_errors_and_the_same_ones_everywhere() {
    let setup = start(0.5, 1.0);
    let sampled = |setup: &Setup| {
        for number in 0..400 {
            setup.offer(vec![error("tool", &format!("{number}"))]);
        }
        setup.sent().into_iter().map(|(_, event)| event["event_id"].clone()).collect::<Vec<_>>()
    };
    let first = sampled(&setup);
    assert!((140..260).contains(&first.len()), "{} of 400", first.len());
    let other = start(0.5, 1.0);
    assert_eq!(sampled(&other), first);
    setup.committer.stop();
    other.committer.stop();
}

#[test]
fn a_life_is_told_as_a_session() {
    let setup = start(0.0, 1.0);
    let start = CoreStart { serving: true, started_unix_nanos: 1_000_000_000, ..CoreStart::default() };
    setup.reporter.life(7, &Life::Connected(start));
    setup.offer(vec![error("tool", "a")]);
    setup.reporter.life(7, &Life::Crashed { known: true });
    let sent = setup.sent();
    let told: Vec<_> = sent.iter().map(|(kind, item)| (kind.as_str(), item["status"].as_str().unwrap())).collect();
    assert_eq!(told, [("session", "ok"), ("session", "ok"), ("session", "crashed")]);
    assert_eq!((&sent[0].1["init"], &sent[2].1["errors"]), (&true.into(), &1.into()));
    assert!(sent.iter().all(|(_, item)| item["sid"] == sent[0].1["sid"] && item["attrs"]["release"] == "v9"));
    setup.committer.stop();
}

#[test]
fn what_sentry_does_not_want_for_now_is_dropped_and_counted() {
    let setup = start(1.0, 1.0);
    setup.gate.close_for_test("60:error:organization");
    setup.offer(vec![error("tool", "a"), error("tool", "b")]);
    setup.reporter.life(7, &Life::Crashed { known: true });
    assert_eq!(setup.sent().len(), 1, "sessions are not limited");
    let aggregate = setup.aggregate.clone();
    setup.committer.stop();
    let slot =
        SIDECAR_DROPPED + RecordKind::Error.number() * DropReason::VALUES.len() + DropReason::ExporterFull.number();
    assert_eq!(aggregate.view().total[slot], 2);
}

#[test]
fn traces_are_sampled_by_their_ids_as_conexusd_does() {
    assert_eq!(trace_share(&[0xff; 9]), trace_share(&[0xff; 16]));
    let mut id = [0; 16];
    assert_eq!(trace_share(&id), 0.0);
    id[9] = 0x80;
    assert_eq!(trace_share(&id), 0.5);
    id[8] = 0xff;
    assert_eq!(trace_share(&id), 0.5, "only the low 56 bits count");
}
