//! Execs: further processes in a running container. Known by id until their container is removed or an hour after their end,
//! so that a client can ask for the exit code after the stream closed.

use super::effective::user;
use super::record::Entry;
use super::request::{Attached, ExecSpec, ExecView};
use super::view::State;
use crate::audit;
use crate::engine::Engine;
use crate::policy::{self, Action, Authorized};
use crate::runtime::{ExecSession, Streams};
use crate::{ContainerId, Error, ExecId, Result, Subject, TenantId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long an ended exec can be inspected.
const KEPT: Duration = Duration::from_secs(3600);

/// All execs.
#[derive(Default)]
pub(crate) struct Execs(Mutex<HashMap<ExecId, Arc<Exec>>>);

struct Exec {
    id: ExecId,
    tenant: TenantId,
    container: Arc<Entry>,
    spec: ExecSpec,
    /// How often the container's process had ended when it was made.
    life: u64,
    phase: Mutex<Phase>,
}

enum Phase {
    Created,
    Starting,
    Running(Arc<ExecSession>),
    Ended { code: i32, pid: i32, at: Instant },
}

impl Execs {
    fn all(&self) -> MutexGuard<'_, HashMap<ExecId, Arc<Exec>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn find(&self, tenant: TenantId, id: &str) -> Result<Arc<Exec>> {
        let absent = || Error::no_such("exec instance", id);
        let wanted: ExecId = id.parse().map_err(|_| absent())?;
        self.all().get(&wanted).filter(|e| e.tenant == tenant).cloned().ok_or_else(absent)
    }

    /// Adds one, and forgets those that ended long ago.
    fn add(&self, exec: Exec) {
        let mut all = self.all();
        all.retain(|_, e| !matches!(&*e.phase(), Phase::Ended { at, .. } if at.elapsed() > KEPT));
        all.insert(exec.id.clone(), Arc::new(exec));
    }

    /// Forgets the execs of a removed container.
    pub fn forget(&self, container: &ContainerId) {
        self.all().retain(|_, e| e.container.id != *container);
    }
}

impl Exec {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Engine {
    /// Prepares an exec in a running container.
    ///
    /// # Errors
    /// `Conflict` when the container is not running or is paused; `Invalid` without a command.
    pub async fn exec_create(&self, who: &Subject, container: &str, spec: ExecSpec) -> Result<ExecId> {
        let entry = self.registry().find(who.tenant, container)?;
        if spec.argv.is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        check_running(&entry, container)?;
        let judged = self.judge_exec(who, &spec).await?;
        user::check_user(&spec.user, self.ids_of(&entry))?;
        let id = ExecId::random();
        let object = format!("{}: {}", entry.name(), spec.argv.join(" "));
        let row = audit::Entry::of(who, Action::ContainerExec.as_str(), object).authorized(judged.hash(), judged.rule());
        let intent = self.audit().intent_alone(&row).await?;
        let life = entry.turns.borrow().exits;
        let exec = Exec { id: id.clone(), tenant: entry.tenant, container: entry.clone(), spec, life, phase: Mutex::new(Phase::Created) };
        self.tell_container(&entry, &format!("exec_create: {}", exec.spec.argv.join(" ")), &[("execID", id.as_str())]);
        self.execs().add(exec);
        entry.record().execs.push(id.clone());
        self.audit().outcome(intent, &Ok(())).await;
        Ok(id)
    }

    /// Starts it attached. The stream ends after its process ended, and its exit code is known by then.
    ///
    /// # Errors
    /// `Conflict` when it was started before or its container is not running.
    pub async fn exec_start(&self, who: &Subject, exec: &str, tty: bool, console_size: Option<(u16, u16)>) -> Result<Attached> {
        let exec = self.execs().find(who.tenant, exec)?;
        let spec = &exec.spec;
        let streams = Streams { stdin: spec.stdin, stdout: spec.stdout || tty, stderr: spec.stderr };
        let (session, attached) = self.run_exec(who, &exec, console_size, Some(streams)).await?;
        let attached = attached.ok_or_else(|| Error::new(crate::Kind::Internal, "the exec's streams were not connected"))?;
        // The last piece goes out only after the exit code is known: clients inspect right after the stream ends.
        let end = {
            let exec = exec.clone();
            futures_util::stream::once(async move {
                exec.ended(&session).await;
                None
            })
        };
        use futures_util::StreamExt;
        let output = attached.output.map(Some).chain(end).filter_map(std::future::ready);
        Ok(Attached { input: attached.input, output: Box::pin(output), tty: spec.tty })
    }

    /// Starts it detached.
    ///
    /// # Errors
    /// As `exec_start`.
    pub async fn exec_start_detached(&self, who: &Subject, exec: &str) -> Result<()> {
        let exec = self.execs().find(who.tenant, exec)?;
        self.run_exec(who, &exec, None, None).await.map(|_| ())
    }

