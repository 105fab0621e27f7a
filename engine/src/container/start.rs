//! `start`: from a record to a running process, and from its end back to a record.
//!
//! The order of a start: names and ports are reserved in memory; one transaction says what will happen, and to whom;
//! then the kernel is asked, each step with a guard that undoes it. The end comes from the shim: state and waiters
//! first, teardown after, the restart policy last.

use super::effective::NetworkMode;
use super::record::{Entry, Failure, Life, Live};
use super::request::{Changed, RemoveOptions};
use super::spec::RestartPolicy;
use super::view::{Finished, Running, State};
use super::zygote::Zygote;
use crate::audit::{self, AuditId};
use crate::cgroup::{DeviceRule, Group};
use crate::engine::Engine;
use crate::network::{AttachRequest, Attachment, Prepared as Veth, Reserved};
use crate::policy::Action;
use crate::runtime::plan::Plan;
use crate::runtime::{ExitRecord, Fds, LoopbackListener, Prepared, Shim};
use crate::{ContainerId, Doing, Error, Result, Subject};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A running container: its shim and what the engine holds for it.
pub(crate) struct Up {
    pub shim: Shim,
    pub group: Group,
    /// Its root file system: held until after the exit was told, for the kernel then takes it apart off the path.
    pub root: Mutex<Option<OwnedFd>>,
    pub started: Timestamp,
    /// Monotonic, for the restart policy.
    pub since: Instant,
    /// Ends the health probes.
    pub probes: tokio_util::sync::CancellationToken,
}

/// A container of which only the program is missing. Dropped, nothing of it is left but reserved places in networks.
struct Ready<'a> {
    prepared: Prepared,
    group: GroupGuard<'a>,
    root: OwnedFd,
    plan: Plan,
    fds: Fds,
    /// The sockets at which its names are answered.
    dns: Vec<OwnedFd>,
}

impl Up {
    /// SIGKILL to everything in it. A process that is gone is no error.
    pub fn kill(&self) {
        if let Err(error) = self.group.kill_all() {
            tracing::warn!(%error, "killing a container by its cgroup failed; its first process is killed alone");
        }
        let _ = self.shim.signal(libc::SIGKILL);
    }
}

impl Engine {
    /// Starts it.
    ///
    /// # Errors
    /// `Conflict` when it is paused or being removed; `Invalid` with Docker's text when its program cannot be run.
    pub async fn start(&self, who: &Subject, name: &str) -> Result<Changed> {
        let name = name.to_owned();
        self.uncancelled(who, move |engine, who| async move {
            let entry = engine.registry().find(who.tenant, &name)?;
            engine.judge(&who, Action::ContainerStart).await?;
            let _one = entry.turn(&name).await?;
            match &entry.record().life.state {
                State::Running(_) => return Ok(Changed::AlreadySo),
                State::Paused(_) => return Err(Error::conflict("cannot start a paused container, try unpause instead")),
                State::Removing | State::Dead(_) => {
                    return Err(Error::conflict("container is marked for removal and cannot be started"));
                }
                State::Created | State::Exited(_) | State::Restarting(_) => {}
            }
            engine.start_locked(&entry, &who).await?;
            Ok(Changed::Yes)
        })
        .await
    }

