//! What subjects ask of networks: judged, audited, then handed to [`super::Networks`]. Joining and leaving is the container's
//! (`container::update`).

use super::{Explanation, Network, NetworkSpec, Origin};
use crate::audit;
use crate::container::effective::NetworkMode;
use crate::container::spec::ContainerPort;
use crate::engine::{Engine, Pruned};
use crate::filter::{self, Filters};
use crate::policy::{self, Action, Counted};
use crate::{NetworkId, Result, Subject, TenantId};
use std::collections::BTreeMap;

impl Engine {
    /// Makes a network; the text is a warning, usually empty.
    ///
    /// # Errors
    /// `Conflict` for a taken name, `NotFound` for an unknown driver, `Forbidden` for what needs a grant or overlaps, `Invalid` for bad input.
    pub async fn create_network(&self, who: &Subject, spec: NetworkSpec) -> Result<(NetworkId, String)> {
        self.uncancelled(who, move |engine, who| async move {
            engine.judge(&who, Action::NetworkCreate).await?;
            // Docker's drivers are for policy to judge; of others there is nothing to permit or refuse.
            if !matches!(spec.driver.as_str(), "" | "bridge" | "macvlan" | "ipvlan" | "host" | "null" | "none" | "overlay") {
                return Err(crate::Error::new(crate::Kind::NotFound, format!("plugin \"{}\" not found", spec.driver)));
            }
            let standing = engine.tenants().standing(&who)?;
            let spec = match policy::authorize_network(&who, &standing, spec.clone()) {
                Ok(spec) => spec,
                Err(denied) => return Err(engine.denied(&who, Action::NetworkCreate.as_str(), &spec.name, denied).await),
            };
            let have = engine.networks_handle().count(who.tenant);
            standing.quota.room(Counted::Networks, have, 1)?;
            let row = audit::Entry::of(&who, Action::NetworkCreate.as_str(), &spec.name).authorized(spec.hash(), spec.rule());
            let networks = engine.networks_handle();
            let planned = match networks.create_begin(who.tenant, (*spec).clone()).await {
                Ok(planned) => planned,
                Err(error) => return engine.failed(&row, error).await,
            };
            // What is about to be done, and the network's row, in one.
            let mut tx = engine.inventory().begin().await?;
            let intent = engine.audit().intent(&mut tx, &row).await?;
            networks.record_new(&mut tx, &planned).await?;
            crate::inventory::commit(tx).await?;
            let made = networks.create_end(planned).await;
            engine.audit().outcome(intent, &made).await;
            let id = made?;
            let driver = if spec.driver.is_empty() { "bridge" } else { &spec.driver };
            let attributes = [("name".to_owned(), spec.name.clone()), ("type".to_owned(), driver.to_owned())].into();
            engine.tell(who.tenant, "network", "create", id.as_str(), attributes);
            Ok((id, String::new()))
        })
        .await
    }

