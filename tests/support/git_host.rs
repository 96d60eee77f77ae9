//! A real git host over HTTP (`scripts/git-http.py`), which sends signed webhooks after each push.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::until;

/// A running git host with one empty repository and a clone of it. Stops when dropped.
pub struct GitHost {
    process: Child,
    folder: TempDir,
    port: u16,
}

impl GitHost {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port_file = folder.path().join("port");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/git-http.py");
        let process = Command::new("python3")
            .arg(script)
            .args(["--listen", "127.0.0.1:0", "--allow-push", "--quiet", "--port-file"])
            .arg(&port_file)
            .arg("--root")
            .arg(folder.path().join("srv"))
            .stdin(Stdio::null())
            .spawn()
            .expect("python3 runs");
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", "srv/app.git"]);
        let port = until("the git host's port", || std::fs::read_to_string(&port_file).ok()?.trim().parse().ok());
        git(folder.path(), &["init", "-q", "-b", "main", "work"]);
        let host = Self { process, folder, port };
        host.git(&["remote", "add", "origin", &host.url()]);
        host
    }

    /// Returns the clone address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/app.git", self.port)
    }

    /// Makes a fork, `eve/app`, that `fork` is the remote of.
    pub fn fork(&self) {
        git(self.folder.path(), &["init", "-q", "--bare", "-b", "main", "srv/eve/app.git"]);
        self.git(&["remote", "add", "fork", &self.url().replace("/app.git", "/eve/app.git")]);
    }

    /// Returns the working tree that pushes.
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Returns the bare repository that it serves.
    pub fn bare(&self) -> PathBuf {
        self.folder.path().join("srv/app.git")
    }

    /// Sends a webhook after each push from now on.
    pub fn hook(&self, url: &str, secret: &str) {
        let bare = self.bare();
        git(&bare, &["config", "longshore.hook-url", url]);
        git(&bare, &["config", "longshore.hook-secret", secret]);
    }

    /// Makes this branch the default branch.
    pub fn head(&self, branch: &str) {
        git(&self.bare(), &["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")]);
    }

    /// Commits these files. Returns the commit.
    pub fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            let path = self.work().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Commits a pipeline and pushes it to `main`. Returns the commit.
    pub fn push(&self, pipeline: &str) -> String {
        let commit = self.commit("change", &[(".longshore.yml", pipeline)]);
        self.git(&["push", "-q", "origin", "HEAD:main"]);
        commit
    }

    /// Runs `git ARGS` in the working tree. Returns its output.
    pub fn git(&self, args: &[&str]) -> String {
        git(&self.work(), args)
    }
}

impl Drop for GitHost {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs `git ARGS` there. Returns its output.
pub fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=A Tester", "-c", "user.email=tester@localhost", "-c", "commit.gpgsign=false"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
