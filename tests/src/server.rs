//! A `wharf serve` of one's own: its own data root, run folder, sockets and port, so that tests run side by side and beside
//! anything else on the host. It can be killed, stopped and started again; when it goes, its containers go with it.

use crate::cli::{Docker, Output};
use crate::{http, until};
use sha2::{Digest, Sha256};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What a test wants otherwise than by default.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// Further arguments of `wharf serve`.
    pub arguments: Vec<String>,
    /// Further environment.
    pub environment: Vec<(String, String)>,
    /// The binary, if not the one built beside the tests.
    pub binary: Option<PathBuf>,
    /// Whether to listen for HTTPS; the port is the kernel's choice.
    pub https: bool,
    /// A file system of its own for the data root, of so many MiB (ext4 on a loop device); without it, the folder's.
    pub data_megabytes: Option<u64>,
    /// How many inodes that file system has, if not as many as mkfs gives.
    pub data_inodes: Option<u64>,
}

/// A running server, or a dockerd that stands in for it.
pub struct Server {
    folder: tempfile::TempDir,
    options: Options,
    binary: PathBuf,
    child: Option<Child>,
    foreign: Option<String>,
}

/// The `wharf` built beside the tests, or `WHARF_BIN`.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("WHARF_BIN") {
        return path.into();
    }
    let here = std::env::current_exe().expect("where this program lies");
    let found = here.ancestors().map(|folder| folder.join("wharf")).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("there is no wharf near {}: build it first (cargo build -p wharf), or set WHARF_BIN", here.display()))
}

/// The binary with fault points compiled in (`.ci/run` builds it and sets `WHARF_FAILPOINTS_BIN`).
pub fn failpoints_binary() -> Option<PathBuf> {
    let set = std::env::var_os("WHARF_FAILPOINTS_BIN").map(PathBuf::from);
    set.or_else(|| Some(binary().with_file_name("wharf-failpoints"))).filter(|path| path.is_file())
}

impl Server {
    /// A server with defaults, ready for requests. With `WHARF_E2E_DOCKER_HOST`, that dockerd instead.
    pub fn start() -> Self {
        let foreign = std::env::var("WHARF_E2E_DOCKER_HOST").ok();
        if foreign.is_none() {
            return Self::start_with(Options::default());
        }
        Self { folder: folder(), options: Options::default(), binary: PathBuf::new(), child: None, foreign }
    }

    /// A Wharf server with these options, ready for requests; never a stand-in.
    pub fn start_with(options: Options) -> Self {
        let binary = options.binary.clone().unwrap_or_else(binary);
        let mut server = Self { folder: folder(), options, binary, child: None, foreign: None };
        if let Some(megabytes) = server.options.data_megabytes {
            server.mount_data(megabytes);
        }
        server.launch();
        server.wait_ready();
        server
    }

    /// Whether this is Wharf, and not a dockerd standing in for it.
    pub fn is_wharf(&self) -> bool {
        self.foreign.is_none()
    }

    /// A folder of the test's own, gone with the server. Everybody may enter it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The socket's path.
    pub fn socket(&self) -> PathBuf {
        match &self.foreign {
            Some(host) => PathBuf::from(host.trim_start_matches("unix://")),
            None => self.folder.path().join("wharf.sock"),
        }
    }

    /// What DOCKER_HOST is to be.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// What the server wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("serve.log")).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The address of HTTPS, as the server announced it.
    pub fn https(&self) -> Option<String> {
        let log = self.log();
        let at = log.rfind("  https://")? + "  https://".len();
        log[at..].split('/').next().map(str::to_owned)
    }

    /// The docker CLI as root: the administrator.
    pub fn docker(&self) -> Docker {
        Docker::new(&self.docker_host(), &self.folder.path().join("docker-root"))
    }

    /// The docker CLI as another Unix account, which must have a user here.
    pub fn docker_as(&self, uid: u32) -> Docker {
        Docker::new(&self.docker_host(), &self.folder.path().join(format!("docker-{uid}"))).by(uid)
    }