    /// Starts a container whose lifecycle lock is held.
    pub(super) async fn start_locked(&self, entry: &Arc<Entry>, who: &Subject) -> Result<()> {
        // Grants may have expired and policy may have tightened since create: whoever starts it, also a restart policy or a new
        // server, its creator must still be allowed to.
        let creator = self.engine_subject(entry)?;
        self.judge_container(&creator, Action::ContainerStart, entry.fixed.effective.clone()).await?;
        self.settled(entry).await;
        {
            let mut record = entry.record();
            record.life.stopped_by_hand = false;
            record.life.failure = None;
            if !matches!(who.via, crate::Via::Engine) {
                record.life.restarts = 0;
            }
        }
        match self.launch(entry, who).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // Cleared when the start began: somebody killed what was being started.
                let ended = entry.record().life.stopped_by_hand;
                let error =
                    if ended { Error::conflict("the container was stopped or removed while it started").because(error) } else { error };
                let failure = Failure { code: failure_code(&error), error: error.to_string() };
                {
                    let mut record = entry.record();
                    record.life.live = None;
                    if matches!(record.life.state, State::Restarting(_)) {
                        record.life.state = State::Exited(super::stop::ended_now(failure.code, failure.error.clone()));
                    }
                    record.life.failure = Some(failure);
                }
                // Those who attached for this start would wait for ever.
                entry.waiting.lock().unwrap_or_else(|e| e.into_inner()).clear();
                self.save_life(entry).await?;
                entry.turns.send_modify(|_| {});
                if entry.fixed.effective.auto_remove {
                    self.forget_locked(entry, RemoveOptions { force: true, volumes: true }).await?;
                }
                Err(error)
            }
        }
    }

    async fn launch(&self, entry: &Arc<Entry>, who: &Subject) -> Result<()> {
        let spec = &entry.fixed.effective;
        self.check_links(entry)?;
        self.try_shipping(entry).await?;
        let _starting = self.zygotes().starting();
        let (zygote, veth) = self.take_zygote(entry).unzip();
        let mut reserved = Undo::new(self, self.reserve_networks(entry, veth.flatten()).await?);
        // Not always its id: after a restart the janitor may still be at the last process's group.
        let free = self.cgroups().free_name(entry.tenant, entry.id.as_str());
        let group_name = zygote.as_ref().map_or(free.as_str(), |zygote| zygote.group.get().name_for(&free)).to_owned();

        // What will happen is written before it does: the program runs after the commit. What shows nowhere until then is made
        // while the disk is waited for, and unmade should the row not be writable.
        let life = {
            let mut record = entry.record();
            record.life.live = Some(Live { cgroup: group_name.clone(), held: false });
            record.life.clone()
        };
        let row = audit::Entry::of(who, Action::ContainerStart.as_str(), entry.name()).authorized(spec.hash(), "as created");
        let attachments: Vec<_> = reserved.list.iter().map(|one| one.attachment.clone()).collect();
        let writing = self.spawn(self.clone().write_start(entry.id.clone(), row, life, attachments));
        let ready = self.make_ready(entry, &group_name, zygote, &reserved.list).await;
        let intent = writing.await.doing(|| "recording a start".to_owned())??;
        fail::fail_point!("start-after-commit");

        let brought = match ready {
            Ok(ready) => self.run(entry, ready, &mut reserved).await,
            Err(error) => Err(error),
        };
        if let Ok(up) = &brought {
            super::attach::now_up(entry, up).await;
        }
        self.audit().outcome(intent, &brought).await;
        let up = brought?;
        self.save_life_later(entry);
        self.tell_mounts_and_networks(entry, Turn::Begun);
        self.tell_container(entry, "start", &[]);
        self.tell_linking(entry);
        self.watch(entry, up);
        Ok(())
    }

    /// That what a container is linked to on the default network runs: its address is written down once, at this start.
    fn check_links(&self, entry: &Entry) -> Result<()> {
        let record = entry.record().clone();
        for (id, alias) in record.legacy_links() {
            let other = self.registry().find(entry.tenant, id)?;
            if other.up().is_none() {
                let text = format!("Cannot link to a non running container: /{} AS /{}/{alias}", other.name(), record.name);
                return Err(Error::conflict(text));
            }
            if !other.record().mutable.networks.contains_key("bridge") {
                let text = format!("Cannot link to /{}, as it does not belong to the default network", other.name());
                return Err(Error::conflict(text));
            }
        }
        Ok(())
    }

    /// Writes down that a container will run, as what, and where in networks: one transaction.
    async fn write_start(self, id: ContainerId, row: audit::Entry, life: Life, attachments: Vec<Attachment>) -> Result<AuditId> {
        let mut tx = self.inventory().begin().await?;
        let intent = self.audit().intent(&mut tx, &row).await?;
        for attachment in &attachments {
            self.networks_handle().record(&mut tx, attachment).await?;
        }
        crate::inventory::containers::set_life(&mut tx, &id, &life).await?;
        crate::inventory::commit(tx).await?;
        Ok(intent)
    }

    /// The kernel's part of a start up to where only the program is missing.
    async fn make_ready<'a>(
        &'a self,
        entry: &Arc<Entry>,
        group_name: &str,
        zygote: Option<Zygote<'a>>,
        reserved: &[Reserved],
    ) -> Result<Ready<'a>> {
        self.write_etc(entry, reserved).await?;
        let root = self.container_root(entry).await?;
        let Zygote { mut prepared, group, loopback } = match zygote {
            Some(mut zygote) => {
                zygote.group.rename(group_name)?;
                let rules = super::device::rules(&entry.fixed.effective)?;
                if rules != DeviceRule::defaults() {
                    zygote.group.get().set_devices(&rules)?;
                }
                zygote
            }
            None => self.prepare_cold(entry, group_name).await?,
        };
        let resources = entry.record().mutable.resources.clone();
        group.get().set(&resources)?;
        fail::fail_point!("start-after-namespaces");
        let dns = self.join_networks(entry, reserved, &prepared.net_ns, loopback).await?;
        fail::fail_point!("start-after-network");
        let mut fds = Fds::new();
        let mut plan = self.start_plan(entry, &root, &mut fds).await?;
        plan.process.env.extend(self.link_env(entry));
        super::attach::connect_early(entry, &mut prepared)?;
        Ok(Ready { prepared, group, root, plan, fds, dns })
    }

    /// The last step of a start: the program runs.
    async fn run(&self, entry: &Arc<Entry>, ready: Ready<'_>, reserved: &mut Undo<'_>) -> Result<Arc<Up>> {
        let Ready { prepared, group, root, plan, fds, dns } = ready;
        fail::fail_point!("start-before-exec");
        let shim = self.runtime().start(&entry.id, prepared, &plan, fds).await.map_err(|e| e.into_error())?;
        fail::fail_point!("start-after-exec");
        match self.hand_over(&shim, &mut reserved.list, dns).await {
            // Over already, as `true` is: nobody needs the sockets, and it did start.
            Err(error) if error.kind() == crate::Kind::Conflict => {}
            handed => handed?,
        }
        reserved.keep();

        let started = Timestamp::now();
        let up = Arc::new(Up {
            group: group.keep(),
            root: Mutex::new(Some(root)),
            started,
            since: Instant::now(),
            probes: self.closing().child_token(),
            shim,
        });
        {
            let mut record = entry.record();
            let ended_before = record.life.state.ended();
            record.life.state = State::Running(Running { pid: up.shim.pid(), started, ended_before });
        }
        Ok(up)
    }

    /// Namespaces and a group made for this container alone.
    async fn prepare_cold(&self, entry: &Entry, group_name: &str) -> Result<Zygote<'_>> {
        let group = GroupGuard::new(self, self.cgroups().create(entry.tenant, group_name)?);
        group.get().set_devices(&super::device::rules(&entry.fixed.effective)?)?;
        let mut fds = Fds::new();
        let mut prepare = self.prepare_plan(entry, &mut fds)?;
        prepare.cgroup = group.get().join(&mut fds)?;
        let prepared = self.runtime().prepare(&prepare, &fds).await.map_err(|e| e.into_error())?;
        Ok(Zygote { prepared, group, loopback: false })
    }

    /// Waits for the end in a task of its own.
    pub(crate) fn watch(&self, entry: &Arc<Entry>, up: Arc<Up>) {
        self.probe_health(entry, &up);
        self.ship_log(entry);
        let (engine, entry) = (self.clone(), entry.clone());
        self.spawn(async move {
            let exit = up.shim.exited().await;
            engine.ended(&entry, &up, exit).await;
        });
    }

    /// What follows a process's end.
    pub(crate) async fn ended(&self, entry: &Arc<Entry>, up: &Arc<Up>, exit: ExitRecord) {
        up.probes.cancel();
        let oom_killed = up.group.oom_kills() > 0;
        let error = if exit.lost { "its shim was killed, and the container with it".to_owned() } else { String::new() };
        let end = Finished { code: exit.code, oom_killed, error, started: Some(up.started), finished: exit.finished };
        let delay = {
            let mut record = entry.record();
            let delay = restart_delay(&record.mutable.restart, &record.life, exit.code, up.since.elapsed());
            record.life.live = None;
            record.execs.clear();
            record.life.state = match delay {
                Some(_) => State::Restarting(end),
                None => State::Exited(end),
            };
            delay
        };
        // Teardown begins before anybody is told, and whoever starts or removes it next awaits it.
        self.tear_down(entry, up);
        *entry.up.lock().unwrap_or_else(|e| e.into_inner()) = None;
        entry.writing.send_replace(false);
        self.save_life_later(entry);
        self.tell_mounts_and_networks(entry, Turn::Ended);
        if oom_killed {
            self.tell_container(entry, "oom", &[]);
        }
        let lasted = up.since.elapsed().as_secs().to_string();
        self.tell_container(entry, "die", &[("exitCode", &exit.code.to_string()), ("execDuration", &lasted)]);
        entry.turns.send_modify(|t| {
            t.exits += 1;
            t.code = exit.code;
        });
        if let Some(delay) = delay {
            self.restart_after(entry, delay);
        } else if entry.fixed.effective.auto_remove
            && let Err(error) = self.forget(entry, RemoveOptions { force: false, volumes: true }, None).await
        {
            tracing::error!(container.id = entry.id.short(), ?error, "a container made with --rm could not be removed");
        }
    }

    /// Starts it again after a while, unless somebody stopped, started or removed it meanwhile.
    fn restart_after(&self, entry: &Arc<Entry>, delay: Duration) {
        let (engine, entry) = (self.clone(), entry.clone());
        let exits = entry.turns.borrow().exits;
        self.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = engine.closing().cancelled() => return,
            }
            let _one = entry.lifecycle.lock().await;
            let still = matches!(entry.record().life.state, State::Restarting(_)) && entry.turns.borrow().exits == exits;
            if !still {
                return;
            }
            entry.record().life.restarts += 1;
            let started = match engine.engine_subject(&entry) {
                Ok(creator) => engine.start_locked(&entry, &creator).await,
                Err(error) => Err(error),
            };
            if let Err(error) = started {
                tracing::warn!(container.id = entry.id.short(), ?error, "a restart policy could not start its container");
                let mut record = entry.record();
                if let State::Restarting(end) = record.life.state.clone() {
                    record.life.state = State::Exited(end);
                    drop(record);
                    engine.save_life_later(&entry);
                }
            }
        });
    }

    /// Tells of the volumes and networks that a container begins or ceases to use.
    fn tell_mounts_and_networks(&self, entry: &Entry, turn: Turn) {
        let (volume, network) = match turn {
            Turn::Begun => ("mount", "connect"),
            Turn::Ended => ("unmount", "disconnect"),
        };
        for mount in entry.fixed.mounts.iter().filter(|m| m.kind == super::spec::MountKind::Volume) {
            let attributes = [
                ("container".to_owned(), entry.id.to_string()),
                ("destination".to_owned(), mount.destination.clone()),
                ("driver".to_owned(), "local".to_owned()),
                ("propagation".to_owned(), String::new()),
                ("read/write".to_owned(), mount.rw.to_string()),
            ];
            self.tell(entry.tenant, "volume", volume, &mount.name, attributes.into());
        }
        let networks = entry.record().mutable.networks.clone();
        for (name, joined) in networks {
            self.tell_network(entry, &joined.network, &name, network);
        }
    }

    /// Starts the teardown of what the process held.
    fn tear_down(&self, entry: &Arc<Entry>, up: &Arc<Up>) {
        let root = up.root.lock().unwrap_or_else(|e| e.into_inner()).take();
        let (engine, id, group) = (self.clone(), entry.id.clone(), up.group.clone());
        let networked = matches!(entry.fixed.effective.network.mode, NetworkMode::Network(_));
        let done = self.spawn(async move {
            if networked && let Err(error) = engine.networks_handle().detach_container(&id).await {
                tracing::warn!(container.id = id.short(), ?error, "its network could not be taken down; reconciliation will");
            }
            engine.cgroups().dispose(group);
            // 0.2 ms and more: the kernel takes the overlay apart.
            tokio::task::spawn_blocking(move || drop(root));
        });
        *entry.teardown.lock().unwrap_or_else(|e| e.into_inner()) = Some(done);
    }

    /// Waits until the teardown of the last process is done: its addresses and ports are free then.
    pub(super) async fn settled(&self, entry: &Entry) {
        let teardown = entry.teardown.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(done) = teardown {
            // A panic in it was logged by the task's owner.
            let _ = done.await;
        }
    }

    /// `veth`: an interface that stands ready for the first network.
    async fn reserve_networks(&self, entry: &Entry, mut veth: Option<Veth>) -> Result<Vec<Reserved>> {
        let spec = &entry.fixed.effective;
        let mut list: Vec<Reserved> = Vec::new();
        let (name, joined) = {
            let record = entry.record();
            (record.name.clone(), record.mutable.networks.clone())
        };
        let first = match &spec.network.mode {
            NetworkMode::Network(first) => first.clone(),
            _ => return Ok(list),
        };
        let mut order: Vec<_> = joined.into_iter().collect();
        // The first network asked for is eth0.
        order.sort_by_key(|(name, _)| (*name != first && !(first == "default" && name == "bridge"), name.clone()));
        for (_, joined) in order {
            let request = AttachRequest {
                container: entry.id.clone(),
                name: name.clone(),
                hostname: spec.host.hostname.clone(),
                endpoint: joined.spec,
                extra_names: Vec::new(),
                ports: BTreeMap::new(),
                prepared: veth.clone(),
            };
            match self.networks_handle().reserve(entry.tenant, &joined.network, request).await {
                Ok(reserved) => {
                    list.push(reserved);
                    veth = None;
                }
                Err(error) => {
                    if let Some(veth) = veth {
                        self.give_back(veth);
                    }
                    Undo::new(self, list);
                    return Err(error);
                }
            }
        }
        // Where the default route will be is known only now.
        match self.networks_handle().publish(&entry.id, &super::networking::asked_ports(entry)).await {
            Ok(None) => {}
            Ok(Some(placed)) => {
                for now in placed.changed {
                    if let Some(one) = list.iter_mut().find(|one| one.attachment.endpoint == now.endpoint) {
                        one.attachment = now;
                    }
                }
                if let Some(one) = list.first_mut() {
                    one.sockets = placed.sockets;
                }
            }
            Err(error) => {
                Undo::new(self, list);
                return Err(error);
            }
        }
        Ok(list)
    }

    /// Makes its places in networks real. Returns the sockets at which its names are answered.
    /// `loopback`: whether its loopback interface is up already.
    async fn join_networks(&self, entry: &Entry, reserved: &[Reserved], netns: &OwnedFd, loopback: bool) -> Result<Vec<OwnedFd>> {
        let copy = || netns.try_clone().doing(|| "keeping a network namespace".to_owned());
        if reserved.is_empty() && !loopback && !matches!(entry.fixed.effective.network.mode, NetworkMode::Host | NetworkMode::Container(_))
        {
            self.networks_handle().loopback(copy()?).await?;
        }
        for one in reserved {
            self.networks_handle().join(&one.attachment, copy()?).await?;
        }
        if !has_embedded_dns(reserved.iter().map(|r| &r.attachment)) {
            return Ok(Vec::new());
        }
        self.networks_handle().serve_dns(&entry.id, copy()?, super::etc::resolver(&entry.fixed.effective)).await
    }

    /// Gives the shim what must outlive this server: listeners on loopback, DNS sockets.
    async fn hand_over(&self, shim: &Shim, reserved: &mut [Reserved], dns: Vec<OwnedFd>) -> Result<()> {
        let listeners: Vec<_> = reserved
            .iter_mut()
            .flat_map(|r| r.sockets.drain(..))
            .map(|(listener, socket)| LoopbackListener {
                listener: socket,
                udp: listener.protocol == super::spec::Protocol::Udp,
                target: listener.target,
            })
            .collect();
        if !listeners.is_empty() {
            shim.serve_loopback(listeners).await?;
        }
        if !dns.is_empty() {
            let mut fds = Fds::new();
            for socket in dns {
                fds.add(socket);
            }
            shim.hold(DNS_SOCKETS, &fds).await?;
        }
        Ok(())
    }
}

