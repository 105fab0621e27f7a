//! A container as inspect shows it.

use super::network::EndpointSettings;
use super::{host, mount, time};
use crate::route::ApiVersion;
use engine::container::spec::{ContainerPort, Healthcheck, MountKind};
use engine::container::view::{Container, EndpointView, Finished, Health, MountView, State};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The labels that are shown: the image's, and over them the container's own.
pub fn labels(c: &Container) -> BTreeMap<&str, &str> {
    let all = c.image_config.labels.iter().chain(&c.spec.labels);
    all.map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// The ports a container listens on: its image's, its own, and those it publishes.
pub fn exposed_ports(c: &Container) -> BTreeSet<ContainerPort> {
    let asked = c.image_config.exposed_ports.iter().chain(&c.spec.exposed_ports);
    asked.chain(c.spec.host.port_bindings.keys()).copied().collect()
}

/// `GET /containers/{id}/json`. `size`: bytes of the writable layer, and of that plus the image.
pub fn inspect(c: &Container, size: Option<(u64, u64)>, version: ApiVersion) -> Value {
    let overlay = c.overlay.clone().unwrap_or_default();
    let execs: Vec<&str> = c.execs.iter().map(|id| id.as_str()).collect();
    let mut value = json!({
        "Id": c.id.as_str(),
        "Created": c.created.to_string(),
        "Path": c.argv.first().map(String::as_str).unwrap_or_default(),
        "Args": c.argv.get(1..).unwrap_or_default(),
        "State": state(&c.state, c.failure.as_ref(), c.health.as_ref()),
        "Image": c.image_id.to_string(),
        "ResolvConfPath": c.resolv_conf_path,
        "HostnamePath": c.hostname_path,
        "HostsPath": c.hosts_path,
        "LogPath": c.log_path.as_deref().unwrap_or_default(),
        "Name": format!("/{}", c.name),
        "RestartCount": c.restart_count,
        "Driver": "overlay2",
        "Platform": c.platform.split('/').next().filter(|os| !os.is_empty()).unwrap_or("linux"),
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": if execs.is_empty() { Value::Null } else { json!(execs) },
        "HostConfig": host::host_config(&c.spec.host, &c.log_driver),
        "GraphDriver": {
            "Name": "overlay2",
            "Data": {
                "LowerDir": overlay.lower.join(":"),
                "MergedDir": overlay.merged,
                "UpperDir": overlay.upper,
                "WorkDir": overlay.work,
            },
        },
        "Mounts": mount_points(c),
        "Config": config(c, version),
        "NetworkSettings": network_settings(c, version),
    });
    if let (Some((rw, root)), Value::Object(map)) = (size, &mut value) {
        map.insert("SizeRw".to_owned(), json!(rw));
        map.insert("SizeRootFs".to_owned(), json!(root));
    }
    value
}

fn state(state: &State, failure: Option<&(i32, String)>, health: Option<&Health>) -> Value {
    let up = match state {
        State::Running(up) | State::Paused(up) => Some(up),
        _ => None,
    };
    let end: Option<&Finished> = match state {
        State::Exited(end) | State::Restarting(end) | State::Dead(end) => Some(end),
        _ => None,
    };
    let mut value = json!({
        "Status": state.word(),
        // A container between two runs of its restart policy counts as running.
        "Running": up.is_some() || matches!(state, State::Restarting(_)),
        "Paused": matches!(state, State::Paused(_)),
        "Restarting": matches!(state, State::Restarting(_)),
        "OOMKilled": end.is_some_and(|e| e.oom_killed),
        "Dead": matches!(state, State::Dead(_)),
        "Pid": up.map_or(0, |u| u.pid),
        // Why the last start failed counts before how the last process ended.
        "ExitCode": failure.map(|f| f.0).or(end.map(|e| e.code)).unwrap_or_default(),
        "Error": failure.map(|f| f.1.as_str()).or(end.map(|e| e.error.as_str())).unwrap_or_default(),
        "StartedAt": time::rfc3339(up.map(|u| u.started).or(end.and_then(|e| e.started))),
        "FinishedAt": time::rfc3339(state.ended()),
    });
    if let (Some(health), Value::Object(map)) = (health, &mut value) {
        let log = health.log.iter().map(|probe| {
            json!({
                "Start": probe.start.to_string(),
                "End": probe.end.to_string(),
                "ExitCode": probe.exit_code,
                "Output": probe.output,
            })
        });
        let health = json!({
            "Status": health.status,
            "FailingStreak": health.failing_streak,
            "Log": log.collect::<Vec<_>>(),
        });
        map.insert("Health".to_owned(), health);
    }
    value
}

/// A set as Go writes it: `{"80/tcp": {}}`; empty: `null`.
pub fn set<T: ToString>(items: impl IntoIterator<Item = T>) -> Value {
    let map: Map<String, Value> = items.into_iter().map(|item| (item.to_string(), json!({}))).collect();
    if map.is_empty() { Value::Null } else { Value::Object(map) }
}

/// A health check as it stands in `Config`; what was not asked is absent.
pub fn healthcheck(check: &Healthcheck) -> Value {
    let mut value = Map::new();
    if !check.test.is_empty() {
        value.insert("Test".to_owned(), json!(check.test));
    }
    for (key, duration) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if !duration.is_zero() {
            value.insert(key.to_owned(), json!(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)));
        }
    }
    if check.retries != 0 {
        value.insert("Retries".to_owned(), json!(check.retries));
    }
    Value::Object(value)
}

