//! Tenants: the unit of isolation and ownership. A personal one for each user, team ones with members, each with a uid block, a quota and grants.
//!
//! Everything is kept in memory and read from there; the database is written first. Functions that change something take the transaction in which
//! the caller already wrote its audit row, commit it, and only then change memory: action and row stand or fall together.

mod block;

pub use block::{BLOCK_SIZE, Block, Pool};

use crate::cgroup::{self, Occasion, Support};
use crate::container::Resources;
use crate::grant::{Grant, GrantKind, Grants};
use crate::inventory::tenants::{self as rows, Purpose};
use crate::inventory::{Inventory, Tx, grants as grant_rows};
use crate::{Doing, Error, GrantId, Instance, Result, Role, Subject, TenantId, UserId};
use block::Claims;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// One tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// Its id, never reused.
    pub id: TenantId,
    /// Its name: unique on this host, fit for file names.
    pub name: String,
    /// Whose it is.
    pub kind: TenantKind,
    /// Its uid block.
    pub block: Block,
    /// When it was made.
    pub created: Timestamp,
    /// What it may use.
    pub quota: Quota,
}

/// Whose a tenant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantKind {
    /// One user's own.
    Personal {
        /// The user.
        owner: UserId,
    },
    /// Its members'.
    Team,
}

/// What a member may do in a team's tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Look only: the server gives such a subject `Scope::Read`.
    Viewer,
    /// Use it.
    Member,
    /// And choose the members.
    Owner,
}

impl MemberRole {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            MemberRole::Viewer => "viewer",
            MemberRole::Member => "member",
            MemberRole::Owner => "owner",
        }
    }
}

impl std::str::FromStr for MemberRole {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "member" => Ok(Self::Member),
            "owner" => Ok(Self::Owner),
            _ => Err(Error::invalid(format!("invalid role {text:?}: expected owner, member or viewer"))),
        }
    }
}

/// What a tenant may use, all its containers together. `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Billionths of a CPU.
    pub nano_cpus: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together.
    pub memory_swap: Option<u64>,
    /// Processes.
    pub pids: Option<u64>,
    /// Bytes on disk: images of its own, volumes, logs, writable layers.
    pub disk: Option<u64>,
    /// Containers, running or not.
    pub containers: Option<u64>,
    /// Images.
    pub images: Option<u64>,
    /// Volumes.
    pub volumes: Option<u64>,
    /// Networks it made.
    pub networks: Option<u64>,
    /// Published host ports.
    pub ports: Option<u64>,
}

impl Quota {
    /// What of it the kernel enforces, every field asked for: what has no limit lifts the one there was.
    ///
    /// # Errors
    /// `Invalid` for a limit that no group can have.
    pub fn limits(&self, support: &Support) -> Result<Resources> {
        let asked = |v: Option<u64>| v.map_or(0, |v| i64::try_from(v).unwrap_or(i64::MAX));
        let mut limits = Resources {
            nano_cpus: asked(self.nano_cpus),
            memory: asked(self.memory),
            memory_swap: asked(self.memory_swap),
            pids_limit: Some(self.pids.map_or(-1, |_| asked(self.pids))),
            ..Resources::default()
        };
        cgroup::validate(&mut limits, support, Occasion::Create)?;
        if self.nano_cpus.is_none() {
            limits.cpu_quota = -1;
        }
        if self.memory.is_none() {
            limits.memory = -1;
        }
        Ok(limits)
    }
}

/// The tenants of this host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tenants(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    inventory: Inventory,
    claims: Claims,
    /// From a change's first look at memory until memory has it. Always taken after the write transaction, never before: there is one writer,
    /// and whoever has it may be waiting here.
    changing: tokio::sync::Mutex<()>,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
    by_name: HashMap<String, TenantId>,
    members: BTreeMap<TenantId, BTreeMap<UserId, MemberRole>>,
    grants: BTreeMap<TenantId, Vec<Grant>>,
    /// Blocks of isolated containers by container.
    isolated: HashMap<String, Block>,
    layers: Option<Block>,
    /// Blocks whose data may still be there.
    released: BTreeSet<u32>,
}

