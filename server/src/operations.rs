//! Operations: long-running work (pull, load, prune) with progress, a log, an owner and a way to cancel it. They belong to
//! the server and outlive the page or client that began them; the last ones stay to be looked at until the server ends.

use engine::progress::{Progress, ProgressStream};
use engine::{Error, OperationId, Result, Subject, TenantId};
use futures_util::StreamExt;
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// Ended operations that are kept.
const KEPT: usize = 500;
/// Lines of a log that are kept: the last ones.
const LINES: usize = 2000;
/// Operations of one tenant that may run at once; more are refused.
const AT_ONCE: usize = 32;

/// All operations of this server. Cheap to clone.
#[derive(Clone)]
pub struct Operations(Arc<Inner>);

struct Inner {
    kept: Mutex<Kept>,
    changed: broadcast::Sender<(TenantId, OperationId)>,
}

#[derive(Default)]
struct Kept {
    last: i64,
    all: VecDeque<Arc<Operation>>,
}

/// One operation.
pub struct Operation {
    /// Its number.
    pub id: OperationId,
    /// Whose.
    pub tenant: TenantId,
    /// Who began it.
    pub owner: String,
    /// pull, load, create, prune, ….
    pub kind: &'static str,
    /// `Pull nginx:alpine`.
    pub title: String,
    /// When it began.
    pub started: Timestamp,
    cancel: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug, Clone)]
struct State {
    phase: Phase,
    parts: BTreeMap<String, Part>,
    /// Parts in the order they appeared.
    order: Vec<String>,
    log: VecDeque<String>,
    next: Option<Next>,
}

/// How far an operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It runs.
    Running,
    /// It has succeeded.
    Done(Timestamp),
    /// It has failed, with this error.
    Failed(Timestamp, String),
    /// Somebody cancelled it.
    Cancelled(Timestamp),
}

impl Phase {
    /// running, done, failed, cancelled.
    pub fn word(&self) -> &'static str {
        match self {
            Phase::Running => "running",
            Phase::Done(_) => "done",
            Phase::Failed(..) => "failed",
            Phase::Cancelled(_) => "cancelled",
        }
    }

    /// When it ended.
    pub fn ended(&self) -> Option<Timestamp> {
        match self {
            Phase::Running => None,
            Phase::Done(t) | Phase::Failed(t, _) | Phase::Cancelled(t) => Some(*t),
        }
    }

    /// Why it failed.
    pub fn error(&self) -> Option<&str> {
        match self {
            Phase::Failed(_, why) => Some(why),
            _ => None,
        }
    }
}

/// One part of the work, a layer for instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is doing.
    pub status: String,
    /// Bytes done and to do.
    pub bytes: Option<(u64, Option<u64>)>,
}

impl Part {
    /// Whether nothing more comes of it, by Docker's words.
    pub fn is_done(&self) -> bool {
        matches!(self.status.as_str(), "Pull complete" | "Already exists" | "Layer already exists" | "Pushed" | "Loaded" | "Complete")
    }

    /// 0–100 where known.
    pub fn percent(&self) -> Option<u8> {
        match self.bytes {
            _ if self.is_done() => Some(100),
            Some((done, Some(total))) if total > 0 => u8::try_from(u128::from(done.min(total)) * 100 / u128::from(total)).ok(),
            _ => None,
        }
    }
}

/// What the person may want to see when it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// Address within the tenant's pages: `/containers/web`.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// A look at an operation.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// How far it is.
    pub phase: Phase,
    /// Its parts, in the order they appeared.
    pub parts: Vec<(String, Part)>,
    /// The last lines of its log.
    pub log: Vec<String>,
    /// Where to go then.
    pub next: Option<Next>,
    /// 0–100 where known.
    pub percent: Option<u8>,
}

