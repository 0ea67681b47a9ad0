//! Peers: who may report to the sidecar, and whose is what stands at its socket's path?

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use conexus_tests::home::Home;
use conexus_tests::python;
use conexus_tests::stack::Sidecar;

/// Connects, says HTTP/2's first words and prints how many bytes come back before the end.
const KNOCK: &str = "s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(sys.argv[1])
try:
    s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    print(len(s.recv(100)))
except OSError:
    print(0)
";

/// As another user, if this is root; a user other than root cannot become another.
fn knock(socket: &std::path::Path, user: Option<u32>) -> String {
    // Another user may not be allowed to read Python's own modules: they come first.
    let change = user.map_or(String::new(), |user| format!("os.setuid({user})"));
    let script = format!("import os, socket, sys\n{change}\n{KNOCK}");
    let mut command = Command::new(python::interpreter());
    command.arg("-c").arg(script).arg(socket).stderr(Stdio::piped());
    let output = command.output().expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_connection_of_another_user_is_refused_whatever_the_files_allow() {
    let home = Home::new();
    let sidecar = Sidecar::start(&home);
    let socket = home.path().join("run/conexus/telemetry.sock");
    assert_ne!(knock(&socket, None), "0", "its own user is answered");
    if !rustix::process::geteuid().is_root() {
        // Only root can be two users. What decides is tested by itself (`only_the_own_user_and_root_may_connect`).
        return;
    }
    // Somebody has opened the way wide; the peer's user still decides.
    for folder in socket.ancestors().skip(1).take_while(|folder| folder.starts_with(home.path())) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    }
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("the socket is ours");
    assert_eq!(knock(&socket, Some(65_534)), "0", "nobody is not answered");
    sidecar.process.wait_for_text("refused a telemetry connection of another user", Duration::from_secs(5));
    assert_ne!(knock(&socket, None), "0", "and its own user still is");
}

#[test]
fn a_stale_socket_is_replaced_and_a_foreign_file_is_left_alone() {
    let home = Home::new();
    let socket = home.path().join("run/conexus/telemetry.sock");
    let mut killed = Sidecar::start(&home);
    killed.process.kill();
    assert!(socket.exists(), "a killed sidecar leaves its socket");
    let mut sidecar = Sidecar::start(&home);
    let (_, status) = sidecar.process.terminate(Duration::from_secs(10));
    assert!(status.success() && !socket.exists());
    fs::write(&socket, "precious").expect("the folder is ours");
    let output = home.command("conexus-sidecar").arg("run").output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("something that is not a socket is there"), "{said}");
    assert_eq!(fs::read_to_string(&socket).expect("it is still there"), "precious");
}
