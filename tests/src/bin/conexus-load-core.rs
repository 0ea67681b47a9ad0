//! A core that counts what it is told: the telemetry of conexusd without the rest, for tests that know the truth.
//!
//! Takes the socket and the size of a ring as arguments, then frames of [`FRAME_BYTES`] on standard input: one request each. It
//! answers a byte for each, after having counted it. At the end of the input it shuts down and answers `Y` if everything
//! was acknowledged, else `N`.

use std::io::{Read, Write};
use std::time::Duration;

use anyhow::Context;
use conexus_tests::storm::{FRAME_BYTES, Request};
use conexusd::telemetry::{RootInfo, Telemetry, TelemetryOptions};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().context("the first argument is the socket")?;
    let ring_records = arguments.next().context("the second argument is the size of a ring")?.parse()?;
    let options =
        TelemetryOptions { socket: Some(socket.into()), ring_records, serving: true, ..TelemetryOptions::default() };
    let (telemetry, guard) = Telemetry::start(options)?;
    let mut input = std::io::BufReader::new(std::io::stdin().lock());
    let mut output = std::io::stdout().lock();
    let mut frame = [0; FRAME_BYTES];
    while input.read_exact(&mut frame).is_ok() {
        serve(&telemetry, Request::decode(&frame));
        output.write_all(b".")?;
        output.flush()?;
    }
    let report = guard.shutdown(Duration::from_secs(20));
    output.write_all(if report.acknowledged { b"Y" } else { b"N" })?;
    output.flush()?;
    Ok(())
}

fn serve(telemetry: &Telemetry, request: Request) {
    telemetry.emit(request.started());
    if request.spans > 0 {
        let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
        let root = trace.root();
        (1..request.spans).for_each(|_| {
            trace.add(root, "stage", root.start(), root.start());
        });
        trace.finish();
    }
    telemetry.emit(request.finished());
}
