//! Builds the shim (`engine/shim`, a static program of its own) so that it can be embedded, and rebuilds when a
//! migration is added: `migrate!` does not notice new files by itself.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
    println!("cargo:rerun-if-changed=shim");
    // Sources shared with the shim ask whether they are compiled as part of it.
    println!("cargo:rustc-check-cfg=cfg(feature, values(\"shim\"))");
    build_shim();
}

/// Compiles the shim with the same cargo, for musl where that target is installed (starts in a third of the time of a
/// static glibc program, LIMITS: 138 against 382 µs), else for the host's target with a static C library.
fn build_shim() {
    let out = PathBuf::from(env("OUT_DIR"));
    let architecture = env("CARGO_CFG_TARGET_ARCH");
    let musl = format!("{architecture}-unknown-linux-musl");
    let target = if has_target(&musl) { musl } else { env("TARGET") };
    let folder = out.join("shim");
    let mut last = String::new();
    // Offline first: the one dependency (libc) is the workspace's, so it is already here.
    for offline in [true, false] {
        let mut cargo = Command::new(env("CARGO"));
        cargo
            .args(["build", "--release", "--locked", "--quiet", "--manifest-path", "shim/Cargo.toml", "--target", &target])
            .args(offline.then_some("--offline"))
            .arg("--target-dir")
            .arg(&folder)
            // Static and at a fixed address: no loader, no relocations, so forks share every page of it.
            .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static\x1f-Crelocation-model=static")
            .env_remove("RUSTFLAGS")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .env_remove("CARGO_TARGET_DIR");
        let output = cargo.output().expect("cargo runs");
        if output.status.success() {
            let program = folder.join(&target).join("release/wharf-shim");
            std::fs::copy(program, out.join("wharf-shim")).expect("the shim can be copied");
            return;
        }
        last = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    panic!("building engine/shim for {target} failed:\n{last}");
}

fn has_target(target: &str) -> bool {
    let output = Command::new(env("RUSTC")).args(["--print", "sysroot"]).output();
    output.is_ok_and(|o| {
        let sysroot = String::from_utf8_lossy(&o.stdout).trim().to_owned();
        Path::new(&sysroot).join("lib/rustlib").join(target).join("lib").exists()
    })
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
