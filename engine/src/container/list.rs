//! What the engine tells of its containers: one, or those that Docker's filters choose.

use super::effective::NetworkMode;
use super::record::{Entry, Record};
use super::request::ContainerFilter;
use super::spec::EndpointSpec;
use super::spec::Resources;
use super::view::{Container, EndpointView, OverlayView, State};
use crate::engine::Engine;
use crate::filter::{self, Filters};
use crate::image::{Image, ImageFilter};
use crate::{Digest, Error, Result, Subject};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

const KNOWN: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

const STATUSES: [&str; 7] = ["created", "dead", "exited", "paused", "removing", "restarting", "running"];

impl Engine {
    /// The subject's containers, newest first.
    ///
    /// # Errors
    /// `Invalid` for unknown filters or values; `NotFound` when `before` or `since` names no container.
    pub async fn containers(&self, who: &Subject, wanted: &ContainerFilter) -> Result<Vec<Container>> {
        let filters = &wanted.filters;
        filter::check_keys(filters, &KNOWN)?;
        let pick = Pick::new(self, who, wanted).await?;
        let mut out = Vec::new();
        let all = self.registry().of(who.tenant);
        let mut link_names: HashMap<String, Vec<String>> = HashMap::new();
        for linking in &all {
            let record = linking.record();
            for (id, alias) in record.legacy_links() {
                link_names.entry(id.to_owned()).or_default().push(format!("{}/{alias}", record.name));
            }
        }
        for entry in all {
            let record = entry.record().clone();
            if pick.takes(&entry, &record) {
                let mut view = self.view(&entry, record);
                view.link_names = link_names.remove(entry.id.as_str()).unwrap_or_default();
                out.push(view);
                if wanted.limit.is_some_and(|limit| out.len() >= limit) {
                    break;
                }
            }
        }
        Ok(out)
    }

    /// One of the subject's containers.
    ///
    /// # Errors
    /// `NotFound` when it is absent or somebody else's; `Invalid` when a prefix fits several.
    pub async fn container(&self, who: &Subject, name: &str) -> Result<Container> {
        let entry = self.registry().find(who.tenant, name)?;
        let record = entry.record().clone();
        let folder = self.container_folder(&entry.id);
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        let overlay = OverlayView {
            lower: entry.fixed.layers.iter().rev().cloned().map(text).collect(),
            upper: text(folder.join("upper")),
            work: text(folder.join("work")),
            merged: text(folder.join("merged")),
        };
        Ok(Container { overlay: Some(overlay), ..self.view(&entry, record) })
    }

