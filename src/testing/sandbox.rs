//! The local AWS of `tests/sandbox` under a Rust test: a process that the test starts and that ends with it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::Access;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A running sandbox.
pub(crate) struct Sandbox {
    process: Child,
    endpoint: String,
    directory: TempDir,
}

impl Sandbox {
    /// Starts one with what the seed says, and waits until it serves. It also ends when the calling thread does.
    pub(crate) fn start(seed: &Value) -> Sandbox {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/sandbox-venv/bin/python");
        assert!(python.exists(), "the sandbox is not set up: run `scripts/setup python postgres`");
        let directory = tempfile::tempdir().unwrap();
        let seed_file = directory.path().join("seed.json");
        std::fs::write(&seed_file, seed.to_string()).unwrap();
        let mut command = Command::new(python);
        command
            .args(["-m", "sandbox", "--die-with-parent", "--seed"])
            .arg(&seed_file)
            .current_dir(directory.path())
            .env("PYTHONPATH", root.join("tests/sandbox"))
            .env_remove("AWS_CA_BUNDLE")
            .stdout(Stdio::piped())
            .stderr(File::create(directory.path().join("errors")).unwrap());
        // Clusters come and go more quickly in memory than on a disk.
        if rustix::fs::access("/dev/shm", Access::WRITE_OK).is_ok() {
            command.env("SANDBOX_TMP", "/dev/shm");
        }
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut sandbox = Sandbox { process, endpoint: String::new(), directory };
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no start: {}", sandbox.errors()));
        ready["endpoint"].as_str().unwrap().clone_into(&mut sandbox.endpoint);
        sandbox
    }

    /// Where every service of it answers.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A fault that strikes the next `count` calls of an operation.
    pub(crate) fn fault(&self, kind: &str, operation: &str, count: u32) {
        self.side("POST", "faults", &serde_json::json!({"kind": kind, "operation": operation, "count": count}));
    }

    /// Ends all faults.
    pub(crate) fn clear_faults(&self) {
        self.side("DELETE", "faults", &Value::Null);
    }

    /// How often an operation was called.
    pub(crate) fn calls(&self, operation: &str) -> u64 {
        self.side("GET", &format!("calls?operation={operation}"), &Value::Null)["count"].as_u64().unwrap()
    }

    /// A call of the side API, which is neither counted nor faulted.
    pub(crate) fn side(&self, method: &str, path: &str, body: &Value) -> Value {
        let address = self.endpoint.trim_start_matches("http://");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "{method} /sandbox-api/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.split(' ').nth(1).unwrap().starts_with('2'), "{method} {path}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("errors")).unwrap_or_default()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It takes its servers and its directory with it; one that is gone already is as good.
        if kill_process(Pid::from_child(&self.process), Signal::TERM).is_ok() {
            drop(self.process.wait());
        }
    }
}
