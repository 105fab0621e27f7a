//! What a container uses, as `docker stats` reads it.

use super::time;
use engine::container::request::Stats;
use engine::container::view::Container;
use serde_json::{Map, Value, json};

/// One answer of `GET /containers/{id}/stats`. `now`: `None` while the container is down. `before`: the look before this
/// one, from which the client reckons percentages.
pub fn stats(c: &Container, now: Option<&Stats>, before: Option<&Stats>) -> Value {
    let mut value = json!({
        "id": c.id.as_str(),
        "name": format!("/{}", c.name),
        "read": time::rfc3339(now.map(|s| s.read)),
        "preread": time::rfc3339(before.map(|s| s.read)),
        "num_procs": 0,
        "pids_stats": now.map_or_else(|| json!({}), pids),
        "blkio_stats": blkio(now),
        "storage_stats": {},
        "cpu_stats": cpu(now),
        "precpu_stats": cpu(before),
        "memory_stats": now.map_or_else(|| json!({}), memory),
    });
    if let (Some(now), Value::Object(map)) = (now, &mut value)
        && !now.networks.is_empty()
    {
        let networks: Map<String, Value> = now
            .networks
            .iter()
            .map(|(name, n)| {
                let counters = json!({
                    "rx_bytes": n.rx_bytes, "rx_packets": n.rx_packets, "rx_errors": n.rx_errors, "rx_dropped": n.rx_dropped,
                    "tx_bytes": n.tx_bytes, "tx_packets": n.tx_packets, "tx_errors": n.tx_errors, "tx_dropped": n.tx_dropped,
                });
                (name.clone(), counters)
            })
            .collect();
        map.insert("networks".to_owned(), Value::Object(networks));
    }
    value
}

fn pids(s: &Stats) -> Value {
    match s.pids {
        (current, 0) => json!({ "current": current }),
        (current, limit) => json!({ "current": current, "limit": limit }),
    }
}

fn cpu(s: Option<&Stats>) -> Value {
    let (total, user, kernel) = s.map_or((0, 0, 0), |s| (s.cpu_total, s.cpu_user, s.cpu_system));
    let (periods, throttled, nanos) = s.map_or((0, 0, 0), |s| s.throttling);
    let mut usage = json!({ "total_usage": total, "usage_in_usermode": user, "usage_in_kernelmode": kernel });
    if let (Some(s), Value::Object(map)) = (s, &mut usage)
        && !s.cpu_percpu.is_empty()
    {
        map.insert("percpu_usage".to_owned(), json!(s.cpu_percpu));
    }
    let mut value = json!({
        "cpu_usage": usage,
        "throttling_data": { "periods": periods, "throttled_periods": throttled, "throttled_time": nanos },
    });
    if let (Some(s), Value::Object(map)) = (s, &mut value) {
        map.insert("system_cpu_usage".to_owned(), json!(s.host_cpu));
        map.insert("online_cpus".to_owned(), json!(s.online_cpus));
    }
    value
}

fn memory(s: &Stats) -> Value {
    let mut value = json!({ "usage": s.memory_usage, "limit": s.memory_limit, "stats": s.memory_stats });
    if let Value::Object(map) = &mut value {
        // These two exist on cgroup v1 only, and Docker leaves zeroes out.
        for (key, n) in [("max_usage", s.memory_max_usage), ("failcnt", s.memory_failures)] {
            if n != 0 {
                map.insert(key.to_owned(), json!(n));
            }
        }
    }
    value
}

fn blkio(s: Option<&Stats>) -> Value {
    let list = |rows: Option<&Vec<(u32, u32, String, u64)>>| -> Value {
        let row = |(major, minor, op, value): &(u32, u32, String, u64)| json!({ "major": major, "minor": minor, "op": op, "value": value });
        rows.map_or(Value::Null, |rows| rows.iter().map(row).collect())
    };
    // The counters that only the CFQ scheduler kept: gone from the kernel, but clients expect lists.
    let none = || if s.is_some() { json!([]) } else { Value::Null };
    json!({
        "io_service_bytes_recursive": list(s.map(|s| &s.io_bytes)),
        "io_serviced_recursive": list(s.map(|s| &s.io_operations)),
        "io_queue_recursive": none(),
        "io_service_time_recursive": none(),
        "io_wait_time_recursive": none(),
        "io_merged_recursive": none(),
        "io_time_recursive": none(),
        "sectors_recursive": none(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::wire::container::tests::sample;
    use crate::docker::wire::recordings;
    use engine::container::request::NetworkCounters;
    use std::collections::BTreeMap;

    #[test]
    fn shapes_hold_to_the_recordings() {
        let now = Stats {
            memory_max_usage: 5,
            memory_stats: BTreeMap::from([("inactive_file".into(), 1)]),
            io_bytes: vec![(8, 0, "read".into(), 4096)],
            networks: BTreeMap::from([("eth0".into(), NetworkCounters::default())]),
            ..Stats::default()
        };
        recordings::holds("stats", &stats(&sample(), Some(&now), Some(&now)));
        let down = stats(&sample(), None, None);
        recordings::holds("stats-stopped", &down);
        assert_eq!(down["read"], time::NEVER);
    }
}