    /// As lists have it.
    fn view(&self, entry: &Arc<Entry>, record: Record) -> Container {
        let fixed = &entry.fixed;
        let mut spec = fixed.spec.clone();
        let links: Vec<(String, String)> = record.legacy_links().map(|(id, alias)| (id.to_owned(), alias.to_owned())).collect();
        let now = record.mutable;
        // Ulimits are not among the limits that change: the process has had them since its start.
        let resources = Resources { ulimits: spec.host.resources.ulimits.clone(), ..now.resources };
        if spec.host.resources != resources || spec.host.restart != now.restart {
            let own = Arc::make_mut(&mut spec);
            own.host.resources = resources;
            own.host.restart = now.restart;
        }
        if !links.is_empty() {
            // Docker's form, with the names as they are now; a link to what is gone is gone.
            let named = links.into_iter().filter_map(|(id, alias)| {
                let other = self.registry().find(entry.tenant, &id).ok()?;
                Some(format!("/{}:/{}/{alias}", other.name(), record.name))
            });
            Arc::make_mut(&mut spec).host.links = named.collect();
        }
        let attachments = self.networks_handle().attachments(&entry.id);
        let networks = now
            .networks
            .into_iter()
            .map(|(name, joined)| {
                let here = attachments.iter().find(|a| a.network == joined.network);
                let mac_address = here.map(|e| e.mac_address.clone()).or_else(|| joined.spec.mac_address.clone());
                let view = EndpointView {
                    endpoint: here.map(|e| e.endpoint.clone()),
                    // Links of the default network are told with the host configuration.
                    spec: match name.as_str() {
                        "bridge" => EndpointSpec { links: Vec::new(), ..joined.spec },
                        _ => joined.spec,
                    },
                    ipv4: here.and_then(|e| e.ipv4),
                    ipv6: here.and_then(|e| e.ipv6),
                    gateway4: here.and_then(|e| e.gateway4),
                    gateway6: here.and_then(|e| e.gateway6),
                    mac_address: mac_address.unwrap_or_default(),
                    dns_names: here.map(|e| e.dns_names.clone()).unwrap_or_default(),
                    network: joined.network,
                };
                (name, view)
            })
            .collect();
        let effective = &fixed.effective;
        let mut networks: BTreeMap<String, EndpointView> = networks;
        // Docker counts "none" and the host's as networks too.
        let predefined = match effective.network.mode {
            NetworkMode::None => Some("none"),
            NetworkMode::Host => Some("host"),
            NetworkMode::Network(_) | NetworkMode::Container(_) => None,
        };
        if let Some((name, network)) = predefined.and_then(|name| Some((name, self.networks_handle().id_of(entry.tenant, name)?))) {
            networks.entry(name.to_owned()).or_insert_with(|| EndpointView::bare(network));
        }
        let etc = self.run_folder(&entry.id);
        let log_file = super::logs::file_name(&effective.log.driver, &entry.id);
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        Container {
            id: entry.id.clone(),
            name: record.name,
            link_names: Vec::new(),
            image_id: fixed.image,
            platform: fixed.platform.clone(),
            image_config: fixed.image_config.clone(),
            created: entry.created,
            created_by: entry.created_by.clone(),
            state: record.life.state,
            failure: record.life.failure.map(|f| (f.code, f.error)),
            health: record.life.health,
            restart_count: record.life.restarts,
            networks,
            ports: attachments.into_iter().flat_map(|a| a.ports).collect(),
            mounts: fixed.mounts.clone(),
            argv: effective.process.argv.clone(),
            env: effective.process.env.clone(),
            working_dir: effective.process.working_dir.clone(),
            user: effective.process.user.clone(),
            healthcheck: effective.health.as_ref().map(|h| h.shown.clone()),
            stop_signal: effective.stop.signal.to_string(),
            log_path: super::logs::has_file(&effective.log.driver).then(|| text(self.log_folder(&entry.id).join(log_file))),
            log_driver: effective.log.driver.name().to_owned(),
            hosts_path: text(etc.join("hosts")),
            hostname_path: text(etc.join("hostname")),
            resolv_conf_path: text(etc.join("resolv.conf")),
            execs: record.execs,
            uid_base: (effective.namespaces.user != super::effective::UserNamespace::Host)
                .then(|| self.block(entry.tenant).ok().map(|b| b.base))
                .flatten(),
            overlay: None,
            spec,
        }
    }
}

/// Which containers a filter takes, with its names resolved.
struct Pick<'a> {
    filters: &'a Filters,
    all: bool,
    before: Option<jiff::Timestamp>,
    since: Option<jiff::Timestamp>,
    exited: Vec<i32>,
    ancestors: Vec<Digest>,
}

impl<'a> Pick<'a> {
    async fn new(engine: &Engine, who: &Subject, wanted: &'a ContainerFilter) -> Result<Self> {
        let filters = &wanted.filters;
        let created_of = |key: &str| -> Result<Option<jiff::Timestamp>> {
            match filter::values(filters, key) {
                Some(names) => Ok(Some(engine.registry().find(who.tenant, &names[names.len() - 1])?.created)),
                None => Ok(None),
            }
        };
        let mut exited = Vec::new();
        for code in filter::values(filters, "exited").unwrap_or_default() {
            exited.push(code.parse().map_err(|_| Error::invalid(format!("invalid filter 'exited={code}': expected an exit code")))?);
        }
        for status in filter::values(filters, "status").unwrap_or_default() {
            if !STATUSES.contains(&status.as_str()) {
                return Err(Error::invalid(format!("invalid filter 'status={status}'")));
            }
        }
        for health in filter::values(filters, "health").unwrap_or_default() {
            if !["none", "starting", "healthy", "unhealthy"].contains(&health.as_str()) {
                return Err(Error::invalid(format!("invalid filter 'health={health}'")));
            }
        }
        filter::flag(filters, "is-task")?;
        let mut ancestors = Vec::new();
        if let Some(names) = filter::values(filters, "ancestor") {
            let images = engine.images_handle().list(who.tenant, &ImageFilter { all: true, ..ImageFilter::default() }).await?;
            for name in names {
                // A name that is no image has no descendants.
                let Ok(image) = engine.images_handle().resolve(who.tenant, name).await else { continue };
                // By how they were made too: an image that only names other words has the same files as the one it is from.
                let steps = |i: &Image| i.history.iter().map(|h| (h.created, h.created_by.clone())).collect::<Vec<_>>();
                let own = steps(&image);
                let descends = |i: &&Image| i.diff_ids.starts_with(&image.diff_ids) && steps(i).starts_with(&own);
                ancestors.extend(images.iter().filter(descends).map(|i| i.id));
                ancestors.push(image.id);
            }
        }
        Ok(Self {
            filters,
            all: wanted.all || wanted.limit.is_some() || ["status", "exited"].iter().any(|key| filter::values(filters, key).is_some()),
            before: created_of("before")?,
            since: created_of("since")?,
            exited,
            ancestors,
        })
    }