impl Tenants {
    /// Reads them all and tells other instances which blocks are ours.
    ///
    /// # Errors
    /// When the database cannot be read, or another instance holds one of our blocks.
    pub async fn open(instance: &Instance, inventory: Inventory, pool: Pool) -> Result<Self> {
        let mut state = State::default();
        let quotas: HashMap<TenantId, Quota> = inventory.quotas().await?.into_iter().collect();
        for row in inventory.tenants().await? {
            let kind = row.owner.map_or(TenantKind::Team, |owner| TenantKind::Personal { owner });
            state.insert(Tenant {
                id: row.id,
                name: row.name,
                kind,
                block: Block::at(row.base),
                created: time(row.created)?,
                quota: quotas.get(&row.id).copied().unwrap_or_default(),
            });
        }
        for (tenant, user, role) in inventory.members().await? {
            state.members.entry(tenant).or_default().insert(user, role);
        }
        for row in inventory.grants().await? {
            let grant = Grant {
                id: row.id,
                tenant: row.tenant,
                kind: row.grant.parse()?,
                expires: row.expires.map(time).transpose()?,
                created: time(row.created)?,
                created_by: row.created_by,
            };
            state.grants.entry(row.tenant).or_default().push(grant);
        }
        let mut held = BTreeSet::new();
        for row in inventory.uid_blocks().await? {
            held.insert(row.base);
            if row.released {
                state.released.insert(row.base);
            } else if let Some(container) = row.container {
                state.isolated.insert(container, Block::at(row.base));
            } else if row.tenant.is_none() {
                state.layers = Some(Block::at(row.base));
            }
        }
        let claims = Claims::open(pool, instance.data_root(), held)?;
        Ok(Self(Arc::new(Inner { inventory, claims, changing: tokio::sync::Mutex::default(), state: RwLock::new(state) })))
    }

    /// A tenant by id.
    pub fn get(&self, id: TenantId) -> Option<Arc<Tenant>> {
        self.read().tenants.get(&id).cloned()
    }

