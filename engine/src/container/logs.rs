//! A container's log: read from files the shim writes, so it is the same whether or not the server was up.

use super::effective::LogDriver;
use super::record::Entry;
use super::request::{LogOptions, Logs};
use crate::engine::Engine;
use crate::log::{Facts, Source};
use crate::policy::Action;
use crate::{ContainerId, Error, Result, Subject};
use std::path::PathBuf;
use std::sync::Arc;

impl Engine {
    /// Its log.
    ///
    /// # Errors
    /// `Invalid` when neither stream is asked for; `Unsupported` when the driver keeps nothing to read.
    pub async fn logs(&self, who: &Subject, name: &str, options: &LogOptions) -> Result<Logs> {
        let entry = self.registry().find(who.tenant, name)?;
        self.judge(who, Action::ContainerRead).await?;
        if !options.stdout && !options.stderr {
            return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
        }
        self.read_logs(&entry, options.clone())
    }

    pub(crate) fn read_logs(&self, entry: &Arc<Entry>, options: LogOptions) -> Result<Logs> {
        let source = self.log_source(entry)?;
        crate::log::read(source, options, entry.fixed.effective.process.tty, entry.writing.subscribe())
    }

    /// Its files, where its driver keeps any that may be read.
    pub(crate) fn log_source(&self, entry: &Entry) -> Result<Source> {
        let folder = self.log_folder(&entry.id);
        let driver = &entry.fixed.effective.log.driver;
        match driver {
            LogDriver::None | LogDriver::Sent { readable: false, .. } => Err(crate::log::unreadable()),
            LogDriver::Local { .. } | LogDriver::Sent { .. } => Ok(Source::Local(folder)),
            LogDriver::JsonFile { .. } => Ok(Source::JsonFile(folder.join(file_name(driver, &entry.id)))),
        }
    }

    /// What a log says of its container.
    pub(super) fn log_facts(&self, entry: &Entry) -> Result<Facts> {
        let effective = &entry.fixed.effective;
        let labels = effective.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        Ok(Facts {
            id: entry.id.to_string(),
            name: entry.name(),
            image_id: entry.fixed.image.to_string(),
            image: entry.fixed.spec.image.clone(),
            command: effective.process.argv.join(" "),
            created: entry.created,
            extra: crate::log::attributes(&effective.log.options, labels, &effective.process.env)?,
        })
    }

    /// The `attrs` of every line of Docker's file, in JSON; empty: none were asked for.
    pub(super) fn log_attrs(&self, entry: &Entry) -> Result<String> {
        let log = &entry.fixed.effective.log;
        if !matches!(log.driver, LogDriver::JsonFile { .. }) || !log.options.keys().any(|key| crate::log::SHARED.contains(&key.as_str())) {
            return Ok(String::new());
        }
        let facts = self.log_facts(entry)?;
        let mut attrs = facts.extra.clone();
        if let Some(template) = log.options.get("tag") {
            attrs.insert("tag".to_owned(), crate::log::tag(template, &facts)?);
        }
        if attrs.is_empty() {
            return Ok(String::new());
        }
        serde_json::to_string(&attrs).map_err(|e| Error::internal("writing a log's attributes", e))
    }

    /// Compresses what logs have rotated out, every now and then, one file at a time.
    pub(crate) async fn pack_logs(&self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(PACKING) => {}
                () = self.closing().cancelled() => return,
            }
            for entry in self.registry().all() {
                let driver = &entry.fixed.effective.log.driver;
                if !driver.compresses() {
                    continue;
                }
                let folder = self.log_folder(&entry.id);
                let source = match driver {
                    LogDriver::JsonFile { .. } => Source::JsonFile(folder.join(file_name(driver, &entry.id))),
                    _ => Source::Local(folder),
                };
                match tokio::task::spawn_blocking(move || crate::log::pack(&source)).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(container.id = entry.id.short(), ?error, "older log files could not be compressed");
                    }
                    Err(error) => tracing::error!(container.id = entry.id.short(), %error, "compressing log files ended in a panic"),
                }
            }
        }
    }

    pub(crate) fn log_folder(&self, id: &ContainerId) -> PathBuf {
        self.container_folder(id).join("log")
    }
}

/// How often rotated log files are looked for.
const PACKING: std::time::Duration = std::time::Duration::from_secs(20);

/// Whether inspect shows a file: as with Docker only where the driver is one of files.
pub(super) fn has_file(driver: &LogDriver) -> bool {
    matches!(driver, LogDriver::Local { .. } | LogDriver::JsonFile { .. })
}

/// The log's file name, as inspect shows it.
pub(crate) fn file_name(driver: &LogDriver, id: &ContainerId) -> String {
    match driver {
        LogDriver::JsonFile { .. } => format!("{id}-json.log"),
        _ => "container.log".to_owned(),
    }
}
