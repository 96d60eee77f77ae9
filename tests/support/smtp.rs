//! A real mail server on this machine (`smtp-server.py`).

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How its clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Plain,
    StartTls,
    Tls,
}

/// A running mail server, which stops when dropped.
pub struct MailServer {
    process: Child,
    folder: TempDir,
    pub port: u16,
    security: Security,
}

impl MailServer {
    pub fn start(security: Security) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let here = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let library = here.join("target/smtp");
        assert!(library.join("version").exists(), "aiosmtpd: scripts/smtp.sh fetches it");
        let word = match security {
            Security::Plain => "plain",
            Security::StartTls => "starttls",
            Security::Tls => "tls",
        };
        let mut command = Command::new("python3");
        command.args(["-W", "ignore"]).arg(here.join("tests/support/smtp-server.py")).arg(folder.path()).arg(word);
        if security != Security::Plain {
            let made = Command::new("openssl")
                .current_dir(folder.path())
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
                .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
                .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "cert.pem"])
                .output()
                .expect("openssl runs");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            command.arg(folder.path().join("cert.pem")).arg(folder.path().join("key.pem"));
        }
        let process = command.env("PYTHONPATH", library).stdin(Stdio::null()).spawn().expect("python3 runs");
        let mut server = Self { process, folder, port: 0, security };
        server.port =
            server.wait(|server| std::fs::read_to_string(server.folder.path().join("port")).ok()?.parse().ok());
        server
    }

    /// Returns the address for `LONGSHORE_SMTP_URL`.
    pub fn url(&self) -> String {
        let port = self.port;
        match self.security {
            Security::Plain => format!("smtp://127.0.0.1:{port}"),
            Security::StartTls => format!("smtp+starttls://ci:p%40ss%2Fw&rd@127.0.0.1:{port}"),
            Security::Tls => format!("smtps://ci:p%40ss%2Fw&rd@127.0.0.1:{port}"),
        }
    }

    /// Returns its certificate as PEM; empty without TLS.
    pub fn certificate(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("cert.pem")).unwrap_or_default()
    }

    /// Answers every message so from now on, or takes them again.
    pub fn answer(&self, answer: Option<&str>) {
        let file = self.folder.path().join("answer");
        match answer {
            Some(text) => std::fs::write(file, text).expect("written"),
            None => std::fs::remove_file(file).expect("it was there"),
        }
    }

    /// Takes mail to `later@` from now on.
    pub fn take_now(&self) {
        std::fs::write(self.folder.path().join("now"), "").expect("written");
    }

    /// Returns the messages that have arrived.
    pub fn messages(&self) -> Vec<String> {
        let file = |n: usize| std::fs::read_to_string(self.folder.path().join(format!("{n}.eml"))).ok();
        (0..).map_while(file).collect()
    }

    /// Waits for that many messages, and returns them.
    pub fn wait_for(&self, count: usize) -> Vec<String> {
        self.wait(|server| Some(server.messages()).filter(|messages| messages.len() >= count))
    }

    fn wait<T>(&self, ask: impl Fn(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(start.elapsed() < Duration::from_secs(600), "the mail server does not do it");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
