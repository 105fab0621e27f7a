//! Groups in the kernel: each test has an instance of its own, and removes its part of the tree. They run on v1 and on
//! v2, whichever the host has.

use super::*;
use std::process::{Child, Command, Stdio};

struct Host {
    cgroups: Cgroups,
    _dirs: [tempfile::TempDir; 2],
}

impl Host {
    fn new() -> Option<Self> {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: needs root");
            return None;
        }
        let instance = Instance::open(dirs[0].path(), dirs[1].path()).unwrap();
        Some(Self { cgroups: Cgroups::open(&instance).unwrap(), _dirs: dirs })
    }

    fn group(&self, name: &str) -> Group {
        self.cgroups.tenant(TenantId(7), &Resources::default()).unwrap();
        self.cgroups.create(TenantId(7), name).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(e) = self.cgroups.remove_all() {
            println!("a test's cgroups stay: {e}");
        }
    }
}

/// A process that does nothing until it is put in the group and told to go on; then `script` runs.
struct Held(Child);

impl Held {
    fn run(group: &Group, script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        group.add(i32::try_from(child.id()).unwrap()).unwrap();
        use std::io::Write;
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        Self(child)
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn file(group: &Group, controller: Controller, name: &str) -> String {
    group.read(controller, name).unwrap_or_else(|| panic!("{name} of {}", group.path().display())).trim().to_owned()
}

#[test]
fn limits_reach_the_kernel_and_change_live() {
    let Some(host) = Host::new() else { return };
    let group = host.group("limits");
    let (mib, v1) = (1024 * 1024, group.version() == Version::V1);
    let swap = host.cgroups.support().swap;
    let mut asked = Resources {
        memory: 64 * mib,
        memory_swap: if swap { 96 * mib } else { -1 },
        pids_limit: Some(50),
        nano_cpus: 500_000_000,
        cpu_shares: 512,
        ..Resources::default()
    };
    let check = |memory: i64, pids: &str, quota: &str| {
        let name = if v1 { "memory.limit_in_bytes" } else { "memory.max" };
        assert_eq!(file(&group, Controller::Memory, name), memory.to_string());
        assert_eq!(file(&group, Controller::Pids, "pids.max"), pids);
        if v1 {
            assert_eq!(file(&group, Controller::Cpu, "cpu.cfs_quota_us"), quota);
        } else {
            assert_eq!(file(&group, Controller::Cpu, "cpu.max"), format!("{quota} 100000"));
        }
    };
    group.set(&asked).unwrap();
    check(64 * mib, "50", "50000");
    if v1 && swap {
        assert_eq!(file(&group, Controller::Memory, "memory.memsw.limit_in_bytes"), (96 * mib).to_string());
    }
    // Up past the old memory+swap, and down again below it: the order of writes turns round.
    for memory in [512 * mib, 32 * mib] {
        asked.memory = memory;
        asked.memory_swap = if swap { memory * 2 } else { -1 };
        group.set(&asked).unwrap();
        check(memory, "50", "50000");
    }
    group.set(&Resources { pids_limit: Some(-1), ..Resources::default() }).unwrap();
    check(32 * mib, "max", "50000");
}

#[test]
fn a_child_gets_no_more_cpu_than_its_tenant_and_a_shrinking_tenant_shrinks_it() {
    let Some(host) = Host::new() else { return };
    let cpus = |n: i64| Resources { nano_cpus: n * 100_000_000, ..Resources::default() };
    let tenant = host.cgroups.tenant(TenantId(7), &cpus(10)).unwrap();
    let group = host.cgroups.create(TenantId(7), "c").unwrap();
    group.set(&cpus(20)).unwrap();
    let quota = || {
        if group.version() == Version::V1 { file(&group, Controller::Cpu, "cpu.cfs_quota_us") } else { "100000".to_owned() }
    };
    assert_eq!(quota(), "100000", "v1 gives what the tenant has; v2 lets the smaller one win by itself");
    tenant.set(&cpus(5)).unwrap();
    if group.version() == Version::V1 {
        assert_eq!(quota(), "50000");
    }
}

#[test]
fn pids_limit_stops_a_fork_bomb() {
    let Some(host) = Host::new() else { return };
    let group = host.group("bomb");
    group.set(&Resources { pids_limit: Some(20), memory: 256 * 1024 * 1024, ..Resources::default() }).unwrap();
    let bomb = Held::run(&group, "b() { b | b & }; b; b; wait");
    // The limit was met: the kernel counts refusals.
    let refused = || {
        let events = super::group::flat_file(&group.dir(Controller::Pids).unwrap().join("pids.events"));
        events.get("max").copied().unwrap_or(0) > 0
    };
    while !refused() {
        assert!(group.pids().unwrap().len() <= 20);
        std::thread::yield_now();
    }
    drop(bomb);
    group.kill_all().unwrap();
    group.remove_blocking().unwrap();
    assert!(!group.exists());
}

#[tokio::test]
async fn memory_limit_kills_and_is_told() {
    let Some(host) = Host::new() else { return };
    let group = host.group("oom");
    group
        .set(&Resources { memory: 16 * 1024 * 1024, memory_swap: 16 * 1024 * 1024, ..Resources::default() })
        .or_else(|_| {
            // No swap accounting here.
            group.set(&Resources { memory: 16 * 1024 * 1024, memory_swap: -1, ..Resources::default() })
        })
        .unwrap();
    let mut watch = group.watch_oom().unwrap();
    assert_eq!(group.oom_kills(), 0);
    // One process: `tail` keeps the only, endless line. Of a pipeline the kernel might kill two.
    let mut hog = Held::run(&group, "exec tail /dev/zero");
    assert_eq!(watch.next().await, Some(1));
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(hog.0.wait().unwrap().signal(), Some(9));
    assert_eq!(group.oom_kills(), 1);
}

#[tokio::test]
async fn frozen_processes_stop_go_on_and_can_be_killed() {
    let Some(host) = Host::new() else { return };
    let group = host.group("freeze");
    let busy = Held::run(&group, "while :; do :; done");
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", busy.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').map(str::to_owned).collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    while ticks() == 0 {
        std::thread::yield_now();
    }
    group.freeze().await.unwrap();
    assert!(group.is_frozen().unwrap());
    let then = ticks();
    for _ in 0..200_000 {
        std::hint::black_box(std::fs::metadata("/").ok()).unwrap();
    }
    assert_eq!(ticks(), then, "a frozen process uses no CPU");
    group.thaw().unwrap();
    while ticks() == then {
        std::thread::yield_now();
    }
    group.freeze().await.unwrap();
    group.kill_all().unwrap();
    while !matches!(busy.state(), 'Z' | 'X') {
        std::thread::yield_now();
    }
}

#[test]
fn devices_are_what_the_rules_say() {
    let Some(host) = Host::new() else { return };
    let group = host.group("devices");
    let may = |path: &str| {
        let mut child = Held::run(&group, &format!("exec 3<{path}"));
        child.0.wait().unwrap().success()
    };
    if !Path::new("/dev/full").exists() || !Path::new("/dev/kmsg").exists() {
        println!("SKIPPED: /dev/full and /dev/kmsg are not here");
        return;
    }
    assert!(may("/dev/kmsg"), "nothing is set yet");
    group.set_devices(&DeviceRule::defaults()).unwrap();
    for path in ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/full"] {
        assert!(may(path), "{path}");
    }
    assert!(!may("/dev/kmsg"), "sec_f7: default deny");
    let mut more = DeviceRule::defaults();
    more.push(DeviceRule::char(1, 11, Access::parse("r").unwrap()));
    group.set_devices(&more).unwrap();
    assert!(may("/dev/kmsg"));
    group.set_devices(&[DeviceRule::everything()]).unwrap();
    assert!(may("/dev/kmsg"));
    group.set_devices(&DeviceRule::defaults()).unwrap();
    assert!(!may("/dev/kmsg"), "what was set before is gone");
}

