//! `HostConfig`: the host's side of a container, in both directions.

use super::{mount, network};
use crate::docker::fields::Fields;
use engine::container::effective::{MASKED_PATHS, READONLY_PATHS};
use engine::container::spec::{ContainerPort, DeviceRequest, DeviceSpec, HostPort, HostSpec, LogSpec, Resources, RestartPolicy, Ulimit};
use engine::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What `info` calls our runtime. Docker's names for runc mean "the usual one", so the engine takes them for ours as well.
pub const RUNTIME: &str = "wharf";

/// Bytes of /dev/shm where nothing else was asked.
const SHM_DEFAULT: i64 = 64 * 1024 * 1024;

/// Reads a `HostConfig`.
pub fn host(f: &mut Fields) -> Result<HostSpec> {
    let resources = resources(f)?;
    let mut host = HostSpec {
        resources,
        binds: f.texts("Binds")?,
        tmpfs: f.map("Tmpfs")?,
        volumes_from: f.texts("VolumesFrom")?,
        volume_driver: f.text("VolumeDriver")?,
        network_mode: f.text("NetworkMode")?,
        publish_all: f.flag("PublishAllPorts")?,
        auto_remove: f.flag("AutoRemove")?,
        cap_add: f.words_or_absent("CapAdd")?.unwrap_or_default(),
        cap_drop: f.words_or_absent("CapDrop")?.unwrap_or_default(),
        privileged: f.flag("Privileged")?,
        security_opt: f.texts("SecurityOpt")?,
        read_only: f.flag("ReadonlyRootfs")?,
        init: f.flag_or_absent("Init")?,
        dns: f.texts("Dns")?,
        dns_options: f.texts("DnsOptions")?,
        dns_search: f.texts("DnsSearch")?,
        extra_hosts: f.texts("ExtraHosts")?,
        group_add: f.texts("GroupAdd")?,
        links: f.texts("Links")?,
        ipc_mode: f.text("IpcMode")?,
        pid_mode: f.text("PidMode")?,
        uts_mode: f.text("UTSMode")?,
        userns_mode: f.text("UsernsMode")?,
        cgroupns_mode: f.text("CgroupnsMode")?,
        cgroup_parent: f.text("CgroupParent")?,
        sysctls: f.map("Sysctls")?,
        shm_size: f.int("ShmSize")?,
        oom_score_adj: f.int("OomScoreAdj")?,
        storage_opt: f.map("StorageOpt")?,
        runtime: f.text("Runtime")?,
        isolation: f.text("Isolation")?,
        annotations: f.map("Annotations")?,
        masked_paths: f.texts_or_absent("MaskedPaths")?,
        readonly_paths: f.texts_or_absent("ReadonlyPaths")?,
        container_id_file: f.text("ContainerIDFile")?,
        device_cgroup_rules: f.texts("DeviceCgroupRules")?,
        ..HostSpec::default()
    };
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    for mut fields in f.objects("Mounts")? {
        host.mounts.push(mount::mount(&mut fields)?);
        fields.finish()?;
    }
    for (port, bindings) in port_bindings(f)? {
        host.port_bindings.entry(port).or_default().extend(bindings);
    }
    if let Some(mut policy) = f.object("RestartPolicy")? {
        host.restart = restart_policy(&mut policy)?.unwrap_or_default();
        policy.finish()?;
    }
    if let Some(mut log) = f.object("LogConfig")? {
        host.log = LogSpec { driver: log.text("Type")?, options: log.map("Config")? };
        log.finish()?;
    }
    for mut device in f.objects("Devices")? {
        host.devices.push(DeviceSpec {
            host: device.text("PathOnHost")?,
            container: device.text("PathInContainer")?,
            permissions: device.text("CgroupPermissions")?,
        });
        device.finish()?;
    }
    for mut request in f.objects("DeviceRequests")? {
        host.device_requests.push(device_request(&mut request)?);
        request.finish()?;
    }
    host.console_size = network::console_size(f)?;
    if !matches!(host.isolation.as_str(), "" | "default") {
        return Err(Error::invalid(format!("invalid isolation {:?}: linux has only the default one", host.isolation)));
    }
    // `Cgroup` joins another container's cgroup: it never left Docker's drawing board.
    f.unserved(&["Cgroup"])?;
    Ok(host)
}

