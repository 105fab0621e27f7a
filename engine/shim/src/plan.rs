//! What a container is made of, worked out by the engine before any kernel call and carried out by the shim: plain,
//! printable data. File descriptors travel beside it; a [`FdRef`] is an index into that list.

use super::wire::Wire;

wire_struct! {
    /// An index into the fds sent along.
    #[derive(Copy, Eq)]
    pub struct FdRef {
        /// Position, from 0.
        pub index: u32,
    }
}

wire_struct! {
    /// `size` ids from `inside` on are the host's from `outside` on.
    #[derive(Copy, Eq)]
    pub struct IdMap {
        /// First id in the container.
        pub inside: u32,
        /// First id on the host.
        pub outside: u32,
        /// How many.
        pub size: u32,
    }
}

wire_enum! {
    /// A namespace: the container's own, the host's, or somebody's by fd.
    #[derive(Copy, Eq)]
    pub enum Namespace {
        /// A new one.
        Own = 0,
        /// The one the server lives in.
        Host = 1,
        /// The one behind this fd.
        Join {
            /// A `/proc/<pid>/ns/…` file.
            fd: FdRef,
        } = 2,
    }
}

wire_enum! {
    /// The user namespace.
    pub enum UserNamespace {
        /// A new one with these maps.
        Own {
            /// User ids.
            uids: Vec<IdMap>,
            /// Group ids.
            gids: Vec<IdMap>,
        } = 0,
        /// The host's: root inside is root outside (a grant).
        Host = 1,
        /// Another container's, which has these maps: whoever shares its network has capabilities over it.
        Join {
            /// That namespace.
            fd: FdRef,
            /// User ids.
            uids: Vec<IdMap>,
            /// Group ids.
            gids: Vec<IdMap>,
        } = 2,
    }
}

wire_struct! {
    /// The container's place in the cgroup hierarchies.
    pub struct CgroupFds {
        /// v2: the group's folder (`CLONE_INTO_CGROUP`).
        pub v2: Option<FdRef>,
        /// v1: each hierarchy's `tasks` file, open for writing. `tasks`, not `cgroup.procs`: a single-threaded process
        /// that writes "0" there moves itself without the global rwsem, whose RCU grace period costs 6–11 ms
        /// (kernel/cgroup/cgroup.c, `cgroup_procs_write_start`).
        pub v1_tasks: Vec<FdRef>,
    }
}

wire_struct! {
    /// One v1 hierarchy as the container sees it.
    pub struct V1Hierarchy {
        /// Folder under /sys/fs/cgroup: `memory`, `cpu,cpuacct`.
        pub name: String,
        /// Mount option that names it: `memory`, `cpu,cpuacct`, `name=systemd`.
        pub option: String,
    }
}

wire_enum! {
    /// What is mounted (read-only) at /sys/fs/cgroup.
    pub enum CgroupView {
        /// Nothing.
        Nothing = 0,
        /// The v2 tree, from the container's own group down.
        V2 = 1,
        /// v1 hierarchies.
        V1 {
            /// Which.
            hierarchies: Vec<V1Hierarchy>,
        } = 2,
    }
}

wire_struct! {
    /// Phase one: everything that does not depend on which container it will be. Two equal `Prepare`s are
    /// interchangeable, which is what makes a pool possible (as long as they carry no fds but the cgroup's).
    pub struct Prepare {
        /// User namespace.
        pub user: UserNamespace,
        /// Process ids.
        pub pid: Namespace,
        /// Network.
        pub net: Namespace,
        /// System V IPC and message queues.
        pub ipc: Namespace,
        /// Host name.
        pub uts: Namespace,
        /// cgroup root.
        pub cgroup_ns: Namespace,
        /// Which groups to be born in.
        pub cgroup: CgroupFds,
        /// What of them is visible.
        pub cgroup_view: CgroupView,
        /// Bytes of /dev/shm; 0: there is none.
        pub shm_size: u64,
        /// Paths under /proc and /sys (others at start) that are hidden.
        pub masked: Vec<String>,
        /// Paths that are read-only.
        pub read_only: Vec<String>,
        /// Whether /sys and the cgroup view are writable (privileged).
        pub sys_writable: bool,
    }
}

