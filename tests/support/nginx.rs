//! Debian's nginx in front of a server, configured as in README.md: once it strips the path `/ci`, once it keeps it.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{server::free_port, until};

/// One nginx with both configurations. Stops when dropped.
pub struct Nginx {
    process: Option<Child>,
    folder: TempDir,
    program: String,
    taking_off: u16,
    leaving_on: u16,
}

impl Nginx {
    /// Finds the program and two ports. The server has to know one of the ports before it starts. `None` without nginx,
    /// which is an error in CI.
    pub fn find() -> Option<Self> {
        let program = ["nginx", "/usr/sbin/nginx"]
            .into_iter()
            .find(|program| Command::new(program).arg("-v").stderr(Stdio::null()).status().is_ok_and(|v| v.success()));
        let Some(program) = program else {
            let missing =
                "nginx is not installed: `apt-get install nginx-light`, or LONGSHORE_BROWSER=yes scripts/setup.sh";
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            eprintln!("not tested, since {missing}");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let (taking_off, leaving_on) = (free_port(), free_port());
        Some(Self { process: None, folder, program: program.to_owned(), taking_off, leaving_on })
    }

    /// Starts nginx in front of the server on this port.
    pub fn start(&mut self, port: u16) {
        let location = location();
        let stripping = location.replace("http://127.0.0.1:8080/;", &format!("http://127.0.0.1:{port}/;"));
        let keeping = location.replace("http://127.0.0.1:8080/;", &format!("http://127.0.0.1:{port};"));
        assert!(stripping != location && keeping != location, "{location}");
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("  {name}_temp_path {}/{name};\n", self.folder.path().display()))
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n{temporary}\
             \x20 server {{\n    listen 127.0.0.1:{};\n{stripping}  }}\n  server {{\n    listen 127.0.0.1:{};\n{keeping}  }}\n}}\n",
            self.taking_off,
            self.leaving_on,
            folder = self.folder.path().display(),
        );
        let file = self.folder.path().join("nginx.conf");
        std::fs::write(&file, config).expect("written");
        let process = Command::new(&self.program)
            .args(["-e", "stderr", "-p"])
            .arg(self.folder.path())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx starts");
        self.process = Some(process);
        for url in self.urls() {
            until("nginx", || {
                let process = self.process.as_mut()?;
                if let Some(status) = process.try_wait().ok().flatten() {
                    panic!("nginx ended with {status}");
                }
                ureq::get(format!("{url}/healthz")).call().ok()
            });
        }
    }

    /// Returns the server's addresses: through the nginx that strips the path, and through the one that keeps it.
    pub fn urls(&self) -> [String; 2] {
        [self.taking_off, self.leaving_on].map(|port| format!("http://127.0.0.1:{port}/ci"))
    }
}

/// Returns the configuration in the README.
fn location() -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).expect("README.md");
    let (_, rest) = readme.split_once("    location /ci/ {\n").expect("README.md has a location for nginx");
    let (lines, _) = rest.split_once("    }\n").expect("the location ends");
    format!("    location /ci/ {{\n{lines}    }}\n")
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
