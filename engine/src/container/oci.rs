//! A container as an OCI runtime specification (runtime-spec 1.2, config.md and config-linux.md): what another runtime would
//! be given to make the same container. Nothing here is used to run one; it is for people and tests that compare.

use super::effective::{
    AppArmor, EffectiveSpec, Ipc, Mount, MountSource, NetworkMode, OwnOrHost, Privileges, Seccomp, Shared, UserNamespace, user,
};
use super::record::{Entry, Record};
use super::spec::Resources;
use super::view::MountView;
use crate::caps;
use crate::cgroup::{DeviceKind, DeviceRule};
use crate::engine::Engine;
use crate::seccomp::{self, Action, Choice, Op, Rule};
use crate::{Doing, Error, Result, Subject};
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::sync::Arc;

const VERSION: &str = "1.2.0";

impl Engine {
    /// One of the subject's containers as the OCI runtime specification has it, as JSON (`config.json` of a bundle). Users are
    /// looked up in the container's own files; a running container's cgroup is the real one.
    ///
    /// # Errors
    /// `NotFound` when it is absent or somebody else's; `Invalid` when its user is not in the image.
    pub async fn oci_spec(&self, who: &Subject, name: &str) -> Result<Value> {
        let entry = self.registry().find(who.tenant, name)?;
        let record = entry.record().clone();
        let spec = &entry.fixed.effective;
        let root = match entry.up() {
            Some(up) => crate::sys::inside::root_of(up.shim.pid()).doing(|| "opening the container's root".to_owned())?,
            None => {
                let _alone = entry.lifecycle.lock().await;
                self.container_root(&entry).await?
            }
        };
        let person = super::plan::resolve(root.as_fd(), &spec.process.user, &spec.process.extra_groups, self.ids_of(&entry))?;
        let linux = self.linux(&entry, &record)?;
        let whole = json!({
            "ociVersion": VERSION,
            "process": process(spec, &person),
            "root": { "path": "rootfs", "readonly": spec.read_only_root },
            "hostname": if spec.host.hostname.is_empty() { entry.id.short() } else { &spec.host.hostname },
            "domainname": spec.host.domainname,
            "mounts": self.oci_mounts(&entry),
            "annotations": spec.annotations,
            "linux": linux,
        });
        // Through the published types: what comes out is what they know.
        let failed = |e| Error::internal(format!("writing the OCI specification of container {}", entry.id), e);
        let typed: oci_spec::runtime::Spec = serde_json::from_value(whole).map_err(failed)?;
        serde_json::to_value(&typed).map_err(failed)
    }

    fn linux(&self, entry: &Arc<Entry>, record: &Record) -> Result<Value> {
        let spec = &entry.fixed.effective;
        let map = match spec.namespaces.user {
            UserNamespace::Host => None,
            _ => {
                let block = self.block(entry.tenant)?;
                Some(json!([{ "containerID": 0, "hostID": block.base, "size": block.size }]))
            }
        };
        let group = record.life.live.as_ref().map_or(entry.id.as_str(), |live| &live.cgroup);
        let cgroup = self.cgroup_path(entry.tenant, group);
        let join = |id: &str, kind: &str| match self.running(entry.tenant, id, kind) {
            Ok(up) => format!("/proc/{}/ns/{kind}", up.shim.pid()),
            Err(_) => format!("container:{id}"),
        };
        let mut resources = resources(&record.mutable.resources);
        resources["devices"] = device_rules(spec)?;
        let mut linux = json!({
            "namespaces": namespaces(spec, &join),
            "cgroupsPath": std::path::Path::new("/").join(cgroup),
            "sysctl": super::plan::sysctls(spec).into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "resources": resources,
            "rootfsPropagation": "rprivate",
            "maskedPaths": spec.privileges.masked_paths,
            "readonlyPaths": spec.privileges.readonly_paths,
            "devices": devices(spec)?,
        });
        if let Some(map) = map {
            linux["uidMappings"] = map.clone();
            linux["gidMappings"] = map;
        }
        if let Some(filter) = filter(&spec.privileges)? {
            linux["seccomp"] = filter;
        }
        Ok(linux)
    }

