//! Errors: what Sentry gets, from a real conexusd through the sidecar to a real server of its protocol.
//!
//! Bugsink keeps events and is asked for them; it takes transactions and sessions and throws them away, so those are read from
//! an endpoint in between. Every event and transaction goes through Sentry's own normaliser, which must find nothing wrong.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use conexus_tests::bugsink::{Bugsink, normalised};
use conexus_tests::envelopes::{Answer, Envelopes};
use conexus_tests::eventually;
use conexus_tests::home::Home;
use conexus_tests::stack::{Core, Sidecar};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{drive, tree};

const SOON: Duration = Duration::from_secs(60);

fn config(home: &Home, dsn: &str, more: &str) {
    home.write_config(&format!(
        "observability:\n  sentry:\n    enabled: true\n    dsn: {dsn}\n    environment: testing\n    release: v1.2.3\n{more}"
    ));
}

fn post(core: &Core, body: &str) -> u16 {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent.post(format!("http://{}/mcp", core.address)).header("Content-Type", "application/json");
    let request = request.header("Accept", "application/json, text/event-stream");
    request.send(body).expect("conexusd answers").status().as_u16()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn kind(event: &Value) -> &str {
    text(event, "/tags/error_type")
}

fn assert_valid(events: &[Value]) {
    assert!(!events.is_empty());
    for (event, (errors, normal)) in events.iter().zip(normalised(events)) {
        assert_eq!(errors, [""; 0], "{event:#}");
        assert_eq!(normal["event_id"], event["event_id"]);
    }
}

#[test]
fn failures_of_requests_and_tools_are_events_with_all_that_one_wants_to_know() {
    let home = Home::new();
    let bugsink = Bugsink::start(&home);
    let passing = Envelopes::start(Answer::From(bugsink.address().to_owned()));
    let (key, project) = (bugsink.dsn().split(['/', '@']).nth(2).expect("a key"), bugsink.dsn().rsplit('/').next());
    config(&home, &passing.dsn(key, project.expect("a project")), "");
    let mut sidecar = Sidecar::start(&home);
    let mut core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(SOON);
    drive::over_http(
        &core.address,
        json!([
            drive::search("idle session"),
            {"call": "context_search", "arguments": {"query": "x", "top_k": 0, "password": "hunter2hunter2"}},
            {"call": "no_such_tool"},
        ]),
    );
    post(&core, "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": ");
    let events = eventually("Bugsink has the events", SOON, || {
        let events = bugsink.events();
        (events.len() >= 3).then_some(events)
    });
    let of = |wanted: &str, tool: &str| {
        let found = events.iter().find(|event| kind(event) == wanted && text(event, "/tags/tool.name") == tool);
        found.unwrap_or_else(|| panic!("no {wanted} of {tool:?}: {events:#?}"))
    };
    let mistake = of("invalid_params", "context_search");
    let seen = ["/tags/service", "/tags/mcp.method", "/release", "/environment", "/transaction", "/level"];
    assert_eq!(
        seen.map(|pointer| text(mistake, pointer)),
        ["conexus-mcp", "tools/call", "v1.2.3", "testing", "context_search", "warning"]
    );
    assert!(!text(mistake, "/tags/mcp.request_id").is_empty() && !text(mistake, "/server_name").is_empty());
    assert_eq!(text(mistake, "/exception/values/0/type"), "InvalidParams");
    assert_eq!(text(mistake, "/contexts/os/name"), "Linux");
    assert!(mistake["contexts"]["device"]["memory_size"].as_u64().is_some_and(|bytes| bytes > 1 << 28));
    assert!(mistake["contexts"]["trace"]["trace_id"].as_str().is_some_and(|id| id.len() == 32));
    assert_eq!(mistake["contexts"]["parameters"]["query"], "x", "{mistake:#}");
    assert!(!mistake.to_string().contains("hunter2"), "{mistake:#}");
    let frames = mistake["exception"]["values"][0]["stacktrace"]["frames"].as_array().expect("a stack");
    let ours = frames.iter().rfind(|frame| frame["in_app"] == true).expect("a frame of ours");
    assert!(text(ours, "/filename").starts_with("conexusd/src/mcp/") && ours["lineno"].as_u64() > Some(0), "{ours}");
    let crumbs = mistake["breadcrumbs"]["values"].as_array().expect("breadcrumbs");
    assert!(crumbs.iter().any(|crumb| crumb["category"] == "mcp.request"), "{crumbs:?}");
    of("invalid_params", "");
    of("parse", "");
    assert_valid(&passing.items("event"));
    // Bugsink says in an answer's header that it wants no transactions: none is posted to it, and that is told.
    let refused = ["kind=\"span\"", "reason=\"exporter_full\""];
    eventually("calls are told as dropped", SOON, || {
        (sidecar.value("conexus_telemetry_records_dropped_total", &refused) >= Some(1.0)).then_some(())
    });
    assert_eq!(passing.items("transaction"), Vec::<Value>::new());
    core.process.terminate(SOON);
    eventually("the session ends", SOON, || {
        let told = passing.items("session");
        let last = told.last()?;
        (last["status"] == "exited" && last["errors"].as_u64() >= Some(3) && told[0]["init"] == true).then_some(())
    });
    assert_eq!(sidecar.value("conexus_telemetry_exporter_up", &["exporter=\"sentry\""]), Some(1.0));
    sidecar.process.terminate(SOON);
}

/// Crashes a core by a signal and returns the event.
fn crash_by(signal: Signal) -> Value {
    let home = Home::new();
    let kept = Envelopes::start(Answer::With(200, ""));
    // Crashes are sent whatever the rate.
    config(&home, &kept.dsn("key", "1"), "    sample_rate: 0\n    traces_sample_rate: 0\n");
    let sidecar = Sidecar::start(&home);
    let mut core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(SOON);
    drive::over_http(&core.address, json!([drive::search("idle session")]));
    // What the sidecar has not got yet dies with the core.
    let counted = || sidecar.value("conexus_mcp_requests_total", &["method=\"context_search\"", "status=\"ok\""]);
    eventually("the search has arrived", SOON, || (counted() == Some(1.0)).then_some(()));
    core.process.signal(signal);
    core.process.wait(SOON);
    let start = Instant::now();
    let event = eventually("the crash is reported", SOON, || kept.items("event").pop());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_valid(&kept.items("event"));
    assert_eq!(kept.items("event").len(), 1);
    assert_eq!((kind(&event), text(&event, "/level")), ("crash", "fatal"));
    assert_eq!(event["exception"]["values"][0]["mechanism"]["handled"], false);
    let crumbs = event["breadcrumbs"]["values"].as_array().expect("breadcrumbs");
    assert!(crumbs.iter().any(|crumb| crumb["category"] == "mcp.request"), "{crumbs:?}");
    assert_eq!(sidecar.value("conexus_core_crashes_total", &[]), Some(1.0));
    eventually("the session crashed", SOON, || (kept.items("session").last()?["status"] == "crashed").then_some(()));
    let left: Vec<_> = fs::read_dir(home.path().join("run/conexus")).expect("the socket's folder").flatten().collect();
    let left: Vec<_> = left.iter().filter(|entry| entry.file_name().to_string_lossy().starts_with("crash-")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(
        core.process.log().lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "{}",
        core.process.log()
    );
    event
}

#[test]
fn a_tool_call_is_a_transaction_with_its_stages() {
    let home = Home::new();
    let sentry = Envelopes::start(Answer::With(200, ""));
    config(&home, &sentry.dsn("key", "1"), "");
    let _sidecar = Sidecar::start(&home);
    let core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(SOON);
    drive::over_http(&core.address, json!([drive::search("idle session")]));
    let calls = eventually("the call is a transaction", SOON, || {
        let calls = sentry.items("transaction");
        calls.iter().any(|call| call["transaction"] == "mcp.search").then_some(calls)
    });
    let call = calls.iter().find(|call| call["transaction"] == "mcp.search").expect("just seen");
    let stages = call["spans"].as_array().expect("spans");
    assert!(stages.iter().any(|span| text(span, "/description") == "vectorstore.search"), "{call:#}");
    let parents: Vec<&str> = stages.iter().map(|span| text(span, "/parent_span_id")).collect();
    assert!(parents.contains(&text(call, "/contexts/trace/span_id")));
    assert_eq!(text(call, "/contexts/trace/data/gen_ai.tool.name"), "context_search");
    assert_valid(&calls);
}

#[test]
fn a_killed_core_is_reported_with_what_came_before() {
    let event = crash_by(Signal::KILL);
    assert_eq!(text(&event, "/exception/values/0/value"), "killed (cause unknown)");
}

#[test]
fn a_core_that_aborts_or_faults_is_reported_with_cause_and_stack() {
    for (signal, name) in [(Signal::SEGV, "SIGSEGV"), (Signal::ABORT, "SIGABRT")] {
        let event = crash_by(signal);
        assert_eq!(text(&event, "/exception/values/0/type"), name);
        assert!(text(&event, "/exception/values/0/value").starts_with(name));
        let frames = event["exception"]["values"][0]["stacktrace"]["frames"].as_array().expect("a stack");
        let main = frames.iter().find(|frame| text(frame, "/filename") == "conexusd/src/main.rs");
        let main = main.unwrap_or_else(|| panic!("no frame in main.rs: {frames:#?}"));
        assert!(main["in_app"] == true && main["lineno"].as_u64() > Some(0), "{main}");
    }
}

#[test]
fn a_core_that_died_while_no_sidecar_ran_is_reported_once_by_the_next() {
    let home = Home::new();
    let kept = Envelopes::start(Answer::With(200, ""));
    config(&home, &kept.dsn("key", "1"), "");
    let root = tree::small(&home);
    let events = |count: usize| {
        let events = || kept.items("event").into_iter().filter(|event| kind(event) == "crash").collect::<Vec<_>>();
        eventually("the crash is reported", SOON, || (events().len() >= count).then(events))
    };
    let crashes = |sidecar: &Sidecar| sidecar.value("conexus_core_crashes_total", &[]);

    // One that has never met a sidecar, and one that ended in order.
    let mut stranger = Core::start(&home, &root);
    stranger.wait_until_indexed(SOON);
    let indexed = stranger.health()["index"]["files"].as_f64().expect("it counts files");
    stranger.process.signal(Signal::SEGV);
    stranger.process.wait(SOON);
    let died = SystemTime::now();
    Core::start(&home, &root).process.terminate(SOON);
    let mut sidecar = Sidecar::start(&home);
    let event = events(1).remove(0);
    assert_eq!(text(&event, "/exception/values/0/type"), "SIGSEGV", "{event:#}");
    assert!(event["exception"]["values"][0]["stacktrace"]["frames"].as_array().is_some_and(|stack| !stack.is_empty()));
    let at = event["timestamp"].as_f64().expect("a number of seconds");
    let died = died.duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970").as_secs_f64();
    assert!((died - 5.0..=died).contains(&at), "it happened at {died}, and the event says {at}");
    assert_eq!(crashes(&sidecar), Some(1.0));
    assert_eq!(sidecar.value("conexus_indexer_files_indexed_total", &[]), Some(indexed));
    let sessions = eventually("its session", SOON, || Some(kept.items("session")).filter(|told| !told.is_empty()));
    assert_eq!((&sessions[0]["init"], text(&sessions[0], "/status")), (&true.into(), "crashed"), "{sessions:?}");

    // One that this sidecar knows, and that is killed when the sidecar is away.
    let mut known = Core::start(&home, &root);
    eventually("it is connected", SOON, || (sidecar.value("conexus_up", &[]) == Some(1.0)).then_some(()));
    sidecar.process.terminate(SOON);
    known.process.kill();
    let sidecar = Sidecar::start(&home);
    let other = events(2).into_iter().find(|other| other["event_id"] != event["event_id"]).expect("another event");
    assert_eq!(text(&other, "/exception/values/0/value"), "killed (cause unknown)");
    // Had the first been told again, it would be by now: its time is the same.
    assert_eq!((events(2).len(), crashes(&sidecar)), (2, Some(2.0)));
}

/// The memory controller's folder of this process's group, version 1 or 2.
fn memory_groups() -> std::path::PathBuf {
    let groups = fs::read_to_string("/proc/self/cgroup").expect("control groups");
    let (root, group) = groups
        .lines()
        .find_map(|line| line.split_once(":memory:").map(|(_, group)| ("/sys/fs/cgroup/memory", group)))
        .or_else(|| groups.lines().find_map(|line| line.strip_prefix("0::").map(|group| ("/sys/fs/cgroup", group))))
        .expect("a memory controller");
    std::path::Path::new(root).join(group.trim_start_matches('/'))
}

#[test]
fn a_core_that_runs_out_of_memory_is_reported() {
    let home = Home::new();
    let group = memory_groups().join(format!("conexus-test-{}", std::process::id()));
    if let Err(error) = fs::create_dir(&group) {
        // Without the right to make one the same end comes from outside.
        eprintln!("{}: {error}: the core is killed as the kernel would", group.display());
        return drop(crash_by(Signal::KILL));
    }
    let limit = if group.starts_with("/sys/fs/cgroup/memory") { "memory.limit_in_bytes" } else { "memory.max" };
    let kept = Envelopes::start(Answer::With(200, ""));
    config(&home, &kept.dsn("key", "1"), "");
    let sidecar = Sidecar::start(&home);
    let root = tree::small(&home);
    let mut core = Core::start(&home, &root);
    core.wait_until_indexed(SOON);
    fs::write(group.join("cgroup.procs"), core.process.pid().to_string()).expect("the core moves to the group");
    // Below what it needs for anything it does: the next pages that it asks for are refused.
    fs::write(group.join(limit), (1 << 20).to_string()).expect("the group has a limit");
    for number in 0..200 {
        let lines: String =
            (0..500).map(|line| format!("def part_{number}_{line}():\n    return {line}\n\n")).collect();
        tree::write(&root, &format!("many/part_{number}.py"), &lines);
    }
    core.process.wait(SOON);
    let event = eventually("the end is reported", SOON, || kept.items("event").pop());
    assert_eq!(text(&event, "/exception/values/0/value"), "killed (cause unknown)");
    assert_eq!(sidecar.value("conexus_core_crashes_total", &[]), Some(1.0));
    let _ = fs::remove_dir(&group);
}

#[test]
fn limits_and_outages_of_sentry_are_respected_counted_and_survived() {
    let home = Home::new();
    let kept = Envelopes::start(Answer::With(429, "X-Sentry-Rate-Limits: 3:error:organization\r\n"));
    config(&home, &kept.dsn("key", "1"), "");
    let sidecar = Sidecar::start(&home);
    let core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(SOON);
    let fail = |number: usize| {
        let call = json!([{"call": "context_grep", "arguments": {"pattern": format!("({number}")}}]);
        drive::over_http(&core.address, call);
    };
    let dropped =
        || sidecar.value("conexus_telemetry_records_dropped_total", &["kind=\"error\"", "reason=\"exporter_full\""]);
    fail(1);
    fail(2);
    eventually("what it does not want is counted", SOON, || (dropped() >= Some(2.0)).then_some(()));
    assert!(kept.items("event").len() <= 1, "one was refused, and then none was sent: {:?}", kept.items("event"));
    std::thread::sleep(Duration::from_secs(4));
    // Out of order: what fails now waits and is sent when it is back.
    kept.answer(Answer::With(503, ""));
    let before = kept.items("event").len();
    fail(3);
    eventually("the outage is visible", SOON, || {
        let (_, health) =
            conexus_tests::get(&format!("http://{}/health", sidecar.address)).expect("the sidecar answers");
        let health: Value = serde_json::from_str(&health).expect("health is JSON");
        let exporters = health["exporters"].as_array().cloned().unwrap_or_default();
        let sentry = exporters.iter().find(|exporter| exporter["name"] == "sentry").cloned().expect("it is listed");
        (sentry["up"] == false && text(&sentry, "/last_error").contains("503")).then_some(())
    });
    assert_eq!(sidecar.value("conexus_telemetry_exporter_up", &["exporter=\"sentry\""]), Some(0.0));
    assert!(sidecar.value("conexus_telemetry_export_failures_total", &["exporter=\"sentry\""]) >= Some(1.0));
    kept.answer(Answer::With(200, ""));
    eventually("it is sent after all", SOON, || {
        let events = kept.items("event");
        let last = events[before..].iter().rfind(|event| text(event, "/exception/values/0/value").contains("(3"));
        (last.is_some() && sidecar.value("conexus_telemetry_exporter_up", &["exporter=\"sentry\""]) == Some(1.0))
            .then_some(())
    });
}

#[test]
fn the_user_is_the_name_of_the_token_and_never_the_token() {
    let home = Home::new();
    let kept = Envelopes::start(Answer::With(200, ""));
    config(&home, &kept.dsn("key", "1"), "auth:\n  enabled: true\n  tokens: [\"alice:0123456789abcdef0123\"]\n");
    let _sidecar = Sidecar::start(&home);
    let core = Core::start(&home, &tree::small(&home));
    let request = ureq::post(format!("http://{}/mcp", core.address))
        .header("Content-Type", "application/json")
        .header("Accept", "application/json, text/event-stream")
        .header("MCP-Protocol-Version", "2025-06-18")
        .header("Authorization", "Bearer 0123456789abcdef0123");
    let call =
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "no_such_tool", "arguments": {}}});
    let agent_says = request.send(call.to_string());
    let event = eventually("the failure is an event", SOON, || kept.items("event").pop());
    assert_eq!(text(&event, "/user/username"), "alice", "{agent_says:?} {event:#}");
    assert!(!event.to_string().contains("0123456789abcdef"));
}

#[test]
fn a_bad_dsn_is_a_clear_error_at_the_start() {
    let home = Home::new();
    for (dsn, said) in [("https://sentry.example.com/1", "key"), ("not-a-dsn", "https://KEY@HOST/PROJECT")] {
        let mut command = home.command("conexus-sidecar");
        command.arg("run").env("CONEXUS_SENTRY_ENABLED", "true").env("CONEXUS_SENTRY_DSN", dsn);
        let output = command.output().expect("it ends");
        let said_all = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said_all}");
        assert!(said_all.contains("CONEXUS_SENTRY_DSN") && said_all.contains(said), "{said_all}");
    }
}
