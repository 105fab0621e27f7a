//! What a container uses now, and which processes it has: from cgroup files and the host's /proc, without any program.

mod top;

pub use top::top;

use crate::cgroup::Group;
use crate::container::request::{NetworkCounters, Stats};
use crate::{Doing, Result};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// /proc counts CPU time in USER_HZ, which is 100 on every Linux ABI we run on (getconf CLK_TCK).
const TICK_NS: u64 = 10_000_000;

/// One look at a group's counters, the host's CPU time and the interfaces in `pid`'s network namespace (0: none).
/// Short blocking reads.
///
/// # Errors
/// `Internal` when /proc cannot be read.
pub fn sample(group: &Group, pid: i32) -> Result<Stats> {
    let stat = std::fs::read_to_string("/proc/stat").doing(|| "reading /proc/stat".into())?;
    let (host_cpu, online_cpus) = host_cpu(&stat);
    let mut stats = Stats { read: Timestamp::now(), host_cpu, online_cpus, ..Stats::default() };
    group.usage(&mut stats, rustix::system::sysinfo().totalram as u64 * u64::from(rustix::system::sysinfo().mem_unit));
    if pid > 0 {
        // A process that ended meanwhile has no interfaces; its counters are gone with it.
        let dev = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
        stats.networks = interfaces(&dev);
    }
    Ok(stats)
}

/// The host's CPU time in nanoseconds, and its CPUs online. As dockerd, which clients' percentages are made for: user,
/// nice, system, idle, iowait, irq and softirq (proc_stat(5)).
fn host_cpu(stat: &str) -> (u64, u32) {
    let mut total = 0;
    let mut online = 0;
    for line in stat.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("cpu") => total = words.take(7).filter_map(|w| w.parse::<u64>().ok()).sum(),
            Some(name) if name.starts_with("cpu") => online += 1,
            _ => {}
        }
    }
    (total.saturating_mul(TICK_NS), online)
}

/// Counters of all interfaces but the loopback (proc_pid_net(5)).
fn interfaces(dev: &str) -> BTreeMap<String, NetworkCounters> {
    dev.lines()
        .filter_map(|line| {
            let (name, numbers) = line.split_once(':')?;
            let n: Vec<u64> = numbers.split_whitespace().filter_map(|w| w.parse().ok()).collect();
            let [rx_bytes, rx_packets, rx_errors, rx_dropped, _, _, _, _, tx_bytes, tx_packets, tx_errors, tx_dropped, ..] = n[..] else {
                return None;
            };
            let counters = NetworkCounters { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped };
            (name.trim() != "lo").then(|| (name.trim().to_owned(), counters))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_time_is_the_sum_dockerd_makes() {
        let (ns, cpus) = host_cpu("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 5\n");
        assert_eq!((ns, cpus), (28 * TICK_NS, 2));
    }

    #[test]
    fn interfaces_without_loopback() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let found = interfaces(text);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["eth0"]);
        let eth0 = found["eth0"];
        assert_eq!((eth0.rx_bytes, eth0.rx_dropped, eth0.tx_bytes, eth0.tx_dropped), (1, 4, 9, 12));
    }
}
