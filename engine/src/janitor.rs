//! Empties the trash: one thread, so that a burst of removals does not fill the disk's queue, and off every path that people
//! feel.

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};

/// The janitor's door. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Janitor(Sender<PathBuf>);

impl Janitor {
    /// Starts the thread; it ends when the last handle is dropped.
    pub fn start() -> std::io::Result<Self> {
        let (sender, folders) = channel::<PathBuf>();
        std::thread::Builder::new().name("janitor".to_owned()).spawn(move || {
            for folder in folders {
                empty(&folder);
            }
        })?;
        Ok(Self(sender))
    }

    /// Removes everything in a folder, but not the folder.
    pub fn empty(&self, folder: PathBuf) {
        // Without its thread the next start sweeps.
        let _ = self.0.send(folder);
    }
}

fn empty(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let removed =
            if entry.file_type().is_ok_and(|t| t.is_dir()) { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "the trash could not be emptied");
        }
    }
}