    /// A tenant by name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Tenant>> {
        let state = self.read();
        state.tenants.get(state.by_name.get(name)?).cloned()
    }

    /// All of them, by id.
    pub fn list(&self) -> Vec<Arc<Tenant>> {
        self.read().tenants.values().cloned().collect()
    }

    /// The user's personal tenant, if it was made.
    pub fn personal_of(&self, user: UserId) -> Option<Arc<Tenant>> {
        self.read().tenants.values().find(|t| t.kind == TenantKind::Personal { owner: user }).cloned()
    }

    /// The user's tenants with the role in each; the personal one first.
    pub fn of_user(&self, user: UserId) -> Vec<(Arc<Tenant>, MemberRole)> {
        let state = self.read();
        let mut all: Vec<_> = state.tenants.values().filter_map(|t| state.role(t, user).map(|role| (t.clone(), role))).collect();
        all.sort_by_key(|(t, _)| (t.kind == TenantKind::Team, t.id));
        all
    }

    /// What the user is in the tenant; `None`: a stranger, or there is no such tenant.
    pub fn role(&self, tenant: TenantId, user: UserId) -> Option<MemberRole> {
        let state = self.read();
        state.role(state.tenants.get(&tenant)?, user)
    }

    /// A team's members.
    pub fn members(&self, tenant: TenantId) -> BTreeMap<UserId, MemberRole> {
        self.read().members.get(&tenant).cloned().unwrap_or_default()
    }

    /// The tenant's uid block.
    ///
    /// # Errors
    /// `NotFound` when the tenant is gone.
    pub fn block(&self, tenant: TenantId) -> Result<Block> {
        self.get(tenant).map(|t| t.block).ok_or_else(|| no_such(&tenant.to_string()))
    }

    /// The block of an isolated container, if it has one.
    pub fn isolated_block(&self, container: &crate::ContainerId) -> Option<Block> {
        self.read().isolated.get(container.as_str()).copied()
    }

    /// Whose block a host uid lies in, if it is a tenant's or one of its isolated containers' (tests and peer credentials).
    pub fn tenant_of_uid(&self, uid: u32) -> Option<TenantId> {
        self.read().tenants.values().find(|t| t.block.contains(uid)).map(|t| t.id)
    }

    /// The user's personal tenant, made when it is missing.
    ///
    /// # Errors
    /// `Conflict` when another tenant has that name.
    pub async fn personal(&self, tx: Tx, user: UserId, name: &str) -> Result<Arc<Tenant>> {
        let _changing = self.0.changing.lock().await;
        match self.personal_of(user) {
            Some(tenant) => {
                commit(tx).await?;
                Ok(tenant)
            }
            None => self.make(tx, name, Some(user), None).await,
        }
    }

    /// A team's tenant, with its first owner.
    ///
    /// # Errors
    /// `Conflict` when the name is taken, `Invalid` when it is no name, `Exhausted` when no uid block is left.
    pub async fn create_team(&self, tx: Tx, name: &str, owner: UserId) -> Result<Arc<Tenant>> {
        let _changing = self.0.changing.lock().await;
        self.make(tx, name, None, Some(owner)).await
    }

    async fn make(&self, mut tx: Tx, name: &str, personal: Option<UserId>, member: Option<UserId>) -> Result<Arc<Tenant>> {
        check_name(name)?;
        if self.read().by_name.contains_key(name) {
            return Err(Error::conflict(format!("there is a tenant {name:?} already")));
        }
        let now = Timestamp::now();
        let block = self.0.claims.claim()?;
        let id = rows::insert_tenant(&mut tx, name, personal, now.as_millisecond()).await?;
        rows::insert_block(&mut tx, block.base, Purpose::Tenant(id)).await?;
        if let Some(user) = member {
            rows::set_member(&mut tx, id, user, MemberRole::Owner).await?;
        }
        commit(tx).await?;
        let kind = personal.map_or(TenantKind::Team, |owner| TenantKind::Personal { owner });
        let mut state = self.write();
        if let Some(user) = member {
            state.members.entry(id).or_default().insert(user, MemberRole::Owner);
        }
        Ok(state.insert(Tenant { id, name: name.to_owned(), kind, block, created: time(now.as_millisecond())?, quota: Quota::default() }))
    }

    /// Ends a tenant. Its objects must be gone; its blocks stay tombstoned until [`Tenants::forget_block`].
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn remove(&self, mut tx: Tx, id: TenantId) -> Result<()> {
        let _changing = self.0.changing.lock().await;
        let tenant = self.get(id).ok_or_else(|| no_such(&id.to_string()))?;
        rows::remove_tenant(&mut tx, id, Timestamp::now().as_millisecond()).await?;
        commit(tx).await?;
        let mut state = self.write();
        state.tenants.remove(&id);
        state.by_name.remove(&tenant.name);
        state.members.remove(&id);
        state.grants.remove(&id);
        state.released.insert(tenant.block.base);
        Ok(())
    }

    /// Gives a tenant another name.
    ///
    /// # Errors
    /// As for making one.
    pub async fn rename(&self, mut tx: Tx, id: TenantId, name: &str) -> Result<()> {
        let _changing = self.0.changing.lock().await;
        check_name(name)?;
        let old = self.get(id).ok_or_else(|| no_such(&id.to_string()))?;
        if old.name == name {
            // What was asked is so already, and the audit row says it was asked.
            return commit(tx).await;
        }
        if self.read().by_name.contains_key(name) {
            return Err(Error::conflict(format!("there is a tenant {name:?} already")));
        }
        rows::rename_tenant(&mut tx, id, name).await?;
        commit(tx).await?;
        let mut state = self.write();
        state.by_name.remove(&old.name);
        state.insert(Tenant { name: name.to_owned(), ..(*old).clone() });
        Ok(())
    }

    /// Makes a user a member of a team, or changes the role.
    ///
    /// # Errors
    /// `Invalid` for a personal tenant: those have one user for ever.
    pub async fn set_member(&self, mut tx: Tx, tenant: TenantId, user: UserId, role: MemberRole) -> Result<()> {
        let _changing = self.0.changing.lock().await;
        let t = self.get(tenant).ok_or_else(|| no_such(&tenant.to_string()))?;
        if t.kind != TenantKind::Team {
            return Err(Error::invalid(format!("{} is a personal tenant: only a team's has members", t.name)));
        }
        self.keep_an_owner(tenant, user, Some(role))?;
        rows::set_member(&mut tx, tenant, user, role).await?;
        commit(tx).await?;
        self.write().members.entry(tenant).or_default().insert(user, role);
        Ok(())
    }

    /// Takes a user out of a team.
    ///
    /// # Errors
    /// `NotFound` when the user is no member, `Conflict` for the last owner.
    pub async fn remove_member(&self, mut tx: Tx, tenant: TenantId, user: UserId) -> Result<()> {
        let _changing = self.0.changing.lock().await;
        self.keep_an_owner(tenant, user, None)?;
        if !rows::delete_member(&mut tx, tenant, user).await? {
            return Err(Error::new(crate::Kind::NotFound, "no such member"));
        }
        commit(tx).await?;
        self.write().members.entry(tenant).or_default().remove(&user);
        Ok(())
    }

    fn keep_an_owner(&self, tenant: TenantId, user: UserId, new: Option<MemberRole>) -> Result<()> {
        let members = self.members(tenant);
        let owners = |m: &BTreeMap<UserId, MemberRole>| m.values().filter(|r| **r == MemberRole::Owner).count();
        let mut after = members.clone();
        match new {
            Some(role) => after.insert(user, role),
            None => after.remove(&user),
        };
        if owners(&members) > 0 && owners(&after) == 0 {
            return Err(Error::conflict("a team keeps at least one owner: make somebody else owner first"));
        }
        Ok(())
    }

    /// Sets what a tenant may use. The caller applies it to the tenant's cgroup.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn set_quota(&self, mut tx: Tx, id: TenantId, quota: Quota) -> Result<()> {
        let _changing = self.0.changing.lock().await;
        let tenant = self.get(id).ok_or_else(|| no_such(&id.to_string()))?;
        rows::set_quota(&mut tx, id, &quota).await?;
        commit(tx).await?;
        self.write().insert(Tenant { quota, ..(*tenant).clone() });
        Ok(())
    }

    /// A block for an isolated container; the same one when it has it already.
    ///
    /// # Errors
    /// `Exhausted` when no block is left.
    pub async fn isolate(&self, tx: &mut Tx, tenant: TenantId, container: &crate::ContainerId) -> Result<Block> {
        if let Some(block) = self.isolated_block(container) {
            return Ok(block);
        }
        // If the caller's transaction is rolled back, memory holds a block too many until the next start; never one too few.
        let block = self.0.claims.claim()?;
        rows::insert_block(tx, block.base, Purpose::Container(tenant, container.as_str())).await?;
        self.write().isolated.insert(container.as_str().to_owned(), block);
        Ok(block)
    }

    /// Tombstones the block of an isolated container that is being removed.
    pub async fn release_isolated(&self, tx: &mut Tx, container: &crate::ContainerId) -> Result<()> {
        let Some(block) = self.isolated_block(container) else { return Ok(()) };
        rows::release_block(tx, block.base, Timestamp::now().as_millisecond()).await?;
        let mut state = self.write();
        state.isolated.remove(container.as_str());
        state.released.insert(block.base);
        Ok(())
    }

    /// The block in which the layers that all tenants share are unpacked; no process of a tenant ever runs in it.
    pub async fn layers_block(&self) -> Result<Block> {
        if let Some(block) = self.read().layers {
            return Ok(block);
        }
        let mut tx = self.0.inventory.begin().await?;
        let _changing = self.0.changing.lock().await;
        if let Some(block) = self.read().layers {
            return Ok(block);
        }
        let block = self.0.claims.claim()?;
        rows::insert_block(&mut tx, block.base, Purpose::Layers).await?;
        commit(tx).await?;
        let mut state = self.write();
        state.layers = Some(block);
        Ok(block)
    }

    /// Tombstoned blocks, for whoever removes data: when nothing on disk is owned by one any more, [`Tenants::forget_block`] frees it.
    pub fn released_blocks(&self) -> Vec<Block> {
        self.read().released.iter().map(|b| Block::at(*b)).collect()
    }

    /// Frees a tombstoned block for others.
    ///
    /// # Errors
    /// `Conflict` when it is in use.
    pub async fn forget_block(&self, block: Block) -> Result<()> {
        let mut tx = self.0.inventory.begin().await?;
        let _changing = self.0.changing.lock().await;
        if !rows::delete_released_block(&mut tx, block.base).await? {
            return Err(Error::conflict(format!("uid block {} is in use", block.base)));
        }
        commit(tx).await?;
        self.write().released.remove(&block.base);
        self.0.claims.release(block.base)
    }

    /// A tenant's grants, the expired ones too.
    pub fn grants(&self, tenant: TenantId) -> Vec<Grant> {
        self.read().grants.get(&tenant).cloned().unwrap_or_default()
    }

    /// Gives a tenant a permission beyond the default; one of the same kind and value is replaced.
    ///
    /// # Errors
    /// `NotFound` when there is no such tenant.
    pub async fn add_grant(&self, mut tx: Tx, tenant: TenantId, kind: GrantKind, expires: Option<Timestamp>, by: &str) -> Result<Grant> {
        let _changing = self.0.changing.lock().await;
        self.get(tenant).ok_or_else(|| no_such(&tenant.to_string()))?;
        let now = time(Timestamp::now().as_millisecond())?;
        let expires = expires.map(|t| time(t.as_millisecond())).transpose()?;
        let text = kind.to_string();
        let id = grant_rows::insert_grant(&mut tx, tenant, &text, expires.map(Timestamp::as_millisecond), now.as_millisecond(), by).await?;
        commit(tx).await?;
        let grant = Grant { id, tenant, kind, expires, created: now, created_by: by.to_owned() };
        let mut state = self.write();
        let grants = state.grants.entry(tenant).or_default();
        grants.retain(|g| g.kind != grant.kind);
        grants.push(grant.clone());
        Ok(grant)
    }

    /// Takes a permission back. What runs by it goes on; nothing new starts by it.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn remove_grant(&self, mut tx: Tx, id: GrantId) -> Result<Grant> {
        let _changing = self.0.changing.lock().await;
        let found = self.read().grants.values().flatten().find(|g| g.id == id).cloned();
        let grant = found.ok_or_else(|| Error::no_such("grant", &id.to_string()))?;
        grant_rows::delete_grant(&mut tx, id).await?;
        commit(tx).await?;
        if let Some(grants) = self.write().grants.get_mut(&grant.tenant) {
            grants.retain(|g| g.id != id);
        }
        Ok(grant)
    }

    /// What the policy needs to know of who asks, now: the grants in force, the quota, the home folder of the Unix account.
    ///
    /// # Errors
    /// `NotFound` when the tenant is gone.
    pub fn standing(&self, who: &Subject) -> Result<crate::policy::Standing> {
        let tenant = self.get(who.tenant).ok_or_else(|| no_such(&who.tenant_name))?;
        let now = Timestamp::now();
        // The administrator's own tenant has all grants, but only in the administrator's own hands: a container that mounted the tenant's socket
        // is not the administrator.
        let own = matches!(tenant.kind, TenantKind::Personal { owner } if who.user == Some(owner));
        let grants = if own && who.role == Role::Admin {
            Grants::All
        } else {
            Grants::Only(self.grants(who.tenant).into_iter().filter(|g| g.is_in_force(now)).collect())
        };
        let home = match who.unix {
            Some(account) => home_of(account.uid)?,
            None => None,
        };
        Ok(crate::policy::Standing { grants, quota: tenant.quota, home })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(|e| e.into_inner())
    }
}