    fn oci_mounts(&self, entry: &Entry) -> Vec<Value> {
        let spec = &entry.fixed.effective;
        let sys = if spec.privileges.privileged { "rw" } else { "ro" };
        let mut mounts = vec![
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", sys]),
        ];
        if spec.namespaces.ipc != Ipc::None {
            let size = format!("size={}", spec.shm_size);
            mounts.push(mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]));
        }
        for name in ["resolv.conf", "hostname", "hosts"] {
            let source = self.run_folder(&entry.id).join(name);
            mounts.push(mount(&format!("/etc/{name}"), "bind", &source.to_string_lossy(), &["rbind", "rprivate"]));
        }
        // What the client mounts at the same place stands instead of ours.
        mounts.retain(|ours| !spec.mounts.iter().any(|theirs| ours["destination"] == theirs.target.as_str()));
        mounts.extend(spec.mounts.iter().zip(entry.fixed.mounts.iter()).map(|(mount, view)| own_mount(mount, view)));
        mounts
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn own_mount(asked: &Mount, view: &MountView) -> Value {
    let mut options = vec![if asked.read_only { "ro" } else { "rw" }.to_owned()];
    let (kind, source) = match &asked.source {
        MountSource::Bind { path, recursive, propagation, .. } => {
            options.push(if *recursive { "rbind" } else { "bind" }.to_owned());
            options.push(propagation.as_str().to_owned());
            options.extend(["nosuid", "nodev"].map(str::to_owned));
            ("bind", path.to_string_lossy().into_owned())
        }
        MountSource::Volume { subpath, .. } => {
            options.extend(["rbind", "rprivate", "nodev"].map(str::to_owned));
            let source = if subpath.is_empty() { view.source.clone() } else { format!("{}/{subpath}", view.source) };
            ("bind", source)
        }
        MountSource::Tmpfs { size, mode, uid, gid, inodes, noexec, nosuid, nodev } => {
            options.extend([format!("mode={mode:o}"), format!("uid={uid}"), format!("gid={gid}")]);
            options.extend(size.map(|n| format!("size={n}")));
            options.extend(inodes.map(|n| format!("nr_inodes={n}")));
            let words = [(*noexec, "noexec"), (*nosuid, "nosuid"), (*nodev, "nodev")];
            options.extend(words.into_iter().filter(|(on, _)| *on).map(|(_, word)| word.to_owned()));
            ("tmpfs", "tmpfs".to_owned())
        }
        MountSource::Image { reference, subpath } => {
            options.push("rbind".to_owned());
            ("bind", if subpath.is_empty() { reference.clone() } else { format!("{reference}/{subpath}") })
        }
        MountSource::TenantSocket => {
            options.push("bind".to_owned());
            ("bind", view.source.clone())
        }
    };
    json!({ "destination": asked.target, "type": kind, "source": source, "options": options })
}

fn process(spec: &EffectiveSpec, person: &user::Credentials) -> Value {
    let mut env = spec.process.env.clone();
    if !env.iter().any(|e| e.starts_with("HOME=")) {
        env.push(format!("HOME={}", person.home));
    }
    let sets = caps::sets(spec.privileges.capabilities, person.uid == 0, None);
    let names = |bits: u64| caps::CapSet(bits).names();
    let number = |v: i64| u64::try_from(v).unwrap_or(u64::MAX);
    let rlimits: Vec<Value> = spec
        .process
        .rlimits
        .iter()
        .map(|l| json!({ "type": format!("RLIMIT_{}", l.name.to_uppercase()), "soft": number(l.soft), "hard": number(l.hard) }))
        .collect();
    let mut process = json!({
        "terminal": spec.process.tty,
        "user": { "uid": person.uid, "gid": person.gid, "additionalGids": person.groups },
        "args": spec.process.argv,
        "env": env,
        "cwd": spec.process.working_dir,
        "capabilities": {
            "bounding": names(sets.bounding),
            "permitted": names(sets.permitted),
            "effective": names(sets.effective),
            "inheritable": [],
            "ambient": names(sets.ambient),
        },
        "rlimits": rlimits,
        "noNewPrivileges": spec.privileges.no_new_privileges,
        "oomScoreAdj": spec.process.oom_score_adj,
    });
    if let Some((height, width)) = spec.process.console_size {
        process["consoleSize"] = json!({ "height": height, "width": width });
    }
    if let AppArmor::Profile(name) = &spec.privileges.apparmor {
        process["apparmorProfile"] = json!(name);
    }
    process
}

