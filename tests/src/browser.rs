//! A real browser: headless Chromium, driven through chromedriver by the WebDriver protocol (W3C, 2018). That is JSON over HTTP
//! on loopback, for which [`crate::http`] is enough: the ready-made clients bring an asynchronous runtime and twenty crates.
//!
//! It lives in a network namespace of its own: Chromium breaks off all it is loading whenever the host gets or loses an address
//! (`ERR_NETWORK_CHANGED`), and a host where bridges are made gets them all the time. [`Browser::reach`] lets it at one port.

use crate::http::{self, Until};
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What kind of browser is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Whether pages may run scripts.
    pub scripts: bool,
    /// Width and height of the window, in CSS pixels.
    pub size: (u32, u32),
    /// Whether the person prefers dark colours.
    pub dark: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { scripts: true, size: (1280, 900), dark: false }
    }
}

/// A browser with one window and a profile of its own; gone when it is dropped.
pub struct Browser {
    place: Place,
    driver: Child,
    port: u16,
    session: String,
}

/// A network namespace with nothing in it but loopback and an interface that leads nowhere.
struct Place(File);

impl Place {
    fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of our own");
            // Without any address but loopback's, Chromium believes to be offline.
            for words in ["link set lo up", "link add away type bridge", "addr add 192.0.2.1/24 dev away", "link set away up"] {
                crate::Output::of(Command::new("ip").args(words.split(' '))).succeeded();
            }
            // Ports that the host's kernel gives to listeners stay free here for `reach`.
            std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10000 20000").expect("other ports for clients");
            File::open("/proc/thread-self/ns/net").expect("our own namespace")
        });
        Self(made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }

    /// Does something there: sockets and programs that it begins stay in it.
    fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let done = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).expect("entering the browser's namespace");
                act()
            });
            done.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Something on a page.
pub struct Element<'a> {
    browser: &'a Browser,
    id: String,
}

