//! Does reporting a request call the system, or wait for a lock that another thread has? The kernel says.
//!
//! The reporting thread gives up all system calls but `read` and `write` (a seccomp filter): another one would end it on the
//! spot. A lock that is taken is waited for with a system call, so there is none of these either.

use std::io::{Read, Write};
use std::time::Duration;

use conexus_proto::facts::{Fact, Method};
use conexusd::telemetry::{Telemetry, TelemetryOptions};
use tracing_subscriber::layer::SubscriberExt;

#[path = "telemetry/request.rs"]
mod request;

use request::request;

/// From now on any system call of this thread but `read` and `write` ends it.
fn give_up_system_calls() {
    let step = |code: u32, yes: u8, k: u32| libc::sock_filter { code: code as u16, jt: yes, jf: 0, k };
    let is = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    let mut steps = [
        // The call's number stands at the beginning of what a filter sees.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(is, 2, libc::SYS_read as u32),
        step(is, 1, libc::SYS_write as u32),
        step(answer, 0, libc::SECCOMP_RET_KILL_THREAD),
        step(answer, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: prctl reads its arguments and the program, which outlives the calls.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    assert!(done, "seccomp: {}", std::io::Error::last_os_error());
}

#[test]
fn a_request_is_reported_without_a_system_call() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        TelemetryOptions { socket: Some(folder.path().join("run/absent.sock")), ..TelemetryOptions::default() };
    let (telemetry, _guard) = Telemetry::start(options).unwrap();
    let (mut done, mut tell) = std::io::pipe().unwrap();
    let (mut never, _open) = std::io::pipe().unwrap();
    let reporting = telemetry.clone();
    std::thread::spawn(move || {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(reporting.layer()), || {
            // The first requests open the thread's table, ring and buffers.
            (0..3).for_each(|_| request(&reporting));
            give_up_system_calls();
            // More than a ring holds: what is dropped costs no system call either.
            (0..20_000).for_each(|_| request(&reporting));
            let _ = tell.write_all(b"done");
            // A thread's end needs system calls, so this one waits until the process ends.
            let _ = never.read(&mut [0]);
        });
    });
    // The pipe of a thread that was ended so stays open, so its end is waited for elsewhere and not for ever.
    let (heard, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut said = [0; 4];
        let _ = heard.send(done.read(&mut said).map(|_| said));
    });
    let said = hear.recv_timeout(Duration::from_secs(120)).expect("a system call ended the thread");
    assert_eq!(said.unwrap(), *b"done");
    assert_eq!(telemetry.snapshot().count(Fact::RequestStarted { method: Method::ContextSearch }), 20_003);
}
