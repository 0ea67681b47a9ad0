//! MCP with the official Python client, on both transports.

use std::time::Duration;

use conexus_tests::home::Home;
use conexus_tests::stack::Core;
use serde_json::{Value, json};

use crate::{drive, tree};

/// What every transport must answer alike.
fn operations() -> Value {
    json!([
        {"server": true},
        {"tools": true},
        {"call": "context_index_control", "arguments": {"action": "start"}, "progress": true},
        drive::search("where are idle sessions expired"),
        drive::search("parse_config"),
        {"call": "context.search", "arguments": {"query": "HttpClient::send"}},
        {"call": "context_grep", "arguments": {"pattern": "fn \\w+_sessions"}},
        {"call": "context_search", "arguments": {"query": "session", "top_k": 0, "filters": {"languages": ["klingon"]}}},
        {"call": "no_such_tool"},
        {"templates": true},
        {"resources": true},
        {"read": "engine://file/docs/guide.md"},
        {"read": "engine://file/../../etc/passwd"},
        {"call": "context_index_control", "arguments": {"action": "status"}},
    ])
}

fn check(outcomes: &[Value]) {
    let tools: Vec<&str> =
        outcomes[1]["tools"].as_array().expect("tools").iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(tools, ["context_search", "context_grep", "context_index_control"]);
    for tool in outcomes[1]["tools"].as_array().expect("tools") {
        assert!(tool["inputSchema"].is_object() && tool["outputSchema"].is_object(), "{tool}");
    }
    assert_eq!(outcomes[2]["is_error"], false, "{}", outcomes[2]);
    assert_eq!(drive::paths(&outcomes[3])[0], "src/session.rs", "{}", outcomes[3]);
    assert!(outcomes[3]["text"].as_str().is_some_and(|text| text.contains("src/session.rs:")), "{}", outcomes[3]);
    assert_eq!(drive::paths(&outcomes[4])[0], "src/config.py");
    assert_eq!(drive::paths(&outcomes[5])[0], "web/client.ts");
    let grep = &outcomes[6]["structured"];
    assert_eq!((&grep["total_count"], &grep["truncated"]), (&json!(1), &json!(false)), "{grep}");
    assert_eq!(grep["results"][0]["file"], "src/session.rs");
    assert_eq!(grep["results"][0]["line"], 4);
    let refused = &outcomes[7];
    assert_eq!(refused["is_error"], true, "{refused}");
    for word in ["top_k", "klingon"] {
        assert!(refused["text"].as_str().is_some_and(|text| text.contains(word)), "{word} is not named: {refused}");
    }
    assert_eq!(outcomes[8]["error"]["code"], -32602, "{}", outcomes[8]);
    assert!(
        outcomes[9]["resourceTemplates"][0]["uriTemplate"].as_str().is_some_and(|uri| uri.starts_with("engine://"))
    );
    assert!(outcomes[10]["resources"].as_array().is_some_and(|list| !list.is_empty()), "{}", outcomes[10]);
    assert!(
        outcomes[11]["contents"][0]["text"].as_str().is_some_and(|text| text.contains("ten requests")),
        "{}",
        outcomes[11]
    );
    assert!(outcomes[12]["error"]["code"].is_number(), "a path out of the root was read: {}", outcomes[12]);
    assert_eq!(outcomes[13]["is_error"], false, "{}", outcomes[13]);
}

#[test]
fn streamable_http_answers_the_official_client() {
    let home = Home::new();
    let core = Core::start(&home, &tree::small(&home));
    let outcomes = drive::over_http(&core.address, operations());
    assert_eq!(outcomes[0]["version"], "2026-07-28", "the newest revision that the SDK speaks");
    check(&outcomes);
    let legacy = drive::over_legacy_http(&core.address, operations());
    assert_eq!(legacy[0]["version"], "2025-11-25");
    check(&legacy);
}

#[test]
fn stdio_answers_the_official_client() {
    let home = Home::new();
    let root = tree::small(&home);
    check(&drive::over_stdio(&home, &root, operations()));
}

#[test]
fn queries_of_every_kind_get_an_answer_or_a_clear_error() {
    let home = Home::new();
    let core = Core::start(&home, &tree::small(&home));
    core.wait_until_indexed(Duration::from_secs(30));
    let long = "where is the session expired ".repeat(350);
    let punctuation: String = (33u8..127).filter(|byte| byte.is_ascii_punctuation()).map(char::from).collect();
    let queries = [
        "?",
        "!!!",
        "\"unbalanced",
        "a AND (b OR",
        "field:value",
        "*",
        "~2",
        "^",
        "\\",
        "[a-z]+",
        "{}",
        "<>",
        "a/b\\c",
        "--flag",
        "+must -not",
        "'",
        "`code`",
        "🦀 emoji 🚀",
        "🚀",
        "日本語の検索",
        "naïve café",
        "\u{0}nul",
        "tab\tnew\nline",
        "NOT",
        "TO",
        "session AND",
        "@decorator",
        "#define",
        "$VAR %d &ref",
        "Session.token",
        "fn expire_idle_sessions(store: &mut Store) -> usize",
        "src/session.rs:4",
        punctuation.as_str(),
        "  \n",
        long.as_str(),
    ];
    let mut operations: Vec<Value> = queries.iter().map(|query| drive::search(query)).collect();
    operations.push(drive::search(""));
    let outcomes = drive::over_http(&core.address, Value::Array(operations));
    for (query, outcome) in queries.iter().zip(&outcomes) {
        assert_eq!(outcome["is_error"], false, "{query:?}: {outcome}");
    }
    assert_eq!(drive::paths(&outcomes[queries.len() - 1])[0], "src/session.rs", "10 kB of it still finds the file");
    let refused = &outcomes[queries.len()];
    assert_eq!(refused["is_error"], true, "{refused}");
    assert!(refused["text"].as_str().is_some_and(|text| text.contains("query")), "{refused}");
}

#[test]
fn pages_are_disjoint_slices_of_one_ranking() {
    let home = Home::new();
    let root = home.folder("many");
    for number in 0..60 {
        tree::write(
            &root,
            &format!("src/part_{number}.py"),
            &format!("def handle_part_{number}(event):\n    return queue.push(event, {number})\n"),
        );
    }
    let core = Core::start(&home, &root);
    core.wait_until_indexed(Duration::from_secs(30));
    let page = |offset: usize, size: usize| json!({"call": "context_search", "arguments": {"query": "handle event queue", "top_k": size, "offset": offset}});
    let outcomes = drive::over_http(
        &core.address,
        json!([page(0, 30), page(0, 10), page(10, 10), page(20, 10), page(10_000, 10)]),
    );
    let whole = drive::paths(&outcomes[0]);
    let slices: Vec<String> = outcomes[1..4].iter().flat_map(drive::paths).collect();
    assert_eq!(whole, slices);
    assert_eq!(outcomes[1]["structured"]["has_more"], true);
    let last = &outcomes[4]["structured"];
    assert_eq!((&last["results"], &last["has_more"]), (&json!([]), &json!(false)), "{last}");
}