/// Whether names are answered at 127.0.0.11: in any network but the tenant's default one, where nobody has names.
pub(super) fn has_embedded_dns<'a>(mut attachments: impl Iterator<Item = &'a Attachment>) -> bool {
    attachments.any(|a| !a.dns_names.is_empty())
}

/// Under which name a shim keeps the DNS sockets of its container.
pub(crate) const DNS_SOCKETS: &str = "dns";

/// The exit code that shells and `docker run` give for a failed start.
pub(super) fn failure_code(error: &Error) -> i32 {
    use std::error::Error as _;
    match error.source().and_then(|s| s.downcast_ref::<crate::runtime::StartError>()) {
        Some(start) if start.exit_code() != 125 => start.exit_code(),
        // dockerd's code for "could not be started" as kept in the container's state.
        _ => 128,
    }
}

/// How long until the restart policy starts it again; `None`: never. 100 ms doubling to a minute, from the beginning
/// again after ten seconds of life.
fn restart_delay(policy: &RestartPolicy, life: &super::record::Life, code: i32, lasted: Duration) -> Option<Duration> {
    if life.stopped_by_hand {
        return None;
    }
    let again = match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure(most) => code != 0 && (*most == 0 || life.restarts < *most),
    };
    let doublings = if lasted >= Duration::from_secs(10) { 0 } else { life.restarts.min(10) };
    again.then(|| Duration::from_millis((100u64 << doublings).min(60_000)))
}

