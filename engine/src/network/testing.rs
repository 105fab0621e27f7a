//! For this folder's tests: threads in network namespaces of their own, and the outside view by `ip` and `nft`.

use std::os::fd::OwnedFd;
use std::process::Command;

/// Runs a test in a fresh network namespace with loopback up. Prints SKIPPED where the kernel or our rights lack it.
pub fn in_netns(test: impl FnOnce() + Send + 'static) {
    let ran = std::thread::spawn(move || {
        if let Err(e) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            println!("SKIPPED: cannot make a network namespace: {e}");
            return;
        }
        if Command::new("ip").arg("-V").output().is_err() || Command::new("nft").arg("--version").output().is_err() {
            println!("SKIPPED: the tests look from outside with `ip` and `nft`, which are not installed (iproute2, nftables)");
            return;
        }
        run("ip link set lo up");
        test();
    });
    if let Err(panic) = ran.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A fresh network namespace, without going there to stay.
pub fn netns() -> OwnedFd {
    std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        std::fs::File::open("/proc/thread-self/ns/net").unwrap().into()
    })
    .join()
    .unwrap()
}

/// Runs something in a network namespace, on a thread of its own.
pub fn inside<T: Send + 'static>(netns: &OwnedFd, work: impl FnOnce() -> T + Send + 'static) -> T {
    let netns = netns.try_clone().unwrap();
    std::thread::spawn(move || {
        nix::sched::setns(&netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        work()
    })
    .join()
    .unwrap()
}

/// A shell command's output; it must succeed.
pub fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Its output as JSON.
pub fn json(command: &str) -> serde_json::Value {
    serde_json::from_str(&run(command)).unwrap()
}
