//! One container: overview and inspect.

use super::frame::{OrPage, Visit};
use super::words;
use axum::extract::{Path, Query};
use axum::response::Response;
use engine::container::request::{ProcessTable, Stats};
use engine::container::spec::{MountKind, RestartPolicy};
use engine::container::{Container, State};
use serde::Deserialize;
use std::time::Duration;
use web::format;
use web::view::container::{ContainerInspect, ContainerOverview, EnvRow, MountRow, NetworkRow, ProbeRow, Processes};
use web::view::piece::segment;
use web::view::{Badge, Fact, Meter, Tone, Value};

/// Between the two looks that a CPU share needs.
const BETWEEN: Duration = Duration::from_millis(100);

/// What is asked for beyond the usual.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    env: String,
}

/// `GET /ui/containers/{name}`
pub async fn overview(visit: Visit, Path(name): Path<String>, Query(asked): Query<Asked>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let container = app.engine.container(&who, &name).await.or_page(&frame)?;
    let (usage, processes) = if container.state.is_up() {
        // Both are extras: the page says nothing about them when they cannot be had.
        let first = app.engine.stats(&who, &name).await.ok().flatten();
        tokio::time::sleep(BETWEEN).await;
        let second = app.engine.stats(&who, &name).await.ok().flatten();
        (
            first.zip(second).map_or(Vec::new(), |(a, b)| usage(&container, &a, &b)),
            app.engine.top(&who, &name, "").await.ok().map(processes),
        )
    } else {
        (Vec::new(), None)
    };
    let revealed = asked.env == "shown";
    let view = ContainerOverview {
        page: frame.page(container.name.clone(), "containers"),
        head: words::head(&container, &frame.base, "overview"),
        trouble: trouble(&container),
        facts: facts(&container, &frame.base),
        process: process(&container),
        limits: limits(&container),
        usage,
        ports: words::ports(&container.ports, &words::host(&frame.host)),
        exposed: container
            .image_config
            .exposed_ports
            .iter()
            .chain(&container.spec.exposed_ports)
            .map(ToString::to_string)
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect(),
        networks: networks(&container, &frame.base),
        mounts: mounts(&container, &frame.base),
        env: env(&container, revealed),
        revealed,
        labels: container.spec.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        health: container.health.iter().flat_map(|h| h.log.iter().rev()).map(probe).collect(),
        processes,
    };
    Ok(frame.show(&view))
}

/// `GET /ui/containers/{name}/inspect`
pub async fn inspect(visit: Visit, Path(name): Path<String>, Query(asked): Query<Asked>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let container = app.engine.container(&who, &name).await.or_page(&frame)?;
    let mut object = crate::api::containers::json(&container);
    if asked.env != "shown" {
        mask(&mut object);
    }
    let text = serde_json::to_string_pretty(&object).unwrap_or_default();
    let view = ContainerInspect {
        page: frame.page(container.name.clone(), "containers"),
        head: words::head(&container, &frame.base, "inspect"),
        html: web::json::highlight(&text),
        text,
    };
    Ok(frame.show(&view))
}

/// Hides the values of secrets in every list called `env`.
fn mask(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                match inner {
                    serde_json::Value::Array(list) if key == "env" => {
                        for item in list.iter_mut() {
                            if let Some((name, _)) =
                                item.as_str().and_then(|t| t.split_once('=')).filter(|(name, _)| words::is_secret(name))
                            {
                                *item = serde_json::Value::String(format!("{name}=••••••••"));
                            }
                        }
                    }
                    inner => mask(inner),
                }
            }
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(mask),
        _ => {}
    }
}

fn trouble(container: &Container) -> String {
    match &container.state {
        State::Exited(f) | State::Dead(f) | State::Restarting(f) if f.oom_killed => {
            "The kernel killed it at its memory limit. Give it more memory, or look in its log for what grew.".into()
        }
        State::Exited(f) | State::Dead(f) | State::Restarting(f) if !f.error.is_empty() => f.error.clone(),
        State::Exited(f) if f.code == 127 => "Exit code 127: its command was not found in the image.".into(),
        State::Exited(f) if f.code == 126 => "Exit code 126: its command is there, but cannot be run.".into(),
        _ => String::new(),
    }
}

