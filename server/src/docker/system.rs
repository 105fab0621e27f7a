//! `/_ping`, `/version`, `/info`, `/system/df`: what this engine is.

use super::ask::Args;
use super::error::Answer;
use super::reply::{SERVER_VERSION, json};
use super::wire;
use super::wire::host::RUNTIME;
use crate::route::{MAX_API_VERSION, MIN_API_VERSION};
use crate::{ApiVersion, App, Who};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine::container::request::ContainerFilter;
use engine::image::ImageFilter;
use engine::{Error, Filters};
use http::{HeaderValue, header};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

/// `GET` and `HEAD /_ping`: answers anybody, since clients ask before they show who they are.
pub async fn ping() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate")),
        (header::PRAGMA, HeaderValue::from_static("no-cache")),
    ];
    let mut response = (headers, "OK").into_response();
    response.headers_mut().insert("builder-version", HeaderValue::from_static("2"));
    response.headers_mut().insert("swarm", HeaderValue::from_static("inactive"));
    response
}

/// What does not change while we run.
struct Host {
    kernel: String,
    os_version: String,
    os_name: String,
    cgroup: &'static str,
    memory_accounts_swap: bool,
}

static HOST: LazyLock<Host> = LazyLock::new(|| {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned()).unwrap_or_default()
    };
    let cgroup = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" };
    let os_name = field("PRETTY_NAME");
    Host {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        os_version: field("VERSION_ID"),
        os_name: if os_name.is_empty() { "Linux".to_owned() } else { os_name },
        cgroup,
        memory_accounts_swap: cgroup == "2" || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists(),
    }
});

/// The architecture as Go names it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `GET /version`
pub async fn version() -> Response {
    json(&version_value())
}

fn version_value() -> Value {
    let (newest, oldest) = (MAX_API_VERSION.to_string(), MIN_API_VERSION.to_string());
    json!({
        "Platform": { "Name": format!("Wharf {}", env!("CARGO_PKG_VERSION")) },
        "Components": [{
            "Name": "Engine",
            "Version": SERVER_VERSION,
            "Details": {
                "ApiVersion": newest,
                "Arch": arch(),
                "BuildTime": "",
                "Experimental": "false",
                "GitCommit": "",
                "GoVersion": "",
                "KernelVersion": HOST.kernel,
                "MinAPIVersion": oldest,
                "Os": "linux",
            },
        }],
        "Version": SERVER_VERSION,
        "ApiVersion": newest,
        "MinAPIVersion": oldest,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": arch(),
        "KernelVersion": HOST.kernel,
        "BuildTime": "",
    })
}

/// `GET /info`: the host's facts, and counts of what the asking tenant has.
pub async fn info(State(app): State<App>, Who(who): Who) -> Answer {
    let counts = app.engine.counts(&who).await?;
    Ok(json(&info_value(&counts, &app.config.data_root)))
}

fn info_value(counts: &engine::Counts, data_root: &Path) -> Value {
    let memory = rustix::system::sysinfo();
    let memory = (memory.totalram as u64).saturating_mul(u64::from(memory.mem_unit));
    let name = engine::host::name();
    let v1 = HOST.cgroup == "1";
    let mut value = json!({
        "ID": engine_id(data_root),
        "Containers": counts.containers,
        "ContainersRunning": counts.running,
        "ContainersPaused": counts.paused,
        "ContainersStopped": counts.stopped,
        "Images": counts.images,
        "Driver": "overlay2",
        "DriverStatus": [["Supports d_type", "true"], ["Native Overlay Diff", "true"], ["userxattr", "false"]],
        "SystemStatus": Value::Null,
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": Value::Null,
            "Log": ["json-file", "local"],
        },
        "MemoryLimit": true,
        "SwapLimit": HOST.memory_accounts_swap,
        "KernelMemoryTCP": false,
        "CpuCfsPeriod": true,
        "CpuCfsQuota": true,
        "CPUShares": true,
        "CPUSet": true,
        "PidsLimit": true,
        "IPv4Forwarding": std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|on| on.trim() == "1"),
        "OomKillDisable": v1,
        "Debug": false,
        "NFd": 0,
        "NGoroutines": 0,
        "SystemTime": jiff::Timestamp::now().to_string(),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": HOST.cgroup,
        "NEventsListener": 0,
        "KernelVersion": HOST.kernel,
    });
    let more = json!({
        "OperatingSystem": HOST.os_name,
        "OSVersion": HOST.os_version,
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
            "IndexConfigs": { "docker.io": { "Name": "docker.io", "Mirrors": [], "Secure": true, "Official": true } },
            "Mirrors": [],
        },
        "NCPU": std::thread::available_parallelism().map_or(1, |n| n.get()),
        "MemTotal": memory,
        "GenericResources": Value::Null,
        "DockerRootDir": data_root.to_string_lossy(),
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": name,
        "Labels": [],
        "ExperimentalBuild": false,
        "ServerVersion": SERVER_VERSION,
        "Runtimes": { RUNTIME: { "path": "wharf" } },
        "DefaultRuntime": RUNTIME,
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": false,
            "Error": "",
            "RemoteManagers": Value::Null,
        },
        // Containers go on while the server is down.
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "wharf-init",
        "ContainerdCommit": { "ID": "" },
        "RuncCommit": { "ID": "" },
        "InitCommit": { "ID": "" },
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=userns", "name=cgroupns"],
        "CDISpecDirs": [],
        "Warnings": [],
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