    fn takes(&self, entry: &Entry, record: &Record) -> bool {
        let f = self.filters;
        let state = &record.life.state;
        let up = state.is_up() || matches!(state, State::Restarting(_));
        let code = match state {
            State::Exited(end) | State::Dead(end) => Some(end.code),
            _ => None,
        };
        let health = record.life.health.as_ref().map_or("none", |h| h.status.as_str());
        let name_fits = filter::matches(f, "name", &record.name) || filter::matches(f, "name", &format!("/{}", record.name));
        (self.all || up)
            && name_fits
            && filter::matches(f, "id", entry.id.as_str())
            && filter::is(f, "status", state.word())
            && filter::is(f, "health", health)
            && (self.exited.is_empty() || code.is_some_and(|c| self.exited.contains(&c)))
            && filter::flag(f, "is-task").ok().flatten() != Some(true)
            && filter::labels(f, "label", &entry.fixed.effective.labels)
            && self.before.is_none_or(|t| entry.created < t)
            && self.since.is_none_or(|t| entry.created > t)
            && (filter::values(f, "ancestor").is_none() || self.ancestors.contains(&entry.fixed.image))
            && self.takes_volume(entry)
            && self.takes_network(entry, record)
            && takes_port(f, "publish", &published(entry))
            && takes_port(f, "expose", &exposed(entry))
    }

    fn takes_volume(&self, entry: &Entry) -> bool {
        filter::values(self.filters, "volume").is_none_or(|wanted| {
            entry.fixed.mounts.iter().any(|m| wanted.iter().any(|w| *w == m.name || *w == m.destination || *w == m.source))
        })
    }

    fn takes_network(&self, entry: &Entry, record: &Record) -> bool {
        let mode = match entry.fixed.effective.network.mode {
            NetworkMode::None => "none",
            NetworkMode::Host => "host",
            NetworkMode::Network(_) | NetworkMode::Container(_) => "",
        };
        filter::values(self.filters, "network").is_none_or(|wanted| {
            !mode.is_empty() && wanted.iter().any(|w| w == mode)
                || record
                    .mutable
                    .networks
                    .iter()
                    .any(|(name, joined)| wanted.iter().any(|w| w == name || joined.network.as_str().starts_with(w.as_str())))
        })
    }
}

/// (port, protocol) pairs of the host that a container asked for.
fn published(entry: &Entry) -> Vec<(u16, String)> {
    let bindings = entry.fixed.spec.host.port_bindings.iter();
    let ports = bindings.flat_map(|(container, hosts)| hosts.iter().map(move |host| (container.protocol, host.ports)));
    ports.filter(|(_, (first, _))| *first != 0).flat_map(|(p, (first, last))| (first..=last).map(move |n| (n, p.to_string()))).collect()
}

/// (port, protocol) pairs that a container exposes.
fn exposed(entry: &Entry) -> Vec<(u16, String)> {
    let all = entry.fixed.spec.exposed_ports.iter().chain(&entry.fixed.image_config.exposed_ports);
    all.map(|p| (p.port, p.protocol.to_string())).collect()
}

/// `80`, `80/tcp`, `8000-8100/udp`.
fn takes_port(filters: &Filters, key: &str, ports: &[(u16, String)]) -> bool {
    filter::values(filters, key).is_none_or(|wanted| {
        wanted.iter().any(|text| {
            let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { return false };
            ports.iter().any(|(port, p)| (first..=last).contains(port) && p == protocol)
        })
    })
}
