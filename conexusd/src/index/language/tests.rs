//! Tests of languages: how files are recognised.

use super::Language;

fn check(path: &str, text: &str, name: &str) {
    assert_eq!(Language::detect(path, text).name(), name, "{path}");
}

#[test]
fn extensions_and_names_decide() {
    for (path, name) in [
        ("src/main.rs", "rust"),
        ("a/b.py", "python"),
        ("a.pyi", "python"),
        ("a.mjs", "javascript"),
        ("a.jsx", "javascript"),
        ("a.d.ts", "typescript"),
        ("a.tsx", "tsx"),
        ("app/[slug].tsx", "tsx"),
        ("a.go", "go"),
        ("a.c", "c"),
        ("A.C", "cpp"),
        ("a.hpp", "cpp"),
        ("A.JAVA", "java"),
        ("a.cs", "csharp"),
        ("Rakefile", "ruby"),
        ("a.gemspec", "ruby"),
        ("a.php", "php"),
        ("a.zsh", "bash"),
        (".bashrc", "bash"),
        ("build.gradle.kts", "kotlin"),
        ("a.swift", "swift"),
        ("build.sbt", "scala"),
        ("a.hs", "haskell"),
        ("a.lua", "lua"),
        ("a.exs", "elixir"),
        ("build.zig.zon", "zig"),
        ("README.md", "markdown"),
        ("a.yml", "yaml"),
        ("Cargo.toml", "toml"),
        ("Cargo.lock", "toml"),
        ("Dockerfile", "dockerfile"),
        ("Dockerfile.dev", "dockerfile"),
        ("docker/api.dockerfile", "dockerfile"),
        ("Makefile", "make"),
        ("CMakeLists.txt", "cmake"),
        ("a.proto", "protobuf"),
        ("a.R", "r"),
        ("config.h.in", "c"),
        ("settings.py.tmpl", "python"),
        ("LICENSE", "text"),
        ("notes.txt", "text"),
        ("unknown.qqq", "text"),
        ("no-extension", "text"),
        ("", "text"),
        ("ends.", "text"),
    ] {
        check(path, "", name);
    }
}

#[test]
fn the_text_decides_what_a_path_leaves_open() {
    check("a.h", "#ifndef A_H\nint f(void);\n", "c");
    check("a.h", "#include <vector>\n", "cpp");
    check("a.h", "template <typename T> T f();\n", "cpp");
    check("a.h", "#import <Foundation/Foundation.h>\n@interface A : B\n@end\n", "objective-c");
    check("a.m", "#import \"A.h\"\n@implementation A\n", "objective-c");
    check("a.m", "% squares\nfunction y = f(x)\n  y = x^2;\nend\n", "matlab");
    check("de.ts", "<?xml version=\"1.0\"?>\n<!DOCTYPE TS>\n<TS/>\n", "xml");
    check("a.pl", ":- module(a, []).\n", "prolog");
    check("a.pl", "use strict;\n", "perl");
    check("tool", "#!/usr/bin/env python3\n", "python");
    check("tool", "#!/usr/bin/env -S FOO=1 node --flag\n", "javascript");
    check("tool", "#!/bin/sh -e\n", "bash");
    check("tool", "#!/usr/bin/perl5.36\n", "perl");
    check("tool", "<?php echo 1;", "php");
}

#[test]
fn numbers_are_stable_and_unknown_ones_are_text() {
    for (number, name) in
        [(0, "text"), (1, "rust"), (2, "python"), (7, "c"), (20, "zig"), (21, "markdown"), (25, "html")]
    {
        assert_eq!(Language::from_number(number).name(), name);
    }
    assert_eq!(Language::from_number(255), Language::TEXT);
    for language in Language::all() {
        assert_eq!(Language::from_number(language.number()), language);
        assert_eq!(Language::from_name(language.name()), Some(language));
    }
}

#[test]
fn common_spellings_of_names_are_known() {
    for (name, language) in [
        ("C++", Language::CPP),
        ("c#", Language::CSHARP),
        ("golang", Language::GO),
        (" js ", Language::JAVASCRIPT),
        ("shell", Language::BASH),
        ("yml", Language::YAML),
    ] {
        assert_eq!(Language::from_name(name), Some(language), "{name}");
    }
    assert_eq!(Language::from_name("klingon"), None);
    assert_eq!(Language::from_name(""), None);
}

#[test]
fn asking_for_typescript_includes_tsx_and_not_the_other_way() {
    assert!(Language::TSX.passes(Language::TYPESCRIPT) && !Language::TYPESCRIPT.passes(Language::TSX));
}
