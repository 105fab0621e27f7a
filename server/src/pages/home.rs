//! The first page: what needs a look, what runs, what is left.

use super::frame::{OrPage, Visit};
use super::words;
use axum::response::Response;
use engine::container::request::ContainerFilter;
use engine::container::{Container, State};
use engine::event::Event;
use engine::image::ImageFilter;
use engine::{Filters, Kind};
use web::format;
use web::view::home::{Attention, Figure, Happened, Home};
use web::view::piece::segment;
use web::view::{Fact, Meter, Value};

/// `GET /ui/`
pub async fn home(visit: Visit) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let base = &frame.base;
    let host = words::host(&frame.host);
    let containers = app.engine.containers(&who, &ContainerFilter { all: true, ..Default::default() }).await.or_page(&frame)?;
    let images = app.engine.images(&who, &ImageFilter::default()).await.or_page(&frame)?.len();
    let volumes = counted(app.engine.volumes(&who, &Filters::new()).await).or_page(&frame)?;
    let networks = counted(app.engine.networks(&who, &Filters::new()).await).or_page(&frame)?;
    let running = containers.iter().filter(|c| c.state.is_up()).count();
    let mut figures = vec![
        figure(format!("{base}/containers?state=running"), running, "running"),
        figure(format!("{base}/containers"), containers.len() - running, "not running"),
        figure(format!("{base}/images"), images, if images == 1 { "image" } else { "images" }),
    ];
    figures.extend(volumes.map(|n| figure(format!("{base}/volumes"), n, if n == 1 { "volume" } else { "volumes" })));
    figures.extend(networks.map(|n| figure(format!("{base}/networks"), n, if n == 1 { "network" } else { "networks" })));

    let operations = app.operations.list(&who);
    let view = Home {
        page: frame.page("Home", "home"),
        figures,
        attention: containers.iter().filter_map(|c| attention(c, base)).take(8).collect(),
        containers: containers.iter().take(8).map(|c| words::row(c, base, &host)).collect(),
        operations: operations.iter().take(4).map(|o| super::operations::row(o, base)).collect(),
        quota: quota(&app, &who, &containers, images).await,
        host: host_facts(&app),
        events: app.engine.events(&who).0.iter().rev().filter_map(|e| happened(e, base)).take(8).collect(),
    };
    Ok(frame.show(&view))
}

/// How many, or nothing while the engine has none of that kind yet.
fn counted<T>(list: engine::Result<Vec<T>>) -> engine::Result<Option<usize>> {
    match list {
        Ok(list) => Ok(Some(list.len())),
        Err(e) if e.kind() == Kind::Unsupported => Ok(None),
        Err(e) => Err(e),
    }
}

fn figure(href: String, number: usize, text: &str) -> Figure {
    Figure { href, number: number.to_string(), text: text.into() }
}

/// Why a container needs a look, if it does.
fn attention(container: &Container, base: &str) -> Option<Attention> {
    let why = match &container.state {
        State::Exited(f) if f.oom_killed => {
            let limit = container.spec.host.resources.memory;
            let limit = u64::try_from(limit).ok().filter(|n| *n > 0).map_or(String::new(), |n| format!(" of {}", engine::size::binary(n)));
            format!("killed at its memory limit{limit}, {}", format::ago(words::seconds_since(f.finished)))
        }
        State::Exited(f) if !f.error.is_empty() => f.error.clone(),
        // 143 is what a clean stop leaves behind in programs without a handler for SIGTERM; 137 the end of its grace.
        State::Exited(f) if !matches!(f.code, 0 | 137 | 143) => {
            format!("exited with code {}, {}", f.code, format::ago(words::seconds_since(f.finished)))
        }
        State::Restarting(f) => format!("keeps restarting ({} times), last exit code {}", container.restart_count, f.code),
        State::Dead(f) => f.error.clone(),
        State::Running(_) => {
            let health = container.health.as_ref().filter(|h| h.status == "unhealthy")?;
            let last = health.log.last().map_or("", |p| p.output.lines().next().unwrap_or(""));
            format!("health check failed {} times{}{last}", health.failing_streak, if last.is_empty() { "" } else { ": " })
        }
        _ => return None,
    };
    Some(Attention { href: words::href(base, container), name: container.name.clone(), badge: words::badge(container), why })
}

