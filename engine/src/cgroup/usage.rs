//! What a group has used, read from its counters, in the fields that Docker's stats have.

use super::plan::Controller;
use super::{Group, Version};
use crate::container::request::Stats;
use std::collections::BTreeMap;

/// cpuacct.stat counts in USER_HZ, which is 100 on every Linux ABI we run on (getconf CLK_TCK).
const TICK_NS: u64 = 10_000_000;

impl Group {
    /// Fills in what the cgroup's own files tell: CPU, memory, processes, I/O. A file that is not there leaves its
    /// fields at zero, as with Docker. `host_memory` stands in for "no limit".
    pub fn usage(&self, stats: &mut Stats, host_memory: u64) {
        match self.version() {
            Version::V1 => self.usage_v1(stats),
            Version::V2 => self.usage_v2(stats),
        }
        stats.memory_limit = self.memory_limit().map_or(host_memory, |l| l.min(host_memory));
        let max = self.read(Controller::Pids, "pids.max");
        stats.pids =
            (self.read_number(Controller::Pids, "pids.current").unwrap_or(0), max.and_then(|m| m.trim().parse().ok()).unwrap_or(0));
    }

    /// The least memory limit of the group and the tenant's above it; `None`: neither has one.
    fn memory_limit(&self) -> Option<u64> {
        let file = if self.version() == Version::V1 { "memory.limit_in_bytes" } else { "memory.max" };
        let own = self.dir(Controller::Memory)?;
        let above = own.parent()?.to_owned();
        [own, above]
            .iter()
            .filter_map(|d| std::fs::read_to_string(d.join(file)).ok()?.trim().parse::<u64>().ok())
            // v1 writes "no limit" as the largest multiple of a page.
            .filter(|l| *l < i64::MAX as u64 / 4096 * 4096)
            .min()
    }

    fn usage_v1(&self, stats: &mut Stats) {
        let number = |c, name| self.read_number(c, name).unwrap_or(0);
        stats.cpu_total = number(Controller::CpuAccounting, "cpuacct.usage");
        if let Some(percpu) = self.read(Controller::CpuAccounting, "cpuacct.usage_percpu") {
            stats.cpu_percpu = percpu.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        }
        let split = self.flat_of(Controller::CpuAccounting, "cpuacct.stat");
        stats.cpu_user = get(&split, "user").saturating_mul(TICK_NS);
        stats.cpu_system = get(&split, "system").saturating_mul(TICK_NS);
        let throttled = self.flat_of(Controller::Cpu, "cpu.stat");
        stats.throttling = (get(&throttled, "nr_periods"), get(&throttled, "nr_throttled"), get(&throttled, "throttled_time"));
        stats.memory_usage = number(Controller::Memory, "memory.usage_in_bytes");
        stats.memory_max_usage = number(Controller::Memory, "memory.max_usage_in_bytes");
        stats.memory_failures = number(Controller::Memory, "memory.failcnt");
        stats.memory_stats = self.flat_of(Controller::Memory, "memory.stat");
        // The bfq files count only what bfq scheduled; the throttle ones see everything.
        let blkio = |names: [&str; 2]| names.iter().find_map(|n| self.read(Controller::Io, n)).unwrap_or_default();
        stats.io_bytes = blkio_lines(&blkio(["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"]));
        stats.io_operations = blkio_lines(&blkio(["blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced"]));
    }

    fn usage_v2(&self, stats: &mut Stats) {
        let cpu = self.flat_of(Controller::Cpu, "cpu.stat");
        let us = |key| get(&cpu, key).saturating_mul(1000);
        (stats.cpu_total, stats.cpu_user, stats.cpu_system) = (us("usage_usec"), us("user_usec"), us("system_usec"));
        stats.throttling = (get(&cpu, "nr_periods"), get(&cpu, "nr_throttled"), us("throttled_usec"));
        stats.memory_usage = self.read_number(Controller::Memory, "memory.current").unwrap_or(0);
        stats.memory_max_usage = self.read_number(Controller::Memory, "memory.peak").unwrap_or(0);
        stats.memory_failures = get(&self.flat_of(Controller::Memory, "memory.events"), "max");
        stats.memory_stats = self.flat_of(Controller::Memory, "memory.stat");
        (stats.io_bytes, stats.io_operations) = io_stat(&self.read(Controller::Io, "io.stat").unwrap_or_default());
    }

    fn flat_of(&self, controller: Controller, name: &str) -> BTreeMap<String, u64> {
        self.dir(controller).map(|d| super::group::flat_file(&d.join(name))).unwrap_or_default()
    }
}

fn get(map: &BTreeMap<String, u64>, key: &str) -> u64 {
    map.get(key).copied().unwrap_or(0)
}

type Io = Vec<(u32, u32, String, u64)>;

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// v1: `8:0 Read 4096`, and a last line `Total 4096` that is not a device's.
fn blkio_lines(text: &str) -> Io {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (major, minor) = device(words.next()?)?;
            Some((major, minor, words.next()?.to_owned(), words.next()?.parse().ok()?))
        })
        .collect()
}

/// v2: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`; Docker calls the operations `read` and `write` there.
fn io_stat(text: &str) -> (Io, Io) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let (list, operation) = match key {
                "rbytes" => (&mut bytes, "read"),
                "wbytes" => (&mut bytes, "write"),
                "rios" => (&mut operations, "read"),
                "wios" => (&mut operations, "write"),
                _ => continue,
            };
            list.push((major, minor, operation.to_owned(), value));
        }
    }
    (bytes, operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_files_of_both_versions() {
        let (bytes, operations) = io_stat("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16\n");
        assert_eq!(bytes, [(8, 0, "read".to_owned(), 10), (8, 0, "write".to_owned(), 20)]);
        assert_eq!(operations, [(8, 0, "read".to_owned(), 1), (8, 0, "write".to_owned(), 2)]);
        assert_eq!(blkio_lines("8:0 Read 5\n8:0 Total 5\nTotal 5\n"), [(8, 0, "Read".to_owned(), 5), (8, 0, "Total".to_owned(), 5)]);
    }
}
