//! Changes of the accounts: users, sessions, tokens, certificates. Each is one transaction with its audit row; memory follows
//! after the commit.

use super::Refusal;
use super::accounts::{Accounts, commit, commit_user};
use super::secret::Secret;
use crate::ca::{Ca, Issued};
use crate::store::certificates::{self, Certificate};
use crate::store::sessions::{self, Session};
use crate::store::tokens::{self, Token};
use crate::store::users::{self, NewUser, User};
use engine::audit::Entry;
use engine::{Doing, Error, Kind, Result, Role, Scope, Subject, TenantId, UnixAccount, Via};
use jiff::{SignedDuration, Timestamp};
use std::net::{IpAddr, Ipv4Addr};

/// What our tokens begin with, so that leak scanners know them.
pub const TOKEN_PREFIX: &str = "wharf_";
/// One user's tokens: more are a mistake in somebody's script.
const TOKENS_PER_USER: usize = 1000;

/// A user to add.
#[derive(Debug, Clone, Default)]
pub struct AddUser {
    /// The name.
    pub name: String,
    /// Administers the host.
    pub admin: bool,
    /// `None`: no sign-in by password.
    pub password: Option<String>,
    /// The Unix account (name or number) that the socket takes for this user.
    pub unix_user: Option<String>,
}

/// A token to make.
#[derive(Debug, Clone)]
pub struct AddToken {
    /// What its owner calls it.
    pub name: String,
    /// The only tenant it speaks for.
    pub tenant: Option<TenantId>,
    /// What it may be used for.
    pub scope: Scope,
    /// How long it lasts.
    pub lifetime: SignedDuration,
}

/// A user's name becomes their tenant's, which is part of file names and URLs.
pub(super) fn check_user_name(name: &str) -> Result<()> {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-');
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if first && name.len() <= 32 && name.chars().all(ok) {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "invalid user name {name:?}: 1 to 32 small letters, digits, dots, dashes and underscores, the first a letter or digit"
        )))
    }
}

impl Accounts {
    /// Adds a user with a personal tenant.
    ///
    /// # Errors
    /// `Invalid` for a name, password or Unix account that will not do; `Conflict` when one is taken.
    pub async fn add_user(&self, who: &Subject, add: AddUser) -> Result<User> {
        check_user_name(&add.name)?;
        let unix = match add.unix_user {
            None => None,
            Some(name) => Some(unix_account(name).await?),
        };
        let password = match &add.password {
            None => None,
            Some(password) => Some(self.hash(password).await?),
        };
        let new = NewUser { name: add.name.clone(), admin: add.admin, password, unix };
        let mut tx = self.inventory().begin().await?;
        let audit = self.audit().intent(&mut tx, &Entry::of(who, "user.add", &add.name).by("administrator")).await?;
        let user = users::insert(&mut tx, &new, false, Timestamp::now()).await?;
        let user = user.ok_or_else(|| Error::new(Kind::Internal, "adding a user without condition gave no row"))?;
        let user = commit_user(self, tx, user, audit).await?;
        if self.is_set_up() {
            self.end_setup();
        }
        Ok(user)
    }

    /// The user for a Unix account that has none yet, if the administrator allows that.
    pub(super) async fn provision(&self, unix: UnixAccount) -> Result<User, Refusal> {
        let name = account_name(unix.uid).await?;
        let shown = name.clone().unwrap_or_else(|| "?".to_owned());
        let refused = || {
            Refusal::unauthenticated(format!(
                "the Unix account {shown} (uid {}) has no user here: ask an administrator to run `wharf user add {shown} --unix-user {shown}`",
                unix.uid
            ))
        };
        // System accounts (uid below 1000) are services, not people.
        let name = name.filter(|n| self.0.auto_provision && unix.uid >= 1000 && check_user_name(n).is_ok()).ok_or_else(refused)?;
        let new = NewUser { name: name.clone(), admin: false, password: None, unix: Some(unix) };
        let mut tx = self.inventory().begin().await?;
        let entry = Entry::without_subject(&name, "socket", None, "user.add", &name).by("auto-provision");
        let audit = self.audit().intent(&mut tx, &entry).await?;
        match users::insert(&mut tx, &new, false, Timestamp::now()).await {
            Ok(Some(user)) => Ok(commit_user(self, tx, user, audit).await?),
            Ok(None) => Err(refused()),
            // Two first requests at once: the other one made it.
            Err(e) => self.user_of_uid(unix.uid).ok_or_else(|| Refusal::of(&e)),
        }
    }

