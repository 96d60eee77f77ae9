//! A proxy between the guard and the engine that records the requests which reach the engine, and can refuse old
//! versions of the API as newer engines do.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};

#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) socket: PathBuf,
    heard: Arc<Mutex<Vec<String>>>,
    /// What requests contain that fail, once each.
    failing: Arc<Mutex<Vec<&'static str>>>,
    /// What requests contain that are never answered.
    hanging: Arc<Mutex<Vec<String>>>,
}

impl Front {
    /// Starts it before an engine. With `oldest`, it speaks no API before `1.oldest`.
    pub(crate) fn start(dir: &Path, engine: PathBuf, oldest: Option<u32>) -> Self {
        let front = Self {
            socket: dir.join("engine.sock"),
            heard: Arc::default(),
            failing: Arc::default(),
            hanging: Arc::default(),
        };
        let listener = UnixListener::bind(&front.socket).unwrap();
        let (heard, failing) = (Arc::clone(&front.heard), Arc::clone(&front.failing));
        let hanging = Arc::clone(&front.hanging);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (heard, failing, engine) = (Arc::clone(&heard), Arc::clone(&failing), engine.clone());
                let hanging = Arc::clone(&hanging);
                tokio::spawn(async move {
                    let mut start = vec![0; 64 << 10];
                    let mut read = 0;
                    while !start[..read].contains(&b'\n') {
                        match client.read(&mut start[read..]).await {
                            Ok(more) if more > 0 => read += more,
                            Ok(_) | Err(_) => return,
                        }
                    }
                    let line = String::from_utf8_lossy(&start[..read]).lines().next().unwrap_or_default().to_owned();
                    let refusal = oldest
                        .and_then(|oldest| refusal(&line, oldest))
                        .or_else(|| failure(&mut failing.lock().unwrap(), &line));
                    let hangs = hanging.lock().unwrap().iter().any(|part| line.contains(part.as_str()));
                    heard.lock().unwrap().push(line);
                    if hangs {
                        return std::future::pending().await;
                    }
                    if let Some(refusal) = refusal {
                        let _ = client.write_all(refusal.as_bytes()).await;
                        return;
                    }
                    let Ok(mut upstream) = UnixStream::connect(engine).await else { return };
                    if upstream.write_all(&start[..read]).await.is_ok() {
                        let _ = copy_bidirectional(&mut client, &mut upstream).await;
                    }
                });
            }
        });
        front
    }

    /// Makes the next requests that contain `part` fail, so many.
    pub(crate) fn fail(&self, part: &'static str, times: usize) {
        self.failing.lock().unwrap().extend(vec![part; times]);
    }

    /// Leaves all requests that contain `part` unanswered.
    pub(crate) fn hang(&self, part: &str) {
        self.hanging.lock().unwrap().push(part.to_owned());
    }

    /// Returns the requests since the last call of this function, without those that the guard makes for itself.
    pub(crate) fn heard(&self) -> Vec<String> {
        let mut heard = std::mem::take(&mut *self.heard.lock().unwrap());
        // Before it judges a request, the guard asks whether an allowed image exists, and, if the budget is too small,
        // which own containers are gone.
        heard.retain(|line| !(line.starts_with("GET ") && line.contains("/images/") && line.contains("/json ")));
        // After an exec was started, whether it has begun.
        heard.retain(|line| !(line.starts_with("GET ") && line.contains("/exec/") && line.contains("/json ")));
        heard.retain(|line| {
            !(line.contains("/containers/json?all=1&filters=") && line.contains("longshore.guard.scope"))
        });
        heard
    }
}

/// Docker's answer to a request line of an API that is too old.
fn refusal(line: &str, oldest: u32) -> Option<String> {
    let (version, _) = line.split(' ').nth(1)?.strip_prefix("/v1.")?.split_once('/')?;
    let asked: u32 = version.parse().ok()?;
    let text = format!(
        r#"{{"message":"client version 1.{asked} is too old. Minimum supported API version is 1.{oldest}, please upgrade your client to a newer version"}}"#
    );
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close";
    (asked < oldest).then(|| format!("{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len()))
}

fn failure(failing: &mut Vec<&'static str>, line: &str) -> Option<String> {
    let at = failing.iter().position(|part| line.contains(part))?;
    failing.remove(at);
    let text = r#"{"message":"the engine fails"}"#;
    let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close";
    Some(format!("{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len()))
}
