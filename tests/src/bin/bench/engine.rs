//! What is done to an engine while it is timed: the same requests to Wharf and to dockerd, over one kept connection.

use e2e::cli::Docker;
use e2e::http::Connection;
use e2e::peer;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// An engine behind a Unix socket.
pub struct Engine {
    /// What it is called in the table.
    pub name: &'static str,
    socket: PathBuf,
    processes: Box<dyn Fn() -> Vec<i32> + Sync>,
}

impl Engine {
    /// An engine; `processes` gives what its memory is counted of, their children included: containerd's shims are
    /// nobody's children.
    pub fn api(name: &'static str, socket: PathBuf, processes: impl Fn() -> Vec<i32> + Sync + 'static) -> Self {
        Self { name, socket, processes: Box::new(processes) }
    }

    /// Loads an image.
    pub fn load(&self, archive: &Path) {
        self.docker().run(&["load", "-q", "-i", &archive.display().to_string()]).succeeded();
    }

    /// Create, start, wait and remove by API.
    pub fn cycle(&self, network: &str) -> Duration {
        let mut api = self.connect();
        let begin = Instant::now();
        let id = self.create(&mut api, network, &["true"], "");
        self.must(&mut api, "POST", &format!("/containers/{id}/start"), None);
        self.must(&mut api, "POST", &format!("/containers/{id}/wait"), None);
        self.must(&mut api, "DELETE", &format!("/containers/{id}"), None);
        begin.elapsed()
    }

    /// Only the start, of a container that was created before.
    pub fn start(&self) -> Duration {
        let mut api = self.connect();
        let id = self.create(&mut api, "none", &["true"], "");
        let begin = Instant::now();
        self.must(&mut api, "POST", &format!("/containers/{id}/start"), None);
        let took = begin.elapsed();
        self.must(&mut api, "POST", &format!("/containers/{id}/wait"), None);
        self.must(&mut api, "DELETE", &format!("/containers/{id}"), None);
        took
    }

    /// `docker run --rm`, the client included.
    pub fn cli_run(&self) -> Duration {
        let mut command = self.docker().command(&["run", "--rm", "busybox", "true"]);
        let begin = Instant::now();
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("running docker");
        assert!(status.success(), "docker run on {}: {status}", self.name);
        begin.elapsed()
    }

    /// Starts a container to be used by others.
    pub fn keep(&self, name: &str) {
        let mut api = self.connect();
        let id = self.create(&mut api, "none", &["sleep", "100000"], name);
        self.must(&mut api, "POST", &format!("/containers/{id}/start"), None);
    }

    /// Removes a container, running or not.
    pub fn remove(&self, name: &str) {
        self.must(&mut self.connect(), "DELETE", &format!("/containers/{name}?force=1&v=1"), None);
    }

