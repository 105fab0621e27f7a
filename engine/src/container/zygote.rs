//! Zygotes: for a tenant in use a few processes stand ready in new namespaces, in a control group of their own and, where they
//! are for the default network, with their interface in place. A start takes one and gives it its name, limits, root and
//! program; another is made behind its back (`runtime::Pool`).
//!
//! Only what is prepared exactly as this container would be fits: the two plans are compared, so a pooled container cannot be
//! less isolated than a cold one. A zygote holds no more than a process, a group and an interface; when the server goes away it
//! ends, and the next server removes its group as it does with all that nobody owns.

use super::effective::NetworkMode;
use super::record::Entry;
use super::start::GroupGuard;
use crate::cgroup::{DeviceRule, Group};
use crate::engine::Engine;
use crate::network;
use crate::runtime::{Fds, Pool, Prepare, Prepared};
use crate::{Doing, Result, TenantId};
use std::pin::Pin;
use std::time::Duration;

/// How often idle ones are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// A tenant held to fewer processes than this gets no zygotes: each counts against the quota.
const LEAST_PIDS: u64 = 64;

/// What belongs to a zygote besides its process.
pub(crate) struct Belongings {
    pub group: Group,
    pub veth: Option<network::Prepared>,
}

/// One in the making.
type Making = Pin<Box<dyn Future<Output = Result<(Prepared, Belongings)>> + Send>>;

/// The zygotes of all tenants.
pub(crate) type Zygotes = Pool<Belongings>;

/// One that was taken for a start.
pub(super) struct Zygote<'a> {
    pub prepared: Prepared,
    pub group: GroupGuard<'a>,
    /// Whether its loopback interface is up.
    pub loopback: bool,
}

impl Engine {
    /// One for this container, if it is of the usual kind and one stands ready, and its interface.
    pub(super) fn take_zygote(&self, entry: &Entry) -> Option<(Zygote<'_>, Option<network::Prepared>)> {
        let kind = self.kind_of(entry)?;
        let mut dead = Vec::new();
        let taken = self.zygotes().take(&kind.name(), self.maker(kind), &mut dead);
        self.tidy(dead);
        let (prepared, with) = taken?;
        Some((Zygote { prepared, group: GroupGuard::new(self, with.group), loopback: true }, with.veth))
    }

    /// Sees to it that a container that was just made finds one when it is started.
    pub(super) fn warm_zygotes(&self, entry: &Entry) {
        if let Some(kind) = self.kind_of(entry) {
            self.zygotes().warm(&kind.name(), self.maker(kind));
        }
    }

    /// Which zygotes fit a container; `None`: none do, or they cannot be had.
    fn kind_of(&self, entry: &Entry) -> Option<KindOf> {
        let tenant = self.tenants().get(entry.tenant)?;
        if tenant.quota.pids.is_some_and(|most| most < LEAST_PIDS) {
            return None;
        }
        let prepare = self.usual_prepare(entry.tenant).ok()?;
        let mut fds = Fds::new();
        // What cannot be planned fails with its own words in the cold start.
        if self.prepare_plan(entry, &mut fds).ok()? != prepare {
            return None;
        }
        Some(KindOf { tenant: entry.tenant, prepare, networked: self.begins_in_default_network(entry) })
    }

    /// Whether its eth0 is in the tenant's default network, with nothing asked of it.
    fn begins_in_default_network(&self, entry: &Entry) -> bool {
        let NetworkMode::Network(first) = &entry.fixed.effective.network.mode else { return false };
        if first != "bridge" && first != "default" {
            return false;
        }
        let record = entry.record();
        let endpoint = record.mutable.networks.get("bridge").map(|joined| &joined.spec);
        endpoint.is_some_and(|e| e.ipv4.is_none() && e.ipv6.is_none() && e.mac_address.as_deref().is_none_or(str::is_empty))
    }

    /// How one of a kind is made.
    fn maker(&self, kind: KindOf) -> impl Fn() -> Making + Send + use<> {
        let engine = self.clone();
        move || {
            let (engine, kind) = (engine.clone(), kind.clone());
            Box::pin(async move { engine.make_zygote(kind).await })
        }
    }

    async fn make_zygote(&self, kind: KindOf) -> Result<(Prepared, Belongings)> {
        let name = format!("z{}", &crate::EndpointId::random().as_str()[..16]);
        let engine = self.clone();
        let group = crate::blocking(move || {
            let group = engine.cgroups().create(kind.tenant, &name)?;
            group.set_devices(&DeviceRule::defaults())?;
            Ok(group)
        })
        .await?;
        let group = GroupGuard::new(self, group);
        let mut fds = Fds::new();
        let mut prepare = kind.prepare;
        prepare.cgroup = group.get().join(&mut fds)?;
        let prepared = self.runtime().prepare(&prepare, &fds).await.map_err(|e| e.into_error())?;
        let netns = prepared.net_ns.try_clone().doing(|| "keeping a network namespace".to_owned())?;
        let veth = if kind.networked {
            Some(self.networks_handle().prepare_netns(kind.tenant, netns).await?)
        } else {
            self.networks_handle().loopback(netns).await?;
            None
        };
        Ok((prepared, Belongings { group: group.keep(), veth }))
    }

    /// Gives back what belonged to zygotes that are gone.
    fn tidy(&self, gone: Vec<Belongings>) {
        for Belongings { group, veth } in gone {
            self.cgroups().dispose(group);
            if let Some(veth) = veth {
                self.give_back(veth);
            }
        }
    }

    /// Gives an interface back that nobody took.
    pub(super) fn give_back(&self, veth: network::Prepared) {
        let networks = self.networks_handle().clone();
        self.spawn(async move {
            if let Err(error) = networks.discard(veth).await {
                tracing::warn!(?error, "a prepared interface could not be given back; the next start of the server will");
            }
        });
    }

    /// Lets go of the zygotes of tenants that start nothing any more, until the engine closes.
    pub(crate) async fn sweep_zygotes(&self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(SWEEP) => self.tidy(self.zygotes().sweep()),
                () = self.closing().cancelled() => return,
            }
        }
    }

    /// Lets go of all, and removes their groups. Their interfaces go with their namespaces.
    pub(crate) async fn drain_zygotes(&self) {
        for Belongings { group, .. } in self.zygotes().close().await {
            if let Err(error) = group.remove().await {
                tracing::warn!(?error, "a zygote's cgroup could not be removed; the next start of the server will");
            }
        }
    }
}

/// Which zygotes are alike.
#[derive(Clone)]
struct KindOf {
    tenant: TenantId,
    prepare: Prepare,
    networked: bool,
}

impl KindOf {
    /// The plan is the same for all of a tenant.
    fn name(&self) -> String {
        format!("{}/{}", self.tenant, if self.networked { "bridge" } else { "bare" })
    }
}
