//! The real docker CLI, as root or as another Unix account, with a configuration folder of its own.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How to call `docker`.
#[derive(Debug, Clone)]
pub struct Docker {
    host: String,
    config: PathBuf,
    uid: Option<u32>,
    headers: Vec<(String, String)>,
    buildkit: bool,
}

/// Where the CLI's plugins are installed by packages.
const PLUGINS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// A plugin of the CLI (`docker-buildx`), if it is installed, or in the folder that WHARF_E2E_PLUGINS names.
pub fn plugin(name: &str) -> Option<PathBuf> {
    let own = std::env::var_os("WHARF_E2E_PLUGINS").map(PathBuf::from);
    own.into_iter().chain(PLUGINS.map(PathBuf::from)).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// What was called, for messages.
    pub call: String,
    /// Its exit code; 128 + n when signal n ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard output, byte by byte.
    pub bytes: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let call = call(command);
        let output = command.output().unwrap_or_else(|e| panic!("running {call}: {e}"));
        Self::from(call, output)
    }

    fn from(call: String, output: std::process::Output) -> Self {
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        Self { call, code, stdout, bytes: output.stdout, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// It must have ended with 0.
    pub fn succeeded(self) -> Self {
        self.exited(0)
    }

    /// It must have ended with this code.
    pub fn exited(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of {}\nstdout: {}\nstderr: {}", self.call, self.stdout, self.stderr);
        self
    }

    /// Standard output without the blanks around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }
}

fn call(command: &Command) -> String {
    let mut call = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        call.push(' ');
        call.push_str(&argument.to_string_lossy());
    }
    call
}

impl Docker {
    /// The CLI for a server, with its configuration in this folder.
    pub fn new(host: &str, config: &Path) -> Self {
        Self { host: host.to_owned(), config: config.to_owned(), uid: None, headers: Vec::new(), buildkit: false }
    }

    /// As this Unix account.
    #[must_use]
    pub fn by(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// With a further header in every request (`HttpHeaders` of the CLI's configuration).
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self.config = self.config.with_extension(format!("{name}-{value}"));
        self
    }

    /// With these plugins, so that builds go through BuildKit's door.
    #[must_use]
    pub fn plugins(mut self, plugins: &[PathBuf]) -> Self {
        self.buildkit = true;
        self.config = self.config.with_extension("buildkit");
        let folder = self.config.join("cli-plugins");
        std::fs::create_dir_all(&folder).expect("a folder for plugins");
        for plugin in plugins {
            let link = folder.join(plugin.file_name().expect("a plugin's name"));
            std::os::unix::fs::symlink(plugin, link).expect("linking a plugin");
        }
        self
    }

    /// The command, to be started as one likes.
    pub fn command(&self, arguments: &[&str]) -> Command {
        std::fs::create_dir_all(&self.config).expect("docker's configuration folder");
        let headers: serde_json::Map<_, _> = self.headers.iter().map(|(n, v)| (n.clone(), v.clone().into())).collect();
        let config = serde_json::json!({ "HttpHeaders": headers });
        std::fs::write(self.config.join("config.json"), config.to_string()).expect("docker's configuration");
        let mut command = match self.uid {
            None => Command::new("docker"),
            Some(uid) => {
                std::os::unix::fs::chown(&self.config, Some(uid), Some(uid)).expect("giving the configuration folder away");
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned(), "docker".to_owned()]);
                command
            }
        };
        command.args(arguments).env("DOCKER_HOST", &self.host).env("DOCKER_CONFIG", &self.config).env("HOME", &self.config);
        command.env_remove("DOCKER_TLS_VERIFY").env_remove("DOCKER_CONTEXT").env("DOCKER_BUILDKIT", if self.buildkit { "1" } else { "0" });
        command
    }

    /// Runs it to its end, without input.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Output::of(self.command(arguments).stdin(Stdio::null()))
    }

    /// Runs it to its end and gives its standard output without the blanks around it; it must succeed.
    pub fn text(&self, arguments: &[&str]) -> String {
        self.run(arguments).succeeded().text().to_owned()
    }

    /// Runs it to its end with this input.
    pub fn with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starting docker");
        let mut stdin = child.stdin.take().expect("docker's input");
        let output = std::thread::scope(|scope| {
            // A program that does not read to the end closes its input: that is for the output to tell.
            scope.spawn(move || stdin.write_all(input).is_ok());
            child.wait_with_output().expect("docker's end")
        });
        Output::from(call(&command), output)
    }

    /// Starts it and goes on; its output can be read while it runs. It must be waited for or killed.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starting docker")
    }

    /// One value of a container's inspect, by Go template.
    pub fn inspect(&self, name: &str, template: &str) -> String {
        self.text(&["inspect", "-f", template, name])
    }

    /// The pid of a container's process on the host.
    pub fn pid(&self, name: &str) -> i32 {
        self.inspect(name, "{{.State.Pid}}").parse().expect("a pid")
    }
}