/// The namespaces that are not the host's; `join` gives the path of another container's.
fn namespaces(spec: &EffectiveSpec, join: &dyn Fn(&str, &str) -> String) -> Vec<Value> {
    let own = |kind: &str| Some(json!({ "type": kind }));
    let joined = |kind: &str, id: &str, file: &str| Some(json!({ "type": kind, "path": join(id, file) }));
    let n = &spec.namespaces;
    let list = [
        own("mount"),
        match &n.pid {
            Shared::Private => own("pid"),
            Shared::Host => None,
            Shared::Container(id) => joined("pid", id, "pid"),
        },
        match &spec.network.mode {
            NetworkMode::Host => None,
            NetworkMode::Container(id) => joined("network", id, "net"),
            NetworkMode::None | NetworkMode::Network(_) => own("network"),
        },
        match &n.ipc {
            Ipc::Host => None,
            Ipc::Container(id) => joined("ipc", id, "ipc"),
            Ipc::Private | Ipc::Shareable | Ipc::None => own("ipc"),
        },
        if n.uts == OwnOrHost::Private { own("uts") } else { None },
        if n.cgroup == OwnOrHost::Private { own("cgroup") } else { None },
        if n.user == UserNamespace::Host { None } else { own("user") },
    ];
    list.into_iter().flatten().collect()
}

/// Limits as they were asked for; what was not asked for is not there.
fn resources(r: &Resources) -> Value {
    let mut out = json!({});
    let mut put = |group: &str, key: &str, value: Value| out[group][key] = value;
    for (key, value) in [("limit", r.memory), ("reservation", r.memory_reservation), ("swap", r.memory_swap)] {
        if value != 0 {
            put("memory", key, json!(value));
        }
    }
    if let Some(swappiness) = r.memory_swappiness {
        put("memory", "swappiness", json!(swappiness));
    }
    if let Some(off) = r.oom_kill_disable {
        put("memory", "disableOOMKiller", json!(off));
    }
    if r.cpu_shares > 0 {
        put("cpu", "shares", json!(r.cpu_shares));
    }
    let (quota, period) = if r.nano_cpus > 0 { (r.nano_cpus / 10_000, 100_000) } else { (r.cpu_quota, r.cpu_period) };
    for (key, value) in [("quota", quota), ("period", period), ("realtimePeriod", r.cpu_rt_period), ("realtimeRuntime", r.cpu_rt_runtime)] {
        if value != 0 {
            put("cpu", key, json!(value));
        }
    }
    for (key, value) in [("cpus", &r.cpuset_cpus), ("mems", &r.cpuset_mems)] {
        if !value.is_empty() {
            put("cpu", key, json!(value));
        }
    }
    if let Some(limit) = r.pids_limit {
        put("pids", "limit", json!(if limit == 0 { -1 } else { limit }));
    }
    if r.blkio_weight > 0 {
        put("blockIO", "weight", json!(r.blkio_weight));
    }
    out
}

fn kind_letter(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::All => "a",
        DeviceKind::Char => "c",
        DeviceKind::Block => "b",
    }
}

