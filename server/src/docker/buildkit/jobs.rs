//! Builds that clients of this door began: found by the reference that the client chose, by its subject only. The last ones
//! stay for the history (`buildx history`) as long as the server runs.

use super::grpc::{Code, Status};
use super::session::Owner;
use super::told::Told;
use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::ReturnRequest;
use bollard_buildkit_proto::moby::buildkit::v1::{SolveRequest, frontend};
use engine::{Digest, Subject};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Builds of one subject at the same time.
const RUNNING_MAX: usize = 64;
/// Builds of one subject that are over and still known.
const OVER_MAX: usize = 50;
/// How long a call that names a build waits for the call that begins it: they come in any order.
const WAIT: Duration = Duration::from_secs(5);

/// What was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// The image.
    pub image: Digest,
    /// It was not there before this build.
    pub fresh: bool,
}

/// How a build ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// When.
    pub at: jiff::Timestamp,
    /// Why it failed; `None`: it went well.
    pub error: Option<rpc::Status>,
    /// What its exporters answered.
    pub response: HashMap<String, String>,
}

/// One build.
pub struct Job {
    /// The reference.
    pub id: String,
    /// Whose.
    pub owner: Owner,
    /// Who asked.
    pub who: Arc<Subject>,
    /// What was asked.
    pub request: SolveRequest,
    /// When.
    pub began: jiff::Timestamp,
    /// What it told.
    pub told: Arc<Told>,
    /// Fires when it is over, however.
    pub over: CancellationToken,
    results: Mutex<HashMap<String, Built>>,
    /// What the frontend was asked for, for the history.
    options: Mutex<HashMap<String, String>>,
    returning: Mutex<Option<oneshot::Sender<ReturnRequest>>>,
    ended: Mutex<Option<Ended>>,
    pinned: Mutex<bool>,
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Job {
    /// Keeps a result; the client gets its name.
    pub fn keep(&self, built: Built) -> String {
        let id = uuid::Uuid::new_v4().simple().to_string();
        held(&self.results).insert(id.clone(), built);
        id
    }

    /// A result by its name.
    ///
    /// # Errors
    /// When it is none of this build's.
    pub fn result(&self, id: &str) -> Result<Built, Status> {
        held(&self.results).get(id).cloned().ok_or_else(|| Status::new(Code::Unknown, format!("no such ref: {id}")))
    }

    /// All results.
    pub fn results(&self) -> Vec<Built> {
        held(&self.results).values().cloned().collect()
    }

    /// What the frontend was asked for.
    pub fn set_options(&self, options: &HashMap<String, String>) {
        held(&self.options).clone_from(options);
    }

    /// The same.
    pub fn options(&self) -> HashMap<String, String> {
        held(&self.options).clone()
    }

    /// The client's frontend is done.
    ///
    /// # Errors
    /// When it said so before.
    pub fn returns(&self, what: ReturnRequest) -> Result<(), Status> {
        let sender = held(&self.returning).take();
        let sent = sender.and_then(|s| s.send(what).ok());
        sent.ok_or_else(|| Status::new(Code::Unknown, "the build has returned already"))
    }

    /// How it ended; `None`: it runs.
    pub fn ended(&self) -> Option<Ended> {
        held(&self.ended).clone()
    }

    /// It is over.
    pub fn end(&self, error: Option<rpc::Status>, response: HashMap<String, String>) {
        let mut ended = held(&self.ended);
        if ended.is_none() {
            *ended = Some(Ended { at: jiff::Timestamp::now(), error, response });
        }
        drop(ended);
        self.over.cancel();
        self.told.end();
    }

    /// Whether the history keeps it (`buildx history` pins what it looks at).
    pub fn pinned(&self) -> bool {
        *held(&self.pinned)
    }

    /// Says whether.
    pub fn pin(&self, pinned: bool) {
        *held(&self.pinned) = pinned;
    }
}

/// Ends a build when its call is dropped: the client has gone.
pub struct Running(pub Arc<Job>);

impl Drop for Running {
    fn drop(&mut self) {
        let gone = rpc::Status { code: Code::Cancelled as i32, message: "context canceled".to_owned(), details: Vec::new() };
        self.0.end(Some(gone), HashMap::new());
    }
}

/// All builds. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    all: Arc<Mutex<Vec<Arc<Job>>>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { all: Arc::default(), changed: Arc::new(watch::Sender::new(0)) }
    }
}

impl Jobs {
    /// Begins one. The receiver gets what the client's frontend returns.
    ///
    /// # Errors
    /// Without a reference, with one that is taken, or at the bound.
    pub fn begin(&self, who: Arc<Subject>, request: SolveRequest) -> Result<(Running, oneshot::Receiver<ReturnRequest>), Status> {
        let owner = Owner::of(&who);
        let id = request.r#ref.clone();
        if id.is_empty() || id.len() > 256 {
            return Err(Status::new(Code::InvalidArgument, "a build needs a reference"));
        }
        let (sender, receiver) = oneshot::channel();
        let job = Arc::new(Job {
            told: Arc::new(Told::new(&id)),
            id,
            owner: owner.clone(),
            who,
            request,
            began: jiff::Timestamp::now(),
            over: CancellationToken::new(),
            results: Mutex::default(),
            options: Mutex::default(),
            returning: Mutex::new(Some(sender)),
            ended: Mutex::default(),
            pinned: Mutex::default(),
        });
        let mut all = held(&self.all);
        if all.iter().any(|j| j.owner == owner && j.id == job.id) {
            return Err(Status::new(Code::FailedPrecondition, format!("job ID {} exists", job.id)));
        }
        if all.iter().filter(|j| j.owner == owner && !j.over.is_cancelled()).count() >= RUNNING_MAX {
            return Err(Status::new(Code::ResourceExhausted, format!("{RUNNING_MAX} builds are running already")));
        }
        let over = all.iter().filter(|j| j.owner == owner && j.over.is_cancelled() && !j.pinned()).count();
        let mut drop = (over + 1).saturating_sub(OVER_MAX);
        all.retain(|j| {
            let oldest = drop > 0 && j.owner == owner && j.over.is_cancelled() && !j.pinned();
            drop -= usize::from(oldest);
            !oldest
        });
        all.push(job.clone());
        std::mem::drop(all);
        self.changed.send_modify(|n| *n += 1);
        Ok((Running(job), receiver))
    }

