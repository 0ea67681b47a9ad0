//! Tests of scrubbing: what is hidden, what is not, and what it costs in bytes.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(text: &str, expect: &str) {
    assert_eq!(scrubbed(text), expect, "{text}");
    assert_eq!(scrubbed(expect), expect, "what is clean stays");
}

/// A token of letters and digits, made here so that no scanner takes this file for a leak.
fn random(length: usize) -> String {
    let letters = b"aB3dE6gH1jK0mN2pQ5sT8vW4xY7zC9fR";
    (0..length).map(|i| char::from(letters[(i * 7 + i / 32) % 32])).collect()
}

#[test]
fn tokens_with_a_known_beginning_are_hidden_wherever_they_stand() {
    for beginning in ["ghp_", "github_pat_", "glpat-", "xoxb-", "sk-", "sk-ant-api03-", "AKIA", "npm_", "hf_", "SG."] {
        let token = format!("{beginning}{}", random(32));
        check(&format!("why does {token} fail"), "why does [redacted] fail");
        check(
            &format!("config/{token}.txt"),
            &if beginning == "SG." { "config/[redacted]".into() } else { format!("config/{REDACTED}") },
        );
        check(&format!("my_{token}"), "my_[redacted]");
    }
    let part = random(20);
    check(&format!("jwt eyJ{part}.eyJ{part}.{part}"), "jwt [redacted]");
}

#[test]
fn values_of_secret_names_are_hidden_in_the_usual_notations() {
    check("password=hunter2", "password=[redacted]");
    check("db_password: hunter2, user: ana", "db_password: [redacted], user: ana");
    check(r#"{"api_key": "abc def", "n": 1}"#, r#"{"api_key": "[redacted]", "n": 1}"#);
    check(r#"{\"client-secret\":\"s3\"}"#, r#"{\"client-secret\":\"[redacted]\"}"#);
    check("?token=a1b2&page=3", "?token=[redacted]&page=3");
    check("export AWS_SECRET_ACCESS_KEY=a/b+c==", "export AWS_SECRET_ACCESS_KEY=[redacted]");
    check("login --password hunter2 --user ana", "login --password [redacted] --user ana");
    check("Authorization: Basic YW5hOnB3 and", "Authorization: [redacted] and");
    check("Cookie: a=b; c=d\nnext", "Cookie: [redacted]\nnext");
    check("X-Api-Key: short", "X-Api-Key: [redacted]");
    check("secret => 'a b'", "secret => '[redacted]'");
    check("if password == \"letmein\" {", "if password == \"[redacted]\" {");
}

#[test]
fn credentials_urls_addresses_and_keys_are_hidden() {
    check("curl -H 'Bearer abcdefghijklmnop'", "curl -H 'Bearer [redacted]'");
    check("bearer a1b2c3", "bearer [redacted]");
    check("postgres://ana:pw@db:5432/x", "postgres://[redacted]@db:5432/x");
    check("https://0123abc@sentry.example/4", "https://[redacted]@sentry.example/4");
    check("mail first.last+tag@mail.example.com now", "mail [redacted] now");
    let block = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----";
    check(&format!("a {block} b"), "a [redacted] b");
    check("-----BEGIN PRIVATE KEY-----\nMIIE", "[redacted]");
    check(&format!("signature={}", random(24)), "signature=[redacted]");
    check(&format!("see {}", random(40)), "see [redacted]");
}

#[test]
fn what_people_ask_and_programs_say_stays() {
    for text in [
        "",
        "where is the bearer token checked",
        "how are passwords hashed, and where is a token refreshed",
        "fn token(&self) -> Token",
        "let token = next_token(input)",
        "token: String, secret: Option<Secret>",
        "password=${DB_PASSWORD}",
        "if token == other",
        "token::Kind, Secret::new",
        "max_tokens=500 tokenizer: fast",
        "conexus_mcp_request_duration_seconds_bucket",
        "TestContextSearchReturnsTop20ResultsOrderedByScore",
        "XMLHttpRequestUtf8DecoderFactoryImpl2",
        "commit 4f2a9c1be0d37785aa61c0ffee1234567890abcd",
        "trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=00f067aa0ba902b7",
        "src/components/Button2/index.tsx:10-20",
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        "https://docs.rs/tokio/1.0/tokio?x=1#y",
        "@types/node, user@host, foo@1.2.3",
        "a task-sk-learn-and-other-long-words-here",
        "no matter: how it is written; 名前=値 🦀",
        "basic usage of bearer authentication",
        "pwd=/home/ana",
    ] {
        check(text, text);
    }
}

#[test]
fn names_are_secret_by_their_end() {
    for name in ["password", "API_KEY", "authToken", "client-secret", "X-Auth-Key", "sentry_dsn"] {
        assert!(is_secret_name(name), "{name}");
    }
    for name in ["tokens", "query", "tokenizer", "key", "path", ""] {
        assert!(!is_secret_name(name), "{name}");
    }
}

#[test]
fn a_long_text_is_scrubbed_before_it_is_cut() {
    let token = format!("ghp_{}", random(36));
    for filler in [240, 250, 255, 256, 300] {
        let text = format!("{} {token}", "é".repeat(filler / 2));
        with_scrubbed::<256, _>(&text, 256, |clean| {
            assert!(clean.len() <= 256 && !clean.contains("ghp_"), "{clean}");
            assert!(clean.len() >= 240);
        });
    }
}

proptest! {
    #[test]
    fn any_text_can_be_scrubbed_and_comes_out_whole_or_shorter(text in "(\\PC|[ =:@\"'\\\\./-]|password|ghp_|Bearer ){0,80}") {
        let clean = scrubbed(&text);
        let joined = clean.replace(REDACTED, "");
        prop_assert!(joined.len() <= text.len());
        with_scrubbed::<64, _>(&text, 64, |cut| {
            prop_assert!(cut.len() <= 64 && clean.starts_with(cut), "{cut:?} of {clean:?}");
            Ok(())
        })?;
    }
}
