//! What callers ask of containers, and the streams they get.

use crate::id::ExecId;
use bytes::Bytes;
use jiff::Timestamp;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};

/// Which containers a list shows. Empty lists ask for nothing.
#[derive(Debug, Clone, Default)]
pub struct ContainerFilter {
    /// Also those that are not up. A `status`, `exited` … filter implies it.
    pub all: bool,
    /// At most so many, newest first; implies `all`.
    pub limit: Option<usize>,
    /// Docker's filters: key → values. Keys AND, values OR (labels AND). Unknown keys are an error.
    pub filters: std::collections::BTreeMap<String, Vec<String>>,
}

/// The outcome of create.
#[derive(Debug, Clone)]
pub struct Created {
    /// The new container.
    pub id: crate::id::ContainerId,
    /// What the creator should know.
    pub warnings: Vec<String>,
}

/// Whether an action changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It did.
    Yes,
    /// It was so already (Docker's 304).
    AlreadySo,
}

/// How to stop.
#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// Seconds before SIGKILL; −1 for ever; `None`: the container's own.
    pub timeout: Option<i64>,
    /// Another signal than the container's own.
    pub signal: Option<String>,
}

/// What goes with a removed container.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
    /// Remove its anonymous volumes.
    pub volumes: bool,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitCondition {
    /// Not running now, or the next exit.
    #[default]
    NotRunning,
    /// The next exit.
    NextExit,
    /// Removal.
    Removed,
}

/// The outcome of `wait`.
#[derive(Debug, Clone)]
pub struct WaitOutcome {
    /// Exit code.
    pub code: i32,
    /// Why it could not run, if so.
    pub error: Option<String>,
}

/// Which streams to attach.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Send stdin.
    pub stdin: bool,
    /// Receive stdout.
    pub stdout: bool,
    /// Receive stderr.
    pub stderr: bool,
    /// Replay the log first.
    pub logs: bool,
    /// Stay for what comes.
    pub stream: bool,
    /// Detach on these keys (Docker's notation); `None`: `ctrl-p,ctrl-q`.
    pub detach_keys: Option<String>,
}

/// Which of a process's streams a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Of which stream.
    pub stream: StreamKind,
    /// The bytes.
    pub bytes: Bytes,
}

/// The two halves of an attached process. They are independent: shutting `input` down is the process's end of input,
/// and output goes on.
pub struct Attached {
    /// Where its stdin goes; `None` if it was not asked for or the process has none.
    pub input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Its output until it ends or detaches.
    pub output: Pin<Box<dyn futures_util::Stream<Item = std::io::Result<Chunk>> + Send>>,
    /// Whether it is a terminal (raw bytes, one stream).
    pub tty: bool,
}

/// Which log lines.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// stdout's.
    pub stdout: bool,
    /// stderr's.
    pub stderr: bool,
    /// Stay until the container ends.
    pub follow: bool,
    /// From then.
    pub since: Option<Timestamp>,
    /// Until then.
    pub until: Option<Timestamp>,
    /// Only the last so many lines.
    pub tail: Option<usize>,
}

/// One log line, or a part of one longer than 16 KiB.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// Of which stream.
    pub stream: StreamKind,
    /// When it was written.
    pub time: Timestamp,
    /// The bytes, with the newline if it had one.
    pub bytes: Bytes,
}

/// Log lines, in batches so that a fast reader is not slowed by one item a line.
pub struct Logs {
    /// The lines.
    pub lines: Pin<Box<dyn futures_util::Stream<Item = std::io::Result<Vec<LogLine>>> + Send>>,
    /// Whether the container has a terminal (then output is not framed).
    pub tty: bool,
}

/// What an exec runs.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct ExecSpec {
    /// The command.
    pub argv: Vec<String>,
    /// More environment.
    pub env: Vec<String>,
    /// `user[:group]`; empty: the container's.
    pub user: String,
    /// Empty: the container's.
    pub working_dir: String,
    /// A terminal.
    pub tty: bool,
    /// Attach stdin.
    pub stdin: bool,
    /// Attach stdout.
    pub stdout: bool,
    /// Attach stderr.
    pub stderr: bool,
    /// All capabilities (a grant).
    pub privileged: bool,
    /// Detach keys, as for attach.
    pub detach_keys: Option<String>,
    /// Initial terminal size, rows and columns.
    pub console_size: Option<(u16, u16)>,
}

/// An exec as inspect shows it.
#[derive(Debug, Clone)]
pub struct ExecView {
    /// Its id.
    pub id: ExecId,
    /// Its container.
    pub container: crate::id::ContainerId,
    /// What it runs.
    pub spec: ExecSpec,
    /// Whether it was started and has not ended.
    pub running: bool,
    /// Its exit code once it ended.
    pub exit_code: Option<i32>,
    /// Its process as the host sees it; 0 before it starts.
    pub pid: i32,
    /// Whether start was called with `Detach` false.
    pub can_remove: bool,
}

/// The table `top` shows.
#[derive(Debug, Clone, Default)]
pub struct ProcessTable {
    /// Column heads.
    pub titles: Vec<String>,
    /// One row a process.
    pub processes: Vec<Vec<String>>,
}

/// A tar archive coming out.
pub type ArchiveStream = Pin<Box<dyn AsyncRead + Send>>;

/// What `HEAD …/archive` tells.
#[derive(Debug, Clone, PartialEq)]
pub struct PathStat {
    /// Last component.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// `st_mode`.
    pub mode: u32,
    /// Modification time.
    pub mtime: Timestamp,
    /// A symlink's target.
    pub link_target: String,
}

/// One look at what a container uses. Counters are totals since its start.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// When.
    pub read: Timestamp,
    /// CPU time, nanoseconds: all, user, kernel.
    pub cpu_total: u64,
    /// See `cpu_total`.
    pub cpu_user: u64,
    /// See `cpu_total`.
    pub cpu_system: u64,
    /// Per CPU (cgroup v1 only).
    pub cpu_percpu: Vec<u64>,
    /// The whole host's CPU time, nanoseconds.
    pub host_cpu: u64,
    /// CPUs online.
    pub online_cpus: u32,
    /// Periods, throttled periods, throttled nanoseconds.
    pub throttling: (u64, u64, u64),
    /// Bytes used.
    pub memory_usage: u64,
    /// The most it used (v1 only).
    pub memory_max_usage: u64,
    /// The limit, or the host's memory.
    pub memory_limit: u64,
    /// How often the limit was hit.
    pub memory_failures: u64,
    /// memory.stat.
    pub memory_stats: std::collections::BTreeMap<String, u64>,
    /// Processes now, and the limit (0: none).
    pub pids: (u64, u64),
    /// (major, minor, operation, bytes).
    pub io_bytes: Vec<(u32, u32, String, u64)>,
    /// (major, minor, operation, operations).
    pub io_operations: Vec<(u32, u32, String, u64)>,
    /// Interface name → counters.
    pub networks: std::collections::BTreeMap<String, NetworkCounters>,
}

/// One interface's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NetworkCounters {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}