    /// Gives a user another password, or none, and ends all sessions.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a password that will not do.
    pub async fn set_password(&self, who: &Subject, name: &str, password: Option<&str>) -> Result<()> {
        let user = self.user(name)?;
        let hash = match password {
            None => None,
            Some(password) => Some(self.hash(password).await?),
        };
        let mut tx = self.inventory().begin().await?;
        let audit = self.audit().intent(&mut tx, &Entry::of(who, "user.password", name)).await?;
        users::set_password(&mut tx, user.id, hash.as_ref()).await?;
        sessions::delete_of(&mut tx, user.id).await?;
        commit(tx).await?;
        self.change(|p| {
            p.sessions.retain(|_, s| s.user != user.id);
            if let Some(u) = p.users.get_mut(&user.id) {
                u.password = hash;
            }
        });
        self.audit().outcome(audit, &Ok(())).await;
        Ok(())
    }

    /// Changes one's own password: the current one must be given.
    ///
    /// # Errors
    /// 403 for a wrong current password, 429 when tried too often, 400 for a new one that will not do.
    pub async fn change_own_password(&self, who: &Subject, current: &str, new: &str) -> Result<(), Refusal> {
        let place = who.ip.unwrap_or(LOCAL);
        self.0.backoff.may_try(&who.name, place)?;
        let stored = self.user(&who.name)?.password;
        if !self.0.passwords.verify(stored.as_ref(), current).await? {
            self.0.backoff.failed(&who.name, place);
            return Err(Refusal::forbidden("the current password is not right"));
        }
        self.0.backoff.succeeded(&who.name, place);
        Ok(self.set_password(who, &who.name, Some(new)).await?)
    }

    /// Shuts a user out at once, or lets them in again.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for root and for oneself.
    pub async fn set_disabled(&self, who: &Subject, name: &str, disabled: bool) -> Result<()> {
        let user = self.user(name)?;
        if user.builtin || who.user == Some(user.id) {
            return Err(Error::conflict(format!("{name} cannot be disabled: this would shut out root or yourself")));
        }
        let action = if disabled { "user.disable" } else { "user.enable" };
        let mut tx = self.inventory().begin().await?;
        let audit = self.audit().intent(&mut tx, &Entry::of(who, action, name).by("administrator")).await?;
        users::set_disabled(&mut tx, user.id, disabled).await?;
        sessions::delete_of(&mut tx, user.id).await?;
        commit(tx).await?;
        self.change(|p| {
            p.sessions.retain(|_, s| s.user != user.id);
            if let Some(u) = p.users.get_mut(&user.id) {
                u.disabled = disabled;
            }
        });
        self.audit().outcome(audit, &Ok(())).await;
        Ok(())
    }

    /// Removes a user and everything they prove themselves with, and then their personal tenant, whose objects must be gone.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for root and for oneself.
    pub async fn remove_user(&self, who: &Subject, name: &str) -> Result<()> {
        let user = self.user(name)?;
        if user.builtin || who.user == Some(user.id) {
            return Err(Error::conflict(format!("{name} cannot be removed: this would shut out root or yourself")));
        }
        let mut tx = self.inventory().begin().await?;
        let audit = self.audit().intent(&mut tx, &Entry::of(who, "user.remove", name).by("administrator")).await?;
        users::delete(&mut tx, user.id).await?;
        match self.tenants().personal_of(user.id) {
            Some(tenant) => self.tenants().remove(tx, tenant.id).await?,
            None => commit(tx).await?,
        }
        self.change(|p| {
            p.users.remove(&user.id);
            p.sessions.retain(|_, s| s.user != user.id);
            p.tokens.retain(|_, t| t.user != user.id);
            p.certificates.retain(|_, c| c.user != user.id);
        });
        self.audit().outcome(audit, &Ok(())).await;
        Ok(())
    }

    /// Signs in by password.
    ///
    /// # Errors
    /// 401 when name or password is wrong (it is not said which), 429 when tried too often.
    pub async fn sign_in(&self, name: &str, password: &str, ip: Option<IpAddr>, agent: &str) -> Result<Secret, Refusal> {
        let place = ip.unwrap_or(LOCAL);
        self.0.backoff.may_try(name, place)?;
        let user = self.user(name).ok().filter(|u| !u.disabled);
        let stored = user.as_ref().and_then(|u| u.password.clone());
        let right = self.0.passwords.verify(stored.as_ref(), password).await?;
        match user {
            Some(user) if right => {
                self.0.backoff.succeeded(name, place);
                Ok(self.begin_session(&user, ip, agent).await?)
            }
            _ => {
                let tries = self.0.backoff.failed(name, place);
                let refusal = Refusal::unauthenticated("the name or the password is not right");
                let entry = Entry::without_subject("", "session", ip, "login", name).by(format!("failed attempt {tries}"));
                self.audit().denied(entry, &Error::forbidden(refusal.message.clone())).await;
                Err(refusal)
            }
        }
    }

