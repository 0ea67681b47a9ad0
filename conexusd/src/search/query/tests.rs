use super::*;

fn kind(text: &str) -> QueryKind {
    analyse(text).kind
}

fn names(text: &str) -> Vec<String> {
    analyse(text).symbols.into_iter().map(|symbol| symbol.name).collect()
}

#[test]
fn each_kind_of_query_is_recognised() {
    for (text, expect) in [
        ("parse_config", QueryKind::Symbol),
        ("HttpClient::send", QueryKind::Symbol),
        ("Session", QueryKind::Symbol),
        ("class Router", QueryKind::Symbol),
        ("`render_template`", QueryKind::Symbol),
        ("app.render()", QueryKind::Symbol),
        ("Foo#bar?", QueryKind::Symbol),
        ("src/main.rs", QueryKind::Path),
        ("main.rs:12", QueryKind::Path),
        ("lib/rack/", QueryKind::Path),
        ("TypeError: cannot read property 'x' of undefined", QueryKind::ErrorMessage),
        ("thread 'main' panicked at 'index out of bounds'", QueryKind::ErrorMessage),
        ("error handling and how errors are converted to responses", QueryKind::NaturalLanguage),
        ("how are static files served", QueryKind::NaturalLanguage),
        ("how does res.redirect build the Location header", QueryKind::Mixed),
        ("where is parse_config called", QueryKind::Mixed),
        ("what does src/app.rs do", QueryKind::Mixed),
        ("input/output of the parser", QueryKind::NaturalLanguage),
        ("!!! ??? ->", QueryKind::NaturalLanguage),
    ] {
        assert_eq!(kind(text), expect, "{text}");
    }
}

#[test]
fn frames_of_many_languages_make_a_stack_trace() {
    for text in [
        "Traceback (most recent call last):\n  File \"/app/flask/app.py\", line 12, in run\n    x()\n  File \"/app/b.py\", line 3, in x\nKeyError: 'a'",
        "java.lang.IllegalStateException: no\n\tat a.b.C.run(C.java:12)\n\tat a.b.D.main(D.java:4)",
        "Error: x\n    at run (/srv/app/lib/router.js:10:5)\n    at next (/srv/app/lib/layer.js:3:1)",
        "panic: x\n\ngoroutine 1 [running]:\nmain.run()\n\t/src/main.go:12 +0x1d\nmain.main()\n\t/src/main.go:4 +0x2",
        "thread 'main' panicked at src/main.rs:4:5:\nexplicit panic",
    ] {
        assert_eq!(kind(text), QueryKind::StackTrace, "{text}");
    }
    for line in [
        "  File \"/app/flask/app.py\", line 12, in run",
        "\tat a.b.C.run(C.java:12)",
        "    at next (/srv/app/lib/layer.js:12:1)",
        "\t/src/main.go:12 +0x1d",
        "             at ./src/main.rs:12:5",
        "#0 /var/www/app/Kernel.php(12): run()",
        "lib/rack/builder.rb:12:in `call'",
        "   at Shop.Cart.Add() in /src/Cart.cs:line 12",
        "#1  0x00007f in run (x=1) at src/run.c:12",
    ] {
        let query = analyse(line);
        assert_eq!((query.kind, query.paths[0].line), (QueryKind::StackTrace, Some(12)), "{line}");
    }
    let query = analyse("java.lang.Error\n\tat org.shop.cart.Cart$Item.add(Cart.java:7)\n\tat Main.main(Main.java:1)");
    let paths: Vec<_> = query.paths.iter().map(|path| path.path.as_str()).collect();
    assert_eq!(paths, ["org/shop/cart/Cart.java", "Main.java"]);
    let query = analyse("  File \"/app/flask/app.py\", line 12, in run\n  File \"b.py\", line 3, in x");
    let places: Vec<_> = query.paths.iter().map(|path| (path.path.as_str(), path.line)).collect();
    assert_eq!(places, [("app/flask/app.py", Some(12)), ("b.py", Some(3))]);
}

