//! Trees: small repositories that tests index.

use std::fs;
use std::path::{Path, PathBuf};

use conexus_tests::home::Home;

/// A repository of a few files in several languages, in the home's temporary folder.
pub(crate) fn small(home: &Home) -> PathBuf {
    let root = home.folder("project");
    write(
        &root,
        "src/session.rs",
        "//! Sessions.\n\n/// Ends every session that has not been used for an hour.\npub fn expire_idle_sessions(store: &mut Store) -> usize {\n    store.retain(|session| session.idle() < HOUR)\n}\n\n/// One user's session.\npub struct Session {\n    token: String,\n}\n",
    );
    write(
        &root,
        "src/config.py",
        "\"\"\"Reading the configuration.\"\"\"\n\n\ndef parse_config(text):\n    \"\"\"Turns the text of a configuration file into a dictionary.\"\"\"\n    return dict(line.split('=', 1) for line in text.splitlines() if line)\n",
    );
    write(
        &root,
        "web/client.ts",
        "export class HttpClient {\n  /** Sends a request and retries when the server is busy. */\n  async send(url: string): Promise<Response> {\n    return await fetch(url);\n  }\n}\n",
    );
    write(
        &root,
        "docs/guide.md",
        "# Guide\n\n## Installing\n\nCopy the program to a folder of your path.\n\n## Rate limits\n\nA client may send ten requests a second.\n",
    );
    root
}

/// Writes a file and the folders above it.
pub(crate) fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a temporary folder takes folders");
    fs::write(path, text).expect("a temporary folder takes files");
}