fn facts(container: &Container, base: &str) -> Vec<Fact> {
    let mut made = words::ago(container.created);
    if !container.created_by.is_empty() {
        made.text = format!("{} by {}", made.text, container.created_by);
    }
    let policy = match container.spec.host.restart {
        RestartPolicy::No => "never".to_owned(),
        RestartPolicy::Always => "always".to_owned(),
        RestartPolicy::UnlessStopped => "unless stopped".to_owned(),
        RestartPolicy::OnFailure(0) => "when it failed".to_owned(),
        RestartPolicy::OnFailure(n) => format!("when it failed, {n} times at most"),
    };
    let restarts = if container.restart_count == 0 {
        policy
    } else {
        format!("{policy}; {} so far", format::count(container.restart_count as usize, "restart", "restarts"))
    };
    let mut facts = vec![
        Fact::new("Id", Value::Copy(container.id.as_str().to_owned())),
        Fact::new("Image", Value::Link(format!("{base}/images/{}", container.image_id.hex()), container.spec.image.clone())),
        Fact::new("Made", Value::When(made)),
        Fact::new("Restarts", Value::Text(restarts)),
    ];
    match &container.state {
        State::Running(r) | State::Paused(r) => facts.push(Fact::new("Started", Value::When(words::ago(r.started)))),
        State::Exited(f) | State::Dead(f) | State::Restarting(f) => {
            facts.push(Fact::new("Ended", Value::When(words::ago(f.finished))));
            facts.push(Fact::new("Exit code", Value::Code(f.code.to_string())));
        }
        State::Created | State::Removing => {}
    }
    if container.spec.host.auto_remove {
        facts.push(Fact::new("When it exits", Value::Text("it is removed".into())));
    }
    facts.push(Fact::new("Log", Value::Text(container.log_driver.clone())));
    facts
}

fn process(container: &Container) -> Vec<Fact> {
    let or_root = |user: &str| if user.is_empty() { "root".to_owned() } else { user.to_owned() };
    let mut facts = vec![
        Fact::new("Command", Value::Code(words::command(&container.argv))),
        Fact::new("User", Value::Code(or_root(&container.user))),
        Fact::new("Working folder", Value::Code(if container.working_dir.is_empty() { "/".into() } else { container.working_dir.clone() })),
    ];
    if !container.spec.hostname.is_empty() {
        facts.push(Fact::new("Host name", Value::Code(container.spec.hostname.clone())));
    }
    let uids = container.uid_base.map_or("the host's user ids".to_owned(), |base| format!("user ids from {base}"));
    let place = match &container.state {
        State::Running(r) | State::Paused(r) => format!("process {}, {uids}", r.pid),
        _ => uids,
    };
    facts.push(Fact::new("On the host", Value::Text(place)));
    facts.push(Fact::new("Stops with", Value::Text(container.stop_signal.clone())));
    facts
}

fn limits(container: &Container) -> Vec<Fact> {
    let host = &container.spec.host;
    let r = &host.resources;
    let positive = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
    let tenant = || Value::Nothing("as the tenant");
    let cpus = match (r.nano_cpus, r.cpu_quota, r.cpu_period) {
        (n, ..) if n > 0 => Some(format::cpus(n)),
        (_, quota, period) if quota > 0 => Some(format!("{:.2}", quota as f64 / if period > 0 { period as f64 } else { 100_000.0 })),
        _ => None,
    };
    let mut facts = vec![
        Fact::new("Memory", positive(r.memory).map_or_else(tenant, |n| Value::Text(engine::size::binary(n)))),
        Fact::new("CPUs", cpus.map_or_else(tenant, Value::Text)),
        Fact::new("Processes", r.pids_limit.and_then(positive).map_or_else(tenant, |n| Value::Text(n.to_string()))),
    ];
    if !r.cpuset_cpus.is_empty() {
        facts.push(Fact::new("On CPUs", Value::Text(r.cpuset_cpus.clone())));
    }
    let capabilities: Vec<String> =
        host.cap_add.iter().map(|c| format!("+{c}")).chain(host.cap_drop.iter().map(|c| format!("−{c}"))).collect();
    if !capabilities.is_empty() {
        facts.push(Fact::new("Capabilities", Value::Tags(capabilities)));
    }
    if !host.security_opt.is_empty() {
        facts.push(Fact::new("Security", Value::Tags(host.security_opt.clone())));
    }
    if host.privileged {
        facts.push(Fact::new("Privileged", Value::Badge(Badge::new("yes", "▲", Tone::Warn))));
    }
    if host.read_only {
        facts.push(Fact::new("Root", Value::Text("read only".into())));
    }
    facts
}

