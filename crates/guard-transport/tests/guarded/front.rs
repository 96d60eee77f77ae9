//! A proxy between the guard and the engine that records the requests which reach the engine.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};

#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) socket: PathBuf,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Front {
    pub(crate) fn start(dir: &Path, engine: PathBuf) -> Self {
        let front = Self { socket: dir.join("engine.sock"), heard: Arc::default() };
        let listener = UnixListener::bind(&front.socket).unwrap();
        let heard = Arc::clone(&front.heard);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (heard, engine) = (Arc::clone(&heard), engine.clone());
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
                    heard.lock().unwrap().push(line);
                    let Ok(mut upstream) = UnixStream::connect(engine).await else { return };
                    if upstream.write_all(&start[..read]).await.is_ok() {
                        let _ = copy_bidirectional(&mut client, &mut upstream).await;
                    }
                });
            }
        });
        front
    }

    /// Returns the requests since the last call of this function, without those that the guard makes for itself.
    pub(crate) fn heard(&self) -> Vec<String> {
        let mut heard = std::mem::take(&mut *self.heard.lock().unwrap());
        // Before it judges a request, the guard asks whether an allowed image exists, and, if the budget is too small, which own
        // containers are gone.
        heard.retain(|line| !(line.starts_with("GET ") && line.contains("/images/") && line.contains("/json ")));
        heard.retain(|line| {
            !(line.contains("/containers/json?all=1&filters=") && line.contains("longshore.guard.scope"))
        });
        heard
    }
}
