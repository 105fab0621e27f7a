//! `update`, `rename`, `resize`, `connect`, `disconnect`: what people change in a container that is there. An update is
//! judged as a new create would be: what could not have been made cannot be arrived at.

use super::spec::{EndpointSpec, Resources, RestartPolicy};
use super::view::State;
use crate::cgroup::{self, Occasion};
use crate::container::effective::NetworkMode;
use crate::engine::Engine;
use crate::policy::Action;
use crate::{Error, Result, Subject};

const ONE_IS_NONE: &str = "container cannot be connected to multiple networks with one of the networks in private (none) mode";

impl Engine {
    /// Changes limits and restart policy of a container, running or not. Fields that ask nothing stay. Returns warnings.
    ///
    /// # Errors
    /// `Invalid` for limits out of range, `Conflict` for a container being removed, `Forbidden` beyond the quota.
    pub async fn update(&self, who: &Subject, name: &str, resources: Resources, restart: Option<RestartPolicy>) -> Result<Vec<String>> {
        let name = name.to_owned();
        self.uncancelled(who, move |engine, who| async move {
            let entry = engine.registry().find(who.tenant, &name)?;
            let _one = entry.turn(&name).await?;
            if matches!(entry.record().life.state, State::Removing | State::Dead(_)) {
                return Err(Error::conflict("Container is marked for removal and cannot be \"update\"."));
            }
            let before = entry.record().mutable.clone();
            let mut after = before.clone();
            conflicts(&before.resources, &resources)?;
            merge(&mut after.resources, resources);
            let warnings = cgroup::validate(&mut after.resources, engine.cgroups().support(), Occasion::Update)?;
            if let Some(restart) = restart {
                if entry.fixed.effective.auto_remove && restart != RestartPolicy::No {
                    return Err(Error::invalid("Restart policy cannot be updated because AutoRemove is enabled for the container"));
                }
                after.restart = restart;
            }
            let mut as_new = entry.fixed.effective.clone();
            as_new.resources = after.resources.clone();
            as_new.restart = after.restart.clone();
            let judged = engine.judge_container(&who, Action::ContainerUpdate, as_new).await?;
            let mut tx = engine.inventory().begin().await?;
            let current = entry.name();
            let row = crate::audit::Entry::of(&who, Action::ContainerUpdate.as_str(), &current).authorized(judged.hash(), judged.rule());
            let audit = engine.audit().intent(&mut tx, &row).await?;
            crate::inventory::containers::set_mutable(&mut tx, &entry.id, &current, &after).await?;
            let applied = match entry.up() {
                Some(up) => up.group.set(&after.resources),
                None => Ok(()),
            };
            if let Err(error) = applied {
                // The kernel refused: nothing is recorded, and what it did take is taken back.
                if let Some(up) = entry.up() {
                    let _ = up.group.set(&before.resources);
                }
                return Err(error);
            }
            crate::inventory::commit(tx).await?;
            entry.record().mutable = after;
            engine.audit().outcome(audit, &Ok(())).await;
            engine.tell_container(&entry, "update", &[]);
            Ok(warnings)
        })
        .await
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// `Conflict` for a taken name, `Invalid` for one that cannot be.
    pub async fn rename(&self, who: &Subject, name: &str, new: &str) -> Result<()> {
        let (name, new) = (name.to_owned(), new.to_owned());
        self.uncancelled(who, move |engine, who| async move {
            let entry = engine.registry().find(who.tenant, &name)?;
            engine.judge(&who, Action::ContainerRename).await?;
            if new.is_empty() {
                return Err(Error::invalid("Neither old nor new names may be empty"));
            }
            let new = super::name::checked(&new)?.to_owned();
            let _one = entry.turn(&name).await?;
            let old = entry.record().name.clone();
            if old == new {
                return Err(Error::invalid("Renaming a container with the same name as its current name"));
            }
            let reserved = engine.registry().reserve(entry.tenant, &new, &entry.id)?;
            let mut tx = engine.inventory().begin().await?;
            let audit =
                engine.audit().intent(&mut tx, &crate::audit::Entry::of(&who, "container.rename", format!("{old} -> {new}"))).await?;
            let mutable = entry.record().mutable.clone();
            crate::inventory::containers::set_mutable(&mut tx, &entry.id, &new, &mutable).await?;
            crate::inventory::commit(tx).await?;
            reserved.keep();
            engine.registry().release(entry.tenant, &old);
            entry.record().name = new.clone();
            let done = engine.networks_handle().rename(&entry.id, &new).await;
            engine.audit().outcome(audit, &done).await;
            engine.tell_container(&entry, "rename", &[("oldName", &format!("/{old}"))]);
            done
        })
        .await
    }

    /// Resizes its terminal.
    ///
    /// # Errors
    /// `Conflict` when it is not running.
    pub async fn resize(&self, who: &Subject, name: &str, rows: u16, columns: u16) -> Result<()> {
        let entry = self.registry().find(who.tenant, name)?;
        self.judge(who, Action::ContainerAttach).await?;
        let up = entry.up().ok_or_else(|| Error::conflict(format!("Container {} is not running", entry.id)))?;
        // Without a terminal there is nothing to size, which is no error for Docker's clients.
        if entry.fixed.effective.process.tty {
            up.shim.resize(rows, columns).await?;
        }
        let (rows, columns) = (rows.to_string(), columns.to_string());
        self.tell_container(&entry, "resize", &[("height", &rows), ("width", &columns)]);
        Ok(())
    }

    /// Joins a container to a network, now if it runs.
    ///
    /// # Errors
    /// `Forbidden` with Docker's texts for host and none networks and for a second membership.
    pub async fn connect(&self, who: &Subject, network: &str, container: &str, endpoint: EndpointSpec) -> Result<()> {
        let (network, container) = (network.to_owned(), container.to_owned());
        self.uncancelled(who, move |engine, who| async move {
            let entry = engine.registry().find(who.tenant, &container)?;
            let network = engine.networks_handle().get(who.tenant, &network).await?;
            engine.judge(&who, Action::NetworkConnect).await?;
            let _one = entry.turn(&container).await?;
            if network.predefined {
                if !endpoint.aliases.is_empty() {
                    return Err(Error::invalid("network-scoped alias is supported only for containers in user defined networks"));
                }
                if endpoint.ipv4.is_some() || endpoint.ipv6.is_some() {
                    return Err(Error::invalid("user specified IP address is supported on user defined networks only"));
                }
            }
            match entry.fixed.effective.network.mode {
                NetworkMode::Host => {
                    return Err(Error::invalid(
                        "cannot connect container to host network - container must be created in host network mode",
                    ));
                }
                NetworkMode::Container(_) => {
                    return Err(Error::forbidden(
                        "container sharing network namespace with another container or host cannot be connected to any other network",
                    ));
                }
                NetworkMode::None => return Err(Error::invalid(ONE_IS_NONE)),
                NetworkMode::Network(_) => {}
            }
            match network.spec.name.as_str() {
                "none" if network.predefined => return Err(Error::invalid(ONE_IS_NONE)),
                "host" if network.predefined => {
                    return Err(Error::invalid(
                        "cannot connect container to host network - container must be created in host network mode",
                    ));
                }
                _ => {}
            }
            let name = network.spec.name.clone();
            if entry.record().mutable.networks.contains_key(&name) {
                let current = entry.record().name.clone();
                return Err(Error::forbidden(format!("endpoint with name {current} already exists in network {name}")));
            }
            let mut endpoint = endpoint;
            // The container-wide MAC address is that of the network it was made for, also when it comes back there: Compose v1
            // takes every container out once, to give it its aliases.
            if endpoint.mac_address.is_none() && entry.fixed.effective.network.mode == NetworkMode::Network(name.clone()) {
                endpoint.mac_address = entry.fixed.spec.mac_address.clone();
            }
            let audit = engine.audit().intent_alone(&crate::audit::Entry::of(&who, "network.connect", &name)).await?;
            let done = engine.join_now(&entry, &network, endpoint).await;
            engine.audit().outcome(audit, &done).await;
            done?;
            engine.tell_network(&entry, &network.id, &network.spec.name, "connect");
            Ok(())
        })
        .await
    }

    /// Takes a container out of a network. `force`: also one that is not there any more.
    ///
    /// # Errors
    /// `Forbidden` with Docker's text when it is not in the network.
    pub async fn disconnect(&self, who: &Subject, network: &str, container: &str, force: bool) -> Result<()> {
        let (network, container) = (network.to_owned(), container.to_owned());
        self.uncancelled(who, move |engine, who| async move {
            let found = engine.networks_handle().get(who.tenant, &network).await;
            let entry = match engine.registry().find(who.tenant, &container) {
                Err(error) if force && error.is_not_found() => return Ok(()),
                other => other?,
            };
            engine.judge(&who, Action::NetworkConnect).await?;
            let _one = entry.turn(&container).await?;
            let network = match found {
                // The network went while the container was stopped: with force the container forgets it too.
                Err(error) if force && error.is_not_found() => {
                    let mut after = entry.record().mutable.clone();
                    let Some(stale) = after.networks.remove(&network) else { return Err(error) };
                    let audit = engine.audit().intent_alone(&crate::audit::Entry::of(&who, "network.disconnect", &network)).await?;
                    let current = entry.record().name.clone();
                    let done = engine.save_mutable(&entry, current, after).await;
                    engine.audit().outcome(audit, &done).await;
                    done?;
                    engine.tell_network(&entry, &stale.network, &network, "disconnect");
                    return Ok(());
                }
                found => found?,
            };
            let name = network.spec.name.clone();
            if entry.fixed.effective.network.mode == NetworkMode::Host {
                return Err(Error::invalid("cannot disconnect container from host network - container was created in host network mode"));
            }
            let mut after = entry.record().mutable.clone();
            if after.networks.remove(&name).is_none() {
                return Err(Error::forbidden(format!("container {} is not connected to network {name}", entry.id)));
            }
            let audit = engine.audit().intent_alone(&crate::audit::Entry::of(&who, "network.disconnect", &name)).await?;
            let done = async {
                engine.leave_now(&entry, &network.id).await?;
                let current = entry.record().name.clone();
                engine.save_mutable(&entry, current, after).await
            }
            .await;
            engine.audit().outcome(audit, &done).await;
            done?;
            engine.tell_network(&entry, &network.id, &network.spec.name, "disconnect");
            Ok(())
        })
        .await
    }

    pub(super) async fn save_mutable(&self, entry: &super::record::Entry, name: String, after: super::record::Mutable) -> Result<()> {
        let mut tx = self.inventory().begin().await?;
        crate::inventory::containers::set_mutable(&mut tx, &entry.id, &name, &after).await?;
        crate::inventory::commit(tx).await?;
        entry.record().mutable = after;
        Ok(())
    }
}

/// What cannot be changed beside what is set already.
fn conflicts(have: &Resources, asked: &Resources) -> Result<()> {
    for (asks, has, what, already) in [
        (asked.nano_cpus, have.cpu_period, "Nano CPUs", "CPU Period"),
        (asked.nano_cpus, have.cpu_quota, "Nano CPUs", "CPU Quota"),
        (asked.cpu_period, have.nano_cpus, "CPU Period", "NanoCPUs"),
        (asked.cpu_quota, have.nano_cpus, "CPU Quota", "NanoCPUs"),
    ] {
        if asks > 0 && has > 0 {
            return Err(Error::invalid(format!("Conflicting options: {what} cannot be updated as {already} has already been set")));
        }
    }
    // Who said nothing of swap has as much of it as of memory.
    let both = if have.memory_swap == 0 { have.memory.saturating_mul(2) } else { have.memory_swap };
    if asked.memory_swap == 0 && both > 0 && asked.memory > both {
        return Err(Error::invalid(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ));
    }
    Ok(())
}

/// Fields of `asked` that ask something replace those of `kept`.
fn merge(kept: &mut Resources, asked: Resources) {
    macro_rules! take {
        ($($field:ident if $asks:expr),* $(,)?) => { $( if $asks(&asked.$field) { kept.$field = asked.$field.clone(); } )* };
    }
    fn number(v: &i64) -> bool {
        *v != 0
    }
    fn text(v: &str) -> bool {
        !v.is_empty()
    }
    // A new quota by one way of asking ends the other's.
    if asked.nano_cpus != 0 {
        kept.cpu_period = 0;
        kept.cpu_quota = 0;
    } else if asked.cpu_period != 0 || asked.cpu_quota != 0 {
        kept.nano_cpus = 0;
    }
    take!(
        cpu_shares if number, nano_cpus if number, cpu_period if number, cpu_quota if number, cpu_rt_period if number, cpu_rt_runtime if number,
        cpuset_cpus if |v: &String| text(v), cpuset_mems if |v: &String| text(v),
        memory if number, memory_reservation if number, memory_swap if number,
        memory_swappiness if |v: &Option<i64>| v.is_some(), oom_kill_disable if |v: &Option<bool>| v.is_some(), pids_limit if |v: &Option<i64>| v.is_some(),
        blkio_weight if |v: &u16| *v != 0,
    );
    for (kept, asked) in [
        (&mut kept.blkio_read_bps, asked.blkio_read_bps),
        (&mut kept.blkio_write_bps, asked.blkio_write_bps),
        (&mut kept.blkio_read_iops, asked.blkio_read_iops),
        (&mut kept.blkio_write_iops, asked.blkio_write_iops),
    ] {
        if !asked.is_empty() {
            *kept = asked;
        }
    }
    if !asked.blkio_weight_device.is_empty() {
        kept.blkio_weight_device = asked.blkio_weight_device;
    }
    if kept.pids_limit.is_some_and(|n| n < 0) {
        // Docker shows every "unlimited" as 0.
        kept.pids_limit = Some(0);
    }
    if !asked.ulimits.is_empty() {
        kept.ulimits = asked.ulimits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_changed_beside_what_is_set() {
        let of = |change: fn(&mut Resources)| {
            let mut resources = Resources::default();
            change(&mut resources);
            resources
        };
        let text = |have: fn(&mut Resources), asked: fn(&mut Resources)| conflicts(&of(have), &of(asked)).map_err(|e| e.to_string());
        let both =
            |what: &str, already: &str| Err(format!("Conflicting options: {what} cannot be updated as {already} has already been set"));
        assert_eq!(text(|r| r.nano_cpus = 1, |r| r.cpu_quota = 1), both("CPU Quota", "NanoCPUs"));
        assert_eq!(text(|r| r.cpu_period = 1, |r| r.nano_cpus = 1), both("Nano CPUs", "CPU Period"));
        assert_eq!(text(|r| r.nano_cpus = 1, |r| r.nano_cpus = 2), Ok(()));
        // Swap that nobody spoke of is twice the memory.
        assert!(text(|r| r.memory = 300, |r| r.memory = 800).unwrap_err().starts_with("Memory limit should be smaller"));
        assert_eq!(text(|r| r.memory = 300, |r| r.memory = 600), Ok(()));
        assert_eq!(text(|r| (r.memory, r.memory_swap) = (300, -1), |r| r.memory = 800), Ok(()));
        assert_eq!(text(|r| r.memory = 300, |r| (r.memory, r.memory_swap) = (800, 1000)), Ok(()));
    }
}