/// What was asked, as it was asked, then what the image has besides. (The process also gets HOSTNAME, TERM and HOME.)
fn env<'a>(asked: &'a [String], image: &'a [String]) -> Vec<&'a str> {
    let name = |entry: &'a String| entry.split('=').next();
    let besides = image.iter().filter(|entry| !asked.iter().any(|own| name(own) == name(entry)));
    asked.iter().chain(besides).map(String::as_str).collect()
}

/// The container's configuration merged with its image's, as Docker stores it.
fn config(c: &Container, version: ApiVersion) -> Value {
    let (spec, image) = (&c.spec, &c.image_config);
    let entrypoint = spec.entrypoint.clone().or_else(|| image.entrypoint.clone()).filter(|e| !e.is_empty());
    let cmd = spec.cmd.clone().or_else(|| image.cmd.clone()).filter(|c| !c.is_empty());
    let or = |own: &str, other: &str| if own.is_empty() { other.to_owned() } else { own.to_owned() };
    let mut value = json!({
        "Hostname": or(&spec.hostname, c.id.short()),
        "Domainname": spec.domainname,
        "User": or(&spec.user, &image.user),
        "AttachStdin": spec.attach[0],
        "AttachStdout": spec.attach[1],
        "AttachStderr": spec.attach[2],
        "Tty": spec.tty,
        "OpenStdin": spec.open_stdin,
        "StdinOnce": spec.stdin_once,
        "Env": env(&spec.env, &image.env),
        "Cmd": cmd,
        "Image": spec.image,
        "Volumes": set(image.volumes.iter().chain(&spec.volumes)),
        "WorkingDir": or(&spec.working_dir, &image.working_dir),
        "Entrypoint": entrypoint,
        "OnBuild": Value::Null,
        "Labels": labels(c),
    });
    let Value::Object(map) = &mut value else { return value };
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    if let ports @ Value::Object(_) = set(exposed_ports(c)) {
        put("ExposedPorts", ports);
    }
    if let Some(check) = c.healthcheck.as_ref().or(spec.healthcheck.as_ref()).or(image.healthcheck.as_ref()) {
        put("Healthcheck", healthcheck(check));
    }
    if let Some(signal) = spec.stop_signal.as_ref().or(image.stop_signal.as_ref()) {
        put("StopSignal", json!(signal));
    }
    if let Some(timeout) = spec.stop_timeout {
        put("StopTimeout", json!(timeout));
    }
    if let Some(shell) = spec.shell.as_ref().or(image.shell.as_ref()) {
        put("Shell", json!(shell));
    }
    if spec.network_disabled {
        put("NetworkDisabled", json!(true));
    }
    if let Some(mac) = spec.mac_address.as_ref().filter(|_| !version.at_least(52)) {
        put("MacAddress", json!(mac));
    }
    value
}

