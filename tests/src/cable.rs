//! Cable: a socket between core and sidecar that is cut, late and torn into pieces, as a seed says.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::storm::Seeded;

/// The most bytes that a connection carries in one direction before it is cut.
const BYTES_MAX: u64 = 300_000;

/// A listening socket whose connections end at another.
#[derive(Debug)]
pub struct Cable {
    path: PathBuf,
    calm: Arc<AtomicBool>,
    cuts: Arc<AtomicU64>,
}

impl Cable {
    /// Listens at `path` and passes everything on to `to`.
    pub fn start(path: &Path, to: &Path, seed: u64) -> Self {
        let listener = UnixListener::bind(path).expect("the path is free");
        let (calm, cuts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let cable = Self { path: path.to_owned(), calm: Arc::clone(&calm), cuts: Arc::clone(&cuts) };
        let (to, mut seeded) = (to.to_owned(), Seeded(seed));
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // No sidecar at the moment: the core sees a connection that ends.
                let Ok(far) = UnixStream::connect(&to) else { continue };
                let (Ok(near_back), Ok(far_back)) = (near.try_clone(), far.try_clone()) else { continue };
                for (from, to) in [(near, far), (far_back, near_back)] {
                    let seeded = Seeded(seeded.below(u64::MAX));
                    let (calm, cuts) = (Arc::clone(&calm), Arc::clone(&cuts));
                    std::thread::spawn(move || carry(from, to, seeded, &calm, &cuts));
                }
            }
        });
        cable
    }

    /// Cuts nothing from now on.
    pub fn calm(&self) {
        self.calm.store(true, Ordering::Release);
    }

    /// How often it was cut.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn carry(mut from: UnixStream, mut to: UnixStream, mut seeded: Seeded, calm: &AtomicBool, cuts: &AtomicU64) {
    let mut left = seeded.below(BYTES_MAX);
    let mut buffer = [0; 8192];
    loop {
        let piece = 1 + seeded.below(buffer.len() as u64) as usize;
        let Ok(read @ 1..) = from.read(&mut buffer[..piece]) else { break };
        let calm = calm.load(Ordering::Acquire);
        if !calm && seeded.below(8) == 0 {
            std::thread::sleep(Duration::from_micros(seeded.below(4_000)));
        }
        let carried = if calm { read } else { read.min(left as usize) };
        if to.write_all(&buffer[..carried]).is_err() {
            break;
        }
        left = left.saturating_sub(carried as u64);
        if carried < read {
            cuts.fetch_add(1, Ordering::AcqRel);
            break;
        }
    }
    // Both directions end, as when a process dies.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