/// Whether a process began or ended.
#[derive(Clone, Copy)]
enum Turn {
    Begun,
    Ended,
}

/// Reserved places in networks, given back unless kept.
struct Undo<'a> {
    engine: &'a Engine,
    list: Vec<Reserved>,
    kept: bool,
}

impl<'a> Undo<'a> {
    fn new(engine: &'a Engine, list: Vec<Reserved>) -> Self {
        Self { engine, list, kept: false }
    }

    fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if self.kept || self.list.is_empty() {
            return;
        }
        let networks = self.engine.networks_handle().clone();
        let endpoints: Vec<_> = self.list.drain(..).map(|r| r.attachment.endpoint).collect();
        self.engine.spawn(async move {
            for endpoint in endpoints {
                if let Err(error) = networks.detach(&endpoint).await {
                    tracing::warn!(?error, "a reserved place in a network could not be given back; reconciliation will");
                }
            }
        });
    }
}

/// A control group that goes away again, with what is in it, unless it is kept.
pub(super) struct GroupGuard<'a> {
    engine: &'a Engine,
    group: Group,
    kept: bool,
}

impl<'a> GroupGuard<'a> {
    pub fn new(engine: &'a Engine, group: Group) -> Self {
        Self { engine, group, kept: false }
    }

    pub fn get(&self) -> &Group {
        &self.group
    }

