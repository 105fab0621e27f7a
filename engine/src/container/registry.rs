//! All containers in memory: who has which, by id, name and id prefix. Reads never touch SQL.

use super::record::Entry;
use crate::id::{ContainerId, TenantId};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

#[derive(Default)]
pub(crate) struct Registry(RwLock<HashMap<TenantId, Shelf>>);

#[derive(Default)]
struct Shelf {
    /// By full id, in order, so that a prefix is a range.
    ids: BTreeMap<String, Arc<Entry>>,
    names: HashMap<String, ContainerId>,
}

/// A name that nobody else can take until the container is there or the guard is dropped.
pub(crate) struct Reserved<'a> {
    registry: &'a Registry,
    tenant: TenantId,
    name: String,
    kept: bool,
}

impl Registry {
    /// Takes a name for a container that is being made, or tells Docker's conflict.
    pub fn reserve(&self, tenant: TenantId, name: &str, id: &ContainerId) -> Result<Reserved<'_>> {
        let mut shelves = self.write();
        let names = &mut shelves.entry(tenant).or_default().names;
        if let Some(other) = names.get(name) {
            return Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{other}\". You have to remove (or rename) that container to be able to reuse that name."
            )));
        }
        names.insert(name.to_owned(), id.clone());
        Ok(Reserved { registry: self, tenant, name: name.to_owned(), kept: false })
    }

    /// Adds a container whose name was reserved (or comes from the inventory).
    pub fn insert(&self, entry: Arc<Entry>) {
        let name = entry.record().name.clone();
        let mut shelves = self.write();
        let shelf = shelves.entry(entry.tenant).or_default();
        shelf.names.insert(name, entry.id.clone());
        shelf.ids.insert(entry.id.as_str().to_owned(), entry);
    }

    /// Takes a removed container out.
    pub fn remove(&self, entry: &Entry) {
        let name = entry.record().name.clone();
        if let Some(shelf) = self.write().get_mut(&entry.tenant) {
            shelf.ids.remove(entry.id.as_str());
            if shelf.names.get(&name) == Some(&entry.id) {
                shelf.names.remove(&name);
            }
        }
    }

    /// Frees a name.
    pub fn release(&self, tenant: TenantId, name: &str) {
        if let Some(shelf) = self.write().get_mut(&tenant) {
            shelf.names.remove(name);
        }
    }

    /// The tenant's container with this full id, name (with or without Docker's slash) or unique id prefix.
    pub fn find(&self, tenant: TenantId, wanted: &str) -> Result<Arc<Entry>> {
        let absent = || Error::no_such("container", wanted);
        let shelves = self.read();
        let shelf = shelves.get(&tenant).ok_or_else(absent)?;
        if let Some(entry) = shelf.ids.get(wanted) {
            return Ok(entry.clone());
        }
        let name = wanted.strip_prefix('/').unwrap_or(wanted);
        // A reserved name whose container is not made yet is absent.
        if let Some(entry) = shelf.names.get(name).and_then(|id| shelf.ids.get(id.as_str())) {
            return Ok(entry.clone());
        }
        // What a container links to goes by the name it has there too: `web/db`.
        if let Some((linking, alias)) = name.split_once('/')
            && let Some(entry) = shelf.names.get(linking).and_then(|id| shelf.ids.get(id.as_str()))
        {
            let linked = entry.record().legacy_links().find(|(_, name)| *name == alias).map(|(id, _)| id.to_owned());
            return linked.and_then(|id| shelf.ids.get(id.as_str()).cloned()).ok_or_else(absent);
        }
        if wanted.is_empty() {
            return Err(absent());
        }
        let mut matching = shelf.ids.range(wanted.to_owned()..).take_while(|(id, _)| id.starts_with(wanted));
        match (matching.next(), matching.next()) {
            (Some((_, entry)), None) => Ok(entry.clone()),
            (Some(_), Some(_)) => Err(Error::invalid(format!("Multiple IDs found with provided prefix: {wanted}"))),
            (None, _) => Err(absent()),
        }
    }

    /// The tenant's containers, newest first.
    pub fn of(&self, tenant: TenantId) -> Vec<Arc<Entry>> {
        let mut entries: Vec<_> = self.read().get(&tenant).map(|s| s.ids.values().cloned().collect()).unwrap_or_default();
        entries.sort_by_key(|e| std::cmp::Reverse(e.created));
        entries
    }

    /// Everybody's, for start-up and reconciliation only.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.read().values().flat_map(|s| s.ids.values().cloned()).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<TenantId, Shelf>> {
        self.0.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<TenantId, Shelf>> {
        self.0.write().unwrap_or_else(|e| e.into_inner())
    }
}

impl Reserved<'_> {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The container is there: the name is its own now.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.registry.release(self.tenant, &self.name);
        }
    }
}
