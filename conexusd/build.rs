//! Build: from which commit, and with which compiler, is this made? Error reports and `--version` say it.

use std::env::var;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CONEXUS_BUILD_COMMIT");
    println!("cargo::rerun-if-env-changed=CONEXUS_BUILD_RUSTC");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version =
        Command::new(compiler).arg("--version").output().ok().and_then(|output| String::from_utf8(output.stdout).ok());
    // Whoever builds may say it otherwise.
    let said = var("CONEXUS_BUILD_RUSTC").ok().or(version).unwrap_or_default();
    println!("cargo::rustc-env=CONEXUS_BUILD_RUSTC={}", said.trim());
    let commit = var("CONEXUS_BUILD_COMMIT").unwrap_or_default();
    let known: Vec<&str> = [commit.trim(), said.trim()].into_iter().filter(|fact| !fact.is_empty()).collect();
    let number = var("CARGO_PKG_VERSION").expect("cargo sets it for build scripts");
    println!("cargo::rustc-env=CONEXUS_BUILD_VERSION={number} ({})", known.join(", "));
}
