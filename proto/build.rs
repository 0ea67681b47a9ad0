//! Compiles `telemetry.proto` with protox, so that no system `protoc` is needed, and keeps the descriptor for gRPC reflection.

use std::error::Error;

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=conexus");
    let files = protox::compile(["conexus/telemetry/v1/telemetry.proto"], ["."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptor.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
