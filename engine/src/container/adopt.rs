//! After the server's start: what became of each container while nobody looked. Shims and the kernel are asked, the inventory
//! only says what to ask about. What is alive is adopted as it is, what ended is recorded with its true exit code, what
//! was half made is undone.

use super::record::{Entry, Fixed, Life, Mutable, Record};
use super::request::RemoveOptions;
use super::spec::RestartPolicy;
use super::start::{DNS_SOCKETS, Up};
use super::view::{Finished, Running, State};
use crate::engine::Engine;
use crate::inventory::containers;
use crate::network::Alive;
use crate::runtime::{Adopted, ExitRecord, Shim};
use crate::{Doing, Result};
use jiff::Timestamp;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

impl Engine {
    /// Reads all containers into memory, and moves folders away that no row names: left by a crash before the commit.
    pub(crate) async fn load_containers(&self) -> Result<()> {
        let root = self.instance().data_root().join("containers");
        std::fs::create_dir_all(&root).doing(|| format!("making {}", root.display()))?;
        self.settle_kept_logs().await?;
        for row in containers::load::<Fixed, Mutable, Life>(self.inventory()).await? {
            let created = Timestamp::from_millisecond(row.created).unwrap_or_default();
            let record = Record { name: row.name, mutable: row.mutable, life: row.life, execs: Vec::new() };
            self.registry().insert(Entry::new(row.id, row.tenant, created, row.created_by, row.fixed, record));
        }
        let known: HashSet<_> = self.registry().all().iter().map(|e| e.id.to_string()).collect();
        let trash = self.instance().data_root().join("trash");
        for entry in std::fs::read_dir(&root).doing(|| format!("listing {}", root.display()))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !known.contains(&name) {
                std::fs::rename(entry.path(), trash.join(&name)).doing(|| "moving a half-made container away".to_owned())?;
            }
        }
        Ok(())
    }

    /// The container's creator as a subject, for what the engine does by itself.
    pub(crate) fn engine_subject(&self, entry: &Entry) -> Result<crate::Subject> {
        let tenant = self.tenants().get(entry.tenant).ok_or_else(|| crate::Error::no_such("tenant", &entry.tenant.to_string()))?;
        Ok(entry.fixed.creator.subject(entry.tenant, tenant.name.clone()))
    }

    /// Adopts every container that lives, and starts those that their policy wants running.
    pub(crate) async fn adopt_all(&self) -> Result<()> {
        let mut alive = Vec::new();
        let mut ended = Vec::new();
        for entry in self.registry().all() {
            // One container that cannot be adopted must not keep the others.
            match self.adopt(&entry, &mut alive).await {
                Ok(Some(exit)) => ended.push((entry, exit)),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(container.id = entry.id.short(), ?error, "a container could not be adopted");
                    let end =
                        Finished { code: 255, oom_killed: false, error: error.to_string(), started: None, finished: Timestamp::now() };
                    entry.record().life.state = State::Dead(end);
                }
            }
        }
        self.networks_handle().adopt(alive).await?;
        self.sweep_runs()?;
        self.sweep_groups()?;
        // What ended before all of its log was sent; those that run are adopted with it.
        self.registry().all().iter().filter(|e| e.up().is_none()).for_each(|e| self.ship_log(e));
        for (entry, exit) in ended {
            self.recorded_end(&entry, exit).await;
        }
        Ok(())
    }

    /// Asks one container's shim. Returns its exit when it ended meanwhile.
    async fn adopt(&self, entry: &Arc<Entry>, alive: &mut Vec<Alive>) -> Result<Option<ExitRecord>> {
        let (state, live) = {
            let record = entry.record();
            (record.life.state.clone(), record.life.live.clone())
        };
        let Some(live) = live else {
            if state.is_up() {
                // Cannot be: what is up has `live`. An older version's row, perhaps.
                return Ok(Some(lost()));
            }
            if matches!(state, State::Removing) {
                self.forget(entry, RemoveOptions { force: true, volumes: false }, None).await?;
            }
            return Ok(None);
        };
        let shim = match self.runtime().adopt(&entry.id).await? {
            Adopted::Running(shim) => shim,
            Adopted::Exited(exit) => return Ok(Some(exit)),
            // It was never started: the server died between the record and the process.
            Adopted::Gone if !state.is_up() => {
                entry.record().life.live = None;
                self.save_life(entry).await?;
                return Ok(None);
            }
            Adopted::Gone => return Ok(Some(lost())),
        };
        let group = self
            .cgroups()
            .find(&self.cgroup_path(entry.tenant, &live.cgroup))
            .ok_or_else(|| crate::Error::new(crate::Kind::Internal, "its control group is gone"))?;
        let running = Running { pid: shim.pid(), started: shim.started(), ended_before: state.ended() };
        let frozen = group.is_frozen()?;
        entry.record().life.state = if frozen { State::Paused(running) } else { State::Running(running) };
        if !self.networks_handle().attachments(&entry.id).is_empty() {
            alive.push(self.still_in_networks(entry, &shim).await?);
        }
        let up = Arc::new(Up {
            group,
            root: Mutex::new(None),
            started: shim.started(),
            since: Instant::now() - age(shim.started()),
            probes: self.closing().child_token(),
            shim,
        });
        *entry.up.lock().unwrap_or_else(|e| e.into_inner()) = Some(up.clone());
        entry.writing.send_replace(true);
        self.watch(entry, up);
        Ok(None)
    }

    async fn still_in_networks(&self, entry: &Entry, shim: &Shim) -> Result<Alive> {
        let netns = crate::sys::inside::namespace_of(shim.pid(), "net").doing(|| "opening its network namespace".to_owned())?;
        let dns_sockets = shim.take(DNS_SOCKETS).await?;
        Ok(Alive { container: entry.id.clone(), netns, resolver: super::etc::resolver(&entry.fixed.effective), dns_sockets })
    }

    /// Records an end that happened while no server ran, and does what follows an end.
    async fn recorded_end(&self, entry: &Arc<Entry>, exit: ExitRecord) {
        let started = match &entry.record().life.state {
            State::Running(r) | State::Paused(r) => Some(r.started),
            _ => None,
        };
        let error = if exit.lost { "the host restarted, or its shim was killed".to_owned() } else { String::new() };
        let end = Finished { code: exit.code, oom_killed: self.oom_while_away(entry), error, started, finished: exit.finished };
        {
            let mut record = entry.record();
            record.life.live = None;
            record.life.state = State::Exited(end);
        }
        if let Err(error) = self.save_life(entry).await {
            tracing::error!(container.id = entry.id.short(), ?error, "an end could not be recorded");
        }
        self.tell_container(entry, "die", &[("exitCode", &exit.code.to_string())]);
        if entry.fixed.effective.auto_remove
            && let Err(error) = self.forget(entry, RemoveOptions { force: false, volumes: true }, None).await
        {
            tracing::error!(container.id = entry.id.short(), ?error, "a container made with --rm could not be removed");
        }
    }

    fn oom_while_away(&self, entry: &Entry) -> bool {
        let name = entry.record().life.live.as_ref().map_or_else(|| entry.id.to_string(), |live| live.cgroup.clone());
        self.cgroups().find(&self.cgroup_path(entry.tenant, &name)).is_some_and(|g| g.oom_kills() > 0)
    }

    /// Starts what its restart policy wants running, those that others need first.
    pub(crate) async fn start_wanted(&self) {
        let mut waiting: Vec<_> = self.registry().all().into_iter().filter(|e| wants_to_run(e)).collect();
        waiting.sort_by_key(|e| e.created);
        let mut started: HashSet<String> = HashSet::new();
        while !waiting.is_empty() {
            let pending: HashSet<String> = waiting.iter().map(|e| e.id.to_string()).collect();
            let (ready, later): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|e| super::create::needs(&e.fixed.effective).iter().all(|id| started.contains(*id) || !pending.contains(*id)));
            if ready.is_empty() {
                tracing::error!("containers wait for each other's namespaces and cannot be started");
                return;
            }
            for entry in ready {
                let _one = entry.lifecycle.lock().await;
                let outcome = match self.engine_subject(&entry) {
                    Ok(creator) if entry.up().is_none() => {
                        entry.record().life.restarts += 1;
                        self.start_locked(&entry, &creator).await
                    }
                    Ok(_) => Ok(()),
                    Err(error) => Err(error),
                };
                if let Err(error) = outcome {
                    tracing::warn!(container.id = entry.id.short(), ?error, "a restart policy could not start its container");
                }
                started.insert(entry.id.to_string());
            }
            waiting = later;
        }
    }

    /// Removes run folders of containers that are not there.
    fn sweep_runs(&self) -> Result<()> {
        let known: HashSet<_> = self.registry().all().iter().map(|e| e.id.clone()).collect();
        for id in self.runtime().folders()? {
            if !known.contains(&id) {
                self.runtime().remove_folder(&id)?;
            }
        }
        Ok(())
    }

    /// Removes control groups that no running container owns, with what is left in them.
    fn sweep_groups(&self) -> Result<()> {
        let owned: HashSet<_> = self.registry().all().iter().filter_map(|e| e.up().map(|up| up.group.path().to_owned())).collect();
        for group in self.cgroups().groups()? {
            if !owned.contains(group.path()) {
                self.cgroups().dispose(group);
            }
        }
        Ok(())
    }
}

fn lost() -> ExitRecord {
    ExitRecord { code: 137, signal: libc::SIGKILL, finished: Timestamp::now(), lost: true }
}

fn wants_to_run(entry: &Entry) -> bool {
    let record = entry.record();
    let idle = matches!(record.life.state, State::Exited(_) | State::Restarting(_));
    idle && match record.mutable.restart {
        RestartPolicy::No => false,
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => !record.life.stopped_by_hand,
        RestartPolicy::OnFailure(most) => {
            let left = most == 0 || record.life.restarts < most;
            left && !record.life.stopped_by_hand
                && matches!(&record.life.state, State::Exited(end) | State::Restarting(end) if end.code != 0)
        }
    }
}

fn age(started: Timestamp) -> Duration {
    Duration::try_from(Timestamp::now().duration_since(started)).unwrap_or_default()
}
