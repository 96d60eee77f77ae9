//! A real S3 server on this machine (`s3-server.js`).

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// A running server with the bucket `ci`, which stops when dropped. Its objects are files.
pub struct S3Server {
    process: Option<Child>,
    folder: TempDir,
    port: u16,
}

impl S3Server {
    pub fn start() -> Self {
        let mut server = Self { process: None, folder: tempfile::tempdir().expect("a folder"), port: 0 };
        server.launch();
        server
    }

    /// Starts it again, with the objects that it had, at the address that it had.
    pub fn launch(&mut self) {
        let here = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let library = here.join("target/s3");
        assert!(library.join("fetched").exists(), "s3rver: scripts/s3.sh fetches it");
        let mut process = Command::new("node")
            .arg("--no-warnings")
            .arg(here.join("tests/support/s3-server.js"))
            .arg(self.folder.path())
            .arg(self.port.to_string())
            .current_dir(library)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("its output")).read_line(&mut line).expect("its port");
        self.port = line.trim().parse().expect("a port");
        self.process = Some(process);
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Returns the settings with which a server uses it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        Self::settings_at(self.port)
    }

    /// Returns the settings for the server at this port.
    pub fn settings_at(port: u16) -> Vec<(&'static str, String)> {
        vec![
            ("LONGSHORE_S3_ENDPOINT", format!("http://127.0.0.1:{port}")),
            ("LONGSHORE_S3_BUCKET", "ci".to_owned()),
            ("LONGSHORE_S3_ACCESS_KEY", "S3RVER".to_owned()),
            ("LONGSHORE_S3_SECRET_KEY", "S3RVER".to_owned()),
        ]
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the bytes of an object.
    pub fn object(&self, key: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join("ci").join(format!("{key}._S3rver_object"))).expect("an object")
    }

    /// Returns how many uploads in parts have begun and are not over.
    pub fn uploads(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("ci/._S3rver_uploads")).into_iter().flatten().count()
    }

    /// Returns the keys of all objects.
    pub fn objects(&self) -> Vec<String> {
        let bucket = self.folder.path().join("ci");
        let mut found = Vec::new();
        collect(&bucket, &bucket, &mut found);
        found.sort();
        found
    }
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if let Some(key) = path.to_string_lossy().strip_suffix("._S3rver_object") {
            found.push(Path::new(key).strip_prefix(root).expect("below the bucket").to_string_lossy().into_owned());
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.kill();
    }
}
