//! A real browser: Debian's headless Chromium, driven over WebDriver.
//!
//! A test program has only one at a time, because they are large. Screenshots are kept under `target/screenshots`.

use std::{
    cell::RefCell,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, Locator, wd::WebDriverCompatibleCommand};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::until;

static ONE: Mutex<()> = Mutex::new(());

/// A window of the browser.
pub struct Browser {
    runtime: tokio::runtime::Runtime,
    client: Option<Client>,
    driver: Child,
    /// What its console said, as far as it has been read.
    said: RefCell<Vec<String>>,
    _profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// Starts chromedriver. Returns the process and its port; `None` if it ends before it prints a port.
fn driver() -> Option<(Child, String)> {
    let mut driver = Command::new("chromedriver")
        .args(["--port=0", "--log-level=SEVERE"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver is installed: scripts/setup.sh does it");
    let mut said = BufReader::new(driver.stdout.take().expect("piped")).lines();
    let port = said.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        Some(port.trim_end_matches('.').to_owned())
    });
    let Some(port) = port else {
        let _ = driver.wait();
        return None;
    };
    // Reads the rest of its output, so that it never blocks.
    std::thread::spawn(move || said.for_each(drop));
    Some((driver, port))
}

impl Browser {
    /// Opens a wide window.
    pub fn start() -> Self {
        Self::start_at_scale(1)
    }

    /// Opens a window on a screen with this many device pixels per pixel of the page. `size` only emulates a
    /// screen, without all of its limits.
    pub fn start_at_scale(scale: u8) -> Self {
        let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = tempfile::tempdir().expect("a folder");
        // chromedriver takes a free port for IPv4, then the same for IPv6, and fails if that one is taken.
        let (driver, port) = (0..5).find_map(|_| driver()).expect("chromedriver says its port");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let user_data = format!("--user-data-dir={}", profile.path().display());
        let scale = format!("--force-device-scale-factor={scale}");
        let options = json!({ "args": [
            "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars=false",
            "--enable-precise-memory-info", "--js-flags=--expose-gc", "--window-size=1280,900", "--lang=en-GB", user_data, scale,
        ] });
        let capabilities = json!({
            "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" },
            // What a script waits for takes as long as a busy machine needs.
            "timeouts": { "script": 600_000, "pageLoad": 600_000 },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("an object") };
        let client = runtime
            .block_on(
                ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
                    .capabilities(capabilities)
                    .connect(&format!("http://127.0.0.1:{port}")),
            )
            .expect("Chromium starts");
        Self { runtime, client: Some(client), driver, said: RefCell::default(), _profile: profile, _turn: turn }
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("it runs")
    }

    /// Opens an address and waits until it has loaded, with all its parts: Chromium breaks off what it loads when a
    /// network interface appears, and each container that starts beside a test is one.
    pub fn open(&self, url: &str) {
        self.read_console();
        loop {
            self.runtime.block_on(self.client().goto(url)).expect("the page opens");
            if !self.read_console() {
                return;
            }
        }
    }

    /// Reads what the console has said. Returns whether something was broken off.
    fn read_console(&self) -> bool {
        let log = self.runtime.block_on(self.client().issue_cmd(BrowserLog)).expect("its log");
        let entries = log.as_array().cloned().unwrap_or_default();
        let messages = entries.iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned());
        let (broken, said): (Vec<_>, Vec<_>) =
            messages.partition(|message| message.ends_with("net::ERR_NETWORK_CHANGED"));
        self.said.borrow_mut().extend(said);
        !broken.is_empty()
    }

    /// Opens another tab, in front.
    pub fn new_tab(&self) {
        self.runtime
            .block_on(async {
                let tab = self.client().new_window(true).await?;
                self.client().switch_to_window(tab.handle).await
            })
            .expect("a tab opens");
    }

