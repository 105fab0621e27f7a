//! Makes the pages' static files: fetches the few third-party packages that package-lock.json names (`npm ci`), bundles and
//! minifies them with our own modules and style sheets (esbuild), gives every file a name with its content's hash, and writes
//! a table that embeds each one plain and gzipped. Nothing third-party is committed, and no Node is needed at run time.
//!
//! It runs again only when the lockfile, the static folder or this file changed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What esbuild bundles: scripts and style sheets, each an entry of its own. Shell and logs load only on their pages.
const ENTRIES: [&str; 5] = ["js/app.js", "js/logs.js", "js/shell.js", "css/app.css", "css/shell.css"];
/// What is embedded as it is.
const PLAIN: [&str; 2] = ["icons.svg", "favicon.svg"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\nbuilding Wharf's pages failed: {why}\n");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    for path in ["package.json", "package-lock.json", ".npmrc", "static", "build.rs", "templates"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let here = PathBuf::from(env("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env("OUT_DIR")?);
    packages(&here)?;

    let bundled = out.join("bundle");
    if bundled.exists() {
        fs::remove_dir_all(&bundled).map_err(|e| format!("emptying {}: {e}", bundled.display()))?;
    }
    let mut esbuild = Command::new(here.join("node_modules/.bin/esbuild"));
    esbuild.current_dir(&here).args(ENTRIES.map(|e| format!("static/{e}"))).arg(format!("--outdir={}", bundled.display())).args([
        "--bundle",
        "--minify",
        "--format=esm",
        "--target=es2022",
        "--legal-comments=eof",
        "--log-level=warning",
    ]);
    run(&mut esbuild, "esbuild")?;

    let mut table = String::from("/// Every static file.\npub static ASSETS: &[Asset] = &[\n");
    for entry in ENTRIES {
        embed(&bundled.join(entry), &out, &mut table)?;
    }
    for file in PLAIN {
        embed(&here.join("static").join(file), &out, &mut table)?;
    }
    table.push_str("];\n");
    let path = out.join("assets.rs");
    fs::write(&path, table).map_err(|e| format!("writing {}: {e}", path.display()))
}

/// Installs what the lockfile names unless node_modules already is exactly that.
fn packages(here: &Path) -> Result<(), String> {
    let lock = fs::read(here.join("package-lock.json")).map_err(|e| format!("reading package-lock.json: {e}"))?;
    let stamp = here.join("node_modules/.wharf-lock");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    // No package of ours needs an install script, so none is run.
    let mut npm = Command::new("npm");
    npm.current_dir(here).args(["ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"]);
    run(&mut npm, "npm ci")?;
    fs::write(&stamp, lock).map_err(|e| format!("writing {}: {e}", stamp.display()))
}

fn run(command: &mut Command, name: &str) -> Result<(), String> {
    match command.output() {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => {
            let said = [done.stdout, done.stderr].concat();
            Err(format!("`{name}` ended with {}:\n{}", done.status, String::from_utf8_lossy(&said)))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(format!(
            "`{name}` could not be started, because Node's package manager is missing.\n\
             Install it and build again; on Debian and Ubuntu:  apt-get install -y npm\n\
             (the start command in README.md does this by itself)"
        )),
        Err(e) => Err(format!("`{name}` could not be started: {e}")),
    }
}

/// Adds one file to the table, and its gzipped twin beside it.
fn embed(file: &Path, out: &Path, table: &mut String) -> Result<(), String> {
    let bytes = fs::read(file).map_err(|e| format!("reading {}: {e}", file.display()))?;
    let name = file.file_name().and_then(|n| n.to_str()).ok_or("a static file has no name")?;
    let (stem, extension) = name.rsplit_once('.').ok_or_else(|| format!("{name} has no extension"))?;
    let mime = match extension {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        other => return Err(format!("no media type is known for .{other} ({name})")),
    };
    let hashed = format!("{stem}-{:016x}.{extension}", fnv1a(&bytes));
    let plain = out.join(name);
    let packed = out.join(format!("{name}.gz"));
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let squeezed = gz.write_all(&bytes).and_then(|()| gz.finish()).map_err(|e| format!("compressing {name}: {e}"))?;
    fs::write(&plain, &bytes).and_then(|()| fs::write(&packed, squeezed)).map_err(|e| format!("writing {name}: {e}"))?;
    table.push_str(&format!(
        "    Asset {{ name: {name:?}, path: {:?}, mime: {mime:?}, bytes: include_bytes!({plain:?}), gzip: include_bytes!({packed:?}) }},\n",
        format!("/ui/static/{hashed}"),
    ));
    Ok(())
}

/// FNV-1a: the name only has to change with the content, nobody is kept from forging one.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

fn env(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|e| format!("{name}: {e}"))
}
