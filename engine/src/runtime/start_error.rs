//! Why a process did not start, in a form that clients understand: Docker's CLI finds its exit codes 126 and 127 in the
//! text.

use super::plan::{Failure, Process, Step};
use crate::{Error, Kind};
use std::io;

/// Why a container or an exec did not start.
#[derive(Debug)]
pub struct StartError {
    /// The step that failed, when a kernel call did; `None`: the conversation with the shim broke.
    pub failure: Option<Failure>,
    /// What to tell the person who asked: Docker's words where clients match on them.
    pub message: String,
    source: io::Error,
}

impl StartError {
    /// From a failed step of `process`.
    pub(crate) fn of_step(failure: Failure, process: Option<&Process>, what: Option<String>) -> Self {
        let source = io::Error::from_raw_os_error(failure.errno);
        let program = process.and_then(|p| p.args.first()).map_or("", String::as_str);
        let cwd = process.map_or("", |p| p.cwd.as_str());
        let message = match (failure.step, failure.errno) {
            (Step::Exec, libc::ENOENT) if !program.contains('/') => {
                format!("exec: {program:?}: executable file not found in $PATH")
            }
            (Step::Exec, libc::ENOENT) => format!("exec: {program:?}: stat {program}: no such file or directory"),
            (Step::Exec, libc::EACCES) => format!("exec: {program:?}: permission denied"),
            (Step::Exec, libc::EISDIR) => format!("exec: {program:?}: is a directory: permission denied"),
            (Step::Exec, libc::ENOEXEC) => format!("exec {program}: exec format error"),
            (Step::Exec, _) => format!("exec: {program:?}: {source}"),
            (Step::Cwd, _) => format!("chdir to cwd ({cwd:?}) set in config.json failed: {}", text(&source)),
            (step, _) => {
                let doing = doing(step);
                let what = what.map(|w| format!(" {w}")).unwrap_or_default();
                format!("{doing}{what}: {}", text(&source))
            }
        };
        Self { failure: Some(failure), message, source }
    }

    /// The conversation with the shim broke.
    pub(crate) fn broken(doing: &str, source: io::Error) -> Self {
        Self { failure: None, message: format!("{doing}: {source}"), source }
    }

    /// The exit code `docker run` gives for it: 127 not found, 126 not executable, 125 anything else.
    pub fn exit_code(&self) -> i32 {
        match self.failure {
            Some(Failure { step: Step::Exec, errno: libc::ENOENT, .. }) => 127,
            Some(Failure { step: Step::Exec, .. }) => 126,
            _ => 125,
        }
    }

    /// As the engine's error. A program that is absent or not executable is the request's fault (400, as dockerd).
    pub fn into_error(self) -> Error {
        let kind = if self.exit_code() == 125 { Kind::Internal } else { Kind::Invalid };
        Error::new(kind, format!("failed to create task for container: {}: unknown", self.message)).because(self)
    }
}

fn text(error: &io::Error) -> String {
    // Rust's text carries " (os error 2)", and Docker's is lower case.
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or("").to_lowercase()
}

fn doing(step: Step) -> &'static str {
    match step {
        Step::Clone => "making the container's process and namespaces",
        Step::IdMaps => "writing the user namespace's id maps",
        Step::Cgroup => "joining the cgroup",
        Step::JoinNamespace => "joining another container's namespace",
        Step::BecomeRoot => "becoming root of the user namespace",
        Step::Proc => "mounting /proc",
        Step::Sys => "mounting /sys",
        Step::Dev => "making /dev",
        Step::CgroupView => "mounting /sys/fs/cgroup",
        Step::Mask => "hiding a path",
        Step::ReadOnly => "making a path read-only",
        Step::Plan => "receiving the plan",
        Step::Root => "moving the root file system in",
        Step::Mount => "mounting",
        Step::Terminal => "making the terminal",
        Step::Pivot => "changing the root",
        Step::Hostname => "setting the host name",
        Step::Sysctl => "setting sysctl",
        Step::Cwd => "changing to the working directory",
        Step::Rlimit => "setting ulimit",
        Step::OomScore => "setting oom_score_adj",
        Step::Ids => "setting user and groups",
        Step::Caps => "setting capabilities",
        Step::NoNewPrivs => "setting no_new_privs",
        Step::Seccomp => "loading the seccomp filter",
        Step::AppArmor => "setting the AppArmor profile",
        Step::Exec => "exec",
        Step::RunDir => "writing the run folder",
        Step::Log => "opening the log",
        Step::Stdio => "making pipes",
        Step::Loopback => "bringing the loopback interface up",
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
