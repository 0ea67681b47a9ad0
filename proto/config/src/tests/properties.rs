//! Properties: whatever comes in, the answer is a configuration or a list of mistakes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use super::{Sandbox, other_value};
use crate::{keys, load};

/// Text that is half syntax, half anything.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,20}", "[0-9a-z:/@,.~\\[\\]{}*\\- ]{0,20}", any::<u64>().prop_map(|n| n.to_string())]
}

fn bytes() -> impl Strategy<Value = OsString> {
    prop_oneof![text().prop_map(OsString::from), prop::collection::vec(any::<u8>(), 0..20).prop_map(OsString::from_vec)]
}

fn yaml_value() -> impl Strategy<Value = String> {
    prop_oneof![
        text(),
        text().prop_map(|text| format!("{text:?}")),
        prop::collection::vec(text(), 0..3).prop_map(|items| format!("{items:?}")),
        (text(), text()).prop_map(|(key, value)| format!("{{{key:?}: {value:?}}}"))
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_environment_and_no_flag_panics(
        settings in prop::collection::vec((0..200_usize, bytes(), any::<bool>()), 0..6),
        other in "[A-Z_]{0,12}",
    ) {
        let sandbox = Sandbox::new();
        let mut inputs = sandbox.inputs(&[]);
        for (index, value, in_env) in settings {
            let key = keys().nth(index % keys().count()).unwrap();
            match in_env {
                true => inputs.env.push((key.env_name().into(), value)),
                false => inputs = inputs.flag(key.path(), "--flag", value),
            }
        }
        inputs.env.push((format!("CONEXUS_{other}").into(), "x".into()));
        if let Err(errors) = load(&inputs) {
            prop_assert_eq!(errors.to_string().lines().count(), errors.mistakes().len());
        }
    }

    #[test]
    fn no_file_panics_and_every_mistake_is_one_line(
        settings in prop::collection::vec((0..200_usize, yaml_value()), 0..6),
        tail in "\\PC{0,30}",
    ) {
        let mut text = String::new();
        for (index, value) in settings {
            let key = keys().nth(index % keys().count()).unwrap();
            for (depth, part) in key.path().split('.').enumerate() {
                text.push_str(&format!("{}{part}:", "  ".repeat(depth)));
                text.push_str(if part == key.name() { " " } else { "\n" });
            }
            text.push_str(&value);
            text.push('\n');
        }
        text.push_str(&tail);
        let sandbox = Sandbox::with_file(&text);
        if let Err(errors) = load(&sandbox.inputs(&[])) {
            prop_assert_eq!(errors.to_string().lines().count(), errors.mistakes().len());
        }
    }

    #[test]
    fn a_wrong_value_of_any_key_is_reported_under_its_name(index in 0..200_usize, junk in "[\u{1}-\u{8}]{1,5}") {
        let key = keys().nth(index % keys().count()).unwrap();
        if !matches!(key.kind(), crate::Kind::Path | crate::Kind::WorkingPath | crate::Kind::SocketPath | crate::Kind::Globs) {
            let sandbox = Sandbox::new();
            let errors = load(&sandbox.inputs(&[(&key.env_name(), &junk)])).unwrap_err();
            prop_assert_eq!(errors.mistakes()[0].key, Some(key.path()));
            prop_assert!(!errors.to_string().contains(&junk), "control characters reach no terminal");
        }
    }

    #[test]
    fn the_more_important_source_decides(index in 0..200_usize, sources in 1..8_u8) {
        let key = keys().nth(index % keys().count()).unwrap();
        let value = other_value(key.path());
        let sandbox = Sandbox::new();
        let besides = super::besides(key.path());
        let mut inputs = sandbox.inputs(besides);
        let mut expect = "file";
        if sources & 1 != 0 {
            let parts: Vec<_> = key.path().split('.').enumerate().map(|(depth, part)| format!("{}{part}:", "  ".repeat(depth))).collect();
            sandbox.write(".config/conexus/config.yml", format!("{} {}", parts.join("\n"), value.0));
        }
        if sources & 2 != 0 {
            inputs.env.push((key.env_name().into(), value.1.into()));
            expect = "environment";
        }
        if sources & 4 != 0 {
            inputs = inputs.flag(key.path(), "--flag", value.1);
            expect = "flag";
        }
        let loaded = load(&inputs).unwrap();
        let origin = loaded.origins[key.path()].to_string();
        prop_assert!(origin.starts_with(expect) || (expect == "file" && origin.starts_with('/')), "{origin}");
    }
}
