//! A real browser: Chromium, driven through its own driver by the protocol of the W3C for that, which is JSON over HTTP.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::{PATIENCE, client};

/// The name that the protocol gives to references of elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One browser at a time: a small machine has no room for more.
static ONE: Mutex<()> = Mutex::new(());

/// A running browser with one window.
pub struct Browser {
    driver: Child,
    session: String,
    agent: ureq::Agent,
    _profile: TempDir,
    _one: MutexGuard<'static, ()>,
}

/// An element of the page.
#[derive(Clone, Debug)]
pub struct Element(String);

/// Whether a browser is here. Where one has to be, its lack is a failure; elsewhere it is said, and nothing is tested.
pub fn is_here() -> bool {
    let lacks = |program: &&str| !Command::new(program).arg("--version").output().is_ok_and(|run| run.status.success());
    let missing: Vec<_> = ["chromium", "chromedriver"].into_iter().filter(lacks).collect();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(" and ");
    assert!(std::env::var_os("HOOKLEDGER_REQUIRE_BROWSER").is_none(), "{missing} must be here, and can't be run");
    println!(
        "SKIPPED: no {missing} here, so the dashboard was looked at by no browser (Debian: chromium, chromium-driver)"
    );
    false
}

impl Browser {
    pub fn start() -> Self {
        // A test that failed while it had the browser has none now.
        let one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the driver starts");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said = lines.find_map(|line| Some(line.split_once("successfully on port ")?.1.to_owned()));
        let port = said.expect("it says its port");
        let base = format!("http://127.0.0.1:{}/session", port.trim_end_matches('.'));
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1280,900",
        ];
        let mut arguments: Vec<String> = arguments.map(Into::into).into();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "timeouts": {"script": PATIENCE.as_millis(), "pageLoad": PATIENCE.as_millis()},
        }}});
        let mut browser = Self { driver, session: String::new(), agent: client(), _profile: profile, _one: one };
        let session = browser.request("POST", &base, Some(&capabilities))["sessionId"].as_str().unwrap().to_owned();
        browser.session = format!("{base}/{session}");
        browser
    }

    fn request(&self, method: &str, url: &str, body: Option<&Value>) -> Value {
        let request = ureq::http::Request::builder().method(method).uri(url);
        let answer = match body {
            Some(body) => self.agent.run(request.body(body.to_string()).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut answer = answer.expect("the driver answers");
        let (status, body) = (answer.status(), answer.body_mut().read_json::<Value>().unwrap());
        assert!(status.is_success(), "{method} {url}: {}", body["value"]);
        body["value"].clone()
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        self.request("POST", &format!("{}/{command}", self.session), Some(body))
    }

    /// Loads a page.
    pub fn open(&self, url: &str) {
        self.post("url", &json!({"url": url}));
    }

    /// What a JavaScript expression comes to.
    pub fn look(&self, expression: &str) -> Value {
        self.post("execute/sync", &json!({"script": format!("return ({expression});"), "args": []}))
    }

    /// Waits until a JavaScript expression comes to something, and gives that: it is looked at again whenever anything on
    /// the page changes.
    pub fn until(&self, expression: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             const now = () => {{ try {{ return ({expression}); }} catch {{ return null; }} }};
             let observer = null;
             const look = () => {{ const value = now(); if (value) {{ observer?.disconnect(); done(value); return true; }} }};
             if (!look()) {{
               observer = new MutationObserver(look);
               observer.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
             }}"
        );
        let body = json!({"script": script, "args": []});
        let url = format!("{}/execute/async", self.session);
        let request = ureq::http::Request::post(&url).body(body.to_string()).unwrap();
        let mut answer = self.agent.run(request).expect("the driver answers");
        let (is_well, answer) = (answer.status().is_success(), answer.body_mut().read_json::<Value>().unwrap());
        if !is_well {
            let page = self.look("document.body.innerText");
            panic!(
                "never came true: {expression}\n{}\n{}",
                answer["value"]["message"],
                page.as_str().unwrap_or_default()
            );
        }
        answer["value"].clone()
    }

    /// Waits until the page's content has that text.
    pub fn until_text(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text)));
    }

    /// Waits for an element: a JavaScript expression that comes to one.
    pub fn find(&self, expression: &str) -> Element {
        let found = self.until(expression);
        Element(found[ELEMENT].as_str().unwrap_or_else(|| panic!("{expression} is no element: {found}")).to_owned())
    }

    /// Waits for the first element of a kind (a selector) whose text begins so.
    pub fn find_by_text(&self, selector: &str, text: &str) -> Element {
        let (selector, text) = (json!(selector), json!(text));
        self.find(&format!(
            "[...document.querySelectorAll({selector})].find((element) => element.innerText.trim().startsWith({text}))"
        ))
    }

    /// Clicks, as a person does: on what can be seen.
    pub fn click(&self, element: &Element) {
        self.post(&format!("element/{}/click", element.0), &json!({}));
    }

    /// Types into an element.
    pub fn type_into(&self, element: &Element, text: &str) {
        self.post(&format!("element/{}/value", element.0), &json!({"text": text}));
    }

    /// Presses keys one after another, wherever the focus is.
    pub fn press(&self, keys: &[&str]) {
        let of = |kind: &'static str| move |key: &&str| json!({"type": kind, "value": key});
        let actions: Vec<Value> = keys.iter().flat_map(|key| [of("keyDown")(key), of("keyUp")(key)]).collect();
        self.post("actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}));
    }

    /// Opens another tab, and goes on in that.
    pub fn new_tab(&self) {
        let tab = self.post("window/new", &json!({"type": "tab"}));
        self.post("window", &json!({"handle": tab["handle"]}));
    }

    /// Makes the window as large as a device's, and its owner's wishes what they may be.
    pub fn emulate(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.post("goog/cdp/execute", &json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": size}));
        let wishes = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.post("goog/cdp/execute", &json!({"cmd": "Emulation.setEmulatedMedia", "params": wishes}));
    }

    /// What the console has said since this was last asked.
    pub fn console(&self) -> Vec<String> {
        self.log("browser").iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The URL of every request that was made since this was last asked.
    pub fn requests(&self) -> Vec<String> {
        let sent = |entry: &Value| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            let is_request = message["method"] == "Network.requestWillBeSent";
            is_request.then(|| message["params"]["request"]["url"].as_str().unwrap_or_default().to_owned())
        };
        self.log("performance").iter().filter_map(sent).collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        self.post("se/log", &json!({"type": kind})).as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium, too.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