    /// Resizes its terminal.
    ///
    /// # Errors
    /// `Conflict` when it is not running.
    pub async fn exec_resize(&self, who: &Subject, exec: &str, rows: u16, columns: u16) -> Result<()> {
        let exec = self.execs().find(who.tenant, exec)?;
        let session = match &*exec.phase() {
            Phase::Running(session) => session.clone(),
            _ => return Err(Error::conflict(format!("exec {} is not running", exec.id))),
        };
        if !exec.spec.tty {
            return Ok(());
        }
        session.resize(rows, columns).await
    }

    /// What it is.
    ///
    /// # Errors
    /// `NotFound` when it is absent or somebody else's.
    pub async fn exec(&self, who: &Subject, exec: &str) -> Result<ExecView> {
        let exec = self.execs().find(who.tenant, exec)?;
        let (running, exit_code, pid) = match &*exec.phase() {
            Phase::Created | Phase::Starting => (false, None, 0),
            Phase::Running(session) => (true, None, session.pid),
            Phase::Ended { code, pid, .. } => (false, Some(*code), *pid),
        };
        Ok(ExecView {
            id: exec.id.clone(),
            container: exec.container.id.clone(),
            spec: exec.spec.clone(),
            running,
            exit_code,
            pid,
            can_remove: false,
        })
    }

    async fn judge_exec(&self, who: &Subject, spec: &ExecSpec) -> Result<Authorized<ExecSpec>> {
        self.judge(who, Action::ContainerExec).await?;
        let standing = self.tenants().standing(who)?;
        match policy::authorize_exec(who, &standing, spec.clone()) {
            Ok(judged) => Ok(judged),
            Err(denied) => Err(self.denied(who, Action::ContainerExec.as_str(), &spec.argv.join(" "), denied).await),
        }
    }

    async fn run_exec(
        &self,
        who: &Subject,
        exec: &Arc<Exec>,
        console_size: Option<(u16, u16)>,
        streams: Option<Streams>,
    ) -> Result<(Arc<ExecSession>, Option<Attached>)> {
        let entry = &exec.container;
        // With dockerd an exec that was not started goes with the life of its container.
        if entry.up().is_none() || entry.turns.borrow().exits != exec.life {
            return Err(Error::no_such("exec instance", exec.id.as_str()));
        }
        check_running(entry, entry.id.as_str())?;
        self.judge_exec(who, &exec.spec).await?;
        {
            let mut phase = exec.phase();
            match &*phase {
                Phase::Created => *phase = Phase::Starting,
                Phase::Ended { .. } => return Err(Error::conflict(format!("Error: Exec command {} has already run", exec.id))),
                Phase::Starting | Phase::Running(_) => {
                    return Err(Error::conflict(format!("Error: Exec command {} is already running", exec.id)));
                }
            }
        }
        let up = entry.up().ok_or_else(|| Error::conflict(format!("Container {} is not running", entry.id)))?;
        let started = async {
            let plan = self.exec_plan(entry, &up, &exec.spec, console_size)?;
            up.shim.exec(&exec.id, &plan, streams).await.map_err(|e| e.into_error())
        }
        .await;
        let (session, attached) = match started {
            Ok(pair) => pair,
            Err(error) => {
                let code = super::start::failure_code(&error);
                *exec.phase() = Phase::Ended { code, pid: 0, at: Instant::now() };
                entry.record().execs.retain(|id| *id != exec.id);
                return Err(error);
            }
        };
        let session = Arc::new(session);
        *exec.phase() = Phase::Running(session.clone());
        self.tell_container(entry, &format!("exec_start: {}", exec.spec.argv.join(" ")), &[("execID", exec.id.as_str())]);
        let (engine, watched, running) = (self.clone(), exec.clone(), session.clone());
        self.spawn(async move {
            let code = watched.ended(&running).await;
            watched.container.record().execs.retain(|id| *id != watched.id);
            let attributes = [("execID", watched.id.as_str()), ("exitCode", &code.to_string())];
            engine.tell_container(&watched.container, "exec_die", &attributes);
        });
        Ok((session, attached))
    }
}

impl Exec {
    /// Waits for the end and notes the exit code; whoever comes first does.
    async fn ended(&self, session: &ExecSession) -> i32 {
        let exit = session.exited().await;
        let mut phase = self.phase();
        if let Phase::Running(_) = &*phase {
            *phase = Phase::Ended { code: exit.code, pid: session.pid, at: Instant::now() };
        }
        exit.code
    }
}

/// `name`: as the client called it, which is what Docker repeats.
fn check_running(entry: &Entry, name: &str) -> Result<()> {
    match &entry.record().life.state {
        State::Running(_) => Ok(()),
        State::Paused(_) => Err(Error::conflict(format!("Container {name} is paused, unpause the container before exec"))),
        State::Restarting(_) => Err(Error::conflict(format!("Container {} is restarting, wait until the container is running", entry.id))),
        _ => Err(Error::conflict(format!("container {} is not running", entry.id))),
    }
}