    /// `wharf` with these arguments on this server, as root.
    pub fn wharf(&self, arguments: &[&str]) -> Output {
        Output::of(&mut self.command(arguments))
    }

    /// Makes a user for a Unix account, with a personal tenant of the same name.
    pub fn add_user(&self, name: &str, uid: u32) {
        self.wharf(&["user", "add", name, "--unix-user", &uid.to_string()]).succeeded();
    }

    /// A token of that user.
    pub fn token(&self, user: &str) -> String {
        self.wharf(&["token", "create", "--user", user]).succeeded().stdout.trim().to_owned()
    }

    /// A raw request as root, the answer read to its end.
    pub fn request(&self, method: &str, path: &str, body: Option<&str>) -> http::Response {
        http::Request { method, path, token: None, body }.send(&self.socket())
    }

    /// The same as another Unix account, which must have a user here; a body is JSON.
    pub fn request_as(&self, uid: u32, method: &str, path: &str, body: Option<&str>) -> http::Response {
        let request = http::Request { method, path, token: None, body };
        http::by_account(uid, || request.send(&self.socket()))
    }

    /// How much memory the server itself holds, in bytes (its resident set, proc_pid_status(5)).
    pub fn resident(&self) -> u64 {
        let pid = i32::try_from(self.pid().expect("a running server")).expect("a pid");
        let text = crate::host::status(pid)["VmRSS"].clone();
        text.trim_end_matches(" kB").trim().parse::<u64>().expect("kilobytes") * 1024
    }

    /// Loads busybox under its name, from the host's static busybox.
    pub fn load_busybox(&self) -> Docker {
        let docker = self.docker();
        self.load_busybox_for(&docker);
        docker
    }

    /// The same for another account.
    pub fn load_busybox_for(&self, docker: &Docker) {
        let archive = self.folder.path().join("busybox.tar");
        if !archive.exists() {
            std::fs::write(&archive, crate::image::Image::busybox().archive(&["busybox:latest"])).expect("writing the archive");
            std::fs::set_permissions(&archive, std::fs::Permissions::from_mode(0o644)).expect("opening the archive to all");
        }
        docker.run(&["load", "-q", "-i", &archive.display().to_string()]).succeeded();
    }

    /// `kill -9`: no farewell.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killing our server");
            child.wait().expect("reaping our server");
        }
    }

    /// SIGTERM, and waits for the end; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("telling our server to end");
        child.wait().expect("reaping our server").code()
    }

    /// Starts it again on the same folders, with the same options.
    pub fn restart(&mut self) {
        self.stop();
        self.launch();
        self.wait_ready();
    }

    /// Starts it again after [`Server::kill`], with other environment: fault points off.
    pub fn start_again(&mut self, environment: Vec<(String, String)>) {
        self.options.environment = environment;
        self.launch();
        self.wait_ready();
    }

    /// The same with another program, from then on.
    pub fn start_again_as(&mut self, binary: &Path) {
        self.binary = binary.to_owned();
        self.start_again(Vec::new());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let at = self.folder.path();
        let mut command = Command::new(&self.binary);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.options.environment.iter().cloned());
        command.arg("--data-root").arg(at.join("data")).arg("--run-dir").arg(at.join("run")).arg("--socket").arg(self.socket());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn mount_data(&self, megabytes: u64) {
        let (data, image) = (self.folder.path().join("data"), self.folder.path().join("data.ext4"));
        std::fs::create_dir(&data).expect("the data root");
        let file = std::fs::File::create(&image).expect("the file system's file");
        file.set_len(megabytes << 20).expect("its size");
        // Nothing is kept for root: the server is root, and it shall see the disk full.
        let inodes: Vec<String> = self.options.data_inodes.iter().flat_map(|n| ["-N".to_owned(), n.to_string()]).collect();
        Output::of(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-e", "remount-ro"]).args(inodes).arg(&image)).succeeded();
        Output::of(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&data)).succeeded();
    }

    fn launch(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("serve.log")).expect("the server's log");
        let mut command = self.command(&["serve", "--listen", if self.options.https { "127.0.0.1:0" } else { "none" }]);
        command.args(&self.options.arguments);
        command.stdout(log.try_clone().expect("the log twice")).stderr(log);
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("starting {}: {e}", self.binary.display())));
    }

    fn wait_ready(&mut self) {
        let socket = self.socket();
        let folder = self.folder.path().to_owned();
        let child = self.child.as_mut().expect("a server that was launched");
        until("the server answers _ping", || {
            if let Some(status) = child.try_wait().expect("asking after our server") {
                panic!("the server ended ({status}):\n{}", std::fs::read_to_string(folder.join("serve.log")).unwrap_or_default());
            }
            http::Request { method: "GET", path: "/_ping", token: None, body: None }.try_send(&socket).ok().filter(|r| r.status == 200)
        });
    }
}

