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

/// A host of a test's own: a network namespace with an uplink to an outside one, an instance, a database with two tenants.
pub struct Host {
    /// The handle.
    pub networks: super::Networks,
    /// The database.
    pub inventory: crate::inventory::Inventory,
    /// The instance.
    pub instance: crate::Instance,
    /// The world outside: 192.0.2.1 and 2001:db8::1; we are 192.0.2.2 and 2001:db8::2.
    pub outside: OwnedFd,
    _dir: std::sync::Arc<tempfile::TempDir>,
}

impl Host {
    async fn new() -> Self {
        let outside = netns();
        run(
            "ip link add eth0 type veth peer name up0; ip addr add 192.0.2.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up",
        );
        let pid = std::process::id();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&outside);
        run(&format!("ip link set up0 netns /proc/{pid}/fd/{fd}"));
        inside(&outside, || {
            run("ip link set lo up; ip addr add 192.0.2.1/24 dev up0; ip addr add 2001:db8::1/64 dev up0 nodad; ip link set up0 up");
            // A neighbour on our wire that tries to reach what is behind us.
            run("ip route add 172.16.0.0/12 via 192.0.2.2; ip route add 10.0.0.0/8 via 192.0.2.2; ip route add fc00::/7 via 2001:db8::2");
        });
        run("ip route add default via 192.0.2.1; ip route add default via 2001:db8::1");
        // A namespace begins with what the host has; ours is no router yet.
        run("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
        let dir = tempfile::tempdir().unwrap();
        let instance = crate::Instance::open(&dir.path().join("data"), &dir.path().join("run")).unwrap();
        let inventory = crate::inventory::Inventory::open(&dir.path().join("db")).await.unwrap();
        let mut tx = inventory.begin().await.unwrap();
        for id in [1, 2] {
            sqlx::query("insert into tenants (id, name, kind, created) values (?, 't' || ?, 'team', 0)")
                .bind(id)
                .bind(id)
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        let networks = super::Networks::open(&instance, inventory.clone()).await.unwrap();
        Self { networks, inventory, instance, outside, _dir: dir.into() }
    }

    /// Attaches a stand-in for a container: a network namespace.
    pub async fn attach(
        &self,
        tenant: i64,
        network: &str,
        name: &str,
        change: impl FnOnce(&mut super::AttachRequest),
    ) -> crate::Result<Guest> {
        let tenant = crate::TenantId(tenant);
        let network = self.networks.get(tenant, network).await?.id;
        let mut request = super::AttachRequest {
            container: crate::ContainerId::random(),
            name: name.to_owned(),
            hostname: String::new(),
            endpoint: Default::default(),
            extra_names: Vec::new(),
            ports: Default::default(),
            prepared: None,
        };
        change(&mut request);
        let netns = netns();
        let container = request.container.clone();
        let reserved = self.networks.attach(tenant, &network, request, netns.try_clone().unwrap()).await?;
        Ok(Guest { container, netns, at: reserved.attachment, sockets: reserved.sockets })
    }
}

/// A stand-in for a container.
pub struct Guest {
    /// Its id.
    pub container: crate::ContainerId,
    /// Its namespace.
    pub netns: OwnedFd,
    /// Its attachment.
    pub at: super::Attachment,
    /// Its listeners.
    pub sockets: Vec<(super::Listener, OwnedFd)>,
}

impl Guest {
    /// Its IPv4 address.
    pub fn ip(&self) -> std::net::IpAddr {
        self.at.ipv4.unwrap().0.into()
    }
}

/// Runs an async test on a host of its own.
pub fn on_host<F: Future<Output = ()>>(test: impl FnOnce(Host) -> F + Send + 'static) {
    in_netns(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let host = Host::new().await;
            // A test that uses some of the host's fields is given only those: the folder must outlive it all the same.
            let _dir = host._dir.clone();
            test(host).await;
        });
    });
}

/// A TCP server in a namespace that tells each client the client's address, and who it is itself.
pub fn serve(netns: &OwnedFd, at: &str, who: &'static str) {
    use std::io::Write;
    let at: std::net::SocketAddr = at.parse().unwrap();
    let listener = inside(netns, move || std::net::TcpListener::bind(at).unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = write!(stream, "{who} {}", peer.ip());
        }
    });
}

/// Asks such a server from a namespace; it must answer.
pub fn ask(netns: &OwnedFd, at: &str) -> std::io::Result<String> {
    ask_for(netns, at, std::time::Duration::from_secs(10))
}

/// Whether nobody answers. What is dropped is never answered; what is open answers here within a millisecond.
pub fn silent(netns: &OwnedFd, at: &str) -> bool {
    ask_for(netns, at, std::time::Duration::from_millis(400)).is_err()
}

/// Asks and waits so long.
pub fn ask_for(netns: &OwnedFd, at: &str, wait: std::time::Duration) -> std::io::Result<String> {
    use std::io::Read;
    let at: std::net::SocketAddr = at.parse().unwrap();
    inside(netns, move || {
        let mut stream = std::net::TcpStream::connect_timeout(&at, wait)?;
        stream.set_read_timeout(Some(wait))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })
}

/// The namespace of the calling thread.
pub fn here() -> OwnedFd {
    std::fs::File::open("/proc/thread-self/ns/net").unwrap().into()
}

/// `8080:80` and the like.
pub fn ports(list: &[(&str, u16, &str)]) -> std::collections::BTreeMap<crate::container::ContainerPort, Vec<crate::container::HostPort>> {
    let mut all: std::collections::BTreeMap<_, Vec<_>> = std::collections::BTreeMap::new();
    for (ip, host, container) in list {
        let ip = (!ip.is_empty()).then(|| ip.parse().unwrap());
        all.entry(container.parse().unwrap()).or_default().push(crate::container::HostPort { ip, ports: (*host, *host) });
    }
    all
}