/// Reads the limits in a `HostConfig`, or in the body of an update.
pub fn resources(f: &mut Fields) -> Result<Resources> {
    let mut resources = Resources {
        cpu_shares: f.int("CpuShares")?,
        nano_cpus: f.int("NanoCpus")?,
        cpu_period: f.int("CpuPeriod")?,
        cpu_quota: f.int("CpuQuota")?,
        cpu_rt_period: f.int("CpuRealtimePeriod")?,
        cpu_rt_runtime: f.int("CpuRealtimeRuntime")?,
        cpuset_cpus: f.text("CpusetCpus")?,
        cpuset_mems: f.text("CpusetMems")?,
        memory: f.int("Memory")?,
        memory_reservation: f.int("MemoryReservation")?,
        memory_swap: f.int("MemorySwap")?,
        // Clients before API 1.42 send −1 for "not asked".
        memory_swappiness: f.int_or_absent("MemorySwappiness")?.filter(|n| *n != -1),
        oom_kill_disable: f.flag_or_absent("OomKillDisable")?,
        pids_limit: f.int_or_absent("PidsLimit")?,
        blkio_weight: f.number("BlkioWeight")?,
        blkio_read_bps: rates(f, "BlkioDeviceReadBps")?,
        blkio_write_bps: rates(f, "BlkioDeviceWriteBps")?,
        blkio_read_iops: rates(f, "BlkioDeviceReadIOps")?,
        blkio_write_iops: rates(f, "BlkioDeviceWriteIOps")?,
        ..Resources::default()
    };
    for mut weight in f.objects("BlkioWeightDevice")? {
        resources.blkio_weight_device.push((weight.text("Path")?, weight.number("Weight")?));
        weight.finish()?;
    }
    for mut limit in f.objects("Ulimits")? {
        resources.ulimits.push(Ulimit { name: limit.text("Name")?, soft: limit.int("Soft")?, hard: limit.int("Hard")? });
        limit.finish()?;
    }
    // Kernel memory limits are gone from the kernel, and Docker drops them too. The others are Windows' alone.
    f.legacy(&["KernelMemory", "KernelMemoryTCP"]);
    f.unserved(&["CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth"])?;
    Ok(resources)
}

fn rates(f: &mut Fields, key: &str) -> Result<Vec<(String, u64)>> {
    let mut rates = Vec::new();
    for mut rate in f.objects(key)? {
        rates.push((rate.text("Path")?, rate.number("Rate")?));
        rate.finish()?;
    }
    Ok(rates)
}

fn device_request(f: &mut Fields) -> Result<DeviceRequest> {
    let mut request = DeviceRequest {
        driver: f.text("Driver")?,
        count: f.int("Count")?,
        device_ids: f.texts("DeviceIDs")?,
        options: f.map("Options")?,
        capabilities: Vec::new(),
    };
    match f.value("Capabilities") {
        Value::Null => {}
        value => {
            request.capabilities =
                serde_json::from_value(value).map_err(|e| Error::invalid(format!("invalid JSON: DeviceRequests.Capabilities: {e}")))?;
        }
    }
    Ok(request)
}

/// Reads a restart policy. `None`: no name was given (update: leave it).
pub fn restart_policy(f: &mut Fields) -> Result<Option<RestartPolicy>> {
    let name = f.text("Name")?;
    let count = f.int("MaximumRetryCount")?;
    let invalid = |what: &str| Err(Error::invalid(format!("invalid restart policy: {what}")));
    if count != 0 && name != "on-failure" && matches!(name.as_str(), "" | "no" | "always" | "unless-stopped") {
        return invalid("maximum retry count can only be used with 'on-failure'");
    }
    Ok(Some(match name.as_str() {
        "" => return Ok(None),
        "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => match u32::try_from(count) {
            Ok(count) => RestartPolicy::OnFailure(count),
            Err(_) => return invalid("maximum retry count cannot be negative"),
        },
        _ => {
            return invalid(&format!("unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"));
        }
    }))
}

