use super::*;
use proptest::prelude::*;
use tantivy::tokenizer::{TokenStream, Tokenizer};

fn terms_of(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    terms(text, &mut |term| all.push(term.to_owned()));
    all
}

#[track_caller]
fn check(text: &str, expect: &str) {
    assert_eq!(terms_of(text).join(" "), expect, "{text:?}");
}

#[test]
fn plain_words_are_lower_cased_and_stemmed() {
    check("parsers", "parser");
    check("The Running of connections", "the run of connect");
    check("ARE", "are");
    check("x", "x");
}

#[test]
fn camel_case_gives_parts_and_the_whole() {
    check("getUserName", "get user name getusernam");
    check("parseConfigs", "pars config parseconfigs");
    check("HashMap", "hash map hashmap");
    check("mField", "field mfield");
    check("aB", "ab");
}

#[test]
fn snake_case_gives_the_same_as_camel_case() {
    check("get_user_name", "get user name getusernam");
    check("SCREAMING_SNAKE", "scream snake screamingsnak");
    check("__init__", "init");
    check("_private_", "privat");
    check("_", "");
    check("___", "");
    check("a__b", "ab");
    check("std::fmt::Display", "std fmt display");
}

#[test]
fn a_flat_word_meets_the_identifier_made_of_its_parts() {
    for (flat, identifier) in [("filename", "fileName"), ("username", "user_name"), ("hashmap", "HashMap")] {
        let whole = terms_of(identifier).pop().expect("a whole");
        assert_eq!(terms_of(flat), [whole], "{identifier}");
    }
}

#[test]
fn wholes_keep_siblings_apart() {
    let (one, many) = (terms_of("addHandler"), terms_of("addHandlers"));
    assert_eq!(one[..2], many[..2]);
    assert_ne!(one[2], many[2]);
}

#[test]
fn acronyms_are_one_part() {
    check("HTTPServer", "http server httpserver");
    check("parseHTTPRequest", "pars http request parsehttprequest");
    check("URLs", "url");
    check("userIDs", "user id userids");
    check("getURLsFrom", "get url from geturlsfrom");
    check("XMLHttpRequest", "xml http request xmlhttprequest");
    check("IO", "io");
}

#[test]
fn digits_stay_with_their_letters() {
    check("utf8", "utf8 utf");
    check("UTF-8", "utf 8");
    check("sha256", "sha256 sha 256");
    check("from_utf8_lossy", "from utf8 utf lossi fromutf8lossy");
    check("md5sum", "md5 md sum md5sum");
    check("base64Encode", "base64 base 64 encod base64encode");
    check("i18n e2e k8s v4l2", "i18n e2e k8s v4l2");
    check("i32 u8", "i32 u8");
    check("foo_1", "foo foo1");
    check("0x1F", "0x1f");
    check("10_000", "10 000 10000");
    check("0001_create_users", "0001 creat user 0001createusers");
    check("2nd 3.14", "2nd 3 14");
}

#[test]
fn punctuation_separates_and_gives_nothing() {
    check("get-user", "get user");
    check("a.b(c)[d]", "a b c d");
    check("'\"`!@#$%^&*()+=~<>?/\\|{};:,.", "");
    check("", "");
    check(" \t\r\n\0", "");
    check("don't", "don t");
}

#[test]
fn emoji_give_nothing() {
    check("🚀 👩‍👩‍👧 🅰 🇩🇪 ©", "");
    check("fast🚀rocket", "fast rocket");
}

#[test]
fn letters_of_any_script_form_words() {
    check("größeÄndern", "größe ändern größeändern");
    check("ИМЯ_ФАЙЛА", "имя файла имяфайла");
    check("имяФайла", "имя файла имяфайла");
    check("café", "café");
    check("naïve2", "naïve2");
    check("éclair", "éclair");
    check("Ω", "ω");
    check("get_größe", "get größe getgröße");
}

#[test]
fn scripts_without_spaces_give_characters_and_pairs() {
    check("検索", "検 検索 索");
    check("猫", "猫");
    check("foo日本bar", "foo 日 日本 本 bar");
    check("한국어", "한 한국 국 국어 어");
    check("カタカナ、", "カ カタ タ タカ カ カナ ナ");
    check("é日", "é 日");
}

#[test]
fn long_terms_are_cut_at_a_character() {
    check(&"a".repeat(100), &"a".repeat(64));
    check(&"A1".repeat(1000), &"a1".repeat(32));
    check(&"é".repeat(100), &"é".repeat(32));
    check(&"é".repeat(1000), &"é".repeat(32));
    check(&format!("a{}", "é".repeat(100)), &format!("a{}", "é".repeat(31)));
    check(&"_".repeat(100_000), "");
    let long = format!("a{}b", "_".repeat(1000));
    check(&long, "ab");
}

