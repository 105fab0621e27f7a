//! What a container start costs, beside its floor: a static program spawned without any namespace by posix_spawn. Run as
//! root: `cargo bench -p engine --bench start [-- ROUNDS]`. Prints medians and ratios; asserts nothing.

use engine::ContainerId;
use engine::runtime::plan::{CapSets, CgroupFds, CgroupView, IdMap, LogDriver, LogPlan};
use engine::runtime::*;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

const BASE: u32 = 1_879_048_192 + 65_536 * 4001;

#[derive(Default)]
struct Samples(Vec<Duration>);

impl Samples {
    fn print(&mut self, name: &str, floor: Option<Duration>) -> Duration {
        self.0.sort();
        let at = |p: usize| self.0[self.0.len() * p / 100];
        let ratio = floor.map_or(String::new(), |f| format!("  {:.1} x floor", at(50).as_secs_f64() / f.as_secs_f64()));
        println!("{name:44} p10 {:>6} us  p50 {:>6} us  p95 {:>6} us{ratio}", at(10).as_micros(), at(50).as_micros(), at(95).as_micros());
        at(50)
    }
}

fn main() -> anyhow::Result<()> {
    let spawner = Spawner::start()?;
    let rounds = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(200);
    tokio::runtime::Runtime::new()?.block_on(measure(spawner, rounds))
}

async fn measure(spawner: Spawner, rounds: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    // As in production: the run folder is memory.
    let run = tempfile::tempdir_in("/dev/shm")?;
    let layer = folder.path().join("layer");
    std::fs::create_dir_all(layer.join("bin"))?;
    std::fs::copy("/bin/busybox", layer.join("bin/true"))?;
    let runtime = Runtime::at(spawner, run.path())?;
    let layers = rootfs::Layers::new();
    let user_ns = runtime.user_namespace_of_block(BASE, 65536).await?;
    let map = vec![IdMap { inside: 0, outside: BASE, size: 65536 }];
    let prepare = Prepare {
        user: UserNamespace::Own { uids: map.clone(), gids: map },
        pid: Namespace::Own,
        net: Namespace::Own,
        ipc: Namespace::Own,
        uts: Namespace::Own,
        cgroup_ns: Namespace::Own,
        cgroup: CgroupFds { v2: None, v1_tasks: vec![] },
        cgroup_view: CgroupView::Nothing,
        shm_size: 64 << 20,
        masked: default_masked_paths(),
        read_only: default_read_only_paths(),
        sys_writable: false,
    };
    let [mut floor, mut prepares, mut overlays, mut starts, mut exits, mut pooled, mut cold] = [(); 7].map(|()| Samples::default());
    let [mut execs] = [(); 1].map(|()| Samples::default());
    for round in 0..rounds {
        let begun = Instant::now();
        std::process::Command::new(layer.join("bin/true")).spawn()?.wait()?;
        floor.0.push(begun.elapsed());

        let id = ContainerId::random();
        let mut fds = Fds::new();
        let home = folder.path().join(round.to_string());
        for name in ["upper", "work"] {
            std::fs::create_dir_all(home.join(name))?;
            std::os::unix::fs::chown(home.join(name), Some(BASE), Some(BASE))?;
        }
        let run_dir = runtime.make_folder(&id)?;
        let begun = Instant::now();
        let prepared = runtime.prepare(&prepare, &Fds::new()).await?;
        let prepared_after = begun.elapsed();
        prepares.0.push(prepared_after);
        let begun = Instant::now();
        let root = layers.overlay(std::slice::from_ref(&layer), &home.join("upper"), &home.join("work"), Some(user_ns.as_fd()))?;
        overlays.0.push(begun.elapsed());
        let root = fds.add(root);
        let log = fds.add(std::fs::File::open(&home)?);
        let run_dir = fds.add(run_dir);
        let plan = plan(root, run_dir, log, "/bin/true");
        let begun_start = Instant::now();
        let shim = runtime.start(&id, prepared, &plan, fds).await?;
        starts.0.push(begun_start.elapsed());
        shim.exited().await;
        exits.0.push(begun_start.elapsed());
        pooled.0.push(begun.elapsed());
        cold.0.push(begun.elapsed() + prepared_after);
    }
    execs.0 = exec_samples(&runtime, &layers, &layer, folder.path(), &user_ns, &prepare, rounds).await?;
    let floor = floor.print("posix_spawn, exec, wait (the floor)", None);
    prepares.print("prepare (what a pool saves)", Some(floor));
    overlays.print("overlay of one layer", Some(floor));
    starts.print("start: plan to program running", Some(floor));
    exits.print("start to exit recorded", Some(floor));
    pooled.print("pooled: overlay, start, exit recorded", Some(floor));
    cold.print("cold: prepare, overlay, start, exit", Some(floor));
    execs.print("exec to exit known", Some(floor));
    Ok(())
}

async fn exec_samples(
    runtime: &Runtime,
    layers: &rootfs::Layers,
    layer: &Path,
    folder: &Path,
    user_ns: &std::os::fd::OwnedFd,
    prepare: &Prepare,
    rounds: usize,
) -> anyhow::Result<Vec<Duration>> {
    std::os::unix::fs::symlink("true", layer.join("bin/sleep"))?;
    let home = folder.join("exec");
    for name in ["upper", "work"] {
        std::fs::create_dir_all(home.join(name))?;
        std::os::unix::fs::chown(home.join(name), Some(BASE), Some(BASE))?;
    }
    let id = ContainerId::random();
    let mut fds = Fds::new();
    let lowers = [layer.to_owned()];
    let root = fds.add(layers.overlay(&lowers, &home.join("upper"), &home.join("work"), Some(user_ns.as_fd()))?);
    let log = fds.add(std::fs::File::open(&home)?);
    let run_dir = fds.add(runtime.make_folder(&id)?);
    let mut plan = plan(root, run_dir, log, "/bin/sleep");
    plan.process.args.push("1000".into());
    let prepared = runtime.prepare(prepare, &Fds::new()).await?;
    let shim = runtime.start(&id, prepared, &plan, fds).await?;
    let mut samples = Vec::new();
    plan.process.args = vec!["/bin/true".into()];
    let exec = ExecPlan { process: plan.process };
    for _ in 0..rounds {
        let begun = Instant::now();
        let (session, _) = shim.exec(&engine::ExecId::random(), &exec, None).await?;
        session.exited().await;
        samples.push(begun.elapsed());
    }
    shim.signal(9)?;
    shim.exited().await;
    Ok(samples)
}

fn plan(root: FdRef, run_dir: FdRef, log: FdRef, program: &str) -> Plan {
    let caps = 0xa804_25fb;
    Plan {
        process: Process {
            args: vec![program.into()],
            env: vec!["PATH=/bin".into()],
            cwd: "/".into(),
            uid: 0,
            gid: 0,
            groups: vec![],
            caps: CapSets { bounding: caps, permitted: caps, effective: caps, ambient: 0 },
            no_new_privs: false,
            seccomp: vec![],
            rlimits: vec![],
            oom_score_adj: 0,
            apparmor: String::new(),
            tty: false,
            console_size: (0, 0),
            stdin: false,
            stdin_once: false,
        },
        root,
        root_read_only: false,
        mounts: vec![],
        hostname: "bench".into(),
        domainname: String::new(),
        sysctls: vec![],
        init: false,
        log: LogPlan {
            driver: LogDriver::Local,
            dir: Some(log),
            file: logfile::FILE.into(),
            max_size: logfile::MAX_SIZE,
            max_files: logfile::MAX_FILES,
            attrs: String::new(),
        },
        run_dir,
    }
}