    /// An exec by API, from its making to its end.
    pub fn exec(&self, name: &str) -> Duration {
        let mut api = self.connect();
        let begin = Instant::now();
        let made = self.must(&mut api, "POST", &format!("/containers/{name}/exec"), Some(r#"{"Cmd":["true"],"AttachStdout":true}"#));
        let made: serde_json::Value = serde_json::from_slice(&made).expect("an exec's id");
        let id = made["Id"].as_str().expect("an exec's id").to_owned();
        // The stream is over when the program is.
        self.must(&mut api, "POST", &format!("/exec/{id}/start"), Some(r#"{"Detach":false,"Tty":false}"#));
        begin.elapsed()
    }

    /// Fifty containers that stay, eight at a time.
    pub fn fifty(&self) -> Duration {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if n >= 50 {
                            break;
                        }
                        self.keep(&format!("bench-{n}"));
                    }
                });
            }
        });
        begin.elapsed()
    }

    /// Removes them again.
    pub fn remove_fifty(&self) {
        for n in 0..50 {
            self.remove(&format!("bench-{n}"));
        }
    }

    /// Requests a second for this path, from one connection.
    pub fn rate(&self, path: &str, time: Duration) -> f64 {
        let mut api = self.connect();
        let begin = Instant::now();
        let mut count = 0u32;
        while begin.elapsed() < time {
            self.must(&mut api, "GET", path, None);
            count += 1;
        }
        f64::from(count) / begin.elapsed().as_secs_f64()
    }

    /// Writes so many MB of lines of 100 bytes to a log by `cat` of a file, then reads them by API.
    ///
    /// Rates in MB/s. What is read is counted as it comes, for an engine may keep less than was written.
    pub fn log(&self, megabytes: usize) -> (f64, f64) {
        let mut api = self.connect();
        let make = format!("yes \"$(printf '%099d' 7)\" | head -c {megabytes}000000 > /f; echo made > /made; cat /go; cat /f");
        let make = make.replace("cat /go; ", "until [ -e /go ]; do sleep 0.05; done; ");
        let id = self.create(&mut api, "none", &["sh", "-c", &make], "bench-log");
        self.must(&mut api, "POST", &format!("/containers/{id}/start"), None);
        let docker = self.docker();
        e2e::until("the file is made", || (docker.run(&["exec", "bench-log", "test", "-e", "/made"]).code == 0).then_some(()));
        let begin = Instant::now();
        docker.run(&["exec", "bench-log", "touch", "/go"]).succeeded();
        self.must(&mut api, "POST", &format!("/containers/{id}/wait"), None);
        let written = begin.elapsed();
        let begin = Instant::now();
        let bytes = api.drain("GET", &format!("/containers/{id}/logs?stdout=1")).expect("reading the log");
        let read = bytes as f64 / 1e6 / begin.elapsed().as_secs_f64();
        assert!(bytes as usize > megabytes * 100_000, "{}: only {bytes} bytes of the log came back", self.name);
        self.remove("bench-log");
        (megabytes as f64 / written.as_secs_f64(), read)
    }

    /// Proportional memory of its processes and their children, in MB (smaps_rollup: shared pages counted by share).
    pub fn memory_mb(&self) -> f64 {
        let mut all = (self.processes)();
        let mut at = 0;
        while at < all.len() {
            let pid = all[at];
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|c| c.parse().ok()) {
                if !all.contains(&child) {
                    all.push(child);
                }
            }
            at += 1;
        }
        let kilobytes = |pid: &i32| -> Option<f64> {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok())
        };
        all.iter().filter_map(kilobytes).sum::<f64>() / 1024.0
    }

    fn create(&self, api: &mut Connection, network: &str, command: &[&str], name: &str) -> String {
        let body = serde_json::json!({ "Image": "busybox:latest", "Cmd": command, "HostConfig": { "NetworkMode": network } }).to_string();
        let query = if name.is_empty() { String::new() } else { format!("?name={name}") };
        let made = self.must(api, "POST", &format!("/containers/create{query}"), Some(&body));
        let made: serde_json::Value = serde_json::from_slice(&made).expect("a container's id");
        made["Id"].as_str().expect("a container's id").to_owned()
    }

    /// What its memory is counted of.
    pub fn pids(&self) -> Vec<i32> {
        (self.processes)()
    }

    pub(super) fn must(&self, api: &mut Connection, method: &str, path: &str, body: Option<&str>) -> Vec<u8> {
        let answer = api.send(method, path, body).unwrap_or_else(|e| panic!("{}: {method} {path}: {e}", self.name));
        assert!(answer.status < 400, "{}: {method} {path}: {} {}", self.name, answer.status, answer.text());
        answer.body
    }

    pub(super) fn connect(&self) -> Connection {
        Connection::open(&self.socket).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    fn docker(&self) -> Docker {
        let folder = std::env::temp_dir().join(format!("wharf-bench-{}-{}", self.name, std::process::id()));
        Docker::new(&format!("unix://{}", self.socket.display()), &folder)
    }
}

/// Only `podman start` of a container that was created before.
pub fn podman_start(call: &[String]) -> Duration {
    let mut create = peer::PODMAN_RUN.to_vec();
    create[0] = "create";
    create.extend(["--name", "bench-start", "--network", "none", "busybox", "true"]);
    podman(call, &create);
    let took = podman(call, &["start", "bench-start"]);
    // With --rm it goes by itself.
    e2e::until("podman's container is gone", || {
        let mut command = Command::new(&call[0]);
        let status = command.args(&call[1..]).args(["container", "exists", "bench-start"]).status().expect("running podman");
        (!status.success()).then_some(())
    });
    took
}

/// Runs podman to its end.
pub fn podman(podman: &[String], arguments: &[&str]) -> Duration {
    let mut command = Command::new(&podman[0]);
    command.args(&podman[1..]).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begin = Instant::now();
    let output = command.output().expect("running podman");
    let took = begin.elapsed();
    assert!(output.status.success(), "podman {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    took
}