    /// Gives it a container's name.
    pub fn rename(&mut self, name: &str) -> Result<()> {
        self.group = self.group.rename(name)?;
        Ok(())
    }

    pub fn keep(mut self) -> Group {
        self.kept = true;
        self.group.clone()
    }
}

impl Drop for GroupGuard<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.engine.cgroups().dispose(self.group.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::Life;

    fn life(restarts: u32, stopped_by_hand: bool) -> Life {
        Life { state: State::Created, failure: None, restarts, stopped_by_hand, health: None, live: None }
    }

    #[test]
    fn restarts_back_off_and_end() {
        let soon = Duration::from_secs(1);
        let delay = |p: &RestartPolicy, n, code, lasted| restart_delay(p, &life(n, false), code, lasted).map(|d| d.as_millis());
        assert_eq!(delay(&RestartPolicy::No, 0, 1, soon), None);
        assert_eq!(delay(&RestartPolicy::Always, 0, 0, soon), Some(100));
        assert_eq!(delay(&RestartPolicy::Always, 3, 0, soon), Some(800));
        assert_eq!(delay(&RestartPolicy::Always, 99, 0, soon), Some(60_000));
        assert_eq!(delay(&RestartPolicy::Always, 99, 0, Duration::from_secs(11)), Some(100));
        assert_eq!(delay(&RestartPolicy::OnFailure(2), 1, 1, soon), Some(200));
        assert_eq!(delay(&RestartPolicy::OnFailure(2), 2, 1, soon), None);
        assert_eq!(delay(&RestartPolicy::OnFailure(0), 50, 1, soon), Some(60_000));
        assert_eq!(delay(&RestartPolicy::OnFailure(0), 0, 0, soon), None);
        assert!(restart_delay(&RestartPolicy::Always, &life(0, true), 1, soon).is_none());
    }
}
