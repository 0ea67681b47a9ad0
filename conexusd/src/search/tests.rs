mod real;
mod spans;

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::index::chunk::Kind;
use crate::index::embed::{EmbedderOptions, StaticOptions, build};
use crate::index::run::{Run, RunControl};
use crate::index::{Index, IndexOptions};

/// An indexed tree and an engine over it.
struct Fixture {
    index: Arc<Index>,
    engine: SearchEngine,
    _folders: Vec<TempDir>,
}

impl Fixture {
    fn over(root: &Path, folders: Vec<TempDir>) -> Self {
        Self::reporting(root, folders, Telemetry::detached())
    }

    fn reporting(root: &Path, mut folders: Vec<TempDir>, telemetry: Telemetry) -> Self {
        let database = TempDir::new().expect("a temporary folder");
        let embedder = build(EmbedderOptions::Static(StaticOptions::default()), telemetry.clone()).expect("the model");
        let options = IndexOptions::new(root, database.path()).expect("options");
        let index = Index::open(options, Arc::clone(&embedder), telemetry.clone()).expect("an index");
        index.run(&Run::All, &Arc::new(RunControl::new())).expect("a run");
        index.settle(Duration::from_secs(60)).expect("a settled index");
        let engine = SearchEngine::new(Options::default(), index.current(), embedder, telemetry);
        folders.push(database);
        Self { index, engine, _folders: folders }
    }

    fn of(files: &[(&str, &str)]) -> Self {
        let root = TempDir::new().expect("a temporary folder");
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("a file");
        }
        let path = root.path().to_owned();
        Self::over(&path, vec![root])
    }

    fn ask(&self, request: &SearchRequest) -> SearchResponse {
        self.try_ask(request).expect("an answer")
    }

    fn try_ask(&self, request: &SearchRequest) -> Result<SearchResponse, SearchError> {
        self.engine.search(request, &mut self.engine.telemetry.trace("mcp.search"))
    }

    fn first_path(&self, query: &str) -> String {
        self.ask(&request(query)).results.first().map(|result| result.path.clone()).unwrap_or_default()
    }
}

fn request(query: &str) -> SearchRequest {
    SearchRequest {
        query: query.to_owned(),
        top_k: 20,
        offset: 0,
        filters: Filters::default(),
        work_context: WorkContext::default(),
        max_tokens: None,
        cache: false,
    }
}

/// The sources of this very crate: a real repository.
fn own_sources() -> &'static Fixture {
    static OWN: OnceLock<Fixture> = OnceLock::new();
    OWN.get_or_init(|| Fixture::over(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), Vec::new()))
}

fn shop() -> &'static Fixture {
    static SHOP: OnceLock<Fixture> = OnceLock::new();
    SHOP.get_or_init(|| {
        Fixture::of(&[
            ("src/cart.py", "class Cart:\n    \"\"\"Holds what a customer wants to buy.\"\"\"\n\n    def add_item(self, item, count=1):\n        self.items.append((item, count))\n\n    def total_price(self):\n        return sum(item.price * count for item, count in self.items)\n"),
            ("src/payment/card.py", "def charge_card(card, amount):\n    if amount <= 0:\n        raise ValueError(\"amount must be positive\")\n    return gateway.submit(card, amount)\n"),
            ("src/payment/refund.py", "def refund(charge):\n    return gateway.reverse(charge)\n"),
            ("src/app.js", "export function startServer(port) {\n  return listen(port);\n}\n"),
            ("tests/test_cart.py", "def test_add_item():\n    cart = Cart()\n    cart.add_item(apple)\n    assert cart.total_price() == 1\n"),
            ("docs/cart.md", "# Cart\n\nThe cart holds items. See add_item.\n"),
            ("settings.toml", "[cart]\nmax_items = 10\n"),
        ])
    })
}

/// Another engine over the shop, whose order is made from less.
fn shop_by(method: Method) -> SearchEngine {
    let shop = shop();
    let options = Options { method, ..Options::default() };
    SearchEngine::new(options, shop.index.current(), Arc::clone(shop.index.embedder()), Telemetry::detached())
}

