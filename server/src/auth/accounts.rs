//! The accounts in memory, written through to the store: what is asked on every request is answered without SQL.
//!
//! This server is the only writer (it holds the lock on the data root), so memory and database agree: a change goes to the
//! database first, and memory follows after the commit.

use super::backoff::Backoff;
use super::password::Passwords;
use super::secret::Secret;
use super::session;
use super::setup::Setup;
use crate::store::certificates::{self, Certificate};
use crate::store::sessions::{self, Session};
use crate::store::tokens::{self, Token};
use crate::store::users::{self, PasswordHash, User};
use engine::audit::Audit;
use engine::inventory::Inventory;
use engine::tenant::Tenants;
use engine::{Digest, Error, Result, UserId};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use tokio::sync::watch;

/// People, tokens, certificates and sessions. Cheap to clone.
#[derive(Clone)]
pub struct Accounts(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub inventory: Inventory,
    pub tenants: Tenants,
    pub audit: Audit,
    /// Whether a Unix account without a user gets one when it first calls.
    pub auto_provision: bool,
    pub setup: RwLock<Option<Setup>>,
    pub passwords: Passwords,
    pub backoff: Backoff,
    people: RwLock<People>,
    /// Counts changes that can end a credential, for those who hold a connection open by one.
    changes: watch::Sender<u64>,
}

/// Everything in memory. Last uses are ahead of the database by up to a minute.
#[derive(Default)]
pub(super) struct People {
    pub users: HashMap<UserId, User>,
    pub tokens: HashMap<Digest, Token>,
    pub certificates: HashMap<Digest, Certificate>,
    pub sessions: HashMap<Digest, Session>,
    used: Vec<Used>,
}

/// A last use that the database does not know yet.
enum Used {
    Token(i64, Timestamp),
    Certificate(i64, Timestamp),
    Session(i64, Timestamp),
}

impl People {
    pub fn named(&self, name: &str) -> Option<&User> {
        self.users.values().find(|u| u.name == name)
    }
}