#[test]
fn usage_is_the_kernels() {
    let Some(host) = Host::new() else { return };
    let group = host.group("usage");
    group.set(&Resources { memory: 64 << 20, memory_swap: -1, pids_limit: Some(30), ..Resources::default() }).unwrap();
    // Enough CPU that the counters' own grain does not matter; then it waits, holding its memory.
    let work = Held::run(&group, "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; kill -STOP $$");
    let mut stats = crate::container::request::Stats::default();
    group.usage(&mut stats, 1 << 40);
    assert_eq!(stats.memory_limit, 64 << 20);
    assert_eq!(stats.pids.1, 30);
    while work.state() != 'T' {
        std::thread::yield_now();
    }
    let sample = crate::stats::sample(&group, 0).unwrap();
    assert!(sample.cpu_total > 50_000_000, "{} ns", sample.cpu_total);
    assert!(sample.cpu_total >= sample.cpu_user / 2 && sample.cpu_user > 0);
    assert!(sample.host_cpu > sample.cpu_total && sample.online_cpus > 0);
    assert!(sample.memory_usage > 0 && !sample.memory_stats.is_empty());
}

#[test]
fn top_shows_the_groups_processes_and_no_others() {
    let Some(host) = Host::new() else { return };
    let group = host.group("top");
    let sleeper = Held::run(&group, "exec sleep 1000");
    let table = loop {
        let table = crate::stats::top(&group, "-o pid,args").unwrap();
        if table.processes.iter().any(|p| p[1] == "sleep 1000") {
            break table;
        }
    };
    assert_eq!(table.titles, ["PID", "COMMAND"]);
    assert_eq!(table.processes, [[sleeper.pid().to_string(), "sleep 1000".to_owned()]]);
    let error = crate::stats::top(&group, "-o args").unwrap_err();
    assert_eq!(error.to_string(), "Couldn't find PID field in ps output");
}

