//! Running writes against the disk quota. Where the file system has no limits of its own, a tenant's use is measured again and
//! again; when it passes the quota, first its trash goes, then those of its containers that write are *frozen*, as by `pause`.
//!
//! Frozen and not made read-only: a mount cannot become read-only while a file on it is open for writing (EBUSY), which is the
//! very container it would be for. And only those that grew since the last look: a web server of the same tenant goes on serving.
//! They go on by themselves as soon as there is room: files removed (`docker cp`, the pages and API do not need the container to
//! run), something else removed, or a larger quota.

use crate::container::record::Entry;
use crate::container::view::State;
use crate::engine::Engine;
use crate::{Kind, Result, TenantId, audit};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a tenant with a quota is looked at while something of it runs.
const EVERY: Duration = Duration::from_secs(3);
/// Looking takes at most a twentieth of the time: trees with millions of files are looked at more rarely.
const SHARE: u32 = 20;

impl Engine {
    /// Looks after tenants' disk use until the engine ends.
    pub(crate) async fn watch_disk(&self) {
        loop {
            let begin = Instant::now();
            for tenant in self.tenants().list() {
                let up = || self.registry().of(tenant.id).iter().any(|e| e.up().is_some());
                if tenant.quota.disk.is_some()
                    && up()
                    && let Err(error) = self.look_at_disk(tenant.id).await
                {
                    tracing::warn!(tenant.name = tenant.name, ?error, "a tenant's disk use could not be held to its quota");
                }
                // A quota that was taken away holds nobody.
                if tenant.quota.disk.is_none() {
                    self.let_go_on(tenant.id).await;
                }
            }
            let pause = EVERY.max(begin.elapsed() * SHARE);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.closing().cancelled() => return,
            }
        }
    }

    /// Measures a tenant and stops or resumes what is to be.
    async fn look_at_disk(&self, tenant: TenantId) -> Result<()> {
        let Some(limit) = self.tenants().get(tenant).and_then(|t| t.quota.disk) else { return Ok(()) };
        let before = self.measured().places(tenant);
        let mut used = self.measure(tenant).await?;
        if used.total() >= limit && used.trash > 0 {
            self.squeeze_trash(tenant, (used.total() - limit).saturating_add(1)).await;
            used = self.measure(tenant).await?;
        }
        if used.total() < limit {
            self.let_go_on(tenant).await;
            return Ok(());
        }
        // Where the kernel holds the limit nobody needs to be stopped, but for what is not in the tenant's project: a twentieth is
        // what sizes and blocks may differ by.
        if self.hard().holds() && used.total() < limit.saturating_add(limit / 20) {
            return Ok(());
        }
        let (Some(before), Some(now)) = (before, self.measured().places(tenant)) else { return Ok(()) };
        for entry in self.registry().of(tenant) {
            if grew(&entry, &before, &now)
                && let Err(error) = self.hold(&entry).await
            {
                tracing::warn!(container.id = entry.id.short(), ?error, "a container could not be frozen at its tenant's disk quota");
            }
        }
        Ok(())
    }

    /// Freezes a container that writes while there is no room.
    async fn hold(&self, entry: &Arc<Entry>) -> Result<()> {
        let _one = entry.lifecycle.lock().await;
        let running = match &entry.record().life.state {
            State::Running(running) => running.clone(),
            _ => return Ok(()),
        };
        let Some(up) = entry.up() else { return Ok(()) };
        let who = self.engine_subject(entry)?;
        let row = audit::Entry::of(&who, "container.hold", entry.name()).by("disk quota");
        let intent = self.audit().intent_alone(&row).await?;
        let done = async {
            up.group.freeze().await?;
            {
                let mut record = entry.record();
                record.life.state = State::Paused(running);
                if let Some(live) = &mut record.life.live {
                    live.held = true;
                }
            }
            self.save_life(entry).await
        }
        .await;
        self.audit().outcome(intent, &done).await;
        done?;
        tracing::warn!(container.id = entry.id.short(), container.name = entry.name(), "frozen: its tenant's disk quota is used up");
        self.tell_container(entry, "pause", &[("reason", "disk quota reached")]);
        Ok(())
    }

    /// Lets those go on that were frozen for want of room.
    async fn let_go_on(&self, tenant: TenantId) {
        for entry in self.registry().of(tenant) {
            if is_held(&entry)
                && let Err(error) = self.resume(&entry).await
            {
                tracing::warn!(container.id = entry.id.short(), ?error, "a container that was frozen at a disk quota could not go on");
            }
        }
    }

    async fn resume(&self, entry: &Arc<Entry>) -> Result<()> {
        let _one = entry.lifecycle.lock().await;
        let State::Paused(running) = entry.record().life.state.clone() else { return Ok(()) };
        let Some(up) = entry.up() else { return Ok(()) };
        if !is_held(entry) {
            return Ok(());
        }
        up.group.thaw()?;
        {
            let mut record = entry.record();
            record.life.state = State::Running(running);
            if let Some(live) = &mut record.life.live {
                live.held = false;
            }
        }
        self.save_life(entry).await?;
        self.tell_container(entry, "unpause", &[("reason", "disk quota")]);
        Ok(())
    }

    /// Whether a container may be thawed by hand: not while it would only go on filling what is full.
    ///
    /// # Errors
    /// `Exhausted`, with what takes the room.
    pub(crate) async fn may_go_on(&self, entry: &Entry) -> Result<()> {
        if !is_held(entry) {
            return Ok(());
        }
        let limit = self.tenants().get(entry.tenant).and_then(|t| t.quota.disk);
        self.measure(entry.tenant).await?.room(limit).map_err(|full| {
            crate::Error::new(Kind::Exhausted, format!("container {} is frozen until there is room: {full}", entry.name()))
        })?;
        if let Some(live) = &mut entry.record().life.live {
            live.held = false;
        }
        Ok(())
    }
}

fn is_held(entry: &Entry) -> bool {
    let record = entry.record();
    matches!(record.life.state, State::Paused(_)) && record.life.live.as_ref().is_some_and(|live| live.held)
}

/// Whether anything that this container writes to is larger than it was.
fn grew(entry: &Entry, before: &HashMap<String, u64>, now: &HashMap<String, u64>) -> bool {
    let larger = |place: &str| now.get(place).copied().unwrap_or(0) > before.get(place).copied().unwrap_or(0);
    let writes = |m: &crate::container::view::MountView| m.rw && m.kind == crate::container::spec::MountKind::Volume;
    larger(entry.id.as_str()) || entry.fixed.mounts.iter().any(|m| writes(m) && larger(&super::volume_place(&m.name)))
}
