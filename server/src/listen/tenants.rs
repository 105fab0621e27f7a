//! One Unix socket per tenant, `<run dir>/t/<tenant>.sock`: follows the tenants as they come, go and change names.

use super::connection::Serving;
use super::unix::{Socket, Speaks};
use crate::auth::accounts::Accounts;
use engine::{Doing, Result, TenantId};
use std::collections::HashMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Keeps the sockets until the server is to end. A socket that cannot be bound is logged; the others stand.
///
/// # Errors
/// When the folder cannot be made.
pub async fn keep(run_dir: &Path, accounts: Accounts, serving: Serving) -> Result<()> {
    let folder = run_dir.join("t");
    let doing = || format!("making {}", folder.display());
    std::fs::create_dir_all(&folder).doing(doing)?;
    // To reach a socket by its name, not to list them: names of tenants are nobody else's business.
    std::fs::set_permissions(&folder, Permissions::from_mode(0o711)).doing(doing)?;
    let mut changes = accounts.changes();
    let mut bound: HashMap<(TenantId, String), CancellationToken> = HashMap::new();
    follow(&folder, &accounts, &serving, &mut bound);
    serving.connections.clone().spawn(async move {
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = serving.stop.cancelled() => return,
            }
            follow(&folder, &accounts, &serving, &mut bound);
        }
    });
    Ok(())
}

fn follow(folder: &Path, accounts: &Accounts, serving: &Serving, bound: &mut HashMap<(TenantId, String), CancellationToken>) {
    let wanted: HashMap<(TenantId, String), PathBuf> =
        accounts.tenants().list().iter().map(|t| ((t.id, t.name.clone()), folder.join(format!("{}.sock", t.name)))).collect();
    bound.retain(|key, until| {
        let stays = wanted.contains_key(key);
        if !stays {
            until.cancel();
        }
        stays
    });
    for (key, path) in wanted {
        if bound.contains_key(&key) {
            continue;
        }
        match Socket::bind(&path) {
            Ok(socket) => {
                let until = serving.stop.child_token();
                serving.connections.spawn(socket.serve(Speaks::ForTenant(key.0), serving.clone(), until.clone()));
                bound.insert(key, until);
            }
            Err(e) => tracing::error!(error = ?e, socket = %path.display(), "a tenant's socket could not be bound"),
        }
    }
}
