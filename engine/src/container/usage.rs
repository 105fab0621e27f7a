//! What a container uses and which processes it has.

use super::request::{ProcessTable, Stats};
use crate::engine::Engine;
use crate::policy::Action;
use crate::{Error, Result, Subject};

impl Engine {
    /// Its processes, as `ps` with these arguments would show them (empty: `-ef`).
    ///
    /// # Errors
    /// `Conflict` when it is not running; `Invalid` for arguments that show no PID.
    pub async fn top(&self, who: &Subject, name: &str, ps_args: &str) -> Result<ProcessTable> {
        let entry = self.registry().find(who.tenant, name)?;
        self.judge(who, Action::ContainerRead).await?;
        let up = entry.up().ok_or_else(|| Error::conflict(format!("Container {} is not running", entry.id)))?;
        let (group, arguments) = (up.group.clone(), ps_args.to_owned());
        let table = crate::blocking(move || crate::stats::top(&group, &arguments)).await?;
        self.tell_container(&entry, "top", &[]);
        Ok(table)
    }

    /// What it uses now; `None` while it is down.
    ///
    /// # Errors
    /// `NotFound` when it is absent or somebody else's.
    pub async fn stats(&self, who: &Subject, name: &str) -> Result<Option<Stats>> {
        let entry = self.registry().find(who.tenant, name)?;
        self.judge(who, Action::ContainerRead).await?;
        let Some(up) = entry.up() else { return Ok(None) };
        let (group, pid) = (up.group.clone(), up.shim.pid());
        crate::blocking(move || crate::stats::sample(&group, pid)).await.map(Some)
    }
}
