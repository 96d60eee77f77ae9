//! A real git host on loopback: `git http-backend` behind a small HTTP server, with optional basic authentication.

#[path = "../../../../tests/support/executable.rs"]
pub(crate) mod executable;
pub(crate) mod tls;

use std::{
    io::{self, BufRead as _, BufReader, Read, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// `user:password` that the host requires, and searches for in every process's arguments.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) credentials: Option<String>,
    pub(crate) secrets: Vec<String>,
    /// Accepts connections and never answers.
    pub(crate) silent: bool,
    /// Redirects everyone to this place, with this status.
    pub(crate) redirect: Option<(u16, String)>,
    /// Breaks off every answer after this many bytes.
    pub(crate) cut_after: Option<u64>,
}

pub(crate) struct GitHost {
    pub(crate) address: SocketAddr,
    pub(crate) root: PathBuf,
    /// The paths of requests, and arguments that contained a secret.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    pub(crate) leaks: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl GitHost {
    /// Serves the repositories below `root`.
    pub(crate) fn start(root: &Path, options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, requests, leaks) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
        let served =
            Served { root: root.to_owned(), options, requests: Arc::clone(&requests), leaks: Arc::clone(&leaks) };
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let stream = stream.unwrap();
                if served.options.silent {
                    held.push(stream);
                } else {
                    // It does not matter if a client went away.
                    let _ = served.answer(&stream);
                }
            }
        });
        Self { address, root: root.to_owned(), requests, leaks, stop, thread: Some(thread) }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }
}

impl Drop for GitHost {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

struct Served {
    root: PathBuf,
    options: Options,
    requests: Arc<Mutex<Vec<String>>>,
    leaks: Arc<Mutex<Vec<String>>>,
}

impl Served {
    fn answer(&self, stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = read_headers(&mut reader)?;
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        self.requests.lock().unwrap().push(path.to_owned());
        if !self.options.secrets.is_empty() {
            self.look_for_secrets();
        }
        if let Some((status, to)) = &self.options.redirect {
            let answer = format!("HTTP/1.1 {status} Elsewhere\r\nLocation: {to}{target}\r\n");
            return write!(&*stream, "{answer}Content-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let expected = self.options.credentials.as_ref().map(|c| format!("Basic {}", base64(c)));
        if expected.is_some() && header("authorization") != expected.as_deref() {
            let answer = "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"git\"\r\n";
            return write!(&*stream, "{answer}Content-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let body = match (header("content-length"), header("transfer-encoding")) {
            (Some(length), _) => {
                let mut body = vec![0; length.parse().unwrap()];
                reader.read_exact(&mut body)?;
                body
            }
            (None, Some("chunked")) => read_chunks(&mut reader)?,
            _ => Vec::new(),
        };
        let mut backend = Command::new("git");
        backend
            .arg("http-backend")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", method)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
            .env("HTTP_CONTENT_ENCODING", header("content-encoding").unwrap_or_default())
            .env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = backend.spawn()?;
        let mut stdin = child.stdin.take().unwrap();
        let writer = thread::spawn(move || drop(stdin.write_all(&body)));
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let answer = read_headers(&mut output)?;
        let status = answer.iter().find(|(name, _)| name == "status").map_or("200 OK", |(_, value)| value);
        write!(&*stream, "HTTP/1.1 {status}\r\nConnection: close\r\n")?;
        for (name, value) in answer.iter().filter(|(name, _)| name != "status") {
            write!(&*stream, "{name}: {value}\r\n")?;
        }
        write!(&*stream, "\r\n")?;
        io::copy(&mut output.take(self.options.cut_after.unwrap_or(u64::MAX)), &mut &*stream)?;
        writer.join().unwrap();
        child.wait()?;
        Ok(())
    }

    /// Git and its helpers wait for our answer now, so all of them are visible.
    fn look_for_secrets(&self) {
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(arguments) = std::fs::read(process.path().join("cmdline")) else { continue };
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            if self.options.secrets.iter().any(|secret| arguments.contains(secret.as_str())) {
                self.leaks.lock().unwrap().push(arguments);
            }
        }
    }
}

fn read_headers(reader: &mut impl io::BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => return Ok(headers),
        }
    }
}

fn read_chunks(reader: &mut impl io::BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk)?;
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return Ok(body);
        }
    }
}

pub(crate) fn base64(text: &str) -> String {
    use ::base64::{Engine as _, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(text)
}

/// Runs git as a user would, in `folder`, and returns its output.
pub(crate) fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .envs([("GIT_AUTHOR_NAME", "Eve"), ("GIT_AUTHOR_EMAIL", "eve@example.org")])
        .envs([("GIT_COMMITTER_NAME", "Eve"), ("GIT_COMMITTER_EMAIL", "eve@example.org")])
        .env("GIT_ALLOW_PROTOCOL", "file:http")
        // A maintenance process that git starts in the background would outlive the test.
        .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"])
        .args(args)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Writes a file, and creates its folders.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A user's repository at `folder/name`, to be served from there. It needs no pushes: it is changed in place.
pub(crate) struct Repository(pub(crate) PathBuf);

impl Repository {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        std::fs::create_dir_all(&path).unwrap();
        git(&path, &["init", "-q", "-b", "main"]);
        Self(path)
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(&self.0, args)
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        write(&self.0.join(path), text);
        self
    }

    /// Commits all changes.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A", "-f"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }
}