    /// A new session; its secret is the cookie's value.
    pub(super) async fn begin_session(&self, user: &User, ip: Option<IpAddr>, agent: &str) -> Result<Secret> {
        let secret = Secret::random("")?;
        let now = Timestamp::now();
        let address = ip.map_or_else(|| "local".to_owned(), |ip| ip.to_string());
        let agent: String = agent.chars().filter(|c| !c.is_control()).take(200).collect();
        let mut session = Session { id: 0, hash: secret.hash(), user: user.id, created: now, seen: now, address, agent };
        let mut tx = self.inventory().begin().await?;
        let mut entry = Entry::without_subject(&user.name, "session", ip, "login", &user.name);
        entry.user = Some(user.id);
        let audit = self.audit().intent(&mut tx, &entry).await?;
        session.id = sessions::insert(&mut tx, &session).await?;
        commit(tx).await?;
        self.change(|p| p.sessions.insert(session.hash, session));
        self.audit().outcome(audit, &Ok(())).await;
        Ok(secret)
    }

    /// Ends a session: signing out, or from the list of sessions. Only one's own.
    ///
    /// # Errors
    /// `NotFound` when it is not one of `who`'s.
    pub async fn end_session(&self, who: &Subject, id: i64) -> Result<()> {
        check_may_change(who)?;
        let found = self.read(|p| p.sessions.values().find(|s| s.id == id && Some(s.user) == who.user).cloned());
        let session = found.ok_or_else(|| Error::no_such("session", &id.to_string()))?;
        let mut tx = self.inventory().begin().await?;
        let audit = self.audit().intent(&mut tx, &Entry::of(who, "logout", id.to_string())).await?;
        sessions::delete(&mut tx, id).await?;
        commit(tx).await?;
        self.change(|p| p.sessions.remove(&session.hash));
        self.audit().outcome(audit, &Ok(())).await;
        Ok(())
    }

    /// The session of this cookie, to end it.
    pub fn session_id(&self, secret: &Secret) -> Option<i64> {
        self.read(|p| p.sessions.get(&secret.hash()).map(|s| s.id))
    }

    /// Makes a token for a user; the secret is shown once.
    ///
    /// # Errors
    /// `Forbidden` when it would reach further than its owner; `Conflict` when there are too many.
    pub async fn add_token(&self, who: &Subject, owner: &User, add: AddToken) -> Result<(Token, Secret)> {
        self.check_reach(who, owner, add.tenant, add.scope)?;
        if self.tokens(Some(owner.id)).len() >= TOKENS_PER_USER {
            return Err(Error::conflict(format!("{} has {TOKENS_PER_USER} tokens: revoke some", owner.name)));
        }
        let secret = Secret::random(TOKEN_PREFIX)?;
        let now = Timestamp::now();
        let name: String = add.name.chars().filter(|c| !c.is_control()).take(100).collect();
        let mut token = Token {
            id: 0,
            hash: secret.hash(),
            user: owner.id,
            tenant: add.tenant,
            name,
            scope: add.scope,
            created: now,
            expires: now + add.lifetime,
            used: None,
        };
        let mut tx = self.inventory().begin().await?;
        let object = format!("{} of {}", token.name, owner.name);
        let audit = self.audit().intent(&mut tx, &Entry::of(who, "token.create", object)).await?;
        token.id = tokens::insert(&mut tx, &token).await?;
        commit(tx).await?;
        self.change(|p| p.tokens.insert(token.hash, token.clone()));
        self.audit().outcome(audit, &Ok(())).await;
        Ok((token, secret))
    }