/// An event in words; exec and other everyday ones are left out.
fn happened(event: &Event, base: &str) -> Option<Happened> {
    let text = match (event.kind, event.action.as_str()) {
        ("container", "create") => "made container",
        ("container", "start") => "started",
        ("container", "die") => "ended",
        ("container", "oom") => "hit its memory limit:",
        ("container", "destroy") => "removed container",
        ("container", "restart") => "restarted",
        ("container", "pause") => "paused",
        ("container", "unpause") => "resumed",
        ("container", "health_status: unhealthy") => "became unhealthy:",
        ("image", "pull") => "pulled",
        ("image", "load") => "loaded",
        ("image", "delete" | "untag") => "removed image",
        ("volume", "create") => "made volume",
        ("volume", "destroy") => "removed volume",
        ("network", "create") => "made network",
        ("network", "destroy") => "removed network",
        _ => return None,
    };
    let object = event.attributes.get("name").unwrap_or(&event.id);
    // An image without a name goes by the beginning of its id.
    let object = object.strip_prefix("sha256:").and_then(|hex| hex.get(..12)).unwrap_or(object).to_owned();
    let gone = matches!(event.action.as_str(), "destroy" | "delete" | "untag");
    let folder = match event.kind {
        "container" => "containers",
        "image" => "images",
        "volume" => "volumes",
        _ => "networks",
    };
    let href = if gone { String::new() } else { format!("{base}/{folder}/{}", segment(&object)) };
    Some(Happened { when: words::ago(event.time), text: text.into(), object, href })
}

/// What the tenant uses of what it may use.
async fn quota(app: &crate::App, who: &engine::Subject, containers: &[Container], images: usize) -> Vec<Meter> {
    let quota = app.accounts.tenants().get(who.tenant).map(|t| t.quota).unwrap_or_default();
    let mut memory = 0;
    let mut processes = 0;
    // Stats are a few file reads each; a host's worth of containers of one tenant is still a millisecond or two.
    for container in containers.iter().filter(|c| c.state.is_up()) {
        if let Ok(Some(stats)) = app.engine.stats(who, container.id.as_str()).await {
            memory += stats.memory_usage;
            processes += stats.pids.0;
        }
    }
    let ports = containers
        .iter()
        .map(|c| c.ports.iter().map(|p| (p.port, p.container.protocol)).collect::<std::collections::BTreeSet<_>>().len() as u64)
        .sum();
    let cpus: i64 = containers.iter().filter(|c| c.state.is_up()).map(|c| c.spec.host.resources.nano_cpus).sum();
    let disk = app.engine.disk_use_lately(who).await.map(|used| used.total()).unwrap_or_else(|error| {
        tracing::warn!(?error, "what a tenant takes on disk could not be measured");
        0
    });
    let number = |n: u64| n.to_string();
    let nano = |n: u64| format::cpus(i64::try_from(n).unwrap_or(i64::MAX));
    vec![
        meter("Memory", memory, quota.memory, engine::size::binary),
        meter("CPUs asked for", u64::try_from(cpus).unwrap_or(0), quota.nano_cpus, nano),
        meter("Processes", processes, quota.pids, number),
        meter("Containers", containers.len() as u64, quota.containers, number),
        meter("Images", images as u64, quota.images, number),
        meter("Disk", disk, quota.disk, engine::size::binary),
        meter("Published ports", ports, quota.ports, number),
    ]
}

fn meter(label: &str, used: u64, limit: Option<u64>, say: impl Fn(u64) -> String) -> Meter {
    let text = limit.map_or_else(|| format!("{}, no limit", say(used)), |limit| format!("{} of {}", say(used), say(limit)));
    let percent = limit.filter(|l| *l > 0).and_then(|limit| u8::try_from((u128::from(used) * 100 / u128::from(limit)).min(100)).ok());
    Meter { label: label.into(), text, percent }
}

/// What this host is, for everybody.
fn host_facts(app: &crate::App) -> Vec<Fact> {
    let mut facts = Vec::new();
    facts.push(Fact::new("Name", Value::Text(engine::host::name())));
    facts.push(Fact::new("Kernel", Value::Text(rustix::system::uname().release().to_string_lossy().into_owned())));
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    facts.push(Fact::new("CPUs", Value::Text(cpus.to_string())));
    let memory = rustix::system::sysinfo();
    facts.push(Fact::new("Memory", Value::Text(engine::size::binary(memory.totalram as u64 * u64::from(memory.mem_unit)))));
    facts.push(Fact::new("Docker clients", Value::Code(format!("DOCKER_HOST=unix://{}", app.config.socket.display()))));
    facts
}