impl Drop for Server {
    /// Ends and removes what the server holds, by the server itself, then the server.
    fn drop(&mut self) {
        if self.foreign.is_some() {
            return;
        }
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{}", self.log());
        }
        if self.child.is_none() {
            self.launch();
        }
        let ready = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.wait_ready())).is_ok();
        let tenants = if ready { self.tenants() } else { Vec::new() };
        for tenant in tenants {
            let docker = self.docker().header("X-Wharf-Tenant", &tenant);
            let ids = docker.run(&["ps", "-aq"]);
            for id in ids.stdout.split_whitespace() {
                docker.run(&["rm", "-f", "-v", id]);
            }
            docker.run(&["network", "prune", "-f"]);
        }
        // A server that never came up has ended by itself.
        let running = self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|ended| ended.is_none()));
        if running {
            self.stop();
        }
        self.sweep();
        if self.options.data_megabytes.is_some() {
            // Shims may hold it a moment longer; the loop device goes with the last of them.
            Command::new("umount").arg("--lazy").arg(self.folder.path().join("data")).status().ok();
        }
    }
}

impl Server {
    /// What tells its names in the kernel from other servers'. `None` before its first start.
    pub fn tag(&self) -> Option<String> {
        let root = self.folder.path().join("data").canonicalize().ok()?;
        Some(hex::encode(Sha256::digest(root.as_os_str().as_encoded_bytes()))[..5].to_owned())
    }

    /// Takes away what a server leaves in the kernel for its next start, which will not come: bridges, firewall tables and empty
    /// cgroups. They carry the instance's name, made of the data root's path.
    fn sweep(&self) {
        let Some(tag) = self.tag() else { return };
        let links = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        for link in links.filter_map(|link| link.file_name().into_string().ok()).filter(|link| link.starts_with(&format!("w{tag}"))) {
            Command::new("ip").args(["link", "del", &link]).status().ok();
        }
        for family in ["inet", "bridge"] {
            // Not every server made one.
            Command::new("nft").args(["delete", "table", family, &format!("wharf-{tag}")]).stderr(Stdio::null()).status().ok();
        }
        let trees = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|tree| tree.path());
        for tree in trees.chain(["/sys/fs/cgroup".into()]) {
            remove_cgroups(&tree.join(format!("wharf-{tag}")));
        }
    }

    fn tenants(&self) -> Vec<String> {
        let answer = self.request("GET", "/api/v1/tenants", None);
        let list = answer.json();
        let list = list.as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|tenant| tenant["name"].as_str().map(str::to_owned)).collect()
    }
}

/// Removes a cgroup and those in it, the innermost first. One with processes stays.
fn remove_cgroups(at: &Path) {
    for entry in std::fs::read_dir(at).into_iter().flatten().flatten().filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir())) {
        remove_cgroups(&entry.path());
    }
    std::fs::remove_dir(at).ok();
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("wharf-e2e.").tempdir().expect("a folder for the test");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("opening the folder to all");
    folder
}