fn port_bindings(f: &mut Fields) -> Result<Vec<(ContainerPort, Vec<HostPort>)>> {
    let Some(mut bindings) = f.object("PortBindings")? else { return Ok(Vec::new()) };
    let mut ports = Vec::new();
    for key in bindings.keys() {
        let port: ContainerPort = key.parse().map_err(|_| Error::invalid(format!("invalid port specification: {key:?}")))?;
        let mut hosts = Vec::new();
        for mut binding in bindings.objects(&key)? {
            hosts.push(host_port(&binding.text("HostIp")?, &binding.text("HostPort")?)?);
            binding.finish()?;
        }
        ports.push((port, hosts));
    }
    bindings.finish()?;
    Ok(ports)
}

/// `""` (a free port), `8080`, or `8000-8010` (a free one of these).
fn host_port(ip: &str, port: &str) -> Result<HostPort> {
    let ip = match ip {
        "" => None,
        ip => Some(ip.trim_matches(['[', ']']).parse().map_err(|_| Error::invalid(format!("invalid IP address: {ip}")))?),
    };
    let invalid = || Error::invalid(format!("invalid port specification: {port:?}"));
    let ports = match port.split_once('-') {
        None if port.is_empty() => (0, 0),
        None => {
            let port: u16 = port.parse().map_err(|_| invalid())?;
            (port, port)
        }
        Some((first, last)) => (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?),
    };
    if ports.1 < ports.0 {
        return Err(invalid());
    }
    Ok(HostPort { ip, ports })
}

/// `HostConfig` as inspect shows it: what was asked, with Docker's defaults filled in.
pub fn host_config(host: &HostSpec, log_driver: &str) -> Value {
    let r = &host.resources;
    let or_null = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
    let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
    let mut value = json!({
        "Binds": or_null(&host.binds),
        "ContainerIDFile": host.container_id_file,
        "LogConfig": {"Type": or(&host.log.driver, log_driver), "Config": host.log.options},
        "NetworkMode": network_mode(&host.network_mode),
        "PortBindings": port_bindings_value(&host.port_bindings),
        "RestartPolicy": restart_policy_value(&host.restart),
        "AutoRemove": host.auto_remove,
        "VolumeDriver": host.volume_driver,
        "VolumesFrom": or_null(&host.volumes_from),
        "ConsoleSize": host.console_size.map_or([0, 0], |(h, w)| [h, w]),
        "CapAdd": or_null(&host.cap_add),
        "CapDrop": or_null(&host.cap_drop),
        "CgroupnsMode": or(&host.cgroupns_mode, "private"),
        "Dns": or_null(&host.dns),
        "DnsOptions": or_null(&host.dns_options),
        "DnsSearch": or_null(&host.dns_search),
        "ExtraHosts": or_null(&host.extra_hosts),
        "GroupAdd": or_null(&host.group_add),
        "IpcMode": or(&host.ipc_mode, "private"),
        "Cgroup": "",
        "Links": or_null(&host.links),
        "OomScoreAdj": host.oom_score_adj,
        "PidMode": host.pid_mode,
        "Privileged": host.privileged,
        "PublishAllPorts": host.publish_all,
        "ReadonlyRootfs": host.read_only,
        "SecurityOpt": or_null(&host.security_opt),
        "UTSMode": host.uts_mode,
        "UsernsMode": host.userns_mode,
        "ShmSize": if host.shm_size == 0 { SHM_DEFAULT } else { host.shm_size },
        "Runtime": or(&host.runtime, RUNTIME),
        "Isolation": host.isolation,
        "MaskedPaths": paths(host, host.masked_paths.as_deref(), &MASKED_PATHS),
        "ReadonlyPaths": paths(host, host.readonly_paths.as_deref(), &READONLY_PATHS),
    });
    if let Value::Object(map) = &mut value {
        map.extend(resources_value(r, host));
        // These are absent, not empty, where Docker has nothing to say.
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        if !host.mounts.is_empty() {
            put("Mounts", host.mounts.iter().map(mount::mount_value).collect());
        }
        if !host.tmpfs.is_empty() {
            put("Tmpfs", json!(host.tmpfs));
        }
        if !host.sysctls.is_empty() {
            put("Sysctls", json!(host.sysctls));
        }
        if !host.storage_opt.is_empty() {
            put("StorageOpt", json!(host.storage_opt));
        }
        if !host.annotations.is_empty() {
            put("Annotations", json!(host.annotations));
        }
        if let Some(init) = host.init {
            put("Init", json!(init));
        }
    }
    value
}