    /// The subject's builds, oldest first.
    pub fn of(&self, owner: &Owner) -> Vec<Arc<Job>> {
        held(&self.all).iter().filter(|j| j.owner == *owner).cloned().collect()
    }

    /// One of the subject's, now.
    pub fn get(&self, owner: &Owner, id: &str) -> Option<Arc<Job>> {
        held(&self.all).iter().find(|j| j.owner == *owner && j.id == id).cloned()
    }

    /// One of the subject's; it may be a moment late.
    ///
    /// # Errors
    /// `NotFound`, whether it is absent or somebody else's.
    pub async fn find(&self, owner: &Owner, id: &str) -> Result<Arc<Job>, Status> {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            loop {
                if let Some(job) = self.get(owner, id) {
                    return job;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let absent = |_| Status::new(Code::NotFound, format!("no such job {id}"));
        tokio::time::timeout(WAIT, waiting).await.map_err(absent)
    }

    /// Takes one out of the history.
    ///
    /// # Errors
    /// `NotFound`; a running one stays.
    pub fn forget(&self, owner: &Owner, id: &str) -> Result<(), Status> {
        let mut all = held(&self.all);
        let before = all.len();
        all.retain(|j| !(j.owner == *owner && j.id == id && j.over.is_cancelled()));
        match all.len() < before {
            true => Ok(()),
            false => Err(Status::new(Code::NotFound, format!("no such build {id}"))),
        }
    }

    /// A result of any of the subject's builds, by the image: what another build of the same client has as its input.
    pub fn built(&self, owner: &Owner, image: &str) -> Option<Built> {
        self.of(owner).iter().flat_map(|j| j.results()).find(|b| b.image.to_string() == image)
    }
}

/// What a client made of our result, or of its own failure.
///
/// # Errors
/// The client's failure, as it said it.
pub fn returned(request: ReturnRequest) -> Result<Option<frontend::Result>, Status> {
    match request.error {
        Some(error) if error.code != 0 => {
            use prost::Message;
            let details = (!error.details.is_empty()).then(|| error.encode_to_vec().into());
            Err(Status { code: error.code, message: error.message, details })
        }
        _ => Ok(request.result),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Role, Scope, TenantId, UserId, Via};

    fn subject(tenant: i64, user: i64) -> Arc<Subject> {
        Arc::new(Subject {
            user: Some(UserId(user)),
            name: "n".to_owned(),
            tenant: TenantId(tenant),
            tenant_name: "t".to_owned(),
            role: Role::User,
            unix: None,
            via: Via::Socket,
            ip: None,
            scope: Scope::Write,
        })
    }

    fn asked(id: &str) -> SolveRequest {
        SolveRequest { r#ref: id.to_owned(), ..SolveRequest::default() }
    }

    #[tokio::test]
    async fn a_strangers_build_is_an_absent_one() {
        let jobs = Jobs::default();
        let (ann, ben) = (subject(1, 1), subject(2, 2));
        let (running, returning) = jobs.begin(ann.clone(), asked("b")).unwrap();
        let image = Digest::of(b"x");
        let result = running.0.keep(Built { image, fresh: true });
        let mine = Owner::of(&ann);
        assert_eq!(jobs.find(&mine, "b").await.unwrap().result(&result).unwrap().image, image);
        assert!(jobs.built(&mine, &image.to_string()).is_some());
        let stranger = Owner::of(&ben);
        assert!(jobs.get(&stranger, "b").is_none() && jobs.of(&stranger).is_empty());
        assert!(jobs.built(&stranger, &image.to_string()).is_none(), "an image's id is no key to it");
        assert!(jobs.forget(&stranger, "b").is_err());
        // The name that Ann uses is free for Ben, and taken for Ann.
        let (bens, _) = jobs.begin(ben, asked("b")).unwrap();
        assert!(bens.0.result(&result).is_err());
        assert!(jobs.begin(ann, asked("b")).is_err());
        // One return, to the one that waits.
        running.0.returns(ReturnRequest::default()).unwrap();
        assert!(running.0.returns(ReturnRequest::default()).is_err());
        assert!(returned(returning.await.unwrap()).unwrap().is_none());
        drop(running);
        let job = jobs.get(&mine, "b").unwrap();
        assert!(job.over.is_cancelled() && job.ended().unwrap().error.is_some(), "a call that is dropped ends its build");
        jobs.forget(&mine, "b").unwrap();
    }

    #[test]
    fn builds_are_bounded() {
        let jobs = Jobs::default();
        let ann = subject(1, 1);
        let running: Vec<_> = (0..RUNNING_MAX).map(|n| jobs.begin(ann.clone(), asked(&n.to_string())).unwrap().0).collect();
        assert!(jobs.begin(ann.clone(), asked("more")).err().unwrap().is(Code::ResourceExhausted));
        drop(running);
        for n in 0..2 * OVER_MAX {
            drop(jobs.begin(ann.clone(), asked(&format!("x{n}"))).unwrap());
        }
        assert!(jobs.of(&Owner::of(&ann)).len() <= OVER_MAX + 1);
    }
}