fn network_settings(c: &Container, version: ApiVersion) -> Value {
    let networks: Map<String, Value> =
        c.networks.iter().map(|(name, view)| (name.clone(), json!(EndpointSettings::of(view, c.id.short(), version)))).collect();
    let up = c.state.is_up();
    let pid = match &c.state {
        State::Running(up) | State::Paused(up) => up.pid,
        _ => 0,
    };
    let mut value = json!({
        "SandboxID": if up { c.id.as_str() } else { "" },
        "SandboxKey": if up { format!("/proc/{pid}/ns/net") } else { String::new() },
        "Ports": ports(c),
        "Networks": networks,
    });
    if let Value::Object(map) = &mut value
        && !version.at_least(52)
    {
        // What Docker told before containers could be in several networks: the default bridge's facts, once more.
        let bridge: Option<&EndpointView> = c.networks.get("bridge");
        let legacy = json!({
            "Bridge": "",
            "HairpinMode": false,
            "LinkLocalIPv6Address": "",
            "LinkLocalIPv6PrefixLen": 0,
            "SecondaryIPAddresses": Value::Null,
            "SecondaryIPv6Addresses": Value::Null,
            "EndpointID": bridge.and_then(|b| b.endpoint.as_ref()).map(|e| e.as_str()).unwrap_or_default(),
            "Gateway": bridge.and_then(|b| b.gateway4).map(|ip| ip.to_string()).unwrap_or_default(),
            "GlobalIPv6Address": bridge.and_then(|b| b.ipv6).map(|(ip, _)| ip.to_string()).unwrap_or_default(),
            "GlobalIPv6PrefixLen": bridge.and_then(|b| b.ipv6).map_or(0, |(_, len)| len),
            "IPAddress": bridge.and_then(|b| b.ipv4).map(|(ip, _)| ip.to_string()).unwrap_or_default(),
            "IPPrefixLen": bridge.and_then(|b| b.ipv4).map_or(0, |(_, len)| len),
            "IPv6Gateway": bridge.and_then(|b| b.gateway6).map(|ip| ip.to_string()).unwrap_or_default(),
            "MacAddress": bridge.map(|b| b.mac_address.as_str()).unwrap_or_default(),
        });
        if let Value::Object(legacy) = legacy {
            map.extend(legacy);
        }
    }
    value
}

/// `NetworkSettings.Ports`: where each port is published; `null` for one that is only exposed; nothing while it is down.
fn ports(c: &Container) -> Value {
    let mut ports: Map<String, Value> = Map::new();
    if c.state.is_up() {
        for port in exposed_ports(c) {
            ports.insert(port.to_string(), Value::Null);
        }
        for published in &c.ports {
            let binding = json!({"HostIp": published.ip.to_string(), "HostPort": published.port.to_string()});
            match ports.entry(published.container.to_string()).or_insert(Value::Null) {
                Value::Array(list) => list.push(binding),
                slot => *slot = json!([binding]),
            }
        }
    }
    Value::Object(ports)
}

/// What is mounted, but for `--tmpfs`, which Docker tells of in `HostConfig` only.
pub fn mount_points(c: &Container) -> Vec<Value> {
    let asked = &c.spec.host.tmpfs;
    let by_flag = |m: &MountView| m.kind == MountKind::Tmpfs && asked.keys().any(|path| path.trim_end_matches('/') == m.destination);
    c.mounts.iter().filter(|m| !by_flag(m)).map(mount_point).collect()
}

fn mount_point(m: &MountView) -> Value {
    let mut value = json!({
        "Type": mount::kind(m.kind),
        "Source": m.source,
        "Destination": m.destination,
        "Mode": m.mode,
        "RW": m.rw,
        "Propagation": m.propagation,
    });
    if let Value::Object(map) = &mut value
        && m.kind == MountKind::Volume
    {
        map.insert("Name".to_owned(), json!(m.name));
        map.insert("Driver".to_owned(), json!(if m.driver.is_empty() { "local" } else { &m.driver }));
    }
    value
}

