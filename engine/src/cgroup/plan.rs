//! From limits as asked to cgroup files: validation with Docker's texts, then a list of (controller, file, value).
//!
//! Pure. Nothing here reads the host: what the host can do comes in as [`Support`], device numbers through a closure.
//! Sources: Documentation/admin-guide/cgroup-v1/*.rst and cgroup-v2.rst of the kernel; Docker's texts as clients see them.

use super::Version;
use crate::container::Resources;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Docker refuses less: a runtime's own pages do not fit below it.
const MEMORY_MIN: i64 = 6 * 1024 * 1024;
/// The CFS period we use for `--cpus`, as Docker does: 100 ms.
const CPU_PERIOD_US: i64 = 100_000;

/// A controller, by its v1 name where the versions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// `cpu`.
    Cpu,
    /// `cpuacct` (v2: part of `cpu`).
    CpuAccounting,
    /// `cpuset`.
    Cpuset,
    /// `memory`.
    Memory,
    /// `pids`.
    Pids,
    /// `blkio`, on v2 `io`.
    Io,
    /// `freezer` (v2: part of every cgroup).
    Freezer,
    /// `devices` (v2: a BPF program).
    Devices,
}

impl Controller {
    /// All of them, in the order in which groups are made.
    pub const ALL: [Self; 8] =
        [Self::Cpu, Self::CpuAccounting, Self::Cpuset, Self::Memory, Self::Pids, Self::Io, Self::Freezer, Self::Devices];

    /// The v1 name.
    pub fn v1_name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::CpuAccounting => "cpuacct",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Io => "blkio",
            Self::Freezer => "freezer",
            Self::Devices => "devices",
        }
    }

    /// The v2 name; `None`: v2 has no such controller.
    pub fn v2_name(self) -> Option<&'static str> {
        match self {
            Self::Cpu => Some("cpu"),
            Self::Cpuset => Some("cpuset"),
            Self::Memory => Some("memory"),
            Self::Pids => Some("pids"),
            Self::Io => Some("io"),
            Self::CpuAccounting | Self::Freezer | Self::Devices => None,
        }
    }
}

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Whose file (on v2 only to say what is missing).
    pub controller: Controller,
    /// Its name in the group's folder.
    pub file: &'static str,
    /// What to write.
    pub value: String,
}

/// What this host can limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// v1 or v2.
    pub version: Version,
    /// Memory limits.
    pub memory: bool,
    /// Swap limits (v1 memsw, v2 memory.swap.max).
    pub swap: bool,
    /// CPU weight and bandwidth.
    pub cpu: bool,
    /// Real-time bandwidth (v1 with CONFIG_RT_GROUP_SCHED).
    pub cpu_rt: bool,
    /// CPU and memory node sets.
    pub cpuset: bool,
    /// Process count.
    pub pids: bool,
    /// I/O bandwidth.
    pub io: bool,
    /// I/O weight (needs the bfq or iocost policy).
    pub io_weight: bool,
    /// Memory swappiness (v1).
    pub swappiness: bool,
    /// Disabling the OOM killer (v1).
    pub oom_disable: bool,
    /// CPUs of the host.
    pub cpus: u32,
    /// CPUs that may be asked for, as the kernel lists them.
    pub cpuset_cpus: String,
    /// Memory nodes that may be asked for.
    pub cpuset_mems: String,
}

/// Whether a container is made or changed: some rules look at what it has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// At create.
    Create,
    /// `docker update`.
    Update,
}

/// Checks limits as Docker does, and takes out what this host cannot do, with Docker's warnings.
///
/// # Errors
/// `Invalid` with Docker's text.
pub fn validate(resources: &mut Resources, support: &Support, occasion: Occasion) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    memory(resources, support, occasion, &mut warnings)?;
    cpu(resources, support, &mut warnings)?;
    io(resources, support, &mut warnings)?;
    Ok(warnings)
}

