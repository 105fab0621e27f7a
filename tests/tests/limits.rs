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

#[test]
fn a_quota_holds_a_tenants_containers_together() {
    let server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    docker.text(&["run", "-d", "--name", "one", "busybox", "sleep", "1000"]);
    let above = |controller: &str, file: &str| {
        let groups = host::cgroups(docker.pid("one"));
        let (root, path) = match groups.get(controller) {
            Some(path) => (format!("/sys/fs/cgroup/{controller}"), path),
            None => ("/sys/fs/cgroup".to_owned(), &groups[""]),
        };
        let group = std::path::Path::new(&root).join(path.trim_start_matches('/'));
        std::fs::read_to_string(group.parent().expect("the tenant's group").join(file)).map(|t| t.trim().to_owned())
    };
    let memory = || above("memory", "memory.limit_in_bytes").or_else(|_| above("memory", "memory.max")).expect("the tenant's memory");
    let pids = || above("pids", "pids.max").expect("the tenant's processes");
    assert_eq!(pids(), "max");
    let unlimited = memory();
    server.wharf(&["tenant", "quota", "root", "--memory", "64m", "--pids", "40"]).succeeded();
    assert_eq!((memory().as_str(), pids().as_str()), ("67108864", "40"));
    server.wharf(&["tenant", "quota", "root", "--memory", "1m"]).exited(1);
    assert_eq!(memory(), "67108864", "a quota that cannot be changes nothing");
    server.wharf(&["tenant", "quota", "root"]).succeeded();
    assert_eq!((memory(), pids()), (unlimited, "max".to_owned()), "a quota that is lifted holds nobody");
}