impl State {
    fn insert(&mut self, tenant: Tenant) -> Arc<Tenant> {
        let tenant = Arc::new(tenant);
        self.by_name.insert(tenant.name.clone(), tenant.id);
        self.tenants.insert(tenant.id, tenant.clone());
        tenant
    }

    fn role(&self, tenant: &Tenant, user: UserId) -> Option<MemberRole> {
        match tenant.kind {
            TenantKind::Personal { owner } => (owner == user).then_some(MemberRole::Owner),
            TenantKind::Team => self.members.get(&tenant.id)?.get(&user).copied(),
        }
    }
}

/// Whether `name` can be a tenant's: it becomes a file name (socket, cgroup) and part of URLs.
///
/// # Errors
/// When it cannot.
pub fn check_name(name: &str) -> Result<()> {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 63 && name.chars().all(ok) {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "invalid tenant name {name:?}: 1 to 63 letters, digits, dots, dashes and underscores, the first a letter or digit"
        )))
    }
}

/// The home folder that passwd gives a Unix account; `None` for accounts without one of their own.
fn home_of(uid: u32) -> Result<Option<std::path::PathBuf>> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).doing(|| format!("looking up the account {uid}"))?;
    Ok(user.map(|u| u.dir))
}

fn no_such(name: &str) -> Error {
    Error::no_such("tenant", name)
}

fn time(milliseconds: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(milliseconds).doing(|| "reading a time from the database".into())
}

async fn commit(tx: Tx) -> Result<()> {
    tx.commit().await.doing(|| "committing a transaction".into())
}

#[cfg(test)]
mod tests;