wire_struct! {
    /// Capability sets as bit masks (bit n: capability n). Inheritable is always empty.
    #[derive(Copy, Eq)]
    pub struct CapSets {
        /// What can ever be had.
        pub bounding: u64,
        /// What the process may use.
        pub permitted: u64,
        /// What it uses now.
        pub effective: u64,
        /// What survives exec of an ordinary program by a non-root user.
        pub ambient: u64,
    }
}

wire_struct! {
    /// One BPF instruction of a seccomp filter (`struct sock_filter`).
    #[derive(Copy, Eq)]
    pub struct Instruction {
        /// Operation.
        pub code: u16,
        /// Jump if true.
        pub jt: u8,
        /// Jump if false.
        pub jf: u8,
        /// Operand.
        pub k: u32,
    }
}

wire_struct! {
    /// One resource limit; `u64::MAX` is unlimited.
    #[derive(Copy, Eq)]
    pub struct Rlimit {
        /// `RLIMIT_…` number.
        pub resource: u32,
        /// Soft limit.
        pub soft: u64,
        /// Hard limit.
        pub hard: u64,
    }
}

wire_struct! {
    /// A process: the container's first, or an exec's.
    pub struct Process {
        /// Program and arguments. A program without `/` is looked up in the `PATH` of `env`.
        pub args: Vec<String>,
        /// `NAME=value`.
        pub env: Vec<String>,
        /// Working directory, absolute; made when it is missing (first process only).
        pub cwd: String,
        /// User id in the container.
        pub uid: u32,
        /// Group id in the container.
        pub gid: u32,
        /// Supplementary groups, exactly.
        pub groups: Vec<u32>,
        /// Capabilities.
        pub caps: CapSets,
        /// No privileges by exec.
        pub no_new_privs: bool,
        /// Seccomp filter; empty: unconfined.
        pub seccomp: Vec<Instruction>,
        /// Resource limits.
        pub rlimits: Vec<Rlimit>,
        /// OOM score adjustment.
        pub oom_score_adj: i32,
        /// AppArmor profile; empty: none.
        pub apparmor: String,
        /// Whether it gets a terminal.
        pub tty: bool,
        /// The terminal's rows and columns; (0, 0): not known.
        pub console_size: (u16, u16),
        /// Whether its stdin can be written to; without: /dev/null.
        pub stdin: bool,
        /// Whether stdin closes when the first attached client's input ends.
        pub stdin_once: bool,
    }
}

wire_enum! {
    /// Where a mount comes from.
    pub enum MountSource {
        /// A detached mount (`open_tree(CLONE)`, `fsmount`) that is moved in with its attributes as they are.
        Detached {
            /// It.
            fd: FdRef,
        } = 0,
        /// A new tmpfs.
        Tmpfs {
            /// `size=…`, `mode=…`, … as for fsconfig; flags such as `noexec` as well.
            options: Vec<String>,
        } = 1,
        /// A host device node: a detached bind mount of it.
        Device {
            /// It.
            fd: FdRef,
        } = 2,
    }
}

wire_struct! {
    /// One mount in the container, done in the order given.
    pub struct Mount {
        /// What.
        pub source: MountSource,
        /// Where: absolute, resolved inside the root, made when missing.
        pub target: String,
        /// Whether `target` is a file.
        pub file: bool,
        /// tmpfs only: whether the files of the directory below are copied into it first (Docker's tmpcopyup).
        pub copy_up: bool,
    }
}

wire_enum! {
    /// Where the container's output is kept.
    pub enum LogDriver {
        /// Nowhere.
        Discard = 0,
        /// The `local` format (logfile.rs).
        Local = 1,
        /// Docker's `json-file`.
        JsonFile = 2,
    }
}