    /// The subject's networks.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub async fn networks(&self, who: &Subject, filters: &Filters) -> Result<Vec<Network>> {
        self.judge(who, Action::NetworkRead).await?;
        filter::check_keys(filters, &["dangling", "driver", "id", "label", "name", "scope", "type"])?;
        let dangling = filter::flag(filters, "dangling")?;
        for kind in filter::values(filters, "type").unwrap_or_default() {
            if !matches!(kind.as_str(), "custom" | "builtin") {
                return Err(crate::Error::invalid(format!("invalid filter 'type={kind}'")));
            }
        }
        let all = self.networks_handle().list(who.tenant).await?;
        Ok(all
            .into_iter()
            .filter(|n| {
                let kind = if n.predefined { "builtin" } else { "custom" };
                let unused = !n.predefined && n.containers.is_empty();
                dangling.is_none_or(|d| d == unused)
                    && filter::is(filters, "driver", &n.spec.driver)
                    && filter::is(filters, "scope", "local")
                    && filter::is(filters, "type", kind)
                    && filter::labels(filters, "label", &n.spec.labels)
                    && filter::matches(filters, "name", &n.spec.name)
                    && filter::matches(filters, "id", n.id.as_str())
            })
            .collect())
    }

    /// One network.
    ///
    /// # Errors
    /// `NotFound` when it is absent or somebody else's.
    pub async fn network(&self, who: &Subject, name: &str) -> Result<Network> {
        self.judge(who, Action::NetworkRead).await?;
        self.networks_handle().get(who.tenant, name).await
    }

    /// Whether `from` (a container; empty or `@outside`; `@host`) reaches a container's port, and why.
    ///
    /// # Errors
    /// `NotFound` for containers that are absent or somebody else's.
    pub async fn explain(&self, who: &Subject, from: &str, to: &str, port: ContainerPort) -> Result<Explanation> {
        self.judge(who, Action::NetworkRead).await?;
        let from = match from {
            "" | "@outside" => Origin::Outside,
            "@host" => Origin::Host,
            name => Origin::Container(self.networked(who, name)?),
        };
        let to = self.networked(who, to)?;
        self.networks_handle().explain(&from, &to, port).await
    }

    /// The container whose network namespace a container is in.
    fn networked(&self, who: &Subject, name: &str) -> Result<crate::ContainerId> {
        let entry = self.registry().find(who.tenant, name)?;
        match &entry.fixed.effective.network.mode {
            NetworkMode::Container(id) => Ok(self.registry().find(who.tenant, id)?.id.clone()),
            NetworkMode::Host => Err(crate::Error::invalid(format!("the container {name} has the host's network: it is the host"))),
            NetworkMode::None | NetworkMode::Network(_) => Ok(entry.id.clone()),
        }
    }

    /// Removes it.
    ///
    /// # Errors
    /// `Forbidden` with Docker's text while containers are in it, or for one that always exists.
    pub async fn remove_network(&self, who: &Subject, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.uncancelled(who, move |engine, who| async move { engine.drop_network(&who, Action::NetworkRemove, &name).await }).await
    }

    /// Records what was asked and came to nothing.
    async fn failed<T>(&self, row: &audit::Entry, error: crate::Error) -> Result<T> {
        let intent = self.audit().intent_alone(row).await?;
        let outcome = Err(error);
        self.audit().outcome(intent, &outcome).await;
        outcome
    }

    async fn drop_network(&self, who: &Subject, action: Action, name: &str) -> Result<()> {
        self.judge(who, action).await?;
        let (networks, row) = (self.networks_handle(), audit::Entry::of(who, action.as_str(), name));
        let going = match networks.remove_begin(who.tenant, name).await {
            Ok(going) => going,
            Err(error) => return self.failed(&row, error).await,
        };
        let mut tx = self.inventory().begin().await?;
        let intent = self.audit().intent(&mut tx, &row).await?;
        networks.record_removal(&mut tx, &going).await?;
        crate::inventory::commit(tx).await?;
        let removed = networks.remove_end(going).await;
        self.audit().outcome(intent, &removed).await;
        let removed = removed?;
        let attributes = [("name".to_owned(), removed.spec.name), ("type".to_owned(), removed.spec.driver)].into();
        self.tell(who.tenant, "network", "destroy", removed.id.as_str(), attributes);
        Ok(())
    }

    /// Removes networks that no container is in, running or not.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub async fn prune_networks(&self, who: &Subject, filters: &Filters) -> Result<Pruned> {
        filter::check_keys(filters, &["label", "label!", "until"])?;
        let until = filter::until(filters)?;
        let filters = filters.clone();
        self.uncancelled(who, move |engine, who| async move {
            engine.judge(&who, Action::NetworkPrune).await?;
            let mut pruned = Pruned::default();
            for network in engine.networks_handle().list(who.tenant).await? {
                let chosen = !network.predefined
                    && network.containers.is_empty()
                    && until.is_none_or(|t| network.created < t)
                    && filter::labels(&filters, "label", &network.spec.labels)
                    && filter::lacks_labels(&filters, &network.spec.labels)
                    && !engine.is_used(who.tenant, &network.id);
                if chosen {
                    engine.drop_network(&who, Action::NetworkPrune, network.id.as_str()).await?;
                    pruned.removed.push(network.spec.name);
                }
            }
            engine.tell(who.tenant, "network", "prune", "", BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]));
            Ok(pruned)
        })
        .await
    }

    fn is_used(&self, tenant: TenantId, network: &NetworkId) -> bool {
        self.registry().of(tenant).iter().any(|e| e.record().mutable.networks.values().any(|j| j.network == *network))
    }

    /// Tells that a container joined or left.
    pub(crate) fn tell_network(&self, entry: &crate::container::record::Entry, network: &NetworkId, name: &str, action: &str) {
        let attributes = [
            ("container".to_owned(), entry.id.to_string()),
            ("name".to_owned(), name.to_owned()),
            ("type".to_owned(), "bridge".to_owned()),
        ];
        self.tell(entry.tenant, "network", action, network.as_str(), attributes.into());
    }
}
