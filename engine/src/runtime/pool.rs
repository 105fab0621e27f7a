//! Zygotes: prepared containers that stand ready, so that a start pays for neither namespaces nor cgroup nor network. Two
//! starts of the same kind (tenant block, cgroup parent, flags, network) are interchangeable until the plan arrives.
//!
//! What belongs to a zygote besides the process (its cgroup, its veth) is the caller's: it travels as `T`. The pool takes
//! care of when to make and when to let go, never of what is made.

use super::Prepared;
use crate::Result;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// A kind that nobody has asked for so long is let go: an idle tenant shall cost nothing.
const IDLE: Duration = Duration::from_secs(600);

/// How long a refill gives way to starts.
const PATIENCE: Duration = Duration::from_millis(100);

/// Says that a start goes on, while it lives.
pub struct Starting(watch::Sender<usize>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

/// Zygotes of several kinds. Cheap to clone.
pub struct Pool<T>(Arc<Inner<T>>);

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<T> {
    /// How many of each kind stand ready; 0: none, every start is a cold one.
    size: usize,
    state: Mutex<State<T>>,
    /// Starts that go on. Refills wait for them, for a moment: they are for the next ones.
    starts: watch::Sender<usize>,
    /// The refills under way, so that a shutdown can wait for them.
    tasks: TaskTracker,
}

struct State<T> {
    kinds: HashMap<String, Kind<T>>,
    closed: bool,
}

struct Kind<T> {
    ready: VecDeque<(Prepared, T)>,
    /// Whether a refill is under way. One at a time: it shall not compete with the starts it is for.
    filling: bool,
    used: Instant,
}

impl<T> State<T> {
    /// A kind, asked for just now.
    fn kind(&mut self, name: &str) -> &mut Kind<T> {
        let kind =
            self.kinds.entry(name.to_owned()).or_insert_with(|| Kind { ready: VecDeque::new(), filling: false, used: Instant::now() });
        kind.used = Instant::now();
        kind
    }
}

impl<T: Send + 'static> Pool<T> {
    /// With so many of each kind.
    pub fn new(size: usize) -> Self {
        let state = State { kinds: HashMap::new(), closed: false };
        Self(Arc::new(Inner { size, state: Mutex::new(state), starts: watch::channel(0).0, tasks: TaskTracker::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A start begins: refills wait until it is done.
    pub fn starting(&self) -> Starting {
        self.0.starts.send_modify(|n| *n += 1);
        Starting(self.0.starts.clone())
    }

    /// A ready one of a kind, if there is one; without one the start is a cold one, which is the caller's to make. Either way
    /// the pool is refilled behind the caller's back, with `make`. Ones that died while they waited come back in `dead`, for
    /// their `T` may need tidying.
    pub fn take<F, Fut>(&self, kind: &str, make: F, dead: &mut Vec<T>) -> Option<(Prepared, T)>
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(Prepared, T)>> + Send,
    {
        if self.0.size == 0 {
            return None;
        }
        let mut ready = None;
        let fill = {
            let mut state = self.state();
            let closed = state.closed;
            let entry = state.kind(kind);
            while let Some((prepared, with)) = entry.ready.pop_front() {
                if prepared.is_alive() {
                    ready = Some((prepared, with));
                    break;
                }
                dead.push(with);
            }
            !closed && !std::mem::replace(&mut entry.filling, true)
        };
        self.refill(fill, kind, make);
        ready
    }

    /// Sees to it that some of a kind will stand ready soon.
    pub fn warm<F, Fut>(&self, kind: &str, make: F)
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(Prepared, T)>> + Send,
    {
        let size = self.0.size;
        let fill = {
            let mut state = self.state();
            let closed = state.closed;
            let entry = state.kind(kind);
            let wanted = !closed && entry.ready.len() < size;
            wanted && !std::mem::replace(&mut entry.filling, true)
        };
        self.refill(fill, kind, make);
    }

    fn refill<F, Fut>(&self, fill: bool, kind: &str, make: F)
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(Prepared, T)>> + Send,
    {
        if fill {
            let (pool, kind) = (self.clone(), kind.to_owned());
            self.0.tasks.spawn(async move { pool.fill(&kind, make).await });
        }
    }

    async fn fill<F, Fut>(&self, kind: &str, make: F)
    where
        F: Fn() -> Fut + Send,
        Fut: Future<Output = Result<(Prepared, T)>> + Send,
    {
        loop {
            // In vain when starts follow each other closely: then it competes with them after all.
            let _ = tokio::time::timeout(PATIENCE, self.0.starts.subscribe().wait_for(|n| *n == 0)).await;
            {
                let mut state = self.state();
                let closed = state.closed;
                let Some(entry) = state.kinds.get_mut(kind) else { return };
                if closed || entry.ready.len() >= self.0.size {
                    entry.filling = false;
                    return;
                }
            }
            match make().await {
                Ok(made) => self.state().kind(kind).ready.push_back(made),
                Err(e) => {
                    // The next start of this kind is a cold one and says the same to the person who asked.
                    tracing::warn!(pool.kind = kind, error = ?e, "a zygote could not be prepared");
                    if let Some(entry) = self.state().kinds.get_mut(kind) {
                        entry.filling = false;
                    }
                    return;
                }
            }
        }
    }

    /// How many of a kind stand ready.
    pub fn ready(&self, kind: &str) -> usize {
        self.state().kinds.get(kind).map_or(0, |entry| entry.ready.len())
    }

    /// Looks at what belongs to those that stand ready.
    pub fn look<U>(&self, at: impl Fn(&T) -> U) -> Vec<U> {
        self.state().kinds.values().flat_map(|kind| &kind.ready).map(|(_, with)| at(with)).collect()
    }

    /// Kills the next one of a kind and waits until it is dead.
    #[cfg(test)]
    pub fn kill_next(&self, kind: &str) {
        use std::os::fd::AsFd;
        let state = self.state();
        let Some((prepared, _)) = state.kinds.get(kind).and_then(|kind| kind.ready.front()) else { return };
        let _ = crate::sys::fd::pidfd_signal(prepared.pidfd.as_fd(), libc::SIGKILL);
        while prepared.is_alive() {
            std::thread::yield_now();
        }
    }

    /// Lets go of what has been idle; a janitor calls it now and then. The processes die here; what belonged to them is
    /// the caller's to tidy.
    pub fn sweep(&self) -> Vec<T> {
        let mut state = self.state();
        let idle: Vec<String> =
            state.kinds.iter().filter(|(_, entry)| !entry.filling && entry.used.elapsed() > IDLE).map(|(kind, _)| kind.clone()).collect();
        let gone = idle.iter().filter_map(|kind| state.kinds.remove(kind));
        gone.flat_map(|entry| entry.ready).map(|(_, with)| with).collect()
    }

    /// Lets go of all zygotes whose kind fits (a tenant was removed, a network changed).
    pub fn forget(&self, fits: impl Fn(&str) -> bool) -> Vec<T> {
        let mut state = self.state();
        let mut gone = Vec::new();
        for (_, entry) in state.kinds.iter_mut().filter(|(kind, _)| fits(kind)) {
            gone.extend(entry.ready.drain(..).map(|(_, with)| with));
        }
        gone
    }

    /// Shutdown: waits for refills, lets go of everything, and makes no more.
    pub async fn close(&self) -> Vec<T> {
        self.state().closed = true;
        self.0.tasks.close();
        self.0.tasks.wait().await;
        let kinds = std::mem::take(&mut self.state().kinds);
        kinds.into_values().flat_map(|entry| entry.ready).map(|(_, with)| with).collect()
    }
}