#[cfg(test)]
pub(in crate::docker) mod tests {
    use super::*;
    use engine::container::spec::{ContainerSpec, EndpointSpec, HostPort, Protocol, RestartPolicy, Ulimit};
    use engine::container::view::{Probe, PublishedPort, Running};
    use engine::image::ImageConfig;
    use jiff::Timestamp;
    use std::sync::Arc;
    use std::time::Duration;

    pub const V51: ApiVersion = ApiVersion { major: 1, minor: 51 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(1_700_000_000 + seconds, 5_000_000).unwrap()
    }

    /// The container of the recordings, running.
    pub fn sample() -> Container {
        let tcp = |port| ContainerPort { port, protocol: Protocol::Tcp };
        let mut spec = ContainerSpec {
            image: "alpine:latest".into(),
            hostname: "hh".into(),
            env: vec!["A=b".into()],
            cmd: Some(vec!["sh".into(), "-c".into(), "sleep 1".into()]),
            labels: BTreeMap::from([("shp".into(), "1".into())]),
            volumes: vec!["/anon".into()],
            exposed_ports: vec![tcp(80), tcp(81)],
            stop_signal: Some("SIGTERM".into()),
            stop_timeout: Some(5),
            ..ContainerSpec::default()
        };
        spec.host.binds = vec!["shpvol:/v:ro".into()];
        spec.host.port_bindings = BTreeMap::from([(tcp(80), vec![HostPort { ip: None, ports: (0, 0) }])]);
        spec.host.resources.memory = 64 << 20;
        spec.host.restart = RestartPolicy::OnFailure(2);
        spec.host.tmpfs = BTreeMap::from([("/t".into(), "size=1m".into())]);
        spec.host.init = Some(true);
        spec.host.cap_add = vec!["NET_ADMIN".into()];
        spec.host.dns = vec!["9.9.9.9".into()];
        spec.host.extra_hosts = vec!["a:1.2.3.4".into()];
        spec.host.log.options = BTreeMap::from([("max-size".into(), "1m".into())]);
        spec.host.resources.ulimits = vec![Ulimit { name: "nofile".into(), soft: 100, hard: 200 }];
        spec.host.network_mode = "shpnet".into();
        let endpoint = EndpointSpec { ipv4: Some([10, 97, 0, 50].into()), aliases: vec!["al".into()], ..EndpointSpec::default() };
        Container {
            id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".parse().unwrap(),
            name: "shp1".into(),
            image_id: engine::Digest::of(b"image"),
            platform: "linux/amd64".into(),
            image_config: Arc::new(ImageConfig {
                cmd: Some(vec!["/bin/sh".into()]),
                env: vec!["PATH=/bin".into()],
                labels: BTreeMap::from([("maintainer".into(), "m".into())]),
                ..ImageConfig::default()
            }),
            created: at(-60),
            created_by: "root".into(),
            failure: None,
            state: State::Running(Running { pid: 4242, started: at(0), ended_before: None }),
            health: Some(Health {
                status: "healthy".into(),
                failing_streak: 0,
                log: vec![Probe { start: at(1), end: at(2), exit_code: 0, output: String::new() }],
            }),
            restart_count: 0,
            networks: BTreeMap::from([(
                "shpnet".into(),
                EndpointView {
                    network: "ab".repeat(32).parse().unwrap(),
                    endpoint: Some("cd".repeat(32).parse().unwrap()),
                    spec: endpoint,
                    ipv4: Some(([10, 97, 0, 50].into(), 24)),
                    ipv6: None,
                    gateway4: Some([10, 97, 0, 1].into()),
                    gateway6: None,
                    mac_address: "02:42:0a:61:00:32".into(),
                    dns_names: vec!["shp1".into(), "al".into(), "0123456789ab".into(), "hh".into()],
                },
            )]),
            ports: vec![
                PublishedPort { container: tcp(80), ip: [0, 0, 0, 0].into(), port: 32768 },
                PublishedPort { container: tcp(80), ip: "::".parse().unwrap(), port: 32768 },
            ],
            mounts: Arc::new(vec![
                MountView {
                    kind: MountKind::Volume,
                    name: "shpvol".into(),
                    source: "/var/lib/wharf/volumes/shpvol/_data".into(),
                    destination: "/v".into(),
                    driver: "local".into(),
                    mode: "ro".into(),
                    rw: false,
                    propagation: String::new(),
                },
                MountView {
                    kind: MountKind::Bind,
                    name: String::new(),
                    source: "/home/u/x".into(),
                    destination: "/x".into(),
                    driver: String::new(),
                    mode: String::new(),
                    rw: true,
                    propagation: "rprivate".into(),
                },
            ]),
            argv: vec!["sh".into(), "-c".into(), "sleep 1".into()],
            env: vec!["A=b".into(), "PATH=/bin".into()],
            working_dir: "/".into(),
            user: String::new(),
            healthcheck: Some(Healthcheck {
                test: vec!["CMD-SHELL".into(), "true".into()],
                interval: Duration::from_secs(1),
                retries: 2,
                ..Healthcheck::default()
            }),
            stop_signal: "SIGTERM".into(),
            log_driver: "local".into(),
            log_path: None,
            hosts_path: String::new(),
            hostname_path: String::new(),
            resolv_conf_path: String::new(),
            link_names: Vec::new(),
            execs: Vec::new(),
            uid_base: Some(1_879_048_192),
            overlay: None,
            spec: Arc::new(spec),
        }
    }

