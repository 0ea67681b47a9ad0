//! The result cache: a question asked before in, its ranking out, as long as the index has not moved.

use std::borrow::Borrow;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::rank::Ranked;
use super::{Filters, SearchRequest, WorkContext};

/// A map of bounded size that forgets what was used longest ago. Shared between threads.
pub struct Lru<K: Hash + Eq, V: Clone>(Option<Mutex<lru::LruCache<K, V>>>);

impl<K: Hash + Eq, V: Clone> Lru<K, V> {
    /// A map of at most `entries`; with 0 it keeps nothing.
    pub fn new(entries: usize) -> Self {
        Self(NonZeroUsize::new(entries).map(|entries| Mutex::new(lru::LruCache::new(entries))))
    }

    /// The value of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.with(|map| map.get(key).cloned()).flatten()
    }

    /// Adds or replaces.
    pub fn insert(&self, key: K, value: V) {
        self.with(|map| map.put(key, value));
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.with(|map| map.len()).unwrap_or(0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn clear(&self) {
        self.with(lru::LruCache::clear);
    }

    fn with<R>(&self, act: impl FnOnce(&mut lru::LruCache<K, V>) -> R) -> Option<R> {
        // A panic while the lock was held leaves a valid map: every operation on it is complete or not begun.
        self.0.as_ref().map(|map| act(&mut map.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Everything that a ranking depends on but the index. The page and the token budget only cut it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    query: String,
    filters: FilterKey,
    active_file: Option<String>,
    git_branch: Option<String>,
    tickets: Vec<String>,
}

/// Filters, in an order that does not depend on how they were written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilterKey {
    source_types: Vec<String>,
    languages: Vec<String>,
    paths: Vec<String>,
    modified: (Option<SystemTime>, Option<SystemTime>),
}

impl Key {
    /// The key of a request.
    pub fn of(request: &SearchRequest) -> Self {
        let WorkContext { active_file, git_branch, open_ticket_ids } = &request.work_context;
        Self {
            query: request.query.trim().to_owned(),
            filters: FilterKey::of(&request.filters),
            active_file: active_file.clone(),
            git_branch: git_branch.clone(),
            tickets: sorted(open_ticket_ids),
        }
    }
}

impl FilterKey {
    /// The key of filters.
    pub fn of(filters: &Filters) -> Self {
        Self {
            source_types: sorted(&filters.source_types),
            languages: sorted(&filters.languages),
            paths: sorted(&filters.paths),
            modified: (filters.modified_from, filters.modified_to),
        }
    }
}

fn sorted(texts: &[String]) -> Vec<String> {
    let mut texts = texts.to_vec();
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// Rankings of one generation of the index.
pub struct ResultCache {
    rankings: Lru<Key, (u64, Arc<Vec<Ranked>>)>,
    generation: Mutex<u64>,
}

impl ResultCache {
    /// A cache of at most `entries` rankings.
    pub fn new(entries: usize) -> Self {
        Self { rankings: Lru::new(entries), generation: Mutex::new(0) }
    }

    /// The ranking of a request on this generation. The first look at a newer generation empties the cache.
    pub fn get(&self, key: &Key, generation: u64) -> Option<Arc<Vec<Ranked>>> {
        self.follow(generation);
        self.rankings.get(key).filter(|(made_from, _)| *made_from == generation).map(|(_, ranking)| ranking)
    }

    /// Keeps a ranking.
    pub fn insert(&self, key: Key, generation: u64, ranking: Arc<Vec<Ranked>>) {
        self.rankings.insert(key, (generation, ranking));
    }

    /// How many rankings are kept.
    pub fn len(&self) -> usize {
        self.rankings.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.rankings.is_empty()
    }

    fn follow(&self, generation: u64) {
        let mut seen = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen != generation {
            *seen = generation;
            self.rankings.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str) -> SearchRequest {
        SearchRequest {
            query: query.to_owned(),
            top_k: 10,
            offset: 0,
            filters: Filters::default(),
            work_context: WorkContext::default(),
            max_tokens: None,
            cache: true,
        }
    }

    fn ranking() -> Arc<Vec<Ranked>> {
        Arc::new(Vec::new())
    }

    #[test]
    fn a_ranking_is_found_again_until_the_index_moves() {
        let cache = ResultCache::new(4);
        let key = Key::of(&request("a"));
        cache.insert(key.clone(), 1, ranking());
        cache.insert(Key::of(&request("b")), 1, ranking());
        assert!(cache.get(&key, 1).is_none(), "the first look follows the generation");
        cache.insert(key.clone(), 1, ranking());
        assert!(cache.get(&key, 1).is_some());
        assert!(cache.get(&key, 2).is_none());
        assert!(cache.is_empty(), "a moved index drops everything");
    }

    #[test]
    fn a_ranking_made_on_an_older_generation_never_answers() {
        let cache = ResultCache::new(4);
        let key = Key::of(&request("a"));
        assert!(cache.get(&key, 2).is_none());
        cache.insert(key.clone(), 1, ranking());
        assert!(cache.get(&key, 2).is_none());
    }

    #[test]
    fn the_key_ignores_pages_budgets_outer_blanks_and_the_order_of_filters() {
        let mut a = request(" x ");
        let mut b = request("x");
        a.filters.languages = vec!["rust".into(), "go".into()];
        b.filters.languages = vec!["go".into(), "rust".into(), "go".into()];
        b.offset = 20;
        b.max_tokens = Some(10);
        assert_eq!(Key::of(&a), Key::of(&b));
        b.filters.paths = vec!["src/**".into()];
        assert_ne!(Key::of(&a), Key::of(&b));
        let mut c = request("x");
        c.work_context.git_branch = Some("main".into());
        assert_ne!(Key::of(&c), Key::of(&request("x")));
    }

    #[test]
    fn the_entry_used_longest_ago_goes_first_and_no_entries_keep_nothing() {
        let lru = Lru::new(2);
        lru.insert(1, 'a');
        lru.insert(2, 'b');
        assert_eq!(lru.get(&1), Some('a'));
        lru.insert(3, 'c');
        assert_eq!((lru.get(&1), lru.get(&2), lru.get(&3)), (Some('a'), None, Some('c')));
        let none = Lru::new(0);
        none.insert(1, 'a');
        assert_eq!(none.get(&1), None);
    }
}
