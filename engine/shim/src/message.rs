//! The conversation on a connection to a shim: frames of an 8-byte header and a body. A connection begins as a control
//! connection (requests and replies); `Attach` and an attached `Exec` turn it into a stream of data frames.
//! Fds travel on `FDS` frames (with one byte of body) that precede the message they belong to.

use super::plan::{ExecPlan, Exit, Failure, FdRef, IdMap, Plan, Prepare};
use super::wire::Wire;

/// Raised when any message changes meaning; a shim of another protocol can be waited for and signalled, not spoken to.
pub const PROTOCOL: u8 = 1;
/// Bytes of a frame's header: u32 LE body length, u8 kind, u8 protocol, u16 zero.
pub const HEADER: usize = 8;
/// The largest message body (a plan with two megabytes of arguments fits).
pub const MESSAGE_MAX: usize = 16 * 1024 * 1024;
/// The largest body of a data frame.
pub const DATA_MAX: usize = 64 * 1024;
/// The most fds on one frame (the kernel's limit, SCM_MAX_FD, is 253).
pub const FDS_MAX: usize = 200;

/// Carries fds for the message that follows.
pub const KIND_FDS: u8 = 0;
/// A [`Request`] or a [`Reply`].
pub const KIND_MESSAGE: u8 = 1;
/// Input for the process.
pub const KIND_STDIN: u8 = 2;
/// No more input.
pub const KIND_STDIN_END: u8 = 3;
/// Output of the process, or of its terminal.
pub const KIND_STDOUT: u8 = 4;
/// Error output of the process.
pub const KIND_STDERR: u8 = 5;

/// A frame's header.
pub fn header(length: usize, kind: u8) -> [u8; HEADER] {
    let length = (length as u32).to_le_bytes();
    [length[0], length[1], length[2], length[3], kind, PROTOCOL, 0, 0]
}

/// Body length and kind; `None` when it cannot be a header.
pub fn parse_header(bytes: &[u8; HEADER]) -> Option<(usize, u8)> {
    let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    let most = if bytes[4] == KIND_MESSAGE { MESSAGE_MAX } else { DATA_MAX };
    (bytes[5] == PROTOCOL && length <= most && bytes[4] <= KIND_STDERR).then_some((length, bytes[4]))
}

/// A message as one frame.
pub fn frame(message: &impl Wire) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    message.put(&mut bytes);
    let head = header(bytes.len() - HEADER, KIND_MESSAGE);
    bytes[..HEADER].copy_from_slice(&head);
    bytes
}

wire_struct! {
    /// Which streams an attached connection carries.
    #[derive(Copy, Eq)]
    pub struct Streams {
        /// Its data frames go to the process's stdin.
        pub stdin: bool,
        /// It receives stdout.
        pub stdout: bool,
        /// It receives stderr.
        pub stderr: bool,
    }
}

wire_struct! {
    /// A client attached before the start, so that it misses nothing and slows the process down when it is slow.
    #[derive(Copy, Eq)]
    pub struct EarlyAttach {
        /// Its connection.
        pub fd: FdRef,
        /// What it carries.
        pub streams: Streams,
    }
}

wire_struct! {
    /// A listener on a loopback address of the host whose connections are carried to the container.
    #[derive(Copy, Eq)]
    pub struct Loopback {
        /// A listening TCP socket, or a bound UDP one.
        pub listener: FdRef,
        /// Whether it is UDP.
        pub udp: bool,
        /// The container's address: 4 (IPv4) or 6 (IPv6).
        pub family: u8,
        /// First half of the address (IPv4: the address), big endian.
        pub high: u64,
        /// Second half (IPv6).
        pub low: u64,
        /// The container's port.
        pub port: u16,
    }
}

wire_enum! {
    /// What the server asks.
    pub enum Request {
        /// Phase one. The first message to a new shim.
        Prepare {
            /// What to prepare.
            prepare: Prepare,
        } = 0,
        /// Phase two.
        Start {
            /// What to start.
            plan: Plan,
            /// Who is attached already.
            attached: Vec<EarlyAttach>,
        } = 1,
        /// Turns this connection into an attached one. Empty `exec`: the container itself.
        Attach {
            /// An exec's id or empty.
            exec: String,
            /// What it carries.
            streams: Streams,
        } = 2,
        /// Sets a terminal's size.
        Resize {
            /// An exec's id or empty.
            exec: String,
            /// Rows.
            rows: u16,
            /// Columns.
            columns: u16,
        } = 3,
        /// Runs a process in the container. With `streams` the connection becomes an attached one; in either case the
        /// reply `Exited` follows when it ends.
        Exec {
            /// Its id.
            id: String,
            /// What.
            plan: ExecPlan,
            /// What the connection carries; `None`: detached.
            streams: Option<Streams>,
        } = 4,
        /// What is running here: answered by `Status`.
        Status = 5,
        /// Answered by `Exited` when it ends. Empty `exec`: the container itself.
        Wait {
            /// An exec's id or empty.
            exec: String,
        } = 6,
        /// Keep these fds under a name; replaces what was kept there.
        Hold {
            /// The name.
            name: String,
            /// The fds.
            fds: Vec<FdRef>,
        } = 7,
        /// Give back copies of the fds kept under a name: answered by `Held`.
        Take {
            /// The name.
            name: String,
        } = 8,
        /// Serve these loopback listeners (instead of those served before).
        Serve {
            /// Them.
            listeners: Vec<Loopback>,
        } = 9,
        /// Not a container: make a user namespace with these maps, send its fd and end.
        UserNamespace {
            /// User ids.
            uids: Vec<IdMap>,
            /// Group ids.
            gids: Vec<IdMap>,
        } = 10,
    }
}

wire_enum! {
    /// What a shim answers.
    pub enum Reply {
        /// Done.
        Done = 0,
        /// Prepared; fds: pidfd, user namespace, network namespace.
        Prepared {
            /// The shim's pid.
            shim: i32,
            /// Process 1's pid.
            pid: i32,
        } = 1,
        /// The program runs.
        Started {
            /// When, nanoseconds since the epoch.
            started_ns: i64,
            /// Its pid as the host sees it.
            pid: i32,
        } = 2,
        /// A step failed.
        Failed {
            /// Which and why.
            failure: Failure,
        } = 3,
        /// This connection is attached now.
        Attached {
            /// Whether the process has a terminal.
            tty: bool,
        } = 4,
        /// It ended.
        Exited {
            /// How.
            exit: Exit,
        } = 5,
        /// No such exec.
        NoSuchExec = 6,
        /// What is running; fd: pidfd of process 1.
        Status {
            /// Process 1's pid.
            pid: i32,
            /// When it started.
            started_ns: i64,
            /// Whether it has a terminal.
            tty: bool,
            /// Execs that run: id, pid.
            execs: Vec<(String, i32)>,
            /// Set once it ended.
            exit: Option<Exit>,
        } = 7,
        /// Fds kept under the name asked for, this many.
        Held {
            /// How many.
            count: u32,
        } = 8,
        /// A message that makes no sense now.
        Refused = 9,
        /// A user namespace; fd: it.
        UserNamespace = 10,
    }
}