fn memory(r: &mut Resources, support: &Support, occasion: Occasion, warnings: &mut Vec<String>) -> Result<()> {
    let mut warn = |text: &str| warnings.push(text.to_owned());
    if r.memory_swappiness == Some(-1) {
        r.memory_swappiness = None; // old clients' "not set"
    }
    if r.memory != 0 && r.memory < MEMORY_MIN {
        return Err(Error::invalid("Minimum memory limit allowed is 6MB"));
    }
    if r.memory > 0 && !support.memory {
        warn("Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.");
        r.memory = 0;
        r.memory_swap = -1;
    }
    if r.memory > 0 && r.memory_swap != -1 && !support.swap {
        warn("Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.");
        r.memory_swap = -1;
    }
    if r.memory > 0 && r.memory_swap > 0 && r.memory_swap < r.memory {
        return Err(Error::invalid("Minimum memoryswap limit should be larger than memory limit, see usage"));
    }
    if r.memory == 0 && r.memory_swap > 0 && occasion == Occasion::Create {
        return Err(Error::invalid("You should always set the Memory limit when using Memoryswap limit, see usage"));
    }
    if r.memory_swap < -1 {
        return Err(Error::invalid(format!("invalid memory swap limit {}: -1 (unlimited swap) is the least", r.memory_swap)));
    }
    if r.memory_swappiness.is_some() && !support.swappiness {
        warn("Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.");
        r.memory_swappiness = None;
    }
    if let Some(value) = r.memory_swappiness.filter(|v| !(0..=100).contains(v)) {
        return Err(Error::invalid(format!("Invalid value: {value}, valid memory swappiness range is 0-100")));
    }
    if r.memory_reservation > 0 && !support.memory {
        warn("Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.");
        r.memory_reservation = 0;
    }
    if r.memory_reservation != 0 && r.memory_reservation < MEMORY_MIN {
        return Err(Error::invalid("Minimum memory reservation allowed is 6MB"));
    }
    if r.memory > 0 && r.memory_reservation > 0 && r.memory < r.memory_reservation {
        return Err(Error::invalid("Minimum memory limit can not be less than memory reservation limit, see usage"));
    }
    if r.oom_kill_disable.is_some() && !support.oom_disable {
        if r.oom_kill_disable == Some(true) {
            warn("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
        }
        r.oom_kill_disable = None;
    }
    if r.oom_kill_disable == Some(true) && r.memory == 0 {
        warn(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
        );
    }
    if r.pids_limit.is_some() && !support.pids {
        if r.pids_limit > Some(0) {
            warn("Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.");
        }
        r.pids_limit = None;
    }
    Ok(())
}

fn cpu(r: &mut Resources, support: &Support, warnings: &mut Vec<String>) -> Result<()> {
    if r.nano_cpus > 0 && r.cpu_period > 0 {
        return Err(Error::invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set."));
    }
    if r.nano_cpus > 0 && r.cpu_quota > 0 {
        return Err(Error::invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set."));
    }
    if r.nano_cpus > 0 && !support.cpu {
        return Err(Error::invalid(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
        ));
    }
    if r.nano_cpus < 0 || r.nano_cpus > i64::from(support.cpus) * 1_000_000_000 {
        return Err(Error::invalid(format!("range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available", support.cpus)));
    }
    if r.cpu_shares < 0 {
        return Err(Error::invalid(format!("invalid CPU shares ({}): value must be a positive integer", r.cpu_shares)));
    }
    if r.cpu_shares > 0 && !support.cpu {
        warnings.push("Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.".into());
        r.cpu_shares = 0;
    }
    if (r.cpu_period != 0 || r.cpu_quota != 0) && !support.cpu {
        warnings.push("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.".into());
        (r.cpu_period, r.cpu_quota) = (0, 0);
    }
    if r.cpu_period != 0 && !(1000..=1_000_000).contains(&r.cpu_period) {
        return Err(Error::invalid("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"));
    }
    if r.cpu_quota > 0 && r.cpu_quota < 1000 {
        return Err(Error::invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    if (r.cpu_rt_period != 0 || r.cpu_rt_runtime != 0) && !support.cpu_rt {
        return Err(Error::invalid("kernel does not support CPU real-time scheduler"));
    }
    if r.cpu_rt_period != 0 && r.cpu_rt_runtime > r.cpu_rt_period {
        return Err(Error::invalid("cpu real-time runtime cannot be higher than cpu real-time period"));
    }
    if (!r.cpuset_cpus.is_empty() || !r.cpuset_mems.is_empty()) && !support.cpuset {
        warnings.push("Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.".into());
        r.cpuset_cpus.clear();
        r.cpuset_mems.clear();
    }
    subset(&r.cpuset_cpus, &support.cpuset_cpus, "cpus", "CPUs")?;
    subset(&r.cpuset_mems, &support.cpuset_mems, "mems", "memory nodes")
}

fn subset(asked: &str, available: &str, field: &str, noun: &str) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    let set = parse_list(asked).ok_or_else(|| Error::invalid(format!("Invalid value {asked} for cpuset {field}")))?;
    let have = parse_list(available).unwrap_or_default();
    if set.iter().all(|n| have.contains(n)) {
        Ok(())
    } else {
        Err(Error::invalid(format!("Requested {noun} are not available - requested {asked}, available: {available}")))
    }
}

/// The kernel's list format, `0-2,4` (cpuset(7)). `None` when it is not one, or names a number nobody has (8192).
pub fn parse_list(text: &str) -> Option<std::collections::BTreeSet<u32>> {
    let mut set = std::collections::BTreeSet::new();
    for part in text.trim().split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let number = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse::<u32>().ok()).flatten();
        let (from, to) = (number(from)?, number(to)?);
        if from > to || to >= 8192 {
            return None;
        }
        set.extend(from..=to);
    }
    Some(set)
}

fn io(r: &mut Resources, support: &Support, warnings: &mut Vec<String>) -> Result<()> {
    if r.blkio_weight > 0 && !support.io_weight {
        warnings.push("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.".to_owned());
        r.blkio_weight = 0;
    }
    if r.blkio_weight > 0 && !(10..=1000).contains(&r.blkio_weight) {
        return Err(Error::invalid("Range of blkio weight is from 10 to 1000"));
    }
    for (path, weight) in &r.blkio_weight_device {
        if !(10..=1000).contains(weight) {
            return Err(Error::invalid(format!("invalid weight {weight} for device {path}: range is from 10 to 1000")));
        }
    }
    if !r.blkio_weight_device.is_empty() && !support.io_weight {
        warnings
            .push("Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.".to_owned());
        r.blkio_weight_device.clear();
    }
    if !support.io {
        for (list, what) in [
            (&mut r.blkio_read_bps, "BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read"),
            (&mut r.blkio_write_bps, "BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write"),
            (&mut r.blkio_read_iops, "IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read"),
            (&mut r.blkio_write_iops, "IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write"),
        ] {
            if !std::mem::take(list).is_empty() {
                warnings.push(format!("Your kernel does not support {what} limit discarded."));
            }
        }
    }
    Ok(())
}

/// The cgroup v2 weight for v1 shares, such that the default of one (1024) is the default of the other (100) and the
/// ends meet: the curve runc and crun use since 2025. Their older straight line made 39 of 1024, which put a container
/// with the *default* shares at a disadvantage against one without.
pub fn weight_of_shares(shares: i64) -> u64 {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 1..=10000 by construction
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            (10f64).powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil() as u64
        }
    }
}