/// An id that stays: of the machine and the data root, in the form of a UUID.
fn engine_id(data_root: &Path) -> String {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let hex = engine::Digest::of(format!("{} {}", machine.trim(), data_root.display()).as_bytes()).hex();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

/// `GET /system/df`
pub async fn df(State(app): State<App>, Who(who): Who, version: ApiVersion, args: Args) -> Answer {
    let asked: BTreeSet<String> = args.all("type").into_iter().collect();
    if let Some(unknown) = asked.iter().find(|t| !["container", "image", "volume", "build-cache"].contains(&t.as_str())) {
        return Err(Error::invalid(format!("unknown object type: {unknown}")).into());
    }
    let wants = |kind: &str| asked.is_empty() || asked.contains(kind);
    let mut answer = serde_json::Map::new();
    let containers = match wants("container") || wants("image") {
        true => app.engine.containers(&who, &ContainerFilter { all: true, ..ContainerFilter::default() }).await?,
        false => Vec::new(),
    };
    if wants("container") {
        let now = jiff::Timestamp::now();
        let mut rows = Vec::new();
        for container in &containers {
            // One that goes away meanwhile is left out, not an error.
            match app.engine.container_size(&who, container.id.as_str()).await {
                Ok(size) => rows.push(wire::summary::value(&wire::summary::summary(container, Some(size), now, version))),
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e.into()),
            }
        }
        answer.insert("Containers".to_owned(), Value::Array(rows));
    }
    if wants("image") {
        let mut used: BTreeMap<engine::Digest, i64> = BTreeMap::new();
        for container in &containers {
            *used.entry(container.image_id).or_default() += 1;
        }
        let images = app.engine.images(&who, &ImageFilter::default()).await?;
        answer.insert("LayersSize".to_owned(), json!(app.engine.disk_use(&who).await?.layers));
        let rows = images.iter().map(|i| {
            let mut row = wire::image::summary(i, used.get(&i.id).copied().unwrap_or(0), version);
            row["SharedSize"] = json!(0);
            row
        });
        answer.insert("Images".to_owned(), rows.collect());
    }
    if wants("volume") {
        let volumes = app.engine.volumes(&who, &Filters::new()).await?;
        let mut rows = Vec::new();
        for volume in &volumes {
            match app.engine.volume_size(&who, &volume.name).await {
                Ok(size) => rows.push(wire::volume::volume_usage(volume, size)),
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e.into()),
            }
        }
        answer.insert("Volumes".to_owned(), Value::Array(rows));
    }
    if wants("build-cache") {
        let cache = app.engine.build_cache(&who).await?;
        answer.insert("BuildCache".to_owned(), cache.iter().map(super::build::cache_row).collect());
    }
    Ok(json(&answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::wire::recordings;

    #[test]
    fn shapes_hold_to_the_recordings() {
        recordings::holds("version", &version_value());
        recordings::holds("info", &info_value(&engine::Counts::default(), Path::new("/var/lib/wharf")));
    }

    #[test]
    fn the_id_stays_and_tells_data_roots_apart() {
        let id = engine_id(Path::new("/a"));
        assert_eq!(id, engine_id(Path::new("/a")));
        assert_ne!(id, engine_id(Path::new("/b")));
        assert_eq!(id.len(), 36);
    }
}
