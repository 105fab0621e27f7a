//! What can be done, and which credential may do it. Ownership is not judged here: a name that is not the subject's resolves to nothing.

use super::Denied;
use crate::{Role, Scope, Subject};

macro_rules! actions {
    ($($name:ident $word:literal $scope:ident;)*) => {
        /// Everything that can be asked, in the words of the audit log.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Action { $($name),* }

        impl Action {
            /// All of them.
            pub const ALL: &[Action] = &[$(Action::$name),*];

            /// The word in audit rows: `noun.verb`.
            pub fn as_str(self) -> &'static str {
                match self { $(Action::$name => $word),* }
            }

            /// What a credential must be good for at least. `Admin` also takes the role.
            pub fn scope(self) -> Scope {
                match self { $(Action::$name => Scope::$scope),* }
            }
        }
    };
}

actions! {
    ContainerRead "container.read" Read;
    ContainerLogs "container.logs" Read;
    ContainerWait "container.wait" Read;
    ContainerExport "container.export" Read;
    ContainerArchiveGet "container.archive_get" Read;
    ContainerCreate "container.create" Write;
    ContainerStart "container.start" Write;
    ContainerStop "container.stop" Write;
    ContainerRestart "container.restart" Write;
    ContainerKill "container.kill" Write;
    ContainerPause "container.pause" Write;
    ContainerUnpause "container.unpause" Write;
    ContainerRename "container.rename" Write;
    ContainerUpdate "container.update" Write;
    ContainerResize "container.resize" Write;
    ContainerAttach "container.attach" Write;
    ContainerExec "container.exec" Write;
    ContainerArchivePut "container.archive_put" Write;
    ContainerCommit "container.commit" Write;
    ContainerRemove "container.remove" Write;
    ContainerPrune "container.prune" Write;
    ImageRead "image.read" Read;
    ImageSave "image.save" Read;
    ImagePull "image.pull" Write;
    ImagePush "image.push" Write;
    ImageLoad "image.load" Write;
    ImageImport "image.import" Write;
    ImageBuild "image.build" Write;
    ImageTag "image.tag" Write;
    ImageRemove "image.remove" Write;
    ImagePrune "image.prune" Write;
    RegistryLogin "registry.login" Write;
    LogRemove "log.remove" Write;
    VolumeRead "volume.read" Read;
    VolumeCreate "volume.create" Write;
    VolumeRemove "volume.remove" Write;
    VolumePrune "volume.prune" Write;
    VolumeFilePut "volume.file_put" Write;
    VolumeFileRemove "volume.file_remove" Write;
    VolumeRestore "volume.restore" Write;
    VolumePurge "volume.purge" Write;
    NetworkRead "network.read" Read;
    NetworkCreate "network.create" Write;
    NetworkConnect "network.connect" Write;
    NetworkDisconnect "network.disconnect" Write;
    NetworkRemove "network.remove" Write;
    NetworkPrune "network.prune" Write;
    StackRead "stack.read" Read;
    StackChange "stack.change" Write;
    HostRead "host.read" Read;
    EventsRead "events.read" Read;
    TenantRead "tenant.read" Read;
    TenantChange "tenant.change" Admin;
    GrantRead "grant.read" Read;
    GrantChange "grant.change" Admin;
    QuotaChange "quota.change" Admin;
    UserChange "user.change" Admin;
    AuditRead "audit.read" Admin;
    DoctorRead "doctor.read" Admin;
}

/// Whether this credential may do such a thing at all.
///
/// # Errors
/// A refusal that says which credential could.
pub fn authorize_action(who: &Subject, action: Action) -> Result<(), Denied> {
    let needed = action.scope();
    if needed == Scope::Admin && who.role != Role::Admin {
        return Err(Denied::flat(who, format!("permission denied: {} is for administrators", action.as_str())));
    }
    if who.scope < needed {
        let word = match needed {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Admin => "admin",
        };
        return Err(Denied::flat(
            who,
            format!("permission denied: {} needs a credential (or a membership) with the scope {word}", action.as_str()),
        ));
    }
    Ok(())
}