/// The io.weight (1–10000) for a blkio weight (10–1000), linear as in runc and crun.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

fn limit(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// The files that put `resources` (validated) into force, in the order in which they must be written. What was not
/// asked (0, empty, `None`) is not in it. `device` gives a block device's numbers.
///
/// # Errors
/// What `device` says of a path.
pub fn plan(resources: &Resources, version: Version, device: &dyn Fn(&str) -> Result<(u32, u32)>) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    match version {
        Version::V1 => plan_v1(resources, device, &mut writes)?,
        Version::V2 => plan_v2(resources, device, &mut writes)?,
    }
    Ok(writes)
}

/// Bandwidth as (quota, period) in µs; quota −1: none. `None`: not asked.
fn bandwidth(r: &Resources) -> Option<(i64, Option<i64>)> {
    if r.nano_cpus > 0 {
        // Rounded up to the kernel's least quota, 1 ms.
        let quota = (i128::from(r.nano_cpus) * i128::from(CPU_PERIOD_US) / 1_000_000_000).max(1000);
        return Some((i64::try_from(quota).unwrap_or(i64::MAX), Some(CPU_PERIOD_US)));
    }
    let period = (r.cpu_period > 0).then_some(r.cpu_period);
    match r.cpu_quota {
        0 => period.map(|p| (0, Some(p))),
        q => Some((q.max(-1), period)),
    }
}

