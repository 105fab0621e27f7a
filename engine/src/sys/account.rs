//! Doing something with the rights of a Unix account, in a thread of its own that ends with it.

use std::io;

/// Runs `work` with the file system rights of a Unix account: its uid, gid and groups, no capabilities.
///
/// The thread's credentials are changed by raw system calls, which touch one thread only (nptl(7): it is glibc's wrappers
/// that change all). The thread ends with the work, so no other work ever runs with them.
///
/// # Errors
/// `work`'s, or that of becoming the account.
pub fn as_account<T: Send>(uid: u32, gid: u32, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let groups = groups_of(uid, gid)?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("as-account".to_owned()).spawn_scoped(scope, || {
            become_account(uid, gid, &groups)?;
            work()
        })?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread with another account's rights panicked")))
    })
}

fn groups_of(uid: u32, gid: u32) -> io::Result<Vec<libc::gid_t>> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid))?;
    let Some(user) = user else { return Ok(vec![gid]) };
    let name = std::ffi::CString::new(user.name).map_err(io::Error::other)?;
    let groups = nix::unistd::getgrouplist(&name, nix::unistd::Gid::from_raw(gid))?;
    Ok(groups.into_iter().map(nix::unistd::Gid::as_raw).collect())
}

fn become_account(uid: u32, gid: u32, groups: &[libc::gid_t]) -> io::Result<()> {
    let check = |result: libc::c_long| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // Groups first: with another uid they can no longer be set. Losing uid 0 clears the capabilities (capabilities(7)).
    // SAFETY: the pointer and length are of one live slice, which the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: three integers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: three integers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_cannot_read_what_is_roots_and_the_process_stays_root() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "x").unwrap();
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let error = as_account(65534, 65534, || std::fs::read(&secret)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(std::fs::read(&secret).is_ok());
    }
}