#[test]
fn a_group_in_use_is_not_given_twice_is_found_again_and_goes_with_what_is_in_it() {
    let Some(host) = Host::new() else { return };
    let group = host.group("twice");
    let mut child = Held::run(&group, "sleep 1000 & wait");
    assert_eq!(host.cgroups.create(TenantId(7), "twice").unwrap_err().kind(), Kind::Conflict);
    let again = host.cgroups.find(group.path()).unwrap();
    assert!(again.pids().unwrap().contains(&child.pid()));
    // Somebody inside made a group below.
    std::fs::create_dir(group.dirs()[0].join("nested")).unwrap();
    let reaper = std::thread::spawn(move || child.0.wait().unwrap());
    again.remove_blocking().unwrap();
    assert!(!group.exists() && host.cgroups.find(group.path()).is_none());
    assert!(!reaper.join().unwrap().success());
}

#[test]
fn names_stay_inside() {
    let Some(host) = Host::new() else { return };
    for (parent, name) in [("../x", "a"), ("/a/../../b", "a"), ("x", "../a"), ("x", ""), ("x", "..")] {
        assert!(host.cgroups.create_under(Path::new(parent), name).is_err(), "{parent} {name}");
    }
}

#[test]
fn a_new_process_can_be_born_in_it() {
    let Some(host) = Host::new() else { return };
    let group = host.group("born");
    let mut fds = crate::runtime::Fds::new();
    let join = group.join(&mut fds).unwrap();
    match group.version() {
        Version::V2 => assert!(join.v2.is_some() && join.v1_tasks.is_empty()),
        Version::V1 => assert_eq!(join.v1_tasks.len(), group.dirs().len()),
    }
}

#[test]
fn a_neutral_group_becomes_somebodys_with_what_is_in_it() {
    let Some(host) = Host::new() else { return };
    let waiting = host.group("z1");
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    waiting.add(pid).unwrap();
    let name = waiting.name_for("web").to_owned();
    let web = waiting.rename("web").unwrap();
    let (pids, found) = (web.pids().unwrap(), host.cgroups.find(web.path()).is_some());
    let taken = host.group("z2").rename("web");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((pids, found), (vec![pid], true));
    assert_eq!(web.path().file_name().unwrap().to_str(), Some(name.as_str()));
    match web.version() {
        Version::V1 => {
            assert!(name == "web" && !waiting.exists());
            assert!(taken.is_err(), "the name is somebody else's");
        }
        Version::V2 => assert!(name == "z1" && taken.is_ok()),
    }
}

#[tokio::test]
async fn a_restart_gets_a_group_that_no_janitor_is_about_to_remove() {
    let Some(host) = Host::new() else { return };
    let tenant = TenantId(7);
    assert_eq!(host.cgroups.free_name(tenant, "web"), "web");
    let old = host.group("web");
    // Disposed of, and still there.
    let name = host.cgroups.free_name(tenant, "web");
    assert_eq!(name, "web.1");
    let new = host.group(&name);
    old.remove().await.unwrap();
    assert!(new.exists());
    assert_eq!(host.cgroups.free_name(tenant, "web"), "web");
}