wire_struct! {
    /// The log.
    pub struct LogPlan {
        /// Format.
        pub driver: LogDriver,
        /// The folder it lies in; needed unless discarded.
        pub dir: Option<FdRef>,
        /// File name in the folder: `container.log`, or Docker's `<id>-json.log`.
        pub file: String,
        /// Bytes at which a file is rotated; 0: never.
        pub max_size: u64,
        /// Files kept, the current one included; at least 1.
        pub max_files: u32,
        /// `json-file`: an object in JSON that every line has as its `attrs`; empty: none.
        pub attrs: String,
    }
}

wire_struct! {
    /// Phase two: this very container.
    pub struct Plan {
        /// The first process.
        pub process: Process,
        /// Root file system: a detached mount.
        pub root: FdRef,
        /// Whether the root file system is read-only.
        pub root_read_only: bool,
        /// Mounts.
        pub mounts: Vec<Mount>,
        /// Host name; empty: left alone (host UTS namespace).
        pub hostname: String,
        /// NIS domain name; empty: left alone.
        pub domainname: String,
        /// Namespaced sysctls, dotted or with slashes.
        pub sysctls: Vec<(String, String)>,
        /// Whether our own reaping init is process 1 and runs `process` as its child.
        pub init: bool,
        /// The log.
        pub log: LogPlan,
        /// `run_dir/c/<id>`: where the shim's socket and facts go.
        pub run_dir: FdRef,
    }
}

wire_struct! {
    /// A process in a running container.
    pub struct ExecPlan {
        /// It.
        pub process: Process,
    }
}

wire_enum! {
    /// What failed between asking for a container and its program running.
    #[derive(Copy, Eq)]
    pub enum Step {
        /// Making the process and its namespaces.
        Clone = 0,
        /// Writing uid_map or gid_map.
        IdMaps = 1,
        /// Joining the cgroup.
        Cgroup = 2,
        /// Joining somebody's namespace.
        JoinNamespace = 3,
        /// Becoming root of the user namespace.
        BecomeRoot = 4,
        /// Mounting /proc.
        Proc = 5,
        /// Mounting /sys.
        Sys = 6,
        /// Making /dev.
        Dev = 7,
        /// Mounting the cgroup view.
        CgroupView = 8,
        /// Hiding a path.
        Mask = 9,
        /// Making a path read-only.
        ReadOnly = 10,
        /// Receiving the plan.
        Plan = 11,
        /// Moving the root file system in.
        Root = 12,
        /// A mount; the index says which.
        Mount = 13,
        /// Making the terminal.
        Terminal = 14,
        /// pivot_root.
        Pivot = 15,
        /// Host or domain name.
        Hostname = 16,
        /// A sysctl; the index says which.
        Sysctl = 17,
        /// The working directory.
        Cwd = 18,
        /// A resource limit; the index says which.
        Rlimit = 19,
        /// oom_score_adj.
        OomScore = 20,
        /// Supplementary groups, gid, uid.
        Ids = 21,
        /// Capabilities.
        Caps = 22,
        /// no_new_privs.
        NoNewPrivs = 23,
        /// The seccomp filter.
        Seccomp = 24,
        /// The AppArmor profile.
        AppArmor = 25,
        /// execve.
        Exec = 26,
        /// The run folder: socket or facts.
        RunDir = 27,
        /// Opening the log.
        Log = 28,
        /// Pipes for stdio.
        Stdio = 29,
        /// Bringing the loopback interface up.
        Loopback = 30,
    }
}

wire_struct! {
    /// A failed step.
    #[derive(Copy, Eq)]
    pub struct Failure {
        /// Which.
        pub step: Step,
        /// Which of several (mount, sysctl, limit).
        pub index: u32,
        /// `errno`.
        pub errno: i32,
    }
}

wire_struct! {
    /// How a process ended.
    #[derive(Copy, Eq)]
    pub struct Exit {
        /// Exit code; 128 + signal when killed.
        pub code: i32,
        /// The signal that killed it, or 0.
        pub signal: i32,
        /// When: nanoseconds since the epoch.
        pub finished_ns: i64,
    }
}
