//! Sessions: connections by which a client serves its folders, secrets, agents and credentials to its own builds. A session is
//! its subject's: to anybody else's build the same id leads nowhere.

use super::grpc::{Code, Peer, Status};
use bollard_buildkit_proto::health::{HealthCheckRequest, HealthCheckResponse};
use engine::{Subject, TenantId, UserId, Via};
use http::HeaderMap;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// Sessions of one subject: `bake` of many targets opens one for each.
const PER_SUBJECT: usize = 128;
/// Sessions of all.
const IN_ALL: usize = 4096;
/// How long a build waits for the session it names: the two come on connections of their own, in any order.
const WAIT: Duration = Duration::from_secs(5);
/// Between two questions whether a client is still there, and how long it may take to answer.
const HEALTH: Duration = Duration::from_secs(30);
const HEALTH_ANSWER: Duration = Duration::from_secs(20);

/// Whose a session or a build is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    tenant: TenantId,
    user: Option<UserId>,
    uid: Option<u32>,
    tenant_socket: bool,
}

impl Owner {
    /// The subject's.
    pub fn of(who: &Subject) -> Self {
        Self { tenant: who.tenant, user: who.user, uid: who.unix.map(|u| u.uid), tenant_socket: who.via == Via::TenantSocket }
    }
}

/// A client that serves its build.
pub struct Session {
    /// Calls to it.
    pub peer: Peer,
    /// What it said it serves: `/moby.filesync.v1.FileSync/DiffCopy`.
    methods: HashSet<String>,
}

impl Session {
    /// Whether it serves a method.
    pub fn serves(&self, method: &str) -> bool {
        self.methods.contains(method)
    }
}

type Key = (Owner, String);

/// The sessions that are open. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    open: Arc<Mutex<HashMap<Key, Arc<Session>>>>,
    /// Counts arrivals, so that who waits looks again.
    arrivals: Arc<watch::Sender<u64>>,
    wait: Duration,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { open: Arc::default(), arrivals: Arc::new(watch::Sender::new(0)), wait: WAIT }
    }
}

/// What a client says of the session it opens.
#[derive(Debug, PartialEq, Eq)]
pub struct Opening {
    id: String,
    methods: HashSet<String>,
}

impl Opening {
    /// Reads the headers, or the metadata of a `Control/Session` call, which has the same names.
    ///
    /// # Errors
    /// Without an id, or with one that is none.
    pub fn read(headers: &HeaderMap) -> Result<Self, Status> {
        let id = headers.get("x-docker-expose-session-uuid").and_then(|v| v.to_str().ok()).unwrap_or_default();
        if id.is_empty() || id.len() > 256 {
            return Err(Status::new(Code::InvalidArgument, "a session needs the header X-Docker-Expose-Session-Uuid"));
        }
        let methods = headers.get_all("x-docker-expose-session-grpc-method").iter().filter_map(|v| v.to_str().ok());
        let methods = methods.take(256).map(str::to_owned).collect();
        Ok(Self { id: id.to_owned(), methods })
    }
}