    /// Revokes a token: one's own, or anybody's for an administrator.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_token(&self, who: &Subject, id: i64) -> Result<()> {
        check_may_change(who)?;
        let found = self.read(|p| p.tokens.values().find(|t| t.id == id && may_revoke(who, t.user)).cloned());
        let token = found.ok_or_else(|| Error::no_such("token", &id.to_string()))?;
        let mut tx = self.inventory().begin().await?;
        let audit = self.audit().intent(&mut tx, &Entry::of(who, "token.revoke", &token.name)).await?;
        tokens::delete(&mut tx, id).await?;
        commit(tx).await?;
        self.change(|p| p.tokens.remove(&token.hash));
        self.audit().outcome(audit, &Ok(())).await;
        Ok(())
    }

    /// Signs a client certificate for a user and a tenant; the key is shown once.
    ///
    /// # Errors
    /// `Forbidden` when it would reach further than its owner.
    pub async fn add_certificate(
        &self,
        who: &Subject,
        ca: &Ca,
        owner: &User,
        tenant: TenantId,
        scope: Scope,
        name: &str,
    ) -> Result<(Certificate, Issued)> {
        self.check_reach(who, owner, Some(tenant), scope)?;
        let now = Timestamp::now();
        let tenant_name = self.tenants().get(tenant).map(|t| t.name.clone()).unwrap_or_default();
        let issued = ca.client(&owner.name, &tenant_name, now)?;
        let name: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
        let mut certificate = Certificate {
            id: 0,
            fingerprint: issued.fingerprint,
            user: owner.id,
            tenant,
            name,
            scope,
            created: now,
            expires: issued.expires,
            used: None,
        };
        let mut tx = self.inventory().begin().await?;
        let object = format!("{} for {tenant_name}", owner.name);
        let audit = self.audit().intent(&mut tx, &Entry::of(who, "certificate.create", object)).await?;
        certificate.id = certificates::insert(&mut tx, &certificate).await?;
        commit(tx).await?;
        self.change(|p| p.certificates.insert(certificate.fingerprint, certificate.clone()));
        self.audit().outcome(audit, &Ok(())).await;
        Ok((certificate, issued))
    }

    /// Revokes a certificate: one's own, or anybody's for an administrator.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_certificate(&self, who: &Subject, id: i64) -> Result<()> {
        check_may_change(who)?;
        let found = self.read(|p| p.certificates.values().find(|c| c.id == id && may_revoke(who, c.user)).cloned());
        let certificate = found.ok_or_else(|| Error::no_such("certificate", &id.to_string()))?;
        let mut tx = self.inventory().begin().await?;
        let audit = self.audit().intent(&mut tx, &Entry::of(who, "certificate.revoke", &certificate.name)).await?;
        certificates::delete(&mut tx, id).await?;
        commit(tx).await?;
        self.change(|p| p.certificates.remove(&certificate.fingerprint));
        self.audit().outcome(audit, &Ok(())).await;
        Ok(())
    }

    /// A credential never reaches further than its owner, nor than the credential it is made with: one for reading makes
    /// none, and one for a tenant makes none for another.
    fn check_reach(&self, who: &Subject, owner: &User, tenant: Option<TenantId>, scope: Scope) -> Result<()> {
        check_may_change(who)?;
        if scope > who.scope {
            return Err(Error::forbidden("a credential cannot make one that reaches further than itself"));
        }
        let admin = who.role == Role::Admin && who.scope == Scope::Admin;
        if who.user != Some(owner.id) && !admin {
            return Err(Error::forbidden("only an administrator may do this for somebody else"));
        }
        if !admin && !matches!(who.via, Via::Session | Via::Socket) && tenant != Some(who.tenant) {
            return Err(Error::forbidden(format!("this credential speaks for the tenant {} only", who.tenant_name)));
        }
        if scope == Scope::Admin && !owner.admin {
            return Err(Error::forbidden(format!("{} is no administrator, so the scope can be read or write", owner.name)));
        }
        if let Some(tenant) = tenant
            && !owner.admin
            && self.tenants().role(tenant, owner.id).is_none()
        {
            return Err(Error::no_such("tenant", &tenant.to_string()));
        }
        Ok(())
    }
}

/// Where attempts without an address are counted.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A credential for reading changes no credentials, by whatever route it came.
fn check_may_change(who: &Subject) -> Result<()> {
    if who.scope >= Scope::Write { Ok(()) } else { Err(Error::forbidden("this credential may only read")) }
}

fn may_revoke(who: &Subject, owner: engine::UserId) -> bool {
    who.user == Some(owner) || (who.role == Role::Admin && who.scope == Scope::Admin)
}

/// A Unix account by name or number. Name services may take their time, so not on an async thread.
async fn unix_account(name: String) -> Result<UnixAccount> {
    let shown = name.clone();
    let found = blocking(move || match name.parse::<u32>() {
        Ok(uid) => nix::unistd::User::from_uid(uid.into()),
        Err(_) => nix::unistd::User::from_name(&name),
    })
    .await?;
    let account = found.ok_or_else(|| Error::invalid(format!("there is no Unix account {shown} on this host")))?;
    Ok(UnixAccount { uid: account.uid.as_raw(), gid: account.gid.as_raw() })
}

async fn account_name(uid: u32) -> Result<Option<String>> {
    Ok(blocking(move || nix::unistd::User::from_uid(uid.into())).await?.map(|u| u.name))
}

async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> nix::Result<T> + Send + 'static) -> Result<T> {
    let doing = || "asking for a Unix account".to_owned();
    tokio::task::spawn_blocking(ask).await.doing(doing)?.doing(doing)
}
