//! The program as a server, with its own data folder, port and instance on the engine.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tempfile::TempDir;

use super::{api::Api, engine, until};

pub const ADMIN_TOKEN: &str = "lsh_0123456789abcdef0123456789abcdef01234567";

/// A running server. Killed, and its instance removed from the engine, when dropped.
pub struct Server {
    process: Option<Child>,
    /// The program to start. Changing it is an upgrade.
    pub program: PathBuf,
    pub data: TempDir,
    pub port: u16,
    pub instance: String,
    docker_host: String,
    settings: Vec<(&'static str, String)>,
    log: Arc<Mutex<String>>,
}

/// Whether servers keep as many sandboxes ready as those of users do. Most tests need none: each is a container, and
/// costs the engine as much as a job. Programs that measure, and those that kill, set it.
pub static SANDBOXES_READY: AtomicBool = AtomicBool::new(false);

/// Returns the program under test.
pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_longshore"))
}

impl Server {
    /// Starts a server on an empty data folder and waits until it is ready.
    pub fn start() -> Self {
        Self::start_with(engine::docker_host(), &[])
    }

    /// Starts a server with other settings (`LONGSHORE_...`) or through another socket.
    pub fn start_with(docker_host: String, settings: &[(&'static str, &str)]) -> Self {
        Self::start_on(tempfile::tempdir().expect("a folder"), docker_host, settings)
    }

    /// Starts a server on a data folder that the caller has made.
    pub fn start_on(data: TempDir, docker_host: String, settings: &[(&'static str, &str)]) -> Self {
        let port = free_port();
        let settings = settings.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
        let log = Arc::default();
        let mut server =
            Self { process: None, program: program(), data, port, instance: String::new(), docker_host, settings, log };
        server.launch();
        server.instance = until("the instance's name in the log", || {
            let log = server.log();
            let (_, rest) = log.split_once("instance=\"")?;
            Some(rest.split('"').next()?.to_owned())
        });
        until("the engine to have what jobs need", || {
            server.log().contains("the engine has what jobs need").then_some(())
        });
        server
    }

    /// Starts the process again on the same data, and waits until it is ready.
    pub fn launch(&mut self) {
        self.begin();
        self.wait_ready();
    }

    /// Starts the process again, with an engine that does not answer.
    pub fn launch_without_engine(&mut self) {
        self.begin();
        self.wait_for("healthz");
    }

    /// Starts the process.
    pub fn begin(&mut self) {
        let mut command = Command::new(&self.program);
        if !SANDBOXES_READY.load(Ordering::Relaxed) {
            command.env("LONGSHORE_SANDBOXES", "0");
        }
        command
            .arg("serve")
            .env("LONGSHORE_DATA", self.data.path())
            .env("LONGSHORE_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("LONGSHORE_DOCKER_HOST", &self.docker_host)
            .env("LONGSHORE_ADMIN_TOKEN", ADMIN_TOKEN)
            // Tests do not wait for room on this machine's disk, which is not theirs.
            .env("LONGSHORE_DISK_HIGH", "0")
            .env("LONGSHORE_LOG", "info,longshore=debug")
            .envs(self.settings.iter().map(|(k, v)| (*k, v.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = command.spawn().expect("the program starts");
        let stderr = process.stderr.take().expect("piped");
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = log.lock().expect("log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        self.process = Some(process);
    }

    /// Waits until the server is ready.
    pub fn wait_ready(&mut self) {
        self.wait_for("readyz");
    }

    fn wait_for(&mut self, answer: &str) {
        let ready = format!("http://127.0.0.1:{}/{answer}", self.port);
        until("the server's answer", || {
            if let Some(status) = self.process.as_mut().and_then(|p| p.try_wait().ok().flatten()) {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            ureq::get(&ready).call().ok()
        });
    }

    /// Changes a setting from the next start on.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.settings.push((name, value.to_owned()));
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends SIGTERM. Returns the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut process = self.process.take()?;
        let id = process.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        process.wait().expect("it ends").code()
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn api(&self) -> Api {
        Api::new(&self.url(), Some(ADMIN_TOKEN))
    }

    /// Returns the server's log.
    pub fn log(&self) -> String {
        self.log.lock().expect("log").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
        self.stop();
        if !self.instance.is_empty() {
            engine::remove_all(&self.instance);
        }
    }
}

/// Returns a port that nothing listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}