#[test]
fn a_path_gives_its_stem_twice_and_three_folders() {
    let of = |path: &str| {
        let mut all = Vec::new();
        path_terms(path, &mut |term| all.push(term.to_owned()));
        all.join(" ")
    };
    assert_eq!(
        of("a0/bravo/charlie/delta/fileName.test.rs"),
        "file name filenam test file name filenam test delta charli bravo"
    );
    assert_eq!(of("main.rs"), "main main");
    assert_eq!(of(".gitignore"), "gitignor gitignor");
    assert_eq!(of("src/Makefile"), "makefil makefil src");
    assert_eq!(of(""), "");
    assert_eq!(of("app/[slug].tsx"), "slug slug app");
}

#[test]
fn emit_may_ask_for_terms_itself() {
    let mut all = Vec::new();
    terms("readers writers", &mut |outer| terms("running", &mut |inner| all.push(format!("{outer}/{inner}"))));
    assert_eq!(all, ["reader/run", "writer/run"]);
}

#[test]
fn stems_are_those_of_snowball_however_often_a_word_comes() {
    let stemmer = rust_stemmers::Stemmer::create(rust_stemmers::Algorithm::English);
    let words: Vec<String> = (0..20_000).map(|n| format!("{}izations", letters(n))).collect();
    for word in words.iter().chain(&words) {
        assert_eq!(terms_of(word), [stemmer.stem(word).into_owned()]);
    }
}

fn letters(mut number: u32) -> String {
    let mut all = String::from("q");
    while number > 0 {
        all.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    all
}

#[test]
fn hashes_of_terms_never_change() {
    assert_eq!(term_hash(""), 0x4fd0_bfc1);
    assert_eq!(term_hash("parser"), 0xd6df_e942);
    assert_eq!(term_hash("größe"), 0x42c4_4ec4);
    assert_ne!(term_hash("ab"), term_hash("ba"));
}

#[test]
fn a_stop_word_and_its_term_are_both_stop_words() {
    for word in ["any", "because", "before", "does", "only", "the", "was", "why", "this", "having", "once", "during"] {
        assert!(is_stop_word(word), "{word}");
        for term in terms_of(word) {
            assert!(is_stop_word(&term), "{word} gives {term}");
        }
    }
    for word in ["parser", "error", "loop", "return", "async"] {
        assert!(!is_stop_word(word), "{word}");
    }
}

#[test]
fn tantivy_indexes_and_finds_by_the_same_terms() {
    use tantivy::schema::{IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
    let mut schema = Schema::builder();
    let indexing = TextFieldIndexing::default().set_tokenizer("code").set_index_option(IndexRecordOption::WithFreqs);
    let field = schema.add_text_field("text", TextOptions::default().set_indexing_options(indexing));
    let index = tantivy::Index::create_in_ram(schema.build());
    index.tokenizers().register("code", CodeTokenizer::default());
    let mut writer = index.writer_with_num_threads(1, 20_000_000).unwrap();
    writer.add_document(tantivy::doc!(field => "fn parseConfigs() {}")).unwrap();
    writer.add_document(tantivy::doc!(field => "fn other() {}")).unwrap();
    writer.commit().unwrap();
    let searcher = index.reader().unwrap().searcher();
    for (term, found) in [("config", 1), ("parseconfigs", 1), ("fn", 2), ("configs", 0)] {
        let term = tantivy::Term::from_field_text(field, term);
        assert_eq!(searcher.doc_freq(&term).unwrap(), found, "{term:?}");
    }
}

fn code_like() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            "[a-zA-Z0-9_]{0,20}",
            "\\PC{0,8}",
            "[ \\n.:;(){}_-]{0,3}",
            "[a-z]{60,70}",
            "[äÖß日本한กé_A-Z0-9]{0,9}"
        ],
        0..30,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_gives_short_lower_case_terms(text in code_like()) {
        for term in terms_of(&text) {
            prop_assert!(!term.is_empty() && term.len() <= TERM_BYTES_MAX, "{term:?}");
            prop_assert!(!term.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{term:?}");
        }
    }

    #[test]
    fn words_give_the_same_terms_wherever_they_stand(words in proptest::collection::vec(code_like(), 0..6)) {
        let apart: Vec<String> = words.iter().flat_map(|word| terms_of(word)).collect();
        prop_assert_eq!(terms_of(&words.join(" ")), apart);
    }

    #[test]
    fn the_stream_for_tantivy_gives_the_same_terms(text in code_like()) {
        let mut tokenizer = CodeTokenizer::default();
        // A text before it: buffers are reused.
        tokenizer.token_stream("something else").advance();
        let mut stream = tokenizer.token_stream(&text);
        let mut streamed = Vec::new();
        while stream.advance() {
            prop_assert_eq!(stream.token().position, streamed.len());
            streamed.push(stream.token().text.clone());
        }
        prop_assert_eq!(streamed, terms_of(&text));
    }
}
