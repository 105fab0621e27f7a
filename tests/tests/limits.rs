//! Limits hold: the kernel says so, not we.

use e2e::{Options, Server, host, until};

#[test]
fn a_memory_limit_kills_and_is_told() {
    let server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    let greedy = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo survived";
    let output = docker.run(&["run", "--name", "greedy", "-m", "32m", "busybox", "sh", "-c", greedy]);
    assert_eq!(output.code, 137, "{output:?}");
    assert_eq!(docker.inspect("greedy", "{{.State.OOMKilled}} {{.HostConfig.Memory}}"), "true 33554432");
    let events =
        docker.text(&["events", "--since", "1h", "--until", &e2e::soon(), "--filter", "container=greedy", "--format", "{{.Action}}"]);
    assert!(events.contains("oom"), "no oom event: {events}");
}

#[test]
fn a_pids_limit_stops_a_fork_bomb() {
    let server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    docker.text(&["run", "-d", "--name", "bomb", "--pids-limit", "20", "busybox", "sh", "-c", "b() { b | b & }; b; sleep 1000"]);
    let id = docker.inspect("bomb", "{{.Id}}");
    for _ in 0..20 {
        let all = host::processes_in(&id).len();
        assert!(all <= 20, "{all} processes in a group limited to 20");
    }
    docker.text(&["rm", "-f", "bomb"]);
    until("all its processes are gone", || host::processes_in(&id).is_empty().then_some(()));
}

#[test]
fn a_cpu_limit_holds() {
    let server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    docker.text(&["run", "-d", "--name", "busy", "--cpus", "0.25", "busybox", "sh", "-c", "while :; do :; done"]);
    let pid = docker.pid("busy");
    // utime + stime in ticks of 10 ms against the wall clock: a limit of a quarter can be undercut by a busy machine,
    // never overstepped but for a period's slack.
    let ticks = || -> u64 {
        let stat = host::read(pid, "stat");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
    };
    let (begin, before) = (std::time::Instant::now(), ticks());
    std::thread::sleep(std::time::Duration::from_secs(3));
    let used = (ticks() - before) as f64 / 100.0;
    let share = used / begin.elapsed().as_secs_f64();
    assert!(share < 0.35, "used {share:.2} of a processor with --cpus 0.25");
    assert!(used > 0.0, "it did not run at all");
}

#[test]
fn limits_are_seen_inside() {
    let server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    let read = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
    assert_eq!(docker.text(&["run", "--rm", "-m", "64m", "busybox", "sh", "-c", read]), "67108864");
    let read = "cat /sys/fs/cgroup/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids/pids.max";
    assert_eq!(docker.text(&["run", "--rm", "--pids-limit", "33", "busybox", "sh", "-c", read]), "33");
    assert_eq!(docker.text(&["run", "--rm", "--ulimit", "nofile=100:200", "busybox", "sh", "-c", "ulimit -Sn; ulimit -Hn"]), "100\n200");
    assert_eq!(
        docker.text(&["run", "--rm", "--shm-size", "8m", "busybox", "sh", "-c", "df -k /dev/shm | tail -1 | awk '{print $2}'"]),
        "8192"
    );
}
