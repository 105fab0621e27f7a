//! Docker's default profile as data: which calls are allowed to everybody, which need a capability, which depend on
//! their arguments.
//!
//! The facts are those of moby's `profiles/seccomp/default.json` (2026), kept as names so that one table serves every
//! architecture. Tightened in two places: AF_RXRPC is blocked (only the kernel's AFS client has a use for it, and
//! CVE-2026-43284 went through it), and AF_KEY needs CAP_NET_ADMIN, without which the kernel refuses it anyway.

use crate::caps::{Cap, CapSet};

/// Allowed whatever the arguments. Names that an architecture does not have are skipped there.
pub(super) const ALLOWED: &[&str] = &[
    // Files and folders.
    "access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2",
    "fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync",
    "flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64",
    "lchown lchown32 link linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat",
    "open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv",
    "rename renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statx symlink symlinkat",
    "sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes",
    "vmsplice write writev listmount statmount cachestat ioctl fanotify_mark",
    // Extended attributes.
    "fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr",
    "lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat",
    // Waiting for many files.
    "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd",
    "eventfd2 inotify_add_watch inotify_init inotify_init1 inotify_rm_watch _newselect poll ppoll ppoll_time64",
    "pselect6 pselect6_time64 select signalfd signalfd4 pipe pipe2",
    // The old asynchronous I/O; io_uring is blocked by its absence.
    "io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioprio_get ioprio_set",
    // Memory.
    "brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2",
    "mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease",
    "remap_file_pages",
    // Processes, threads, identities.
    "capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getcpu getegid getegid32",
    "geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid",
    "getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 kill pause pidfd_open",
    "pidfd_send_signal prctl prlimit64 restart_syscall rseq sched_get_priority_max sched_get_priority_min",
    "sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval",
    "sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield",
    "set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups",
    "setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid",
    "setreuid32 setrlimit setsid setuid setuid32 ugetrlimit vfork wait4 waitid waitpid uretprobe riscv_hwprobe",
    // Signals.
    "rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait",
    "rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn tgkill tkill",
    // Locks between threads and processes.
    "futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake ipc mq_getsetattr mq_notify mq_open",
    "mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd",
    "semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget",
    // Time.
    "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64",
    "clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete",
    "timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime",
    "timerfd_gettime64 timerfd_settime timerfd_settime64 times",
    // Sockets; which families, see SOCKET_FAMILIES. `socketcall` exists in 32-bit ABIs only and hides its arguments.
    "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64",
    "recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair",
    // The rest.
    "getrandom landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp sysinfo uname",
    // Since 4.8 a tracer cannot use these to get around the filter (minKernel 4.8 in the profile; our floor is above).
    "process_vm_readv process_vm_writev ptrace",
];

/// Allowed on some architectures, by Go's names as in profiles.
pub(super) const BY_ARCH: &[(&[&str], &str)] = &[
    (&["amd64"], "arch_prctl modify_ldt"),
    (&["arm", "arm64"], "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
];

/// Allowed with a capability.
pub(super) const BY_CAP: &[(&str, &str)] = &[
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules \
         lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Values of `socket`'s first argument (include/linux/socket.h): 0–11 UNSPEC UNIX INET AX25 IPX APPLETALK NETROM
/// BRIDGE ATMPVC X25 INET6 ROSE; then NETBEUI SECURITY NETLINK PACKET ASH RDS SNA PPPOX LLC IB MPLS CAN TIPC BLUETOOTH
/// IUCV PHONET IEEE802154 NFC KCM QIPCRTR SMC XDP MCTP. Missing on purpose: KEY 15 (below), RXRPC 33, ALG 38, VSOCK 40,
/// and what the kernel no longer has (DECnet, ECONET, ATMSVC, IRDA, WANPIPE, ISDN, CAIF).
pub(super) const SOCKET_FAMILIES: &[u64] =
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 35, 36, 39, 41, 42, 43, 44, 45];

/// AF_KEY, for those with CAP_NET_ADMIN.
pub(super) const SOCKET_KEY: u64 = 15;

/// Values of `personality`'s argument: PER_LINUX, PER_LINUX32, UNAME26, both, and "just ask".
pub(super) const PERSONALITIES: &[u64] = &[0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: none may be in `clone`'s flags without
/// CAP_SYS_ADMIN. `clone3` has its flags behind a pointer, so it answers ENOSYS and the C library falls back.
pub(super) const CLONE_NAMESPACES: u64 = 0x7E02_0000;

/// The capabilities that make a difference here: containers alike in them share a compiled program.
pub(super) fn relevant() -> CapSet {
    BY_CAP.iter().filter_map(|(name, _)| Cap::named(name).ok()).collect::<CapSet>().with(Cap::NET_ADMIN)
}