impl Accounts {
    /// Reads everything.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open(inventory: Inventory, tenants: Tenants, audit: Audit, auto_provision: bool) -> Result<Self> {
        // Root's own tenant exists from the first start on.
        if tenants.personal_of(UserId::ROOT).is_none() {
            tenants.personal(inventory.begin().await?, UserId::ROOT, "root").await?;
        }
        let people = People {
            users: users::all(&inventory).await?.into_iter().map(|u| (u.id, u)).collect(),
            tokens: tokens::all(&inventory).await?.into_iter().map(|t| (t.hash, t)).collect(),
            certificates: certificates::all(&inventory).await?.into_iter().map(|c| (c.fingerprint, c)).collect(),
            sessions: sessions::all(&inventory).await?.into_iter().map(|s| (s.hash, s)).collect(),
            used: Vec::new(),
        };
        Ok(Self(Arc::new(Inner {
            inventory,
            tenants,
            audit,
            auto_provision,
            setup: RwLock::default(),
            passwords: Passwords::default(),
            backoff: Backoff::default(),
            people: RwLock::new(people),
            changes: watch::Sender::new(0),
        })))
    }

    /// The database these live in.
    pub fn inventory(&self) -> &Inventory {
        &self.0.inventory
    }

    /// The tenants these people are members of.
    pub fn tenants(&self) -> &Tenants {
        &self.0.tenants
    }

    /// The audit log.
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }

    pub(super) fn read<T>(&self, f: impl FnOnce(&People) -> T) -> T {
        f(&self.0.people.read().unwrap_or_else(|e| e.into_inner()))
    }

    pub(super) fn change<T>(&self, f: impl FnOnce(&mut People) -> T) -> T {
        let out = f(&mut self.0.people.write().unwrap_or_else(|e| e.into_inner()));
        self.0.changes.send_modify(|n| *n += 1);
        out
    }

    /// Changes whenever a credential may have ended: who holds a connection open then asks `stands` again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Says that memberships changed, as a change of the accounts does.
    pub fn touched(&self) {
        self.0.changes.send_modify(|n| *n += 1);
    }

    /// Whether an administrator other than root exists: until then only loopback is served, and set-up is open.
    pub fn is_set_up(&self) -> bool {
        self.read(|p| p.users.values().any(|u| u.admin && !u.builtin))
    }

    /// Everybody, by name.
    pub fn users(&self) -> Vec<User> {
        let mut all: Vec<User> = self.read(|p| p.users.values().cloned().collect());
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// One user by name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn user(&self, name: &str) -> Result<User> {
        self.read(|p| p.named(name).cloned()).ok_or_else(|| Error::no_such("user", name))
    }

    /// One user by id.
    pub fn user_by_id(&self, id: UserId) -> Option<User> {
        self.read(|p| p.users.get(&id).cloned())
    }

    /// The user of a Unix account.
    pub fn user_of_uid(&self, uid: u32) -> Option<User> {
        self.read(|p| p.users.values().find(|u| u.unix.is_some_and(|x| x.uid == uid)).cloned())
    }

    /// The token with this secret, if it holds, and its user.
    pub fn token(&self, secret: &Secret, now: Timestamp) -> Option<(Token, User)> {
        let hash = secret.hash();
        let (token, user) = self.read(|p| {
            let token = p.tokens.get(&hash)?;
            Some((token.clone(), p.users.get(&token.user)?.clone()))
        })?;
        if token.expires <= now || user.disabled {
            return None;
        }
        self.note_use(token.used, now, |p| {
            let t = p.tokens.get_mut(&hash)?;
            t.used = Some(now);
            Some(Used::Token(t.id, now))
        });
        Some((token, user))
    }

    /// The certificate with this fingerprint, if it holds, and its user.
    pub fn certificate(&self, fingerprint: &Digest, now: Timestamp) -> Option<(Certificate, User)> {
        let (certificate, user) = self.read(|p| {
            let certificate = p.certificates.get(fingerprint)?;
            Some((certificate.clone(), p.users.get(&certificate.user)?.clone()))
        })?;
        if certificate.expires <= now || user.disabled {
            return None;
        }
        self.note_use(certificate.used, now, |p| {
            let c = p.certificates.get_mut(fingerprint)?;
            c.used = Some(now);
            Some(Used::Certificate(c.id, now))
        });
        Some((certificate, user))
    }

    /// The session with this secret, if it holds, and its user.
    pub fn session(&self, secret: &Secret, now: Timestamp) -> Option<(Session, User)> {
        let hash = secret.hash();
        let (session, user) = self.read(|p| {
            let session = p.sessions.get(&hash)?;
            Some((session.clone(), p.users.get(&session.user)?.clone()))
        })?;
        if !session::holds(session.created, session.seen, now) || user.disabled {
            return None;
        }
        self.note_use(Some(session.seen), now, |p| {
            let s = p.sessions.get_mut(&hash)?;
            s.seen = now;
            Some(Used::Session(s.id, now))
        });
        Some((session, user))
    }

    /// Last uses are kept to the minute: most requests take the read lock only.
    fn note_use(&self, last: Option<Timestamp>, now: Timestamp, note: impl FnOnce(&mut People) -> Option<Used>) {
        if last.is_some_and(|last| now.duration_since(last).abs().as_secs() < 60) {
            return;
        }
        let mut people = self.0.people.write().unwrap_or_else(|e| e.into_inner());
        if let Some(used) = note(&mut people) {
            people.used.push(used);
        }
    }

    /// A user's tokens, or everybody's.
    pub fn tokens(&self, of: Option<UserId>) -> Vec<Token> {
        let mut all: Vec<Token> = self.read(|p| p.tokens.values().filter(|t| of.is_none_or(|u| t.user == u)).cloned().collect());
        all.sort_by_key(|t| t.id);
        all
    }

    /// A user's certificates, or everybody's.
    pub fn certificates(&self, of: Option<UserId>) -> Vec<Certificate> {
        let mut all: Vec<Certificate> =
            self.read(|p| p.certificates.values().filter(|c| of.is_none_or(|u| c.user == u)).cloned().collect());
        all.sort_by_key(|c| c.id);
        all
    }

    /// A user's sessions that still hold, the last used first.
    pub fn sessions(&self, of: UserId, now: Timestamp) -> Vec<Session> {
        let mut all: Vec<Session> =
            self.read(|p| p.sessions.values().filter(|s| s.user == of && session::holds(s.created, s.seen, now)).cloned().collect());
        all.sort_by_key(|s| std::cmp::Reverse(s.seen));
        all
    }

    /// Writes last uses, and forgets sessions, tokens and certificates that ended long ago. Called once a minute and at the end.
    ///
    /// # Errors
    /// When the database cannot be written; what was not written is tried again.
    pub async fn settle(&self, now: Timestamp) -> Result<()> {
        let (used, ended) = {
            let mut people = self.0.people.write().unwrap_or_else(|e| e.into_inner());
            let ended: Vec<Session> = people.sessions.values().filter(|s| !session::holds(s.created, s.seen, now)).cloned().collect();
            (std::mem::take(&mut people.used), ended)
        };
        if used.is_empty() && ended.is_empty() {
            return Ok(());
        }
        let written = self.write_settled(&used, &ended).await;
        let mut people = self.0.people.write().unwrap_or_else(|e| e.into_inner());
        match written {
            Ok(()) => {
                for session in &ended {
                    people.sessions.remove(&session.hash);
                }
                Ok(())
            }
            Err(e) => {
                people.used.extend(used);
                Err(e)
            }
        }
    }

    async fn write_settled(&self, used: &[Used], ended: &[Session]) -> Result<()> {
        let mut tx = self.0.inventory.begin().await?;
        for used in used {
            match *used {
                Used::Token(id, at) => tokens::touch(&mut tx, id, at).await?,
                Used::Certificate(id, at) => certificates::touch(&mut tx, id, at).await?,
                Used::Session(id, at) => sessions::touch(&mut tx, id, at).await?,
            }
        }
        for session in ended {
            sessions::delete(&mut tx, session.id).await?;
        }
        commit(tx).await
    }

    /// Hashes a new password.
    pub(super) async fn hash(&self, password: &str) -> Result<PasswordHash> {
        self.0.passwords.hash(password).await
    }
}

/// Commits, with our error.
pub(super) async fn commit(tx: engine::inventory::Tx) -> Result<()> {
    use engine::Doing;
    tx.commit().await.doing(|| "committing a change of the accounts".to_owned())
}

/// Commits a new user together with the personal tenant, and then memory has them.
pub(super) async fn commit_user(accounts: &Accounts, tx: engine::inventory::Tx, user: User, audit: engine::audit::AuditId) -> Result<User> {
    accounts.tenants().personal(tx, user.id, &user.name).await?;
    accounts.change(|p| p.users.insert(user.id, user.clone()));
    accounts.audit().outcome(audit, &Ok(())).await;
    Ok(user)
}