#[test]
fn each_method_asks_only_the_lanes_that_it_names() {
    let found = |method: Method, query: &str| {
        let engine = shop_by(method);
        let response = engine.search(&request(query), &mut engine.telemetry.trace("mcp.search")).expect("an answer");
        response.results.into_iter().map(|result| result.path).collect::<Vec<_>>()
    };
    // No file has this word, but the table knows what it is about.
    let meaning = "purchases";
    assert_eq!(found(Method::Words, meaning), Vec::<String>::new());
    assert_eq!(found(Method::FullWithoutVectors, meaning), Vec::<String>::new());
    for method in [Method::Vectors, Method::Fused, Method::Full] {
        assert!(!found(method, meaning).is_empty(), "{method:?}");
    }
    for method in [Method::Words, Method::Fused, Method::FullWithoutVectors, Method::Full] {
        assert_eq!(found(method, "charge_card amount positive")[0], "src/payment/card.py", "{method:?}");
    }
}

#[test]
fn a_fused_order_shows_each_file_before_any_file_twice() {
    let own = own_sources();
    let options = Options { method: Method::Fused, ..Options::default() };
    let engine =
        SearchEngine::new(options, own.index.current(), Arc::clone(own.index.embedder()), Telemetry::detached());
    let asked = SearchRequest { top_k: 100, ..request("how are vectors and words fused into one order") };
    let response = engine.search(&asked, &mut engine.telemetry.trace("mcp.search")).expect("an answer");
    let paths: Vec<&str> = response.results.iter().map(|result| result.path.as_str()).collect();
    let distinct: HashSet<&str> = paths.iter().copied().collect();
    assert!(paths.len() > 30, "only {}", paths.len());
    let first: HashSet<&str> = paths.iter().copied().take(distinct.len()).collect();
    assert_eq!(first, distinct);
    assert!(response.results.windows(2).all(|pair| pair[0].score >= pair[1].score));
}

#[test]
fn for_an_exact_symbol_one_of_its_definitions_is_first() {
    let own = own_sources();
    let snapshot = own.index.snapshot();
    let mut names = HashSet::new();
    for file in snapshot.live_files() {
        for definition in snapshot.file_parsed(file).expect("what was parsed").definitions {
            if !matches!(definition.kind, Kind::Field | Kind::Section | Kind::Block) {
                names.insert(definition.name.to_string());
            }
        }
    }
    let mut names: Vec<String> =
        names.into_iter().filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_')).collect();
    names.sort_unstable();
    assert!(names.len() > 500, "only {} names", names.len());
    for name in names.iter().step_by(9) {
        let response = own.ask(&request(name));
        let first = response.results.first().unwrap_or_else(|| panic!("nothing for {name}"));
        let file = snapshot.find_file(&first.path).expect("a file");
        let defined = snapshot.definitions(name, 1_000).into_iter().any(|hit| {
            hit.file == file && hit.same_case && first.start_line <= hit.start_line && hit.start_line <= first.end_line
        });
        assert!(defined, "{name}: {} is first", first.id);
    }
}

#[test]
fn a_qualified_symbol_is_found_where_its_qualifier_says() {
    let own = own_sources();
    let first = &own.ask(&request("ResultCache::insert")).results[0];
    assert_eq!(first.path, "search/cache.rs");
    assert!(first.content.contains("pub fn insert(&self, key: Key"), "{}", first.content);
}

#[test]
fn each_kind_of_question_finds_its_file() {
    let shop = shop();
    for (query, expect) in [
        ("total_price", "src/cart.py"),
        ("Cart.add_item()", "src/cart.py"),
        ("src/payment/refund.py", "src/payment/refund.py"),
        ("card.py:2", "src/payment/card.py"),
        ("ValueError: amount must be positive", "src/payment/card.py"),
        (
            "Traceback (most recent call last):\n  File \"/srv/shop/src/app.py\", line 3, in <module>\n    main()\n  File \"/srv/shop/src/payment/refund.py\", line 2, in refund\n    return gateway.reverse(charge)\nNameError: name 'gateway' is not defined",
            "src/payment/refund.py",
        ),
        ("how is the price of everything a customer buys summed up", "src/cart.py"),
        ("where does startServer listen", "src/app.js"),
        ("tests of the cart", "tests/test_cart.py"),
    ] {
        assert_eq!(shop.first_path(query), expect, "{query}");
    }
}

