//! What was asked, what the image says and the server's defaults become one effective specification.

use super::{
    Defaults, EffectiveSpec, HostName, Ipc, Namespaces, NetworkMode, OwnOrHost, Shared, Stop, UserNamespace, VolumesFrom, logging, mount,
    networking, privilege, process, sysctl, user,
};
use crate::cgroup;
use crate::container::spec::{ContainerSpec, HostSpec, RestartPolicy};
use crate::image::ImageConfig;
use crate::{Error, Result};

/// The effective specification and Docker's warnings. Pure: the same arguments give the same answer.
///
/// # Errors
/// `Invalid` with Docker's texts, `Unsupported` for what is not built yet.
pub fn effective(spec: &ContainerSpec, image: &ImageConfig, defaults: &Defaults) -> Result<(EffectiveSpec, Vec<String>)> {
    let mut warnings = Vec::new();
    let ContainerSpec {
        image: reference,
        platform,
        hostname,
        domainname,
        labels,
        stop_signal,
        stop_timeout,
        host,
        // Merged where they belong: process, mounts, network, health.
        user: _,
        tty: _,
        open_stdin: _,
        stdin_once: _,
        env: _,
        cmd: _,
        entrypoint: _,
        working_dir: _,
        volumes: _,
        exposed_ports: _,
        healthcheck: _,
        shell: _,
        network_disabled: _,
        mac_address: _,
        networks: _,
        // Only echoed.
        attach: _,
    } = spec;
    let HostSpec {
        volumes_from,
        restart,
        auto_remove,
        log,
        read_only,
        cgroup_parent,
        sysctls,
        shm_size,
        storage_opt,
        runtime,
        annotations,
        device_requests,
        resources,
        port_bindings,
        publish_all,
        // Merged where they belong.
        binds: _,
        mounts: _,
        tmpfs: _,
        volume_driver: _,
        network_mode: _,
        cap_add: _,
        cap_drop: _,
        privileged: _,
        security_opt: _,
        init: _,
        dns: _,
        dns_options: _,
        dns_search: _,
        extra_hosts: _,
        group_add: _,
        links: _,
        ipc_mode: _,
        pid_mode: _,
        uts_mode: _,
        userns_mode: _,
        cgroupns_mode: _,
        oom_score_adj: _,
        console_size: _,
        masked_paths: _,
        readonly_paths: _,
        devices: _,
        device_cgroup_rules: _,
        // Only echoed.
        container_id_file: _,
        isolation: _,
    } = host;

    if !matches!(runtime.as_str(), "" | "runc" | "wharf" | "io.containerd.runc.v2") {
        return Err(Error::invalid(format!("unknown or invalid runtime name: {runtime}")));
    }
    if !storage_opt.is_empty() {
        return Err(Error::unsupported("--storage-opt"));
    }
    if let Some(request) = device_requests.first() {
        if request.driver == "cdi" {
            return Err(Error::unsupported("a CDI device"));
        }
        return Err(Error::unsupported("--gpus"));
    }
    if *auto_remove && *restart != RestartPolicy::No {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    if !cgroup_parent.is_empty() {
        warnings.push("CgroupParent is not used: every container lies in its tenant's group.".to_owned());
    }

    let network = networking::network(spec, image)?;
    if network.mode == NetworkMode::Host && (!port_bindings.is_empty() || *publish_all) {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    let namespaces = namespaces(host)?;
    let ids = if namespaces.user == UserNamespace::Host { user::Ids::Host } else { user::Ids::Block };
    if namespaces.uts == OwnOrHost::Host && (!hostname.is_empty() || !domainname.is_empty()) {
        return Err(Error::invalid("conflicting options: hostname and the UTS mode"));
    }
    for (name, value) in sysctls {
        sysctl::check(name, value, &namespaces, &network.mode)?;
    }
    let privileges = privilege::privileges(spec, &mut warnings)?;
    let (devices, device_rules) = privilege::devices(host)?;

    let mut resources = resources.clone();
    warnings.extend(cgroup::validate(&mut resources, &defaults.limits, cgroup::Occasion::Create)?);
    let process = process::process(spec, image, defaults, ids)?;
    // They are effective in the process, with the defaults.
    resources.ulimits.clear();

    let mut all_labels = image.labels.clone();
    all_labels.extend(labels.clone());
    let signal =
        stop_signal.as_deref().filter(|s| !s.is_empty()).or(image.stop_signal.as_deref()).filter(|s| !s.is_empty()).unwrap_or("SIGTERM");

    let mut effective = EffectiveSpec {
        image: reference.clone(),
        platform: platform.clone(),
        host: HostName { hostname: host_name(hostname)?, domainname: domain_name(domainname)? },
        privileges,
        read_only_root: *read_only,
        mounts: mount::mounts(spec, image, &defaults.run_dir)?,
        volumes_from: volumes_from.iter().map(|t| take_volumes(t)).collect::<Result<_>>()?,
        devices,
        device_rules,
        gpus: Vec::new(),
        sysctls: sysctls.clone(),
        shm_size: match u64::try_from(*shm_size) {
            Ok(0) => defaults.shm_size,
            Ok(bytes) => bytes,
            Err(_) => return Err(Error::invalid("SHM size can not be less than 0")),
        },
        resources,
        restart: restart.clone(),
        auto_remove: *auto_remove,
        log: logging::log(log, &defaults.log)?,
        stop: Stop { signal: signal.parse()?, timeout: stop_timeout.unwrap_or(defaults.stop_timeout).max(-1) },
        health: process::health(spec, image, &mut warnings)?,
        process,
        namespaces,
        network,
        labels: all_labels,
        annotations: annotations.clone(),
    };
    effective.order_mounts();
    Ok((effective, warnings))
}

fn namespaces(host: &HostSpec) -> Result<Namespaces> {
    let other = |text: &str, what: &str| match text.strip_prefix("container:") {
        Some("") | None => Err(Error::invalid(format!("invalid {what} mode: {text}"))),
        Some(name) => Ok(name.to_owned()),
    };
    let pid = match host.pid_mode.as_str() {
        "" | "private" => Shared::Private,
        "host" => Shared::Host,
        text => Shared::Container(other(text, "PID")?),
    };
    let ipc = match host.ipc_mode.as_str() {
        "" | "private" => Ipc::Private,
        "shareable" => Ipc::Shareable,
        "none" => Ipc::None,
        "host" => Ipc::Host,
        text => Ipc::Container(other(text, "IPC")?),
    };
    let own = |text: &str, what: &str| match text {
        "" | "private" => Ok(OwnOrHost::Private),
        "host" => Ok(OwnOrHost::Host),
        _ => Err(Error::invalid(format!("invalid {what} mode: {text}"))),
    };
    // A process that sees the host's, or that may do all, needs the ids they have; DESIGN 6.
    let shares_host = pid == Shared::Host || host.privileged;
    let user = match host.userns_mode.as_str() {
        "" | "private" if shares_host => UserNamespace::Host,
        "" | "private" => UserNamespace::Tenant,
        "host" => UserNamespace::Host,
        "isolated" if shares_host => {
            return Err(Error::invalid("conflicting options: the isolated user namespace and the host's processes or privileges"));
        }
        "isolated" => UserNamespace::Isolated,
        text => return Err(Error::invalid(format!("invalid USER mode: {text}"))),
    };
    Ok(Namespaces { user, pid, ipc, uts: own(&host.uts_mode, "UTS")?, cgroup: own(&host.cgroupns_mode, "cgroup namespace")? })
}

/// The kernel takes 64 bytes (`__NEW_UTS_LEN`); beyond that, what DNS and /etc/hosts can carry.
fn host_name(text: &str) -> Result<String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.len() <= 64 && text.chars().all(ok) && text.starts_with(edge) && text.ends_with(edge) {
        Ok(text.to_owned())
    } else {
        Err(Error::invalid(format!("invalid hostname format: {text}")))
    }
}

fn domain_name(text: &str) -> Result<String> {
    if text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        Ok(text.to_owned())
    } else {
        Err(Error::invalid(format!("invalid domainname format: {text}")))
    }
}

/// `container[:ro|rw]`.
fn take_volumes(text: &str) -> Result<VolumesFrom> {
    let (container, mode) = text.split_once(':').unwrap_or((text, "rw"));
    if container.is_empty() {
        return Err(Error::invalid("malformed volumes-from specification: ".to_owned() + text));
    }
    let mut read_only = false;
    for word in mode.split(',') {
        match word {
            "ro" => read_only = true,
            "rw" | "z" | "Z" => {}
            _ => return Err(Error::invalid(format!("invalid mode: {mode}"))),
        }
    }
    Ok(VolumesFrom { container: container.to_owned(), read_only })
}