    #[test]
    fn inspect_of_a_running_container() {
        let mut value = inspect(&sample(), None, V51);
        // The host's CPUs stand in these.
        value["HostConfig"]["MaskedPaths"] = json!([]);
        insta::assert_json_snapshot!(value);
    }

    #[test]
    fn inspect_has_every_path_that_the_recordings_have() {
        let mut created = sample();
        created.state = State::Created;
        created.health = None;
        for (name, container) in [("inspect-running", sample()), ("inspect-created", created)] {
            crate::docker::wire::recordings::holds(name, &inspect(&container, None, V51));
        }
    }

    #[test]
    fn an_inspected_container_can_be_created_again() {
        let first = sample();
        let value = inspect(&first, None, V51);
        let mut body = value["Config"].clone();
        body["HostConfig"] = value["HostConfig"].clone();
        body["NetworkingConfig"] = json!({"EndpointsConfig": value["NetworkSettings"]["Networks"]});
        let spec = crate::docker::wire::create::container(body, 51).unwrap();
        assert_eq!(spec.host.binds, first.spec.host.binds);
        assert_eq!(spec.host.port_bindings, first.spec.host.port_bindings);
        assert_eq!(spec.host.restart, first.spec.host.restart);
        assert_eq!(spec.host.runtime, crate::docker::wire::host::RUNTIME);
        // With the address it had: Docker keeps it too.
        let mut endpoint = first.networks["shpnet"].spec.clone();
        endpoint.mac_address = Some(first.networks["shpnet"].mac_address.clone());
        assert_eq!(spec.networks, BTreeMap::from([("shpnet".to_owned(), endpoint)]));
        assert_eq!(spec.cmd, first.spec.cmd);
    }

    #[test]
    fn an_exited_container_tells_no_ports_and_its_times() {
        let mut c = sample();
        c.state = State::Exited(Finished { code: 137, oom_killed: true, error: String::new(), started: Some(at(0)), finished: at(9) });
        let value = inspect(&c, Some((5, 10)), V51);
        assert_eq!(value["NetworkSettings"]["Ports"], json!({}));
        assert_eq!(value["State"]["ExitCode"], 137);
        assert_eq!(value["State"]["OOMKilled"], true);
        assert_eq!(value["State"]["FinishedAt"], "2023-11-14T22:13:29.005Z");
        assert_eq!((&value["SizeRw"], &value["SizeRootFs"]), (&json!(5), &json!(10)));
    }
}
