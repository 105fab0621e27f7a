//! Sending a running container's log on, for the drivers that do: one task for each run, which outlives the run until all
//! of it is sent, and a server's restart in that the next one goes on where it ended.

use super::effective::LogDriver;
use super::record::Entry;
use super::request::LogOptions;
use crate::Result;
use crate::engine::Engine;
use crate::grant::GrantKind;
use crate::log::Source;
use crate::log::ship::{self, Guard, Shipper, Shipping};
use std::sync::Arc;
use std::time::Duration;

/// How long a removal waits for what is not sent yet.
const PARTING: Duration = Duration::from_secs(3);

/// Where its log is sent, if it is.
pub(super) fn shipping(entry: &Entry) -> Option<&Shipping> {
    match &entry.fixed.effective.log.driver {
        LogDriver::Sent { shipping, .. } => Some(shipping),
        LogDriver::None | LogDriver::Local { .. } | LogDriver::JsonFile { .. } => None,
    }
}

impl Engine {
    /// As Docker: a container does not start whose log nobody would take.
    pub(super) async fn try_shipping(&self, entry: &Entry) -> Result<()> {
        match shipping(entry) {
            Some(shipping) => ship::try_out(shipping, &self.guard(entry, shipping)?).await,
            None => Ok(()),
        }
    }

    /// Sends the log on from where it was left, until the run's end and no more is there.
    pub(super) fn ship_log(&self, entry: &Arc<Entry>) {
        if shipping(entry).is_none() {
            return;
        }
        // Taken here and not in the task: who removes the container a moment later must find it taken.
        let held = entry.shipping.clone().try_lock_owned();
        let (engine, entry) = (self.clone(), entry.clone());
        self.spawn(async move {
            let _one = match held {
                Ok(held) => held,
                Err(_) => entry.shipping.clone().lock_owned().await,
            };
            if let Err(error) = engine.ship(&entry).await {
                tracing::error!(container.id = entry.id.short(), ?error, "a log is not sent on any more");
            }
        });
    }

    async fn ship(&self, entry: &Arc<Entry>) -> Result<()> {
        let Some(shipping) = shipping(entry) else { return Ok(()) };
        let folder = self.log_folder(&entry.id);
        let shipper = Shipper::new(shipping.clone(), self.log_facts(entry)?, self.guard(entry, shipping)?, &folder)?;
        let options = LogOptions { stdout: true, stderr: true, follow: true, since: shipper.since(), ..LogOptions::default() };
        let tty = entry.fixed.effective.process.tty;
        let logs = crate::log::read(Source::Local(folder), options, tty, entry.writing.subscribe())?;
        let stop = self.closing().child_token();
        let mut turns = entry.turns.subscribe();
        let removed = async {
            // An error: the entry is gone, and so is whoever could tell.
            let _ = turns.wait_for(|turns| turns.removed).await;
            stop.cancel();
            std::future::pending::<()>().await
        };
        tokio::select! {
            outcome = shipper.run(logs, &stop) => outcome,
            () = removed => Ok(()),
        }
    }

    /// Waits a while until a container's last lines are sent: with it they go.
    pub(super) async fn last_lines_sent(&self, entry: &Entry) {
        if shipping(entry).is_some() && tokio::time::timeout(PARTING, entry.shipping.lock()).await.is_err() {
            tracing::warn!(container.id = entry.id.short(), "a container is removed whose last lines nobody took");
        }
    }

    fn guard(&self, entry: &Entry, shipping: &Shipping) -> Result<Guard> {
        // Grants may have ended since it was made.
        let grants = self.tenants().standing(&self.engine_subject(entry)?)?.grants;
        let granted = grants.has(&GrantKind::LogTo(shipping.to.clone()));
        Ok(Guard { granted, reach: self.networks_handle().reach(entry.tenant) })
    }
}
