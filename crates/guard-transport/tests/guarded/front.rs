//! Stands between a guard and the engine, and writes down what the engine hears.

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

    /// What the engine has heard since the last call, but for what the guard asks by itself.
    pub(crate) fn heard(&self) -> Vec<String> {
        let mut heard = std::mem::take(&mut *self.heard.lock().unwrap());
        // Whether an image that may be used is there is asked before a request is judged; which own containers are gone, where
        // the budget is too small.
        heard.retain(|line| !(line.starts_with("GET ") && line.contains("/images/") && line.contains("/json ")));
        heard.retain(|line| {
            !(line.contains("/containers/json?all=1&filters=") && line.contains("longshore.guard.scope"))
        });
        heard
    }
}