#[test]
fn any_text_has_an_answer_and_none_is_an_error() {
    let shop = shop();
    for query in [
        "🦀",
        "->",
        "\"",
        "'; drop table",
        "\u{0}",
        "(((((",
        "a",
        "*",
        "C:\\x",
        "\\",
        "größe",
        "検索",
        "OR AND NOT",
        "+-&&||!(){}[]^\"~*?:\\/",
    ] {
        let response = shop.ask(&request(query));
        assert_eq!(response.has_more, response.total_count > response.results.len(), "{query}");
    }
    let long = "The cart loses items. ".repeat(500);
    assert!(!shop.ask(&request(&long)).results.is_empty());
    assert!(matches!(shop.try_ask(&request("")), Err(SearchError::EmptyQuery)));
    assert!(shop.ask(&request("  \n\t")).results.is_empty());
    for top_k in [0, 101] {
        let error = shop.try_ask(&SearchRequest { top_k, ..request("cart") }).expect_err("an error");
        assert!(error.is_request() && error.to_string().contains("1 to 100"), "{error}");
    }
}

#[test]
fn pages_are_disjoint_slices_of_one_ranking() {
    let own = own_sources();
    let whole = own.ask(&SearchRequest { top_k: 100, ..request("how does the ring drop records") });
    assert!(whole.total_count > 60 && whole.total_count <= rank::RANKING_MAX, "{}", whole.total_count);
    let mut ids = Vec::new();
    for offset in (0..whole.total_count).step_by(7) {
        let page = own.ask(&SearchRequest { top_k: 7, offset, ..request("how does the ring drop records") });
        assert_eq!((page.total_count, page.offset, page.limit), (whole.total_count, offset, 7));
        assert_eq!(page.has_more, offset + page.results.len() < whole.total_count);
        ids.extend(page.results.into_iter().map(|result| result.id));
    }
    assert_eq!(ids.len(), whole.total_count);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    assert!(whole.results.iter().zip(&ids).all(|(result, id)| result.id == *id));
    let beyond = own.ask(&SearchRequest { offset: 5_000, ..request("ring") });
    assert!(beyond.results.is_empty() && !beyond.has_more && beyond.total_count > 0);
}

#[test]
fn results_never_overlap_and_scores_never_rise() {
    let response = own_sources().ask(&SearchRequest { top_k: 100, ..request("snapshot of the index") });
    for (i, a) in response.results.iter().enumerate() {
        for b in &response.results[..i] {
            assert!(
                a.path != b.path || a.start_line > b.end_line || a.end_line < b.start_line,
                "{} and {}",
                a.id,
                b.id
            );
            assert!(a.score <= b.score);
        }
    }
    let first_ten: HashSet<_> = response.results.iter().take(10).map(|result| &result.path).collect();
    assert_eq!(first_ten.len(), 10);
}

#[test]
fn filters_filter_in_both_lanes() {
    let shop = shop();
    let paths = |filters: Filters| {
        let mut paths: Vec<_> = shop
            .ask(&SearchRequest { filters, ..request("cart") })
            .results
            .into_iter()
            .map(|result| result.path)
            .collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    };
    let of = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(paths(Filters { source_types: of(&["docs"]), ..Filters::default() }), ["docs/cart.md"]);
    assert_eq!(paths(Filters { source_types: of(&["test"]), ..Filters::default() }), ["tests/test_cart.py"]);
    assert_eq!(paths(Filters { languages: of(&["JavaScript"]), ..Filters::default() }), ["src/app.js"]);
    assert_eq!(
        paths(Filters { paths: of(&["src/payment/**"]), ..Filters::default() }),
        ["src/payment/card.py", "src/payment/refund.py"]
    );
    assert_eq!(
        paths(Filters { paths: of(&["src/payment"]), ..Filters::default() }),
        ["src/payment/card.py", "src/payment/refund.py"]
    );
    assert_eq!(
        paths(Filters { paths: of(&["*.md", "*.toml"]), ..Filters::default() }),
        ["docs/cart.md", "settings.toml"]
    );
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    assert!(paths(Filters { modified_from: Some(tomorrow), ..Filters::default() }).is_empty());
    assert_eq!(paths(Filters { modified_to: Some(tomorrow), ..Filters::default() }).len(), 7);
}

