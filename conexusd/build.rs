//! Build: which compiler makes this? Error reports say it.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CONEXUS_BUILD_RUSTC");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version =
        Command::new(compiler).arg("--version").output().ok().and_then(|output| String::from_utf8(output.stdout).ok());
    // Whoever builds may say it otherwise.
    let said = std::env::var("CONEXUS_BUILD_RUSTC").ok().or(version).unwrap_or_default();
    println!("cargo::rustc-env=CONEXUS_BUILD_RUSTC={}", said.trim());
}