#[test]
fn symbols_are_found_within_prose_the_surest_first() {
    assert_eq!(names("how does Flask call render_template()"), ["render_template", "Flask"]);
    assert_eq!(names("How are redirects followed"), Vec::<String>::new());
    let query = analyse("HttpClient::send");
    assert_eq!(query.symbols[1].name, "send");
    assert_eq!(query.symbols[1].qualifiers, ["HttpClient"]);
    assert_eq!(analyse("std::vector<int>").symbols[1].name, "vector");
    assert_eq!(analyse("fn parse").symbols[0].name, "parse");
}

#[test]
fn what_is_one_token_is_read_as_every_name_that_it_may_be() {
    let readings = |text: &str| -> Vec<String> {
        let query = analyse(text);
        assert!(query.names_one, "{text}");
        query
            .symbols
            .iter()
            .map(|symbol| [&symbol.qualifiers[..], std::slice::from_ref(&symbol.name)].concat().join("/"))
            .collect()
    };
    assert_eq!(readings("parse_config"), ["parse_config"]);
    assert_eq!(readings("HttpClient::send()"), ["HttpClient::send()", "HttpClient/send"]);
    assert_eq!(readings("foo->bar"), ["foo->bar", "foo/bar"]);
    assert_eq!(readings("User#valid?"), ["User#valid?", "User/valid?", "User/valid"]);
    assert_eq!(readings("foldl'"), ["foldl'", "foldl"]);
    assert_eq!(readings("operator<<"), ["operator<<", "operator"]);
    assert_eq!(readings("$store"), ["$store", "store"]);
    assert_eq!(readings("operator char*"), ["operator char*"]);
    assert_eq!(readings("bats-exec-file"), ["bats-exec-file"]);
    assert_eq!(readings("res.json"), ["res.json", "res/json"]);
    assert_eq!(analyse("res.json").paths[0].path, "res.json");
    assert!(!analyse("how is it parsed").names_one);
}

#[test]
fn stop_words_go_unless_nothing_else_is_there() {
    let terms = |text: &str| analyse(text).words;
    assert_eq!(terms("how are the redirects followed"), terms("redirects followed"));
    assert!(!terms("how is it").is_empty());
}

#[test]
fn a_long_text_is_searched_as_title_and_body() {
    let query = analyse("Session drops cookies\n\nSteps to reproduce: send a request twice.");
    assert_eq!(query.parts.len(), 2);
    assert_eq!(query.parts[0].text, "Session drops cookies");
    assert!((query.parts.iter().map(|part| part.weight).sum::<f32>() - 1.0).abs() < 1e-6);
    assert_eq!(analyse("one line only").parts.len(), 1);
    assert_eq!(analyse("title\n\n---").parts.len(), 1, "a body without words is none");
}

#[test]
fn quoted_phrases_are_kept_and_apostrophes_are_none() {
    assert_eq!(analyse("error \"no such file\" in 'open it'").phrases, ["no such file", "open it"]);
    assert!(analyse("don't parse the user's name").phrases.is_empty());
}

#[test]
fn any_text_can_be_analysed() {
    for text in
        ["", " ", "\u{0}", "🦀🦀", "::", "..", "a:b:c", "`", "\"", "'", "(((", "C:\\x\\y.rs:3", "\\", "#", "-->"]
    {
        let query = analyse(text);
        assert!(!query.parts.is_empty(), "{text:?}");
    }
    let long = "größe ".repeat(20_000);
    assert!(analyse(&long).parts[0].text.len() <= QUERY_BYTES_MAX);
}

#[test]
fn names_are_split_at_every_change() {
    let split = |text: &str| {
        let mut words = Vec::new();
        split_words(text, &mut |word| words.push(word.to_owned()));
        words.join(" ")
    };
    assert_eq!(split("HTTPServer2"), "http server 2");
    assert_eq!(split("src/parse_configFile.rs"), "src parse config file rs");
    assert_eq!(split("größeÄndern"), "größe ändern");
    assert_eq!(split("--"), "");
}

#[test]
fn a_query_that_asks_for_tests_says_so() {
    assert!(analyse("tests of the router").wants_tests);
    assert!(analyse("example of middleware").wants_tests);
    assert!(!analyse("latest router").wants_tests);
}