/// The key under which WebDriver names elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Browser {
    /// Starts one. `None`, said loudly, where Chromium or its driver is not installed.
    ///
    /// # Panics
    /// When they are there and do not start.
    pub fn start(wanted: Wanted) -> Option<Self> {
        let (Some(chromedriver), Some(chromium)) = (crate::program("chromedriver"), crate::program("chromium")) else {
            crate::skip("no chromium and chromedriver here (Debian: chromium, chromium-driver): no page was seen by a browser");
            return None;
        };
        let place = Place::new();
        let mut command = Command::new(chromedriver);
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = place.inside(|| command.spawn()).expect("starting chromedriver");
        let mut lines = BufReader::new(driver.stdout.take().expect("chromedriver's output")).lines();
        let port = lines
            .find_map(|line| line.expect("chromedriver's words").split("successfully on port ").nth(1)?.trim_end_matches('.').parse().ok())
            .expect("chromedriver to say its port");
        // Read on, so that it never waits for somebody to read.
        std::thread::spawn(move || lines.for_each(drop));
        let mut browser = Self { place, driver, port, session: String::new() };
        let arguments = [
            "--headless=new",
            // We are root in tests, which its sandbox refuses.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            &format!("--window-size={},{}", wanted.size.0, wanted.size.1),
        ];
        let scripts = if wanted.scripts { 1 } else { 2 };
        let options = json!({
            "binary": chromium, "args": arguments,
            "prefs": { "profile.managed_default_content_settings.javascript": scripts },
        });
        let capabilities =
            json!({ "alwaysMatch": { "browserName": "chrome", "acceptInsecureCerts": true, "goog:chromeOptions": options } });
        let made = browser.ask("POST", "/session", Some(json!({ "capabilities": capabilities })));
        browser.session = made["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {made}")).to_owned();
        // Narrower than a window can be, and like a phone.
        let metrics = json!({ "width": wanted.size.0, "height": wanted.size.1, "deviceScaleFactor": 1, "mobile": wanted.size.0 < 500 });
        browser.devtools("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if wanted.dark { "dark" } else { "light" };
        browser.devtools("Emulation.setEmulatedMedia", json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }));
        Some(browser)
    }

    fn devtools(&self, command: &str, parameters: Value) {
        self.to("POST", "/goog/cdp/execute", Some(json!({ "cmd": command, "params": parameters })));
    }

    fn try_ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Value> {
        let stream = self.place.inside(|| TcpStream::connect(("127.0.0.1", self.port))).expect("chromedriver listens");
        stream.set_read_timeout(Some(crate::PATIENCE)).expect("a limit to waiting");
        let host = format!("127.0.0.1:{}", self.port);
        let headers = [("Host", host.as_str()), ("Content-Type", "application/json")];
        let body = body.map(|b| b.to_string()).unwrap_or_default();
        let answer = http::send_over(stream, method, path, &headers, body.as_bytes(), Until::End)
            .unwrap_or_else(|e| panic!("chromedriver, {method} {path}: {e}"));
        let value = answer.json()["value"].clone();
        if answer.status == 200 { Ok(value) } else { Err(value) }
    }

    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|e| panic!("chromedriver, {method} {path}: {} {}", e["error"], e["message"]))
    }

    fn to(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        self.ask(method, &format!("/session/{}{path}", self.session), body)
    }

    /// Makes a port of the host's loopback one of the browser's.
    pub fn reach(&self, port: u16) {
        let there = self.place.inside(|| TcpListener::bind(("127.0.0.1", port))).expect("the same port in the browser's namespace");
        std::thread::spawn(move || {
            for theirs in there.incoming().map_while(Result::ok) {
                let Ok(ours) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (mut from, mut to) in [(theirs.try_clone(), ours.try_clone()), (Ok(ours), Ok(theirs))]
                    .map(|(a, b)| (a.expect("a socket twice"), b.expect("a socket twice")))
                {
                    std::thread::spawn(move || {
                        // However it ended, the other side learns that it did.
                        std::io::copy(&mut from, &mut to).ok();
                        to.shutdown(std::net::Shutdown::Write).ok();
                    });
                }
            }
        });
    }

    /// Opens an address and waits until it is loaded.
    pub fn open(&self, address: &str) {
        self.to("POST", "/url", Some(json!({ "url": address })));
        self.again_if_interrupted();
    }

    /// Where it is.
    pub fn address(&self) -> String {
        self.to("GET", "/url", None).as_str().expect("an address").to_owned()
    }

    /// The page as it stands now.
    pub fn source(&self) -> String {
        self.to("GET", "/source", None).as_str().expect("a page").to_owned()
    }

    /// What a script returns. Works without scripts in pages, too.
    pub fn script(&self, script: &str) -> Value {
        self.to("POST", "/execute/sync", Some(json!({ "script": script, "args": [] })))
    }

    /// What a script's promise comes to.
    pub fn promise(&self, script: &str) -> Value {
        let script = format!("const done = arguments[0]; (async () => {{ {script} }})().then(done, (e) => done('failed: ' + e));");
        self.to("POST", "/execute/async", Some(json!({ "script": script, "args": [] })))
    }

    /// The first element of this selector, once it is there.
    pub fn find(&self, selector: &str) -> Element<'_> {
        let path = format!("/session/{}/element", self.session);
        let begin = std::time::Instant::now();
        loop {
            match self.try_ask("POST", &path, Some(json!({ "using": "css selector", "value": selector }))) {
                Ok(found) => return Element { browser: self, id: found[ELEMENT].as_str().expect("an element's id").to_owned() },
                Err(e) if e["error"] == "no such element" && begin.elapsed() < crate::PATIENCE => {
                    self.again_if_interrupted();
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                Err(e) => panic!("{selector} at {}: {} in\n{}", self.address(), e["error"], self.source()),
            }
        }
    }

    /// How many there are of a selector.
    pub fn count(&self, selector: &str) -> usize {
        self.to("POST", "/elements", Some(json!({ "using": "css selector", "value": selector }))).as_array().map_or(0, Vec::len)
    }

    /// Waits until what can be read at this selector has this text in it, and gives all of it.
    pub fn shows(&self, selector: &str, text: &str) -> String {
        let begin = std::time::Instant::now();
        loop {
            // Asked anew: scripts exchange parts of pages.
            let path = format!("/session/{}/execute/sync", self.session);
            let script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText).join('\\n')";
            let shown = self.try_ask("POST", &path, Some(json!({ "script": script, "args": [selector] })));
            match shown.as_ref().ok().and_then(Value::as_str) {
                Some(shown) if shown.contains(text) => return shown.to_owned(),
                shown => {
                    assert!(begin.elapsed() < crate::PATIENCE, "{selector} at {} does not show {text:?}, but {shown:?}", self.address());
                }
            }
            self.again_if_interrupted();
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// Asks again for what Chromium gave up because it believed the network to change or to be gone: it does so when interfaces
    /// come up, also in a namespace where nothing but loopback is.
    fn again_if_interrupted(&self) {
        let source = self.try_ask("GET", &format!("/session/{}/source", self.session), None);
        let source = source.as_ref().ok().and_then(Value::as_str).unwrap_or_default();
        if source.contains("ERR_NETWORK_CHANGED") || source.contains("ERR_INTERNET_DISCONNECTED") {
            drop(self.try_ask("POST", &format!("/session/{}/refresh", self.session), Some(json!({}))));
        }
    }

    /// The cookies of the page, as WebDriver describes them.
    pub fn cookies(&self) -> Vec<Value> {
        self.to("GET", "/cookie", None).as_array().cloned().unwrap_or_default()
    }

    /// Plants a cookie.
    pub fn plant(&self, cookie: Value) {
        self.to("POST", "/cookie", Some(json!({ "cookie": cookie })));
    }

    /// A picture of the window, as PNG.
    pub fn picture(&self, file: &Path) {
        let text = self.to("GET", "/screenshot", None);
        std::fs::write(file, base64(text.as_str().expect("a picture"))).expect("writing the picture");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // The browser ends with its session; without one the driver ends alone.
            drop(self.try_ask("DELETE", &format!("/session/{}", self.session), None));
        }
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

impl Element<'_> {
    fn to(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        self.browser.to(method, &format!("/element/{}{path}", self.id), body)
    }

    /// Clicks it; a page it leads to is waited for.
    pub fn click(&self) {
        self.to("POST", "/click", Some(json!({})));
    }

    /// Types into it.
    pub fn type_in(&self, text: &str) {
        self.to("POST", "/value", Some(json!({ "text": text })));
    }

    /// Empties it, and types into it.
    pub fn fill(&self, text: &str) {
        self.to("POST", "/clear", Some(json!({})));
        self.type_in(text);
    }

    /// What a person reads there.
    pub fn text(&self) -> String {
        self.to("GET", "/text", None).as_str().expect("text").to_owned()
    }
}

/// Base 64 (RFC 4648) to bytes; what is not of its alphabet is passed over.
fn base64(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len() / 4 * 3), 0u32, 0);
    for value in text.bytes().filter_map(|c| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }) {
        (bits, held) = (bits << 6 | u32::from(value), held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    bytes
}
