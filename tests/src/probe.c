/* probe: what a container's root would try on the kernel with system calls of its own. Compiled by the tests with the host's
 * compiler, statically, and put into their images; it is no part of Wharf.
 *
 *   probe calls      each call that a default container must not have, and how the kernel answers: NAME ERRNO, or NAME open
 *   probe attach     attaches to every process that appears (PTRACE_SEIZE, ptrace(2)) and prints whose program it was
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char room[4096];

/* In a child each: a call that is let through may change what the next one sees. */
static void call(const char *name, long nr, long a, long b, long c, long d, long e) {
    pid_t child = fork();
    if (child == 0) {
        errno = 0;
        long got = syscall(nr, a, b, c, d, e);
        if (got < 0) printf("%s %s\n", name, errno == EPERM ? "EPERM" : errno == ENOSYS ? "ENOSYS" : errno == EACCES ? "EACCES" : strerror(errno));
        else printf("%s open\n", name);
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status)) printf("%s ended by signal %d\n", name, WTERMSIG(status));
}

static int calls(void) {
    long p = (long)room;
    setbuf(stdout, NULL);
    memset(room, 0, sizeof room);
    call("getpid", SYS_getpid, 0, 0, 0, 0, 0); /* The control: this one is open. */
    call("unshare-user", SYS_unshare, 0x10000000, 0, 0, 0, 0);
    call("unshare-mount", SYS_unshare, 0x00020000, 0, 0, 0, 0);
    call("unshare-net", SYS_unshare, 0x40000000, 0, 0, 0, 0);
    call("unshare-cgroup", SYS_unshare, 0x02000000, 0, 0, 0, 0);
    call("clone-user", SYS_clone, 0x10000000 | SIGCHLD, 0, 0, 0, 0);
    call("setns", SYS_setns, open("/proc/self/ns/net", O_RDONLY), 0, 0, 0, 0);
    call("mount", SYS_mount, (long)"none", (long)"/tmp", (long)"tmpfs", 0, 0);
    call("umount", SYS_umount2, (long)"/proc", 2, 0, 0, 0);
    call("pivot_root", SYS_pivot_root, (long)"/", (long)"/", 0, 0, 0);
    call("fsopen", SYS_fsopen, (long)"tmpfs", 0, 0, 0, 0);
    call("fspick", SYS_fspick, -100, (long)"/", 0, 0, 0);
    call("open_tree", SYS_open_tree, -100, (long)"/", 1, 0, 0);
    call("move_mount", SYS_move_mount, -100, (long)"/", -100, (long)"/tmp", 0);
    call("mount_setattr", SYS_mount_setattr, -100, (long)"/", 0, p, 32);
    call("open_tree_attr", 467, -100, (long)"/", 1, p, 32);
    call("bpf", SYS_bpf, 0, p, 72, 0, 0);
    call("perf_event_open", SYS_perf_event_open, p, 0, -1, -1, 0);
    call("io_uring_setup", SYS_io_uring_setup, 1, p, 0, 0, 0);
    call("keyctl", SYS_keyctl, 0, -3, 1, 0, 0);
    call("add_key", SYS_add_key, (long)"user", (long)"x", p, 1, -3);
    call("request_key", SYS_request_key, (long)"user", (long)"x", 0, -3, 0);
    call("userfaultfd", SYS_userfaultfd, 0, 0, 0, 0, 0);
    call("open_by_handle_at", SYS_open_by_handle_at, -100, p, 0, 0, 0);
    call("init_module", SYS_init_module, p, 0, (long)"", 0, 0);
    call("finit_module", SYS_finit_module, 0, (long)"", 0, 0, 0);
    call("delete_module", SYS_delete_module, (long)"x", 0, 0, 0, 0);
    call("kexec_load", SYS_kexec_load, 0, 0, 0, 0, 0);
    call("swapon", SYS_swapon, (long)"/x", 0, 0, 0, 0);
    call("acct", SYS_acct, 0, 0, 0, 0, 0);
    call("quotactl", SYS_quotactl, 0, 0, 0, 0, 0);
    call("settimeofday", SYS_settimeofday, p, 0, 0, 0, 0);
    call("clock_settime", SYS_clock_settime, 0, p, 0, 0, 0);
    call("syslog", SYS_syslog, 3, p, 100, 0, 0);
    call("reboot", SYS_reboot, 0xfee1dead, 0x28121969, 0, 0, 0);
    call("sethostname", SYS_sethostname, (long)"x", 1, 0, 0, 0);
    call("mknod-disk", SYS_mknodat, -100, (long)"/tmp/disk", 0060600, 8 << 8, 0);
    call("mknod-kmsg", SYS_mknodat, -100, (long)"/tmp/kmsg", 0020600, 1 << 8 | 11, 0);
    call("mknod-mem", SYS_mknodat, -100, (long)"/tmp/mem", 0020600, 1 << 8 | 1, 0);
    call("mknod-fuse", SYS_mknodat, -100, (long)"/tmp/fuse", 0020600, 10 << 8 | 229, 0);
    call("mknod-tun", SYS_mknodat, -100, (long)"/tmp/tun", 0020600, 10 << 8 | 200, 0);
#ifdef SYS_iopl
    call("iopl", SYS_iopl, 3, 0, 0, 0, 0);
    call("ioperm", SYS_ioperm, 0x80, 1, 1, 0, 0);
#endif
    return 0;
}

static int attach(void) {
    static char known[1 << 22];
    setbuf(stdout, NULL);
    printf("ready\n");
    for (;;) {
        DIR *all = opendir("/proc");
        struct dirent *entry;
        if (!all) return 1;
        while ((entry = readdir(all))) {
            pid_t pid = atoi(entry->d_name);
            if (pid <= 0 || pid == getpid() || known[pid]) continue;
            if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0) continue;
            known[pid] = 1;
            ptrace(PTRACE_INTERRUPT, pid, 0, 0);
            char path[64], exe[256] = "";
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            int status;
            waitpid(pid, &status, __WALL);
            if (WIFSTOPPED(status)) {
                if (readlink(path, exe, sizeof exe - 1) > 0) printf("attached %s\n", exe);
                ptrace(PTRACE_DETACH, pid, 0, 0);
            }
        }
        closedir(all);
    }
}

int main(int count, char **words) {
    if (count == 2 && !strcmp(words[1], "calls")) return calls();
    if (count == 2 && !strcmp(words[1], "attach")) return attach();
    return 2;
}
