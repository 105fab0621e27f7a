//! The three files every container gets: /etc/hosts, /etc/hostname, /etc/resolv.conf. They lie in its run folder, belong to
//! its root so that it may edit them, and are written anew at each start.

use super::effective::{EffectiveSpec, NetworkMode};
use super::record::Entry;
use crate::engine::Engine;
use crate::network::{Reserved, ResolverSpec};
use crate::{Doing, Result};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::fchown;

/// A container may write what it likes into its /etc/hosts; a longer one is left alone.
const HOSTS_MAX: u64 = 1 << 20;

impl Engine {
    /// Writes the files for a start. A container that shares another's network gets the other's files.
    pub(super) async fn write_etc(&self, entry: &Entry, reserved: &[Reserved]) -> Result<()> {
        let spec = &entry.fixed.effective;
        self.runtime().make_folder(&entry.id)?;
        let folder = self.run_folder(&entry.id);
        let owner = match spec.namespaces.user {
            super::effective::UserNamespace::Host => 0,
            _ => self.block(entry.tenant)?.base,
        };
        if let NetworkMode::Container(id) = &spec.network.mode {
            let theirs = self.run_folder(&self.registry().find(entry.tenant, id)?.id);
            for name in ["hosts", "hostname", "resolv.conf"] {
                let text = std::fs::read_to_string(theirs.join(name)).doing(|| format!("reading /etc/{name} of container {id}"))?;
                write(&folder.join(name), &text, owner)?;
            }
            return Ok(());
        }
        let hostname = if spec.host.hostname.is_empty() { entry.id.short() } else { &spec.host.hostname };
        let host_network = spec.network.mode == NetworkMode::Host;
        let own: Vec<IpAddr> = reserved
            .iter()
            .flat_map(|r| [r.attachment.ipv4.map(|(ip, _)| IpAddr::V4(ip)), r.attachment.ipv6.map(|(ip, _)| IpAddr::V6(ip))])
            .flatten()
            .collect();
        let gateway = if spec.network.extra_hosts.iter().any(|h| h.address.is_none()) {
            self.networks_handle().host_gateway(entry.tenant).await?
        } else {
            None
        };
        let mut links = Vec::new();
        for one in reserved.iter().filter(|r| r.attachment.dns_names.is_empty()) {
            for (alias, target) in &one.attachment.links {
                links.extend(self.address_of(entry, target, &one.attachment.network).map(|ip| (ip, alias.clone())));
            }
        }
        let hosts = match host_network.then(|| std::fs::read_to_string("/etc/hosts")) {
            // Who is on the host's network knows the names the host knows.
            Some(Ok(text)) => text + &extra_hosts(spec, gateway),
            _ => hosts(spec, hostname, &own, gateway, &links),
        };
        let asked = &spec.network;
        let own_resolver = !(asked.dns.is_empty() && asked.dns_search.is_empty() && asked.dns_options.is_empty());
        let resolv = if host_network && !own_resolver {
            std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
        } else {
            let embedded = super::start::has_embedded_dns(reserved.iter().map(|r| &r.attachment));
            self.networks_handle().resolv_conf(embedded, &resolver(spec))
        };
        write(&folder.join("hosts"), &hosts, owner)?;
        write(&folder.join("hostname"), &format!("{hostname}\n"), owner)?;
        write(&folder.join("resolv.conf"), &resolv, owner)
    }

    /// A running container came to have these addresses, or lost them: /etc/hosts follows. What else people wrote there stays.
    pub(super) fn tell_hosts(&self, entry: &Entry, came: &[IpAddr], went: &[IpAddr]) -> Result<()> {
        let spec = &entry.fixed.effective;
        let hostname = if spec.host.hostname.is_empty() { entry.id.short() } else { &spec.host.hostname };
        let path = self.run_folder(&entry.id).join("hosts");
        let text = std::fs::read_to_string(&path).doing(|| format!("reading {}", path.display()))?;
        let is_gone = |line: &&str| went.iter().any(|ip| line.split_whitespace().next() == Some(ip.to_string().as_str()));
        let mut now: String = text.lines().filter(|line| !is_gone(line)).map(|line| format!("{line}\n")).collect();
        now.extend(came.iter().map(|ip| own_line(spec, hostname, *ip)));
        overwrite(&path, &now)
    }

    /// A running container came to be in a network with names: /etc/resolv.conf names our server, unless somebody wrote it
    /// otherwise.
    pub(super) fn tell_resolver(&self, entry: &Entry) -> Result<()> {
        let (path, spec) = (self.run_folder(&entry.id).join("resolv.conf"), resolver(&entry.fixed.effective));
        let text = std::fs::read_to_string(&path).doing(|| format!("reading {}", path.display()))?;
        if text == self.networks_handle().resolv_conf(false, &spec) {
            overwrite(&path, &self.networks_handle().resolv_conf(true, &spec))?;
        }
        Ok(())
    }