impl Sessions {
    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Session>>> {
        self.open.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether the subject may open one more by this name.
    ///
    /// # Errors
    /// At the bounds, and when there is one of that id.
    pub fn room(&self, owner: &Owner, opening: &Opening) -> Result<(), Status> {
        let map = self.map();
        if map.contains_key(&(owner.clone(), opening.id.clone())) {
            return Err(Status::new(Code::FailedPrecondition, format!("session {} is open already", opening.id)));
        }
        if map.len() >= IN_ALL || map.keys().filter(|(o, _)| o == owner).count() >= PER_SUBJECT {
            return Err(Status::new(Code::ResourceExhausted, "too many open build sessions"));
        }
        Ok(())
    }

    /// Serves a session to its end on a connection that the client gave us.
    pub async fn serve<I>(&self, owner: Owner, opening: Opening, io: I)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (peer, connection) = match Peer::open(io).await {
            Ok(open) => open,
            Err(error) => return tracing::debug!(%error, "a build session could not begin"),
        };
        let key = (owner.clone(), opening.id.clone());
        if self.room(&owner, &opening).is_err() {
            return;
        }
        let session = Arc::new(Session { peer: peer.clone(), methods: opening.methods });
        self.map().insert(key.clone(), session.clone());
        self.arrivals.send_modify(|n| *n += 1);
        tokio::select! {
            ended = connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a build session ended");
                }
            }
            () = until_unhealthy(peer) => tracing::debug!("a build session's client does not answer any more"),
        }
        let mut map = self.map();
        if map.get(&key).is_some_and(|s| Arc::ptr_eq(s, &session)) {
            map.remove(&key);
        }
    }

    /// The subject's session of that id; it may be a moment late.
    ///
    /// # Errors
    /// `NotFound`, whether it is absent or somebody else's.
    pub async fn find(&self, owner: &Owner, id: &str) -> Result<Arc<Session>, Status> {
        let key = (owner.clone(), id.to_owned());
        let mut arrivals = self.arrivals.subscribe();
        let waiting = async {
            loop {
                if let Some(session) = self.map().get(&key).filter(|s| !s.peer.is_closed()).cloned() {
                    return session;
                }
                if arrivals.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let absent = |_| Status::new(Code::NotFound, format!("no active session for {id}: context deadline exceeded"));
        tokio::time::timeout(self.wait, waiting).await.map_err(absent)
    }
}

/// A client may vanish without a word (a laptop that sleeps): then its builds must not wait for ever. Go's servers take HTTP/2
/// pings of this frequency for an attack, so the health service is asked, as BuildKit does.
async fn until_unhealthy(peer: Peer) {
    let metadata = Vec::new();
    loop {
        tokio::time::sleep(HEALTH).await;
        let asked = peer.unary::<_, HealthCheckResponse>("/grpc.health.v1.Health/Check", &metadata, HealthCheckRequest::default());
        match tokio::time::timeout(HEALTH_ANSWER, asked).await {
            Ok(Ok(_)) => {}
            // It has no such service: its connection's end will say so.
            Ok(Err(status)) if status.is(Code::Unimplemented) => return std::future::pending().await,
            Ok(Err(status)) if status.is(Code::Unavailable) => return,
            Ok(Err(_)) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Role, Scope};

    fn subject(tenant: i64, user: Option<i64>, via: Via) -> Subject {
        Subject {
            user: user.map(UserId),
            name: "n".to_owned(),
            tenant: TenantId(tenant),
            tenant_name: "t".to_owned(),
            role: Role::User,
            unix: None,
            via,
            ip: None,
            scope: Scope::Write,
        }
    }

    fn opening(id: &str) -> Opening {
        let mut headers = HeaderMap::new();
        headers.insert("x-docker-expose-session-uuid", id.parse().unwrap());
        headers.append("x-docker-expose-session-grpc-method", "/a/b".parse().unwrap());
        Opening::read(&headers).unwrap()
    }

    /// Opens a session; the other end, which keeps it open.
    fn open(sessions: &Sessions, owner: &Owner, id: &str) -> tokio::io::DuplexStream {
        let (ours, theirs) = tokio::io::duplex(4096);
        let (sessions, owner, opening) = (sessions.clone(), owner.clone(), opening(id));
        tokio::spawn(async move { sessions.serve(owner, opening, hyper_util::rt::TokioIo::new(ours)).await });
        theirs
    }

    #[tokio::test]
    async fn a_strangers_session_is_an_absent_one() {
        let patient = Sessions::default();
        let sessions = Sessions { wait: Duration::from_millis(20), ..patient.clone() };
        let ann = Owner::of(&subject(1, Some(1), Via::Socket));
        let connection = open(&sessions, &ann, "s");
        assert!(patient.find(&ann, "s").await.unwrap().serves("/a/b"));
        let absent = sessions.find(&ann, "t").await.err().unwrap();
        let same = |status: Status| status.message.replace("for s:", "for t:") == absent.message && status.code == absent.code;
        for stranger in [
            // Another tenant, another member of the same one, a container that has the tenant's socket.
            subject(2, Some(1), Via::Socket),
            subject(1, Some(2), Via::Socket),
            subject(1, None, Via::TenantSocket),
        ] {
            assert!(same(sessions.find(&Owner::of(&stranger), "s").await.err().unwrap()), "{stranger:?}");
        }
        // Ann's other client may not take her session over.
        assert!(sessions.room(&ann, &opening("s")).is_err());
        // It ends with its connection.
        drop(connection);
        while sessions.room(&ann, &opening("s")).is_err() {
            tokio::task::yield_now().await;
        }
        assert!(same(sessions.find(&ann, "s").await.err().unwrap()));
    }

    #[tokio::test]
    async fn sessions_are_bounded() {
        let sessions = Sessions::default();
        let ann = Owner::of(&subject(1, Some(1), Via::Socket));
        let mut connections = Vec::new();
        for n in 0..PER_SUBJECT {
            connections.push(open(&sessions, &ann, &n.to_string()));
            sessions.find(&ann, &n.to_string()).await.unwrap();
        }
        assert!(sessions.room(&ann, &opening("more")).unwrap_err().is(Code::ResourceExhausted));
        let ben = Owner::of(&subject(2, Some(2), Via::Socket));
        sessions.room(&ben, &opening("more")).unwrap();
        assert!(Opening::read(&HeaderMap::new()).is_err());
    }
}