fn usage(container: &Container, a: &Stats, b: &Stats) -> Vec<Meter> {
    let share = |used: u64, of: u64| (of > 0).then(|| u8::try_from((u128::from(used) * 100 / u128::from(of)).min(100)).unwrap_or(100));
    // Page cache that the kernel can drop at once is not what people mean by memory in use; docker stats leaves it out as well.
    let cache = b.memory_stats.get("inactive_file").or_else(|| b.memory_stats.get("total_inactive_file")).copied().unwrap_or(0);
    let memory = b.memory_usage.saturating_sub(cache);
    let nanos = u64::try_from(b.read.duration_since(a.read).as_nanos()).unwrap_or(0);
    let busy = b.cpu_total.saturating_sub(a.cpu_total);
    let cpus = if container.spec.host.resources.nano_cpus > 0 {
        container.spec.host.resources.nano_cpus as f64 / 1e9
    } else {
        f64::from(b.online_cpus.max(1))
    };
    let percent = if nanos == 0 { 0.0 } else { busy as f64 * 100.0 / nanos as f64 };
    let (rx, tx) = b.networks.values().fold((0, 0), |(rx, tx), n| (rx + n.rx_bytes, tx + n.tx_bytes));
    let io = |operation: &str| b.io_bytes.iter().filter(|(_, _, o, _)| o.eq_ignore_ascii_case(operation)).map(|(.., n)| n).sum::<u64>();
    vec![
        Meter {
            label: "Memory".into(),
            text: format!("{} of {}", engine::size::binary(memory), engine::size::binary(b.memory_limit)),
            percent: share(memory, b.memory_limit),
        },
        Meter {
            label: "CPU".into(),
            text: format!("{percent:.1} % of {}", format::count(cpus.ceil() as usize, "CPU", "CPUs")),
            percent: Some((percent / cpus).clamp(0.0, 100.0) as u8),
        },
        Meter {
            label: "Processes".into(),
            text: if b.pids.1 == 0 { b.pids.0.to_string() } else { format!("{} of {}", b.pids.0, b.pids.1) },
            percent: share(b.pids.0, b.pids.1),
        },
        Meter {
            label: "Network".into(),
            text: format!("{} in, {} out", engine::size::decimal(rx), engine::size::decimal(tx)),
            percent: None,
        },
        Meter {
            label: "Disk".into(),
            text: format!("{} read, {} written", engine::size::decimal(io("read")), engine::size::decimal(io("write"))),
            percent: None,
        },
    ]
}

fn processes(table: ProcessTable) -> Processes {
    Processes { titles: table.titles, rows: table.processes }
}

fn networks(container: &Container, base: &str) -> Vec<NetworkRow> {
    let row = |(name, end): (&String, &engine::container::view::EndpointView)| {
        let v4 = end.ipv4.map(|(ip, _)| ip.to_string());
        let v6 = end.ipv6.map(|(ip, _)| ip.to_string());
        NetworkRow {
            href: format!("{base}/networks/{}", segment(name)),
            name: name.clone(),
            address: [v4, v6].into_iter().flatten().collect::<Vec<_>>().join(", "),
            mac: end.mac_address.clone(),
            aliases: end.spec.aliases.join(", "),
        }
    };
    container.networks.iter().map(row).collect()
}

fn mounts(container: &Container, base: &str) -> Vec<MountRow> {
    let row = |mount: &engine::container::view::MountView| {
        let (kind, source, source_href) = match mount.kind {
            MountKind::Volume => ("volume", mount.name.clone(), format!("{base}/volumes/{}", segment(&mount.name))),
            MountKind::Bind => ("folder", mount.source.clone(), String::new()),
            MountKind::Tmpfs => ("memory", String::new(), String::new()),
            MountKind::Image => ("image", mount.source.clone(), String::new()),
        };
        MountRow {
            target: mount.destination.clone(),
            kind: kind.into(),
            source,
            source_href,
            mode: if mount.rw { "read, write" } else { "read only" },
        }
    };
    container.mounts.iter().map(row).collect()
}

fn env(container: &Container, revealed: bool) -> Vec<EnvRow> {
    let row = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let masked = !revealed && words::is_secret(name);
        EnvRow { name: name.to_owned(), value: if masked { String::new() } else { value.to_owned() }, masked }
    };
    container.env.iter().map(row).collect()
}

fn probe(probe: &engine::container::view::Probe) -> ProbeRow {
    let badge = if probe.exit_code == 0 {
        Badge::new("healthy", "✓", Tone::Ok)
    } else {
        Badge::new(format!("failed ({})", probe.exit_code), "✕", Tone::Err)
    };
    ProbeRow { when: words::ago(probe.end), badge, output: probe.output.trim().chars().take(200).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_env_stands() {
        let mut value =
            serde_json::json!({ "spec": { "env": ["A=b", "DB_PASSWORD=hunter2"] }, "env": ["API_TOKEN=x=y"], "name": "DB_PASSWORD=kept" });
        mask(&mut value);
        let text = value.to_string();
        assert!(!text.contains("hunter2") && !text.contains("x=y"), "{text}");
        assert!(text.contains("A=b") && text.contains("DB_PASSWORD=kept"));
    }
}
