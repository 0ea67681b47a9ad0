//! Filter: which entries of a tree are for the index: ignore files, hidden names, the user's globs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use ignore::{DirEntry, IncrementalIgnore, WalkBuilder};

use super::Scope;
use crate::index::IndexError;

/// The name of the ignore file that only this program reads.
pub const IGNORE_FILE: &str = ".conexusignore";

/// Hidden folders that hold what people search for: automation, tool settings. Others are skipped.
const HIDDEN_FOLDERS: &[&str] = &[
    ".buildkite",
    ".cargo",
    ".changeset",
    ".ci",
    ".circleci",
    ".config",
    ".devcontainer",
    ".docker",
    ".forgejo",
    ".gitea",
    ".github",
    ".gitlab",
    ".husky",
    ".storybook",
    ".vscode",
    ".woodpecker",
];

/// Beginnings of the names of hidden files that are taken: settings of tools, never secrets (`.env`, `.netrc`).
const HIDDEN_FILES: &[&str] = &[
    ".babelrc",
    ".bazelrc",
    ".browserslistrc",
    ".clang-format",
    ".clang-tidy",
    ".clippy",
    ".codecov",
    ".commitlintrc",
    ".conexusignore",
    ".coveragerc",
    ".credo.exs",
    ".dockerignore",
    ".drone.yml",
    ".editorconfig",
    ".eslintrc",
    ".flake8",
    ".formatter.exs",
    ".gitattributes",
    ".gitignore",
    ".gitlab-ci",
    ".gitmodules",
    ".golangci",
    ".goreleaser",
    ".hlint",
    ".jshintrc",
    ".luacheckrc",
    ".markdownlint",
    ".mocharc",
    ".pre-commit-config",
    ".prettierrc",
    ".pylintrc",
    ".readthedocs",
    ".releaserc",
    ".rspec",
    ".rubocop",
    ".rustfmt",
    ".scalafmt",
    ".semaphore",
    ".stylelintrc",
    ".stylish-haskell",
    ".swcrc",
    ".swiftlint",
    ".tool-versions",
    ".travis",
    ".yamllint",
];

/// Which entries of a root are for the index.
#[derive(Clone, Debug)]
pub struct Filter {
    root: PathBuf,
    rules: Arc<Rules>,
    max_file_size: u64,
}

#[derive(Debug)]
struct Rules {
    include: Option<GlobSet>,
    exclude: GlobSet,
    /// The index's own folder, should it stand inside the root.
    own: PathBuf,
}

impl Filter {
    /// A filter for a root (absolute, without symlinks). `include` and `exclude` are globs over paths relative to it;
    /// one without `/` holds for names at any depth, one that matches a folder for all below.
    pub fn new(
        root: &Path,
        own: &Path,
        include: &[String],
        exclude: &[String],
        max_file_size: u64,
    ) -> Result<Self, IndexError> {
        let include = if include.is_empty() { None } else { Some(globs("indexer.include", include)?) };
        let exclude = globs("indexer.ignore", exclude)?;
        let rules = Arc::new(Rules { include, exclude, own: own.to_owned() });
        Ok(Self { root: root.to_owned(), rules, max_file_size })
    }

    /// The root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Larger files are left out.
    pub fn max_file_size(&self) -> u64 {
        self.max_file_size
    }

    /// The walker of a scope.
    pub(crate) fn builder(&self, scope: &Scope) -> WalkBuilder {
        let (filter, scope) = (self.clone(), scope.clone());
        let mut builder = self.plain_builder();
        builder.filter_entry(move |entry| filter.takes_entry(&scope, entry));
        builder
    }

    /// Matches single paths against the ignore files, as they are now.
    pub fn matcher(&self) -> Option<IncrementalIgnore> {
        self.plain_builder().build_matchers().pop()
    }

    fn plain_builder(&self) -> WalkBuilder {
        let mut builder = WalkBuilder::new(&self.root);
        // `.gitignore` files count where git would read them, within a repository: one in a home folder says nothing of
        // the projects below, and packagers leave some in source archives that take out everything.
        builder
            .hidden(false)
            .require_git(true)
            .follow_links(false)
            .add_custom_ignore_filename(IGNORE_FILE)
            .current_dir(&self.root);
        builder
    }

    fn takes_entry(&self, scope: &Scope, entry: &DirEntry) -> bool {
        if entry.depth() == 0 {
            return true;
        }
        let Ok(relative) = entry.path().strip_prefix(&self.root) else { return false };
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        let wanted = scope.contains(relative) || is_folder && scope.is_below(relative);
        wanted && self.takes(relative, is_folder)
    }

    /// Whether names and globs let a path (relative) through; ignore files are not asked.
    pub fn takes(&self, relative: &Path, is_folder: bool) -> bool {
        let Some(name) = relative.file_name() else { return true };
        let included = || self.rules.include.as_ref().is_some_and(|globs| globs.is_match(relative));
        let name = name.as_encoded_bytes();
        if name == b".git" || self.rules.exclude.is_match(relative) || self.root.join(relative) == self.rules.own {
            return false;
        }
        if name[0] == b'.' {
            let known = match is_folder {
                true => HIDDEN_FOLDERS.iter().any(|folder| folder.as_bytes() == name),
                false => HIDDEN_FILES.iter().any(|file| name.starts_with(file.as_bytes())),
            };
            if !known && !included() {
                return false;
            }
        }
        is_folder || self.rules.include.is_none() || included()
    }
}

fn globs(key: &str, patterns: &[String]) -> Result<GlobSet, IndexError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let trimmed = pattern.trim_start_matches("./").trim_end_matches('/');
        let anchored = match trimmed.strip_prefix('/') {
            Some(rest) => rest.to_owned(),
            None if trimmed.contains('/') => trimmed.to_owned(),
            None => format!("**/{trimmed}"),
        };
        for form in [anchored.clone(), format!("{anchored}/**")] {
            let glob = GlobBuilder::new(&form)
                .literal_separator(true)
                .build()
                .map_err(|error| IndexError::Options(format!("{key}: `{pattern}` is not a glob: {}", error.kind())))?;
            set.add(glob);
        }
    }
    set.build().map_err(|error| IndexError::Options(format!("{key}: {error}")))
}