/// The limits and devices in a `HostConfig`.
fn resources_value(r: &Resources, host: &HostSpec) -> serde_json::Map<String, Value> {
    let rate = |list: &[(String, u64)]| list.iter().map(|(p, n)| json!({"Path": p, "Rate": n})).collect::<Vec<_>>();
    let value = json!({
        "CpuShares": r.cpu_shares,
        "Memory": r.memory,
        "NanoCpus": r.nano_cpus,
        "CgroupParent": host.cgroup_parent,
        "BlkioWeight": r.blkio_weight,
        "BlkioWeightDevice": r.blkio_weight_device.iter().map(|(p, w)| json!({"Path": p, "Weight": w})).collect::<Vec<_>>(),
        "BlkioDeviceReadBps": rate(&r.blkio_read_bps),
        "BlkioDeviceWriteBps": rate(&r.blkio_write_bps),
        "BlkioDeviceReadIOps": rate(&r.blkio_read_iops),
        "BlkioDeviceWriteIOps": rate(&r.blkio_write_iops),
        "CpuPeriod": r.cpu_period,
        "CpuQuota": r.cpu_quota,
        "CpuRealtimePeriod": r.cpu_rt_period,
        "CpuRealtimeRuntime": r.cpu_rt_runtime,
        "CpusetCpus": r.cpuset_cpus,
        "CpusetMems": r.cpuset_mems,
        "Devices": host.devices.iter().map(|d| json!({
            "PathOnHost": d.host, "PathInContainer": d.container, "CgroupPermissions": d.permissions,
        })).collect::<Vec<_>>(),
        "DeviceCgroupRules": if host.device_cgroup_rules.is_empty() { Value::Null } else { json!(host.device_cgroup_rules) },
        "DeviceRequests": device_requests_value(&host.device_requests),
        "MemoryReservation": r.memory_reservation,
        // A memory limit alone limits memory plus swap to twice as much.
        "MemorySwap": if r.memory > 0 && r.memory_swap == 0 { r.memory.saturating_mul(2) } else { r.memory_swap },
        "MemorySwappiness": r.memory_swappiness,
        "OomKillDisable": r.oom_kill_disable.unwrap_or(false),
        "PidsLimit": r.pids_limit,
        "Ulimits": r.ulimits.iter().map(|u| json!({"Name": u.name, "Hard": u.hard, "Soft": u.soft})).collect::<Vec<_>>(),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    });
    match value {
        Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}

/// The mode's name: the two words for Docker's own bridge are one.
pub fn network_mode(mode: &str) -> &str {
    match mode {
        "" | "default" => "bridge",
        other => other,
    }
}

fn paths(host: &HostSpec, asked: Option<&[String]>, default: &[String]) -> Value {
    match asked {
        Some(paths) => json!(paths),
        None if host.privileged || host.security_opt.iter().any(|o| o == "systempaths=unconfined") => Value::Null,
        None => json!(default),
    }
}

fn port_bindings_value(bindings: &BTreeMap<ContainerPort, Vec<HostPort>>) -> Value {
    let bindings = bindings.iter().map(|(port, hosts)| {
        let hosts = hosts.iter().map(|host| {
            let port = match host.ports {
                (0, 0) => String::new(),
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}-{last}"),
            };
            json!({"HostIp": host.ip.map(|ip| ip.to_string()).unwrap_or_default(), "HostPort": port})
        });
        (port.to_string(), hosts.collect())
    });
    Value::Object(bindings.collect())
}

fn restart_policy_value(policy: &RestartPolicy) -> Value {
    let (name, count) = match policy {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure(count) => ("on-failure", *count),
    };
    json!({"Name": name, "MaximumRetryCount": count})
}

fn device_requests_value(requests: &[DeviceRequest]) -> Value {
    if requests.is_empty() {
        return Value::Null;
    }
    let request = |r: &DeviceRequest| json!({"Driver": r.driver, "Count": r.count, "DeviceIDs": r.device_ids, "Capabilities": r.capabilities, "Options": r.options});
    requests.iter().map(request).collect()
}