    /// The variables that legacy links give (Docker's documentation, "legacy container links"): the other's name, its exposed
    /// ports, and its own environment.
    pub(super) fn link_env(&self, entry: &Entry) -> Vec<String> {
        let mut env = Vec::new();
        let record = entry.record().clone();
        if let Some(joined) = record.mutable.networks.get("bridge") {
            for (target, alias) in record.legacy_links() {
                let Ok(other) = self.registry().find(entry.tenant, target) else { continue };
                let Some(address) = self.address_of(entry, target, &joined.network) else { continue };
                let prefix = alias.to_ascii_uppercase().replace('-', "_");
                env.push(format!("{prefix}_NAME=/{}/{alias}", entry.name()));
                let mut ports = other.fixed.effective.network.exposed.clone();
                ports.sort();
                if let Some(first) = ports.first() {
                    env.push(format!("{prefix}_PORT={}://{address}:{}", first.protocol, first.port));
                }
                for port in ports {
                    let (number, protocol) = (port.port, port.protocol);
                    let name = format!("{prefix}_PORT_{number}_{}", protocol.to_string().to_ascii_uppercase());
                    env.push(format!("{name}={protocol}://{address}:{number}"));
                    env.push(format!("{name}_ADDR={address}"));
                    env.push(format!("{name}_PORT={number}"));
                    env.push(format!("{name}_PROTO={protocol}"));
                }
                let own = other.fixed.effective.process.env.iter().filter(|e| !e.starts_with("HOME=") && !e.starts_with("PATH="));
                env.extend(own.map(|e| format!("{prefix}_ENV_{e}")));
            }
        }
        env
    }

    /// Writes the address that a container has since this start to those that link to it and run.
    pub(super) fn tell_linking(&self, entry: &Entry) {
        for other in self.registry().of(entry.tenant) {
            if other.up().is_none() {
                continue;
            }
            let record = other.record().clone();
            let aliases: Vec<&str> = record.legacy_links().filter(|(id, _)| *id == entry.id.as_str()).map(|(_, alias)| alias).collect();
            let Some(joined) = record.mutable.networks.get("bridge").filter(|_| !aliases.is_empty()) else { continue };
            let Some(address) = self.address_of(&other, entry.id.as_str(), &joined.network) else { continue };
            let path = self.run_folder(&other.id).join("hosts");
            // In place: it is mounted in the container, and may have lines of its own by now.
            if std::fs::metadata(&path).is_ok_and(|m| m.len() > HOSTS_MAX) {
                continue;
            }
            let rewritten = std::fs::read_to_string(&path).and_then(|text| {
                let line = |line: &str| match line.split_once('\t') {
                    Some((_, name)) if aliases.contains(&name) => format!("{address}\t{name}\n"),
                    _ => format!("{line}\n"),
                };
                std::fs::write(&path, text.lines().map(line).collect::<String>())
            });
            if let Err(error) = rewritten {
                tracing::warn!(%error, container.id = other.id.as_str(), "a linked container's new address could not be written");
            }
        }
    }

    /// A container's IPv4 address in a network, for legacy links.
    fn address_of(&self, entry: &Entry, name: &str, network: &crate::NetworkId) -> Option<IpAddr> {
        let other = self.registry().find(entry.tenant, name).ok()?;
        let attachments = self.networks_handle().attachments(&other.id);
        attachments.iter().find(|a| a.network == *network)?.ipv4.map(|(ip, _)| ip.into())
    }
}

/// What the container's resolver shall do.
pub(super) fn resolver(spec: &EffectiveSpec) -> ResolverSpec {
    ResolverSpec { servers: spec.network.dns.clone(), search: spec.network.dns_search.clone(), options: spec.network.dns_options.clone() }
}

/// Docker's order: loopback names, what was asked, links, the container itself.
fn hosts(spec: &EffectiveSpec, hostname: &str, own: &[IpAddr], gateway: Option<IpAddr>, links: &[(IpAddr, String)]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    text.push_str(&extra_hosts(spec, gateway));
    for (address, alias) in links {
        let _ = writeln!(text, "{address}\t{alias}");
    }
    for address in own {
        text.push_str(&own_line(spec, hostname, *address));
    }
    text
}

/// The lines of `--add-host`.
fn extra_hosts(spec: &EffectiveSpec, gateway: Option<IpAddr>) -> String {
    let mut text = String::new();
    for extra in &spec.network.extra_hosts {
        if let Some(address) = extra.address.or(gateway) {
            let _ = writeln!(text, "{address}\t{}", extra.name);
        }
    }
    text
}

/// A container's own address and names.
fn own_line(spec: &EffectiveSpec, hostname: &str, address: IpAddr) -> String {
    if spec.host.domainname.is_empty() {
        // `web.example.org` is found as `web` too.
        let short = hostname.split_once('.').map(|(short, _)| format!(" {short}")).unwrap_or_default();
        format!("{address}\t{hostname}{short}\n")
    } else {
        format!("{address}\t{hostname}.{} {hostname}\n", spec.host.domainname)
    }
}

/// Writes a file that is mounted in a container: it stays the same file, and its owner's.
fn overwrite(path: &std::path::Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let written = std::fs::File::options().write(true).truncate(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.doing(|| format!("writing {}", path.display()))
}

fn write(path: &std::path::Path, text: &str, owner: u32) -> Result<()> {
    use std::io::Write as _;
    let doing = || format!("writing {}", path.display());
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).open(path).doing(doing)?;
    file.write_all(text.as_bytes()).doing(doing)?;
    // Not by open's mode, which the server's umask narrows.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644)).doing(doing)?;
    fchown(&file, Some(owner), Some(owner)).doing(doing)
}