/// Memory plus swap, v1's way; `None`: leave it.
fn memory_and_swap(r: &Resources) -> Option<i64> {
    match (r.memory, r.memory_swap) {
        (_, -1) => Some(-1),
        (m, 0) if m > 0 => Some(m.saturating_mul(2)), // Docker: as much swap again
        (m, 0) if m < 0 => Some(-1),
        (_, 0) => None,
        (_, s) => Some(s),
    }
}

fn plan_v1(r: &Resources, device: &dyn Fn(&str) -> Result<(u32, u32)>, writes: &mut Vec<Write>) -> Result<()> {
    let mut put = |controller, file, value: String| writes.push(Write { controller, file, value });
    if r.cpu_shares > 0 {
        put(Controller::Cpu, "cpu.shares", r.cpu_shares.clamp(2, 262_144).to_string());
    }
    if let Some((quota, period)) = bandwidth(r) {
        if let Some(period) = period {
            put(Controller::Cpu, "cpu.cfs_period_us", period.to_string());
        }
        if quota != 0 {
            put(Controller::Cpu, "cpu.cfs_quota_us", quota.to_string());
        }
    }
    if r.cpu_rt_period != 0 {
        put(Controller::Cpu, "cpu.rt_period_us", r.cpu_rt_period.to_string());
    }
    if r.cpu_rt_runtime != 0 {
        put(Controller::Cpu, "cpu.rt_runtime_us", r.cpu_rt_runtime.to_string());
    }
    if !r.cpuset_cpus.is_empty() {
        put(Controller::Cpuset, "cpuset.cpus", r.cpuset_cpus.clone());
    }
    if !r.cpuset_mems.is_empty() {
        put(Controller::Cpuset, "cpuset.mems", r.cpuset_mems.clone());
    }
    // The kernel holds limit <= memsw at every moment; whoever executes this plan picks the order from what is there.
    if r.memory != 0 {
        put(Controller::Memory, "memory.limit_in_bytes", r.memory.max(-1).to_string());
    }
    if let Some(total) = memory_and_swap(r) {
        put(Controller::Memory, "memory.memsw.limit_in_bytes", total.to_string());
    }
    if r.memory_reservation != 0 {
        put(Controller::Memory, "memory.soft_limit_in_bytes", r.memory_reservation.to_string());
    }
    if let Some(swappiness) = r.memory_swappiness {
        put(Controller::Memory, "memory.swappiness", swappiness.to_string());
    }
    if let Some(off) = r.oom_kill_disable {
        put(Controller::Memory, "memory.oom_control", u8::from(off).to_string());
    }
    if let Some(pids) = r.pids_limit {
        put(Controller::Pids, "pids.max", limit(if pids == 0 { -1 } else { pids }));
    }
    if r.blkio_weight > 0 {
        put(Controller::Io, "blkio.bfq.weight", r.blkio_weight.to_string());
    }
    for (path, weight) in &r.blkio_weight_device {
        let (major, minor) = device(path)?;
        put(Controller::Io, "blkio.bfq.weight_device", format!("{major}:{minor} {weight}"));
    }
    for (list, file) in [
        (&r.blkio_read_bps, "blkio.throttle.read_bps_device"),
        (&r.blkio_write_bps, "blkio.throttle.write_bps_device"),
        (&r.blkio_read_iops, "blkio.throttle.read_iops_device"),
        (&r.blkio_write_iops, "blkio.throttle.write_iops_device"),
    ] {
        for (path, rate) in list {
            let (major, minor) = device(path)?;
            put(Controller::Io, file, format!("{major}:{minor} {rate}"));
        }
    }
    Ok(())
}

