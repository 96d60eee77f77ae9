//! A working tree for `longshore run`, with its own instance name on the engine.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use super::{engine, server, until};

/// The kinds of what jobs have on the engine.
const KINDS: [&str; 5] = ["job", "volume", "service", "step", "workspace"];

/// A working tree. When dropped, removes what its runs left on the engine.
pub struct Tree {
    dir: tempfile::TempDir,
    pub instance: String,
}

impl Tree {
    pub fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let instance = dir.path().file_name().expect("a name").to_string_lossy().replace('.', "t").to_lowercase();
        std::fs::create_dir(dir.path().join("tree")).expect("made");
        std::fs::create_dir(dir.path().join("tmp")).expect("made");
        Self { dir, instance }
    }

    pub fn new(pipeline: &str) -> Self {
        let tree = Self::empty();
        tree.write(".longshore.yml", pipeline);
        tree
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    /// The folder for temporary files of its runs, among them their records.
    pub fn temporary(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    /// Runs git in the tree.
    pub fn git(&self, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=Eve", "-c", "user.email=eve@example.org"]).args(args);
        let output = command.current_dir(self.path()).output().expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The program with these arguments, in the tree.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(server::program());
        command
            .args(args)
            .current_dir(self.path())
            .env("LONGSHORE_DOCKER_HOST", engine::docker_host())
            .env("LONGSHORE_INSTANCE", &self.instance)
            .env("TMPDIR", self.temporary())
            .env("XDG_CACHE_HOME", self.dir.path().join("cache"))
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(Stdio::null());
        command
    }

    pub fn longshore(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program runs")
    }

    pub fn exit_code(&self, args: &[&str]) -> Option<i32> {
        self.longshore(args).status.code()
    }

    /// Lists what jobs have on the engine.
    pub fn objects(&self) -> Vec<String> {
        engine::objects(&self.instance, &KINDS)
    }

    /// Waits until nothing of its runs is left.
    pub fn until_gone(&self) {
        engine::until_gone(&self.instance, &KINDS);
    }
}

/// Returns the processes that look after the caches of an instance's runs. A process that a run has left is there when
/// the run is over.
pub fn upkeeps(instance: &str) -> Vec<i32> {
    let is_one = |id: &i32| {
        let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        words.contains(&b"cache-upkeep".as_slice()) && words.contains(&instance.as_bytes())
    };
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
}

/// Waits until nobody looks after the caches of an instance's runs any more.
pub fn upkeep_is_over(instance: &str) {
    until("the caches to be looked after", || upkeeps(instance).is_empty().then_some(()));
}

impl Drop for Tree {
    fn drop(&mut self) {
        upkeep_is_over(&self.instance);
        engine::remove_all(&self.instance);
    }
}

/// A program's output.
pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a folder has no file whose name ends like this.
pub fn has_no(folder: &Path, ending: &str) -> bool {
    let below = std::fs::read_dir(folder).into_iter().flatten().flatten();
    below
        .map(|entry| entry.path())
        .all(|path| !path.to_string_lossy().ends_with(ending) && (!path.is_dir() || has_no(&path, ending)))
}