    /// Evaluates an expression on the page.
    pub fn eval(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.runtime
            .block_on(self.client().execute(&script, Vec::new()))
            .unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Awaits a promise on the page.
    pub fn wait_for(&self, promise: &str) -> Value {
        let script =
            format!("const done = arguments[0]; ({promise}).then(done, (error) => done(`failed: ${{error}}`));");
        self.runtime
            .block_on(self.client().execute_async(&script, Vec::new()))
            .unwrap_or_else(|error| panic!("{promise}: {error}"))
    }

    /// Waits until an expression is true.
    pub fn until(&self, expression: &str) {
        until(expression, || (self.eval(expression) == json!(true)).then_some(()));
    }

    /// Returns the text of the first element that a selector matches.
    pub fn text(&self, selector: &str) -> String {
        let found = self.eval(&format!("document.querySelector({})?.textContent ?? null", json!(selector)));
        found.as_str().unwrap_or_else(|| panic!("nothing is {selector}")).trim().to_owned()
    }

    pub fn click(&self, selector: &str) {
        self.runtime
            .block_on(async { self.client().find(Locator::Css(selector)).await?.click().await })
            .unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Types into the focused element.
    pub fn press(&self, keys: &str) {
        self.runtime
            .block_on(async { self.client().active_element().await?.send_keys(keys).await })
            .unwrap_or_else(|error| panic!("{keys:?}: {error}"));
    }

    /// Sends a command of the DevTools protocol.
    pub fn devtools(&self, method: &'static str, parameters: Value) -> Value {
        self.runtime
            .block_on(self.client().issue_cmd(DevTools { method, parameters }))
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    pub fn size(&self, width: u32, height: u32) {
        let mobile = width < 600;
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile }),
        );
    }

    /// Emulates the system's colour scheme: `light` or `dark`.
    pub fn scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    pub fn scripts(&self, allowed: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": !allowed }));
    }

    /// Sends a header with every request, for example to sign in.
    pub fn bearer(&self, token: &str) {
        self.devtools("Network.enable", json!({}));
        self.devtools(
            "Network.setExtraHTTPHeaders",
            json!({ "headers": { "Authorization": format!("Bearer {token}") } }),
        );
    }

    /// Returns the size of the page's objects in bytes, after a garbage collection.
    pub fn heap(&self) -> f64 {
        self.devtools("HeapProfiler.collectGarbage", json!({}));
        self.eval("performance.memory.usedJSHeapSize").as_f64().expect("a number")
    }

    /// Saves a screenshot of the whole page, as far down as it goes, in a window of this size.
    pub fn whole_picture(&self, name: &str, width: u32, height: u32) {
        let length = self.eval("document.documentElement.scrollHeight").as_u64().expect("a length");
        self.size(width, u32::try_from(length).unwrap_or(height).clamp(height, 5000));
        self.picture(name);
        self.size(width, height);
    }

    /// Saves a screenshot.
    pub fn picture(&self, name: &str) -> PathBuf {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/screenshots"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let png = self.runtime.block_on(self.client().screenshot()).expect("a picture");
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, png).expect("it is kept");
        path
    }

    /// Asserts that no part of the page is wider than the window.
    pub fn assert_fits(&self) {
        let wide = self.eval(
            "[document.documentElement.scrollWidth, innerWidth, [...document.querySelectorAll('body *')].filter((e) => \
             e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.lines,.scroll,pre')).slice(0, 5).map((e) => e.outerHTML.slice(0, 120))]",
        );
        assert!(
            wide[0].as_u64() <= wide[1].as_u64(),
            "{}: wider than the window: {wide}",
            self.eval("location.pathname")
        );
        // On a phone no table has to be moved sideways to be read.
        let cut = self.eval(
            "innerWidth > 600 ? [] : [...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth + 1)\
             .map((e) => e.outerHTML.slice(0, 200))",
        );
        assert_eq!(cut, json!([]), "{}: tables wider than the window", self.eval("location.pathname"));
    }

    /// Asserts that the page breaks no rule of axe.
    pub fn assert_accessible(&self) {
        let axe = std::fs::read_to_string(axe()).expect("axe.min.js: scripts/axe.sh fetches it");
        self.runtime.block_on(self.client().execute(&axe, Vec::new())).expect("axe is there");
        let broken = self.wait_for(
            "axe.run(document).then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes.slice(0, 4).map((n) => \
             [n.html.slice(0, 200), n.failureSummary])]))",
        );
        assert_eq!(broken, json!([]), "{}: {broken:#}", self.eval("location.pathname"));
    }

    /// Returns the messages of the console, but for those of the machine (see [`Self::open`]).
    pub fn complaints(&self) -> Vec<String> {
        self.read_console();
        self.said.take()
    }
}

/// Returns the path of axe.
fn axe() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/axe/axe.min.js"))
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            let closing = async { tokio::time::timeout(Duration::from_secs(10), client.close()).await };
            let _ = self.runtime.block_on(closing);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

#[derive(Debug)]
struct DevTools {
    method: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "cmd": self.method, "params": self.parameters }).to_string()))
    }
}

#[derive(Debug)]
struct BrowserLog;

impl WebDriverCompatibleCommand for BrowserLog {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}
