//! Bugsink: a real server that speaks Sentry's protocol, and its API to read back what it got.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::home::Home;
use crate::process::Process;
use crate::{eventually, free_port, python, workspace};

/// A running Bugsink with one project.
#[derive(Debug)]
pub struct Bugsink {
    /// The process.
    pub process: Process,
    address: String,
    token: String,
    project: u64,
    dsn: String,
}

impl Bugsink {
    /// Starts it on a copy of the empty database that `make backends` made.
    pub fn start(home: &Home) -> Self {
        let folder = home.folder("bugsink");
        let template = python::interpreter().ancestors().nth(3).expect("a tool's folder").join("bugsink");
        let copy = |name: &str| {
            let from = template.join(name);
            fs::copy(&from, folder.join(name)).unwrap_or_else(|_| panic!("{}: run `make backends`", from.display()))
        };
        for name in ["db.sqlite3", "snappea.sqlite3", "token"] {
            copy(name);
        }
        let token = fs::read_to_string(folder.join("token")).expect("it was just copied").trim().to_owned();
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(python::interpreter());
        command
            .args(["-m", "gunicorn", "--workers=1", "--bind", &address, "bugsink.wsgi"])
            .env("PYTHONPATH", workspace().join("tests/python"))
            .env("DJANGO_SETTINGS_MODULE", "bugsink_conf")
            .env("BUGSINK_FOLDER", &folder)
            .env("BUGSINK_URL", format!("http://{address}"))
            .current_dir(&folder);
        let process = Process::start("bugsink", command);
        let mut this = Self { process, address, token, project: 0, dsn: String::new() };
        eventually("Bugsink answers", Duration::from_secs(90), || this.get("/api/canonical/0/teams/").ok());
        let team = this.post("/api/canonical/0/teams/", &json!({"name": "conexus"}));
        this.post("/api/canonical/0/projects/", &json!({"name": "conexus", "team": team["id"]}));
        let projects = this.get("/api/canonical/0/projects/").expect("projects are listed");
        let project = projects["results"][0].clone();
        this.project = project["id"].as_u64().unwrap_or_else(|| panic!("a project has a number: {projects}"));
        this.dsn = project["dsn"].as_str().unwrap_or_else(|| panic!("no DSN: {project}")).to_owned();
        this
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where events of the project go.
    pub fn dsn(&self) -> &str {
        &self.dsn
    }

    /// Every event of the project, as it was sent.
    pub fn events(&self) -> Vec<Value> {
        let list = |path: &str| {
            let answer = self.get(path).unwrap_or_default();
            answer["results"].as_array().cloned().unwrap_or_default()
        };
        let mut events = Vec::new();
        for issue in list(&format!("/api/canonical/0/issues/?project={}", self.project)) {
            for event in list(&format!("/api/canonical/0/events/?issue={}", issue["id"].as_str().unwrap_or_default())) {
                let id = event["id"].as_str().unwrap_or_default().to_owned();
                events.push(
                    self.get(&format!("/api/canonical/0/events/{id}/")).expect("a listed event is there")["data"]
                        .clone(),
                );
            }
        }
        events
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        let bearer = format!("Bearer {}", self.token);
        let (status, body) = crate::get_with(&format!("http://{}{path}", self.address), &[("Authorization", &bearer)])?;
        anyhow::ensure!(status == 200, "{status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let url = format!("http://{}{path}", self.address);
        let request = ureq::post(&url).header("Authorization", format!("Bearer {}", self.token));
        let mut answer = request.send_json(body).unwrap_or_else(|error| panic!("{path}: {error}"));
        answer.body_mut().read_json().expect("Bugsink answers JSON")
    }
}

/// Runs Sentry's own normaliser over events and transactions. What it had to say against each, and what it made of it.
pub fn normalised(events: &[Value]) -> Vec<(Vec<String>, Value)> {
    let mut command = python::script("normalise.py");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("Python starts");
    let input = Value::Array(events.to_vec()).to_string();
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("the script reads");
    let output = child.wait_with_output().expect("the script ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).expect("the script answers JSON");
    let errors = |answer: &Value| {
        let errors = answer["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error.as_str().unwrap_or_default().to_owned()).collect()
    };
    answers.into_iter().map(|answer| (errors(&answer), answer["event"].clone())).collect()
}
