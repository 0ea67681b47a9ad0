//! Standard input and output: lines by hand, as owner of the index and as bridge to another process that is it.

use std::io::{BufRead as _, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use conexus_tests::eventually;
use conexus_tests::home::Home;
use conexus_tests::stack::Core;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::tree;

const SOON: Duration = Duration::from_secs(30);

/// A `conexusd mcp` and its client's ends of the pipes.
struct Served {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<Value>,
    log: Receiver<Value>,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn start(home: &Home, root: &std::path::Path) -> Self {
        let mut command = home.command("conexusd");
        command.arg("mcp").arg("--root").arg(root);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("conexusd starts");
        let answers = lines(child.stdout.take().expect("it is piped"));
        let log = lines(child.stderr.take().expect("it is piped"));
        let mut served = Self { input: child.stdin.take(), child, answers, log };
        let hello =
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        served
            .write(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}).to_string().as_bytes());
        assert_eq!(served.answer()["id"], 0);
        served.write(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        served
    }

    fn write(&mut self, line: &[u8]) {
        let input = self.input.as_mut().expect("it is open");
        input.write_all(line).and_then(|()| input.write_all(b"\n")).expect("it reads");
    }

    #[track_caller]
    fn answer(&self) -> Value {
        self.answers.recv_timeout(SOON).expect("there is an answer")
    }

    #[track_caller]
    fn ping(&mut self, id: u64) {
        self.write(json!({"jsonrpc": "2.0", "id": id, "method": "ping"}).to_string().as_bytes());
        assert_eq!(self.answer(), json!({"jsonrpc": "2.0", "id": id, "result": {}}));
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a child has a process id");
        kill_process(pid, signal).expect("it runs");
    }

    /// Closes standard input and waits for the end: whether it is a success, and how long it took.
    fn close(&mut self) -> (bool, Duration) {
        let start = Instant::now();
        self.input = None;
        let status = eventually("it ends", SOON, || self.child.try_wait().expect("it is our child"));
        (status.success(), start.elapsed())
    }

    /// Most bytes of memory that it ever had.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says it");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

/// Each line, as JSON, as soon as it is there.
fn lines(reader: impl std::io::Read + Send + 'static) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            let value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if sender.send(value).is_err() {
                return;
            }
        }
    });
    receiver
}

fn reread(log: &Receiver<Value>) -> String {
    let end = Instant::now() + SOON;
    loop {
        let line = log.recv_timeout(end - Instant::now()).expect("it is said that the level was read again");
        if line["message"] == "the log level was read again" {
            return line["log_level"].as_str().expect("the level is named").to_owned();
        }
    }
}

#[test]
fn a_hangup_changes_the_log_level_of_an_owner_and_kills_no_bridge() {
    let home = Home::new();
    let root = tree::small(&home);
    let (mut owner, mut bridge) = (Served::start(&home, &root), Served::start(&home, &root));
    home.write_config("observability:\n  log_level: debug\n");
    owner.signal(Signal::HUP);
    bridge.signal(Signal::HUP);
    assert_eq!(reread(&owner.log), "debug");
    bridge.ping(1);
    owner.ping(1);
    assert!(owner.close().0);
    bridge.ping(2);
    assert_eq!(reread(&bridge.log), "debug", "the next owner heard it before it had a level");
    assert!(bridge.close().0);
}

#[test]
fn what_cannot_be_answered_under_its_id_is_answered_once_and_holds_up_no_end() {
    let home = Home::new();
    let root = tree::small(&home);
    let core = Core::start(&home, &root);
    let mut bridge = Served::start(&home, &root);
    bridge.write(br#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#);
    let refused = bridge.answer();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&Value::Null, &json!(-32600)), "{refused}");
    drop(core);
    bridge.ping(1);
    bridge.write(br#"{"jsonrpc":"2.0","id":2.5,"method":"ping"}"#);
    let (well, took) = bridge.close();
    assert!(well && took < Duration::from_secs(10), "{took:?}");
    let last: Vec<Value> = bridge.answers.iter().collect();
    assert_eq!(last.len(), 1, "{last:?}");
    assert_eq!((&last[0]["id"], &last[0]["error"]["code"]), (&Value::Null, &json!(-32600)));
}

#[test]
fn a_message_of_any_length_takes_little_memory_of_a_bridge_and_is_answered_as_by_a_server() {
    let home = Home::new();
    let root = tree::small(&home);
    let mut owner = Served::start(&home, &root);
    let mut bridge = Served::start(&home, &root);
    bridge.ping(1);
    let before = bridge.memory();
    bridge.write(&[br#"{"jsonrpc":"2.0","id":2,"method":"ping","x":""#.as_slice(), &[b'x'; 64 << 20], b"\"}"].concat());
    let refused = bridge.answer();
    assert_eq!(refused["error"]["message"], "the message is longer than 4194304 bytes", "{refused}");
    bridge.ping(3);
    let grown = bridge.memory() - before;
    assert!(grown < 24 << 20, "{grown} bytes for one message");
    owner.write(&[b'x'; 5 << 20]);
    assert_eq!(owner.answer(), refused, "the owner of the index says the same");
    let (well, took) = bridge.close();
    assert!(well && took < Duration::from_secs(10), "{took:?}");
}