/// What the work reports through.
#[derive(Clone)]
pub struct Reporter {
    operation: Arc<Operation>,
    operations: Operations,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is plain data that is whole between any two statements.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Default for Operations {
    fn default() -> Self {
        Self(Arc::new(Inner { kept: Mutex::default(), changed: broadcast::channel(1024).0 }))
    }
}

impl Operations {
    /// Begins work that somebody asked for, and returns at once.
    ///
    /// # Errors
    /// `Exhausted` when the tenant has too many running.
    pub fn begin<F, W>(&self, who: &Subject, kind: &'static str, title: impl Into<String>, work: F) -> Result<Arc<Operation>>
    where
        F: FnOnce(Reporter) -> W,
        W: Future<Output = Result<Option<Next>>> + Send + 'static,
    {
        let operation = {
            let mut kept = lock(&self.0.kept);
            let running = kept.all.iter().filter(|o| o.tenant == who.tenant && o.is_running()).count();
            if running >= AT_ONCE {
                return Err(Error::new(
                    engine::Kind::Exhausted,
                    format!("{running} operations are running; wait for one of them or cancel it"),
                ));
            }
            kept.last += 1;
            let operation = Arc::new(Operation {
                id: OperationId(kept.last),
                tenant: who.tenant,
                owner: who.name.clone(),
                kind,
                title: title.into(),
                started: Timestamp::now(),
                cancel: CancellationToken::new(),
                state: Mutex::new(State {
                    phase: Phase::Running,
                    parts: BTreeMap::new(),
                    order: Vec::new(),
                    log: VecDeque::new(),
                    next: None,
                }),
            });
            kept.all.push_front(operation.clone());
            while kept.all.len() > KEPT {
                // The oldest ended one goes; running ones stay whatever their age.
                let Some(oldest) = kept.all.iter().rposition(|o| !o.is_running()) else { break };
                kept.all.remove(oldest);
            }
            operation
        };
        let reporter = Reporter { operation: operation.clone(), operations: self.clone() };
        let work = work(reporter.clone());
        tokio::spawn(async move {
            let cancel = reporter.operation.cancel.clone();
            let outcome = tokio::select! {
                biased;
                () = cancel.cancelled() => None,
                outcome = work => Some(outcome),
            };
            let now = Timestamp::now();
            {
                let mut state = lock(&reporter.operation.state);
                state.phase = match outcome {
                    None => Phase::Cancelled(now),
                    Some(Ok(next)) => {
                        state.next = next;
                        Phase::Done(now)
                    }
                    Some(Err(error)) => {
                        tracing::info!(operation.id = reporter.operation.id.0, error = ?error, "operation failed");
                        Phase::Failed(now, error.to_string())
                    }
                };
            }
            reporter.tell();
        });
        self.tell(&operation);
        Ok(operation)
    }

    /// The operations of the subject's tenant, newest first.
    pub fn list(&self, who: &Subject) -> Vec<Arc<Operation>> {
        lock(&self.0.kept).all.iter().filter(|o| o.tenant == who.tenant).cloned().collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// `NotFound` when there is none of that number, or it is another tenant's.
    pub fn get(&self, who: &Subject, id: &str) -> Result<Arc<Operation>> {
        let number: Option<i64> = id.parse().ok();
        let kept = lock(&self.0.kept);
        kept.all.iter().find(|o| Some(o.id.0) == number && o.tenant == who.tenant).cloned().ok_or_else(|| Error::no_such("operation", id))
    }

    /// Tells of every change: whose operation, and which.
    pub fn changes(&self) -> broadcast::Receiver<(TenantId, OperationId)> {
        self.0.changed.subscribe()
    }

    fn tell(&self, operation: &Operation) {
        // An error only says that nobody listens.
        let _ = self.0.changed.send((operation.tenant, operation.id));
    }
}

impl Operation {
    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        lock(&self.state).phase == Phase::Running
    }

    /// Asks it to stop; what it made so far that is of no use is thrown away by the work itself.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// A look at it.
    pub fn snapshot(&self) -> Snapshot {
        let state = lock(&self.state).clone();
        let parts: Vec<(String, Part)> = state.order.iter().filter_map(|id| Some((id.clone(), state.parts.get(id)?.clone()))).collect();
        let known: Vec<u64> = parts.iter().map(|(_, p)| u64::from(p.percent().unwrap_or(0))).collect();
        let percent = match state.phase {
            Phase::Done(_) => Some(100),
            _ if known.is_empty() => None,
            _ => u8::try_from(known.iter().sum::<u64>() / known.len() as u64).ok(),
        };
        Snapshot { phase: state.phase, parts, log: state.log.into(), next: state.next, percent }
    }
}

impl Reporter {
    /// Takes over everything a stream of progress says, to its end.
    ///
    /// # Errors
    /// The stream's own.
    pub async fn consume(&self, mut stream: ProgressStream) -> Result<()> {
        while let Some(progress) = stream.next().await {
            match progress {
                Progress::Status { id: Some(id), status, bytes } => self.part(id, status, bytes),
                Progress::Status { id: None, status, .. } => self.line(status),
                Progress::Text(text) => text.lines().for_each(|line| self.line(line.to_owned())),
                Progress::Aux(_) => {}
                Progress::Failed(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Adds a line to the log.
    pub fn line(&self, text: String) {
        {
            let mut state = lock(&self.operation.state);
            if state.log.len() == LINES {
                state.log.pop_front();
            }
            state.log.push_back(text);
        }
        self.tell();
    }

    fn part(&self, id: String, status: String, bytes: Option<(u64, Option<u64>)>) {
        {
            let mut state = lock(&self.operation.state);
            if !state.parts.contains_key(&id) {
                state.order.push(id.clone());
            }
            // `Downloading 3/9` then `Pull complete`: the size stays to be seen.
            let bytes = bytes.or_else(|| state.parts.get(&id).and_then(|p| p.bytes));
            state.parts.insert(id, Part { status, bytes });
        }
        self.tell();
    }

    fn tell(&self) {
        self.operations.tell(&self.operation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Role, Scope, Via};
    use futures_util::stream;

    fn subject(tenant: i64) -> Subject {
        Subject {
            user: Some(engine::UserId(tenant)),
            name: format!("user{tenant}"),
            tenant: TenantId(tenant),
            tenant_name: format!("user{tenant}"),
            role: Role::User,
            unix: None,
            via: Via::Session,
            scope: Scope::Write,
            ip: None,
        }
    }

    async fn ended(operations: &Operations, operation: &Operation) -> Snapshot {
        let mut changes = operations.changes();
        while operation.is_running() {
            changes.recv().await.unwrap();
        }
        operation.snapshot()
    }

    #[tokio::test]
    async fn progress_is_kept_and_the_end_is_told() {
        let operations = Operations::default();
        let operation = operations
            .begin(&subject(1), "pull", "Pull x", |report| async move {
                let facts = vec![
                    Progress::status("latest: Pulling from library/x"),
                    Progress::Status { id: Some("a".into()), status: "Downloading".into(), bytes: Some((5, Some(10))) },
                    Progress::part("b", "Waiting"),
                    Progress::part("a", "Pull complete"),
                ];
                report.consume(Box::pin(stream::iter(facts))).await?;
                Ok(Some(Next { path: "/images/x".into(), text: "x".into() }))
            })
            .unwrap();
        let seen = ended(&operations, &operation).await;
        assert_eq!(seen.phase.word(), "done");
        assert_eq!(seen.log, ["latest: Pulling from library/x"]);
        assert_eq!(seen.parts[0], ("a".into(), Part { status: "Pull complete".into(), bytes: Some((5, Some(10))) }));
        assert_eq!(seen.parts[1].1.percent(), None);
        assert_eq!(seen.next.unwrap().path, "/images/x");
    }

    #[tokio::test]
    async fn a_failure_in_the_stream_fails_the_operation() {
        let operations = Operations::default();
        let operation = operations
            .begin(&subject(1), "pull", "Pull x", |report| async move {
                report.consume(Box::pin(stream::iter(vec![Progress::Failed(Error::no_such("image", "x"))]))).await?;
                Ok(None)
            })
            .unwrap();
        assert_eq!(ended(&operations, &operation).await.phase.error(), Some("No such image: x"));
    }

    #[tokio::test]
    async fn cancelling_drops_the_work() {
        struct Told(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Told {
            fn drop(&mut self) {
                let _ = self.0.take().unwrap().send(());
            }
        }
        let (sender, dropped) = tokio::sync::oneshot::channel();
        let told = Told(Some(sender));
        let operations = Operations::default();
        let operation = operations
            .begin(&subject(1), "pull", "Pull x", |_| async move {
                let _told = told;
                std::future::pending().await
            })
            .unwrap();
        operation.cancel();
        dropped.await.unwrap();
        assert_eq!(ended(&operations, &operation).await.phase.word(), "cancelled");
    }

    #[tokio::test]
    async fn another_tenants_operation_is_an_absent_one() {
        let operations = Operations::default();
        let operation = operations.begin(&subject(1), "prune", "Prune", |_| async { Ok(None) }).unwrap();
        let id = operation.id.to_string();
        assert!(operations.get(&subject(1), &id).is_ok());
        let foreign = operations.get(&subject(2), &id).err().unwrap().to_string();
        let absent = operations.get(&subject(2), "999").err().unwrap().to_string();
        assert_eq!(foreign.replace(&id, "N"), absent.replace("999", "N"));
        assert!(operations.list(&subject(2)).is_empty());
    }

    #[tokio::test]
    async fn a_tenant_cannot_run_any_number_at_once() {
        let operations = Operations::default();
        for _ in 0..AT_ONCE {
            operations.begin(&subject(1), "pull", "Pull", |_| std::future::pending()).unwrap();
        }
        assert_eq!(
            operations.begin(&subject(1), "pull", "Pull", |_| std::future::pending()).err().unwrap().kind(),
            engine::Kind::Exhausted
        );
        assert!(operations.begin(&subject(2), "pull", "Pull", |_| std::future::pending()).is_ok());
    }
}
