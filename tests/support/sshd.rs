//! OpenSSH's server, which lets in whoever has a key that it was given.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{executable, server::free_port, until};

/// A running sshd. Stops when dropped.
pub struct Sshd {
    process: Option<Child>,
    folder: TempDir,
    program: PathBuf,
    port: u16,
}

impl Sshd {
    /// Starts it. `None` without sshd, which is an error in CI.
    pub fn start() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        folders.push("/usr/sbin".into());
        // It starts itself anew, and has to know where it is.
        let Some(program) = folders.into_iter().map(|folder| folder.join("sshd")).find(|program| program.is_file())
        else {
            let missing =
                "sshd is not installed: `apt-get install openssh-server`, or LONGSHORE_BROWSER=yes scripts/setup.sh";
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            eprintln!("not tested, since {missing}");
            return None;
        };
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").expect("sshd's empty folder");
        }
        let mut this =
            Self { process: None, folder: tempfile::tempdir().expect("a folder"), program, port: free_port() };
        std::fs::write(this.authorized_keys(), "").expect("written");
        this.set_up_again();
        Some(this)
    }

    /// Starts it with another host key, as after a new installation.
    pub fn set_up_again(&mut self) {
        self.stop();
        let folder = self.folder.path();
        let host_key = folder.join("host-key");
        let _ = std::fs::remove_file(&host_key);
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&host_key).status();
        assert!(made.expect("ssh-keygen runs").success());
        let process = Command::new(&self.program)
            .args(["-D", "-e", "-f", "/dev/null", "-p", &self.port.to_string()])
            .args(["-o", "ListenAddress=127.0.0.1", "-o", "PidFile=none", "-o", "StrictModes=no", "-o", "UsePAM=no"])
            .args(["-o", "PasswordAuthentication=no", "-o", "KbdInteractiveAuthentication=no"])
            .arg("-o")
            .arg(format!("SetEnv=PATH={}:/usr/local/bin:/usr/bin:/bin", folder.join("programs").display()))
            .arg("-o")
            .arg(format!("HostKey={}", host_key.display()))
            .arg("-o")
            .arg(format!("AuthorizedKeysFile={}", self.authorized_keys().display()))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).expect("a log"))
            .spawn()
            .expect("sshd runs");
        self.process = Some(process);
        until("sshd", || TcpStream::connect(("127.0.0.1", self.port)).ok().map(drop));
    }

    /// Answers `git-lfs-authenticate` with this from now on, and writes down what it was asked for.
    pub fn answer_lfs(&self, answer: &str, asked: &Path) {
        let programs = self.folder.path().join("programs");
        std::fs::create_dir_all(&programs).expect("made");
        let program = programs.join("git-lfs-authenticate");
        let script = format!("#!/bin/sh\necho \"$@\" >'{}'\ncat <<'END'\n{answer}\nEND\n", asked.display());
        executable::write(&program, script.as_bytes());
    }

    fn authorized_keys(&self) -> PathBuf {
        self.folder.path().join("authorized_keys")
    }

    /// Lets in whoever has the private half of this key.
    pub fn let_in(&self, public: &str) {
        std::fs::write(self.authorized_keys(), format!("{public}\n")).expect("written");
    }

    /// Returns the clone address of a bare repository on this machine.
    pub fn url(&self, bare: &Path) -> String {
        let user = Command::new("id").arg("-un").output().expect("id runs").stdout;
        format!("ssh://{}@127.0.0.1:{}{}", String::from_utf8_lossy(&user).trim(), self.port, bare.display())
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}
