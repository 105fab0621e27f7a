//! Policy: whether somebody may have the exact, fully resolved thing that will happen.
//!
//! [`authorize`] and its sisters are the only makers of [`Authorized`], and everything that acts on the kernel takes nothing else. They take specifications
//! apart field by field without `..`, so a new field does not compile until somebody judged it; what is not known to be harmless needs a grant.
//! Names were resolved before (to the subject's own objects), nothing is resolved after. No rule here reads anything but its arguments.

mod action;
mod container;
mod object;

pub use action::{Action, authorize_action};
pub use container::{authorize, authorize_exec};
pub use object::{Counted, authorize_network, authorize_volume};

use crate::grant::{GrantKind, Grants};
use crate::tenant::Quota;
use crate::{Digest, Error, Kind, Subject, UnixAccount};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// What the policy knows of who asks, beyond the subject: made by `Tenants::standing`.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The tenant's grants in force.
    pub grants: Grants,
    /// What the tenant may use.
    pub quota: Quota,
    /// The home folder of the requesting Unix account.
    pub home: Option<PathBuf>,
}

/// Something policy said yes to. It cannot be made or changed outside of this module.
#[derive(Debug, Clone, PartialEq)]
pub struct Authorized<T> {
    what: T,
    hash: Digest,
    rule: String,
    binds: BTreeMap<String, BindAccess>,
}

impl<T> Authorized<T> {
    /// SHA-256 of the canonical JSON of what was agreed to: for the audit row.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// What allowed it: `default`, `administrator`, or the grants it took.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// How each bind mount's source is to be opened, by its target in the container.
    pub fn binds(&self) -> &BTreeMap<String, BindAccess> {
        &self.binds
    }

    /// Ends the proof and keeps the thing, for keeping in memory; what is changed now needs to be judged again.
    pub fn into_inner(self) -> T {
        self.what
    }
}

impl<T> std::ops::Deref for Authorized<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.what
    }
}

/// On whose word a host path is opened, and how far it reaches. Whoever opens it never follows a symlink below `below`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum BindAccess {
    /// The requesting Unix account's own home: opened with that account's rights, and mapped so that what the container writes belongs to it.
    HomeBind {
        /// The account.
        account: UnixAccount,
        /// Its home folder.
        below: PathBuf,
    },
    /// A grant's path.
    Granted {
        /// The granted path.
        below: PathBuf,
    },
    /// The administrator's word.
    Administrator,
}

/// A refusal: what, and which grants would allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    tenant: String,
    reasons: Vec<Reason>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Reason {
    what: String,
    grant: Option<GrantKind>,
}

impl Denied {
    fn flat(who: &Subject, what: impl Into<String>) -> Self {
        Self { tenant: who.tenant_name.clone(), reasons: vec![Reason { what: what.into(), grant: None }] }
    }

    /// The grants that would be needed; empty when none would help.
    pub fn grants(&self) -> impl Iterator<Item = &GrantKind> {
        self.reasons.iter().filter_map(|r| r.grant.as_ref())
    }

    /// For the audit row: `no grant bind=/etc, gpu`.
    pub fn rule(&self) -> String {
        let needed: Vec<String> = self.grants().map(ToString::to_string).collect();
        if needed.is_empty() { "refused".to_owned() } else { format!("no grant {}", needed.join(", ")) }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused: Vec<&str> = self.reasons.iter().filter(|r| r.grant.is_none()).map(|r| r.what.as_str()).collect();
        if !refused.is_empty() {
            return f.write_str(&refused.join("; "));
        }
        let whats: Vec<String> =
            self.reasons.iter().filter_map(|r| r.grant.as_ref().map(|g| format!("{} needs the grant {g}", r.what))).collect();
        write!(f, "permission denied: {}. Tenant {} does not have it; an administrator can give it: ", whats.join(", "), self.tenant)?;
        let commands: Vec<String> = self.grants().map(|g| format!("wharf grant add --tenant {} {g}", self.tenant)).collect();
        f.write_str(&commands.join("; "))
    }
}

impl std::error::Error for Denied {}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Error {
        Error::new(Kind::Forbidden, denied.to_string())
    }
}

/// The state of one judgement: what was needed, what was missing.
struct Judge<'a> {
    who: &'a Subject,
    standing: &'a Standing,
    used: Vec<String>,
    missing: Vec<Reason>,
    binds: BTreeMap<String, BindAccess>,
}

impl<'a> Judge<'a> {
    fn new(who: &'a Subject, standing: &'a Standing) -> Self {
        Self { who, standing, used: Vec::new(), missing: Vec::new(), binds: BTreeMap::new() }
    }

    /// Needs this grant.
    fn need(&mut self, what: impl Into<String>, grant: GrantKind) {
        let there = self.standing.grants.has(&grant);
        self.settle(there, what, grant);
    }

    /// Needs `grant`, and whether it is `there` was found out already.
    fn settle(&mut self, there: bool, what: impl Into<String>, grant: GrantKind) {
        if there {
            self.use_word(grant.to_string());
        } else {
            let reason = Reason { what: what.into(), grant: Some(grant) };
            if !self.missing.contains(&reason) {
                self.missing.push(reason);
            }
        }
    }

    fn use_word(&mut self, word: String) {
        if !self.used.contains(&word) {
            self.used.push(word);
        }
    }

    /// Nothing allows this.
    fn refuse(&mut self, what: impl Into<String>) {
        self.missing.push(Reason { what: what.into(), grant: None });
    }

    fn finish<T>(self, what: T, hash: Digest) -> Result<Authorized<T>, Denied> {
        if !self.missing.is_empty() {
            return Err(Denied { tenant: self.who.tenant_name.clone(), reasons: self.missing });
        }
        let rule = match (&self.standing.grants, self.used.is_empty()) {
            (_, true) => "default".to_owned(),
            (Grants::All, false) => "administrator".to_owned(),
            (Grants::Only(_), false) => format!("grant {}", self.used.join(", ")),
        };
        Ok(Authorized { what, hash, rule, binds: self.binds })
    }
}

/// SHA-256 of the canonical JSON: fields in their order, maps sorted.
fn hash_of(what: &impl serde::Serialize) -> Digest {
    let json = serde_json::to_vec(what).unwrap_or_else(|e| unreachable!("maps with text keys and finite numbers only: {e}"));
    Digest::of(&json)
}

#[cfg(test)]
mod tests;
