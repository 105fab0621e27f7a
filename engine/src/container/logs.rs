//! A container's log: read from files the shim writes, so it is the same whether or not the server was up.

use super::effective::LogDriver;
use super::record::Entry;
use super::request::{LogOptions, Logs};
use crate::engine::Engine;
use crate::log::Source;
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
        let tty = entry.fixed.effective.process.tty;
        let folder = self.log_folder(&entry.id);
        let driver = &entry.fixed.effective.log.driver;
        let source = match driver {
            LogDriver::None => return Err(crate::log::unreadable()),
            LogDriver::Local { .. } => Source::Local(folder),
            LogDriver::JsonFile { .. } => Source::JsonFile(folder.join(file_name(driver, &entry.id))),
        };
        crate::log::read(source, options, tty, entry.writing.subscribe())
    }

    pub(crate) fn log_folder(&self, id: &ContainerId) -> PathBuf {
        self.container_folder(id).join("log")
    }
}

/// The log's file name, as inspect shows it.
pub(crate) fn file_name(driver: &LogDriver, id: &ContainerId) -> String {
    match driver {
        LogDriver::JsonFile { .. } => format!("{id}-json.log"),
        _ => "container.log".to_owned(),
    }
}