#[test]
fn a_bad_filter_says_what_is_allowed() {
    let shop = shop();
    let error = |filters: Filters| {
        shop.try_ask(&SearchRequest { filters, ..request("cart") }).expect_err("an error").to_string()
    };
    let language = error(Filters { languages: vec!["pyton".into()], ..Filters::default() });
    assert!(language.contains("pyton") && language.contains("python"), "{language}");
    let source = error(Filters { source_types: vec!["sources".into()], ..Filters::default() });
    assert!(source.contains("code, docs, config, test"), "{source}");
    let glob = error(Filters { paths: vec!["src/[".into()], ..Filters::default() });
    assert!(glob.contains("src/["), "{glob}");
    let now = SystemTime::now();
    let range =
        Filters { modified_from: Some(now), modified_to: Some(now - Duration::from_secs(1)), ..Filters::default() };
    assert!(error(range).contains("date_range"));
}

#[test]
fn a_work_context_moves_results_and_removes_none() {
    let shop = shop();
    let work_context = WorkContext {
        active_file: Some("src/payment/refund.py".into()),
        git_branch: Some("feature/refund-cards".into()),
        open_ticket_ids: vec!["SHOP-12".into()],
    };
    let ids =
        |request: &SearchRequest| shop.ask(request).results.into_iter().map(|result| result.id).collect::<HashSet<_>>();
    let plain = request("gateway");
    assert_eq!(ids(&plain), ids(&SearchRequest { work_context: work_context.clone(), ..plain.clone() }));
    let query = own_sources().ask(&request("gateway"));
    assert!(query.total_count > 0);
}

#[test]
fn a_token_budget_cuts_whole_lines_and_says_so() {
    let shop = shop();
    let response = shop.ask(&SearchRequest { max_tokens: Some(40), ..request("cart add_item total_price") });
    let bytes: usize = response.results.iter().map(|result| result.content.len()).sum();
    assert!(bytes <= 160, "{bytes}");
    assert!(response.results.iter().any(|result| result.truncated));
    let full = shop.ask(&request("cart add_item total_price"));
    for (cut, whole) in response.results.iter().zip(&full.results) {
        assert_eq!(cut.id, whole.id);
        assert!(whole.content.starts_with(&cut.content) && !whole.truncated);
    }
}

#[test]
fn a_function_is_shown_whole_and_a_method_with_what_encloses_it() {
    let own = own_sources();
    let first = &own.ask(&request("floor_lines_probe_that_does_not_exist fn fuse")).results[0];
    assert!(!first.content.is_empty());
    let fuse = &own.ask(&request("fuse")).results[0];
    assert!(fuse.content.contains("pub fn fuse(") && fuse.content.contains("fused.sort_by"), "{}", fuse.content);
}

#[test]
fn the_same_question_twice_gives_the_same_answer_from_the_cache() {
    let shop = Fixture::of(&[("a.py", "def alpha():\n    return 1\n"), ("b.py", "def beta():\n    return alpha()\n")]);
    let cached = SearchRequest { cache: true, ..request("alpha") };
    let ids = |response: SearchResponse| response.results.into_iter().map(|result| result.id).collect::<Vec<_>>();
    let first = ids(shop.ask(&cached));
    assert_eq!(shop.engine.rankings.len(), 1);
    assert_eq!(ids(shop.ask(&cached)), first);
    assert_eq!(ids(shop.ask(&request("alpha"))), first, "a search without the cache agrees");
    std::fs::write(shop.index.root().join("c.py"), "def alpha():\n    return 3\n").expect("a file");
    shop.index.run(&Run::All, &Arc::new(RunControl::new())).expect("a run");
    assert!(ids(shop.ask(&cached)).iter().any(|id| id.starts_with("c.py")), "a moved index is asked again");
}