/// Everything is refused first; then the rules, in order.
fn device_rules(spec: &EffectiveSpec) -> Result<Value> {
    let one = |rule: &DeviceRule| {
        let mut out = json!({ "allow": rule.allow, "type": kind_letter(rule.kind), "access": rule.access.text() });
        for (key, number) in [("major", rule.major), ("minor", rule.minor)] {
            if let Some(number) = number {
                out[key] = json!(number);
            }
        }
        out
    };
    let mut rules = vec![json!({ "allow": false, "type": "a", "access": "rwm" })];
    rules.extend(super::device::rules(spec)?.iter().map(one));
    Ok(Value::Array(rules))
}

fn devices(spec: &EffectiveSpec) -> Result<Vec<Value>> {
    let node = |n: super::device::Node| json!({ "path": n.container, "type": kind_letter(n.kind), "major": n.major, "minor": n.minor });
    Ok(super::device::nodes(spec)?.into_iter().map(node).collect())
}

/// The system-call filter by names: rules that do the same are one entry.
fn filter(privileges: &Privileges) -> Result<Option<Value>> {
    let choice = match &privileges.seccomp {
        Seccomp::Default => Choice::Default,
        Seccomp::Unconfined => Choice::Unconfined,
        Seccomp::Profile(json) => Choice::Profile(json),
    };
    let Some(policy) = seccomp::policy(choice, privileges.capabilities)? else { return Ok(None) };
    let mut groups: Vec<(&Rule, Vec<&str>)> = Vec::new();
    for rule in &policy.rules {
        match groups.iter_mut().find(|(first, _)| first.action == rule.action && first.conditions == rule.conditions) {
            Some((_, names)) => names.push(&rule.name),
            None => groups.push((rule, vec![&rule.name])),
        }
    }
    let calls: Vec<Value> = groups.into_iter().map(|(rule, names)| call(rule, &names)).collect();
    let (default, errno) = action(policy.default);
    let native = seccomp::Abi::NATIVE;
    let mut arches = vec![native.oci_name()];
    if privileges.syscalls_32bit && policy.abi32 {
        arches.push(native.narrow().oci_name());
    }
    let mut out = json!({ "defaultAction": default, "architectures": arches, "syscalls": calls });
    if let Some(errno) = errno {
        out["defaultErrnoRet"] = json!(errno);
    }
    Ok(Some(out))
}

fn call(rule: &Rule, names: &[&str]) -> Value {
    let (what, errno) = action(rule.action);
    let mut out = json!({ "names": names, "action": what });
    if let Some(errno) = errno {
        out["errnoRet"] = json!(errno);
    }
    if !rule.conditions.is_empty() {
        let argument = |c: &seccomp::Condition| {
            let (op, value, two) = match c.op {
                Op::Ne => ("SCMP_CMP_NE", c.value, 0),
                Op::Lt => ("SCMP_CMP_LT", c.value, 0),
                Op::Le => ("SCMP_CMP_LE", c.value, 0),
                Op::Eq => ("SCMP_CMP_EQ", c.value, 0),
                Op::Ge => ("SCMP_CMP_GE", c.value, 0),
                Op::Gt => ("SCMP_CMP_GT", c.value, 0),
                Op::MaskedEq { mask } => ("SCMP_CMP_MASKED_EQ", mask, c.value),
            };
            json!({ "index": c.index, "op": op, "value": value, "valueTwo": two })
        };
        out["args"] = rule.conditions.iter().map(argument).collect();
    }
    out
}

fn action(action: Action) -> (&'static str, Option<u16>) {
    match action {
        Action::Allow => ("SCMP_ACT_ALLOW", None),
        Action::Errno(errno) => ("SCMP_ACT_ERRNO", Some(errno)),
        Action::KillProcess => ("SCMP_ACT_KILL_PROCESS", None),
        Action::KillThread => ("SCMP_ACT_KILL_THREAD", None),
        Action::Trap => ("SCMP_ACT_TRAP", None),
        Action::Trace(data) => ("SCMP_ACT_TRACE", Some(data)),
        Action::Log => ("SCMP_ACT_LOG", None),
    }
}