fn plan_v2(r: &Resources, device: &dyn Fn(&str) -> Result<(u32, u32)>, writes: &mut Vec<Write>) -> Result<()> {
    let mut put = |controller, file, value: String| writes.push(Write { controller, file, value });
    if r.cpu_shares > 0 {
        put(Controller::Cpu, "cpu.weight", weight_of_shares(r.cpu_shares).to_string());
    }
    match bandwidth(r) {
        // A lone period keeps the quota in force: the executor fills it in.
        Some((0, Some(period))) => put(Controller::Cpu, "cpu.max", format!("keep {period}")),
        Some((quota, Some(period))) => put(Controller::Cpu, "cpu.max", format!("{} {period}", limit(quota))),
        Some((quota, None)) => put(Controller::Cpu, "cpu.max", limit(quota)),
        None => {}
    }
    if !r.cpuset_cpus.is_empty() {
        put(Controller::Cpuset, "cpuset.cpus", r.cpuset_cpus.clone());
    }
    if !r.cpuset_mems.is_empty() {
        put(Controller::Cpuset, "cpuset.mems", r.cpuset_mems.clone());
    }
    // v2 counts swap apart. Swap first: at no moment may more be used than was asked.
    if let Some(total) = memory_and_swap(r) {
        let swap = match (total, r.memory) {
            (-1, _) => Some(-1),
            (_, m) if m > 0 => Some(total - m),
            _ => None, // an update of memory+swap alone: the executor knows the memory
        };
        match swap {
            Some(swap) => put(Controller::Memory, "memory.swap.max", limit(swap)),
            None => put(Controller::Memory, "memory.swap.max", format!("total {total}")),
        }
    }
    if r.memory != 0 {
        put(Controller::Memory, "memory.max", limit(r.memory));
    }
    if r.memory_reservation != 0 {
        put(Controller::Memory, "memory.low", r.memory_reservation.to_string());
    }
    if let Some(pids) = r.pids_limit {
        put(Controller::Pids, "pids.max", limit(if pids == 0 { -1 } else { pids }));
    }
    if r.blkio_weight > 0 {
        put(Controller::Io, "io.weight", format!("default {}", io_weight(r.blkio_weight)));
    }
    for (path, weight) in &r.blkio_weight_device {
        let (major, minor) = device(path)?;
        put(Controller::Io, "io.weight", format!("{major}:{minor} {}", io_weight(*weight)));
    }
    let mut rates: BTreeMap<(u32, u32), String> = BTreeMap::new();
    for (list, key) in
        [(&r.blkio_read_bps, "rbps"), (&r.blkio_write_bps, "wbps"), (&r.blkio_read_iops, "riops"), (&r.blkio_write_iops, "wiops")]
    {
        for (path, rate) in list {
            let rate = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
            rates.entry(device(path)?).or_default().push_str(&format!(" {key}={rate}"));
        }
    }
    for ((major, minor), rates) in rates {
        put(Controller::Io, "io.max", format!("{major}:{minor}{rates}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: i64 = 1024 * 1024;

    fn support(version: Version) -> Support {
        Support {
            version,
            memory: true,
            swap: true,
            cpu: true,
            cpu_rt: false,
            cpuset: true,
            pids: true,
            io: true,
            io_weight: true,
            swappiness: version == Version::V1,
            oom_disable: version == Version::V1,
            cpus: 4,
            cpuset_cpus: "0-3".into(),
            cpuset_mems: "0".into(),
        }
    }

    fn files(r: &Resources, version: Version) -> Vec<String> {
        let device = |path: &str| match path {
            "/dev/sda" => Ok((8, 0)),
            "/dev/sdb" => Ok((8, 16)),
            _ => Err(Error::invalid("no such device")),
        };
        plan(r, version, &device).unwrap().into_iter().map(|w| format!("{}={}", w.file, w.value)).collect()
    }

    fn table(rows: &[(Resources, &[&str], &[&str])]) {
        for (r, v1, v2) in rows {
            assert_eq!(files(r, Version::V1), *v1, "v1 of {r:?}");
            assert_eq!(files(r, Version::V2), *v2, "v2 of {r:?}");
        }
    }

    #[test]
    fn nothing_asked_nothing_written() {
        table(&[(Resources::default(), &[], &[])]);
    }

    #[test]
    fn cpu_files() {
        let r = Resources::default;
        table(&[
            (Resources { cpu_shares: 1024, ..r() }, &["cpu.shares=1024"], &["cpu.weight=100"]),
            (Resources { cpu_shares: 1, ..r() }, &["cpu.shares=2"], &["cpu.weight=1"]),
            (Resources { cpu_shares: 1 << 30, ..r() }, &["cpu.shares=262144"], &["cpu.weight=10000"]),
            (
                Resources { nano_cpus: 1_500_000_000, ..r() },
                &["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=150000"],
                &["cpu.max=150000 100000"],
            ),
            (Resources { nano_cpus: 1, ..r() }, &["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=1000"], &["cpu.max=1000 100000"]),
            (
                Resources { cpu_quota: 20000, cpu_period: 50000, ..r() },
                &["cpu.cfs_period_us=50000", "cpu.cfs_quota_us=20000"],
                &["cpu.max=20000 50000"],
            ),
            (Resources { cpu_quota: 20000, ..r() }, &["cpu.cfs_quota_us=20000"], &["cpu.max=20000"]),
            (Resources { cpu_quota: -1, ..r() }, &["cpu.cfs_quota_us=-1"], &["cpu.max=max"]),
            (Resources { cpu_period: 50000, ..r() }, &["cpu.cfs_period_us=50000"], &["cpu.max=keep 50000"]),
            (
                Resources { cpuset_cpus: "0-1".into(), cpuset_mems: "0".into(), ..r() },
                &["cpuset.cpus=0-1", "cpuset.mems=0"],
                &["cpuset.cpus=0-1", "cpuset.mems=0"],
            ),
        ]);
    }

    #[test]
    fn memory_files() {
        let r = Resources::default;
        table(&[
            (
                Resources { memory: 64 * MB, ..r() },
                &["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=134217728"],
                &["memory.swap.max=67108864", "memory.max=67108864"],
            ),
            (
                Resources { memory: 64 * MB, memory_swap: 64 * MB, ..r() },
                &["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=67108864"],
                &["memory.swap.max=0", "memory.max=67108864"],
            ),
            (
                Resources { memory: 64 * MB, memory_swap: -1, ..r() },
                &["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=-1"],
                &["memory.swap.max=max", "memory.max=67108864"],
            ),
            (
                Resources { memory: 64 * MB, memory_swap: 96 * MB, memory_reservation: 32 * MB, ..r() },
                &["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=100663296", "memory.soft_limit_in_bytes=33554432"],
                &["memory.swap.max=33554432", "memory.max=67108864", "memory.low=33554432"],
            ),
            (Resources { memory_swap: 96 * MB, ..r() }, &["memory.memsw.limit_in_bytes=100663296"], &["memory.swap.max=total 100663296"]),
            (
                Resources { memory_swappiness: Some(0), oom_kill_disable: Some(true), ..r() },
                &["memory.swappiness=0", "memory.oom_control=1"],
                &[],
            ),
        ]);
    }

    #[test]
    fn pids_files() {
        for (asked, value) in [(100, "pids.max=100"), (0, "pids.max=max"), (-1, "pids.max=max")] {
            let r = Resources { pids_limit: Some(asked), ..Default::default() };
            table(&[(r, &[value], &[value])]);
        }
    }

    #[test]
    fn io_files() {
        let r = Resources {
            blkio_weight: 500,
            blkio_weight_device: vec![("/dev/sda".into(), 10)],
            blkio_read_bps: vec![("/dev/sda".into(), 1_000_000)],
            blkio_write_bps: vec![("/dev/sdb".into(), 5)],
            blkio_read_iops: vec![("/dev/sda".into(), 7)],
            blkio_write_iops: vec![("/dev/sda".into(), 0)],
            ..Default::default()
        };
        table(&[(
            r,
            &[
                "blkio.bfq.weight=500",
                "blkio.bfq.weight_device=8:0 10",
                "blkio.throttle.read_bps_device=8:0 1000000",
                "blkio.throttle.write_bps_device=8:16 5",
                "blkio.throttle.read_iops_device=8:0 7",
                "blkio.throttle.write_iops_device=8:0 0",
            ],
            &["io.weight=default 4950", "io.weight=8:0 1", "io.max=8:0 rbps=1000000 riops=7 wiops=max", "io.max=8:16 wbps=5"],
        )]);
        let bad = Resources { blkio_read_bps: vec![("/dev/nope".into(), 1)], ..Default::default() };
        assert!(plan(&bad, Version::V2, &|_| Err(Error::invalid("x"))).is_err());
    }

    #[test]
    fn refusals_have_dockers_texts() {
        let r = Resources::default;
        let rows: &[(Resources, &str)] = &[
            (Resources { memory: 4 * MB, ..r() }, "Minimum memory limit allowed is 6MB"),
            (Resources { memory: -5, ..r() }, "Minimum memory limit allowed is 6MB"),
            (
                Resources { memory: 64 * MB, memory_swap: 32 * MB, ..r() },
                "Minimum memoryswap limit should be larger than memory limit, see usage",
            ),
            (Resources { memory_swap: 32 * MB, ..r() }, "You should always set the Memory limit when using Memoryswap limit, see usage"),
            (Resources { memory_swappiness: Some(101), ..r() }, "Invalid value: 101, valid memory swappiness range is 0-100"),
            (Resources { memory_reservation: MB, ..r() }, "Minimum memory reservation allowed is 6MB"),
            (
                Resources { memory: 10 * MB, memory_reservation: 20 * MB, ..r() },
                "Minimum memory limit can not be less than memory reservation limit, see usage",
            ),
            (Resources { nano_cpus: 1, cpu_period: 1000, ..r() }, "Conflicting options: Nano CPUs and CPU Period cannot both be set."),
            (Resources { nano_cpus: 1, cpu_quota: 1000, ..r() }, "Conflicting options: Nano CPUs and CPU Quota cannot both be set."),
            (Resources { nano_cpus: 5_000_000_000, ..r() }, "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available"),
            (Resources { cpu_period: 10, ..r() }, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
            (Resources { cpu_quota: 10, ..r() }, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
            (Resources { cpuset_cpus: "x".into(), ..r() }, "Invalid value x for cpuset cpus"),
            (Resources { cpuset_cpus: "3-1".into(), ..r() }, "Invalid value 3-1 for cpuset cpus"),
            (Resources { cpuset_cpus: "0\n".into(), ..r() }, ""),
            (Resources { cpuset_cpus: "0-4".into(), ..r() }, "Requested CPUs are not available - requested 0-4, available: 0-3"),
            (Resources { cpuset_mems: "1".into(), ..r() }, "Requested memory nodes are not available - requested 1, available: 0"),
            (Resources { blkio_weight: 5, ..r() }, "Range of blkio weight is from 10 to 1000"),
        ];
        for (asked, text) in rows {
            let outcome = validate(&mut asked.clone(), &support(Version::V1), Occasion::Create);
            match outcome {
                Err(e) => assert_eq!(e.to_string(), *text, "{asked:?}"),
                Ok(_) => assert_eq!(*text, "", "{asked:?} was accepted"),
            }
        }
    }

    #[test]
    fn an_update_may_set_swap_alone() {
        let mut r = Resources { memory_swap: 64 * MB, ..Default::default() };
        assert!(validate(&mut r, &support(Version::V1), Occasion::Update).is_ok());
    }

    #[test]
    fn what_the_host_cannot_do_is_discarded_with_a_warning() {
        let none = Support {
            memory: false,
            swap: false,
            cpu: false,
            cpuset: false,
            pids: false,
            io: false,
            io_weight: false,
            swappiness: false,
            oom_disable: false,
            ..support(Version::V2)
        };
        let mut r = Resources {
            memory: 64 * MB,
            cpu_shares: 5,
            cpu_quota: 5000,
            cpuset_cpus: "0".into(),
            pids_limit: Some(5),
            memory_swappiness: Some(5),
            oom_kill_disable: Some(true),
            blkio_weight: 10,
            blkio_read_bps: vec![("/dev/sda".into(), 1)],
            ..Default::default()
        };
        let warnings = validate(&mut r, &none, Occasion::Create).unwrap();
        assert_eq!(warnings.len(), 9, "{warnings:#?}");
        assert_eq!(r, Resources { memory_swap: -1, ..Default::default() });
    }

    #[test]
    fn lists() {
        let list = |t: &str| parse_list(t).map(|s| s.into_iter().collect::<Vec<_>>());
        assert_eq!(list("0-2,4"), Some(vec![0, 1, 2, 4]));
        for bad in ["", "a", "1-", "-1", "2-1", "0-99999999", "1,,2", "+1"] {
            assert_eq!(list(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn shares_meet_at_both_ends_and_in_the_middle() {
        assert_eq!([2, 1024, 262_144].map(weight_of_shares), [1, 100, 10_000]);
        assert!((3..262_144).step_by(997).all(|s| weight_of_shares(s) <= weight_of_shares(s + 997)));
    }
}
