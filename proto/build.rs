//! Compiles `telemetry.proto` with protox, so that no system `protoc` is needed, and keeps the descriptor for gRPC reflection.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=conexus");
    let files = protox::compile(["conexus/telemetry/v1/telemetry.proto"], ["."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    tonic_prost_build::configure().file_descriptor_set_path(out.join("descriptor.bin")).compile_fds(files)?;
    Ok(())
}
