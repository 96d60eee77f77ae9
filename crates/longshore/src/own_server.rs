//! The server beside this process: it has the same data folder, as for `docker exec` in the server's container. The
//! command line reaches it where it listens, whatever its public address is, and as its administrator.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use longshore_files::{folder, lock};
use serde::{Deserialize, Serialize};

/// How long a server that starts is waited for.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The record in the data folder by which commands find the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Listener {
    listen: SocketAddr,
    /// Its public address.
    url: String,
    /// The network that it listens in. In another one somebody else may have that port.
    #[serde(default)]
    network: Option<PathBuf>,
}

/// Returns the network of this process, as the kernel names it.
fn network() -> Option<PathBuf> {
    std::fs::read_link("/proc/self/ns/net").ok()
}

/// Writes into the data folder where its server listens.
///
/// # Errors
/// Those of the disk.
pub(crate) fn announce(data: &Path, listen: SocketAddr, url: &str) -> anyhow::Result<()> {
    let text = serde_json::to_string(&Listener { listen, url: url.to_owned(), network: network() })?;
    let path = data.join(folder::LISTENER);
    folder::write_private(&path, &text).with_context(|| format!("cannot write {}", path.display()))
}

/// Takes back what was said: nobody listens there, or not any more.
pub(crate) fn retract(data: &Path) {
    let _ = std::fs::remove_file(data.join(folder::LISTENER));
}

/// A running server on a data folder that this process can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnServer {
    /// Where it listens, as a client on this machine reaches it.
    pub(crate) reached_at: String,
    /// The address that people use.
    pub(crate) url: String,
    data: PathBuf,
}

impl OwnServer {
    /// Finds the server on this machine's data folder, if it runs and is the one that `given` names. Without `given` it
    /// is.
    pub(crate) fn find(given: Option<&str>) -> Option<Self> {
        let data = std::env::var_os("LONGSHORE_DATA").filter(|data| !data.is_empty());
        Self::started_on(&data.map_or_else(|| PathBuf::from(crate::DEFAULT_DATA), PathBuf::from), given)
    }

    /// As [`Self::on`], once a server that is just starting there has said where it listens.
    fn started_on(data: &Path, given: Option<&str>) -> Option<Self> {
        let begun = Instant::now();
        let is_starting = || lock::is_taken(data) && !data.join(folder::LISTENER).exists();
        while is_starting() && begun.elapsed() < START_TIMEOUT {
            thread::sleep(CHECK_INTERVAL);
        }
        Self::on(data, given)
    }

    fn on(data: &Path, given: Option<&str>) -> Option<Self> {
        let Listener { listen, url, network: there } =
            serde_json::from_slice(&std::fs::read(data.join(folder::LISTENER)).ok()?).ok()?;
        if there.is_none() || there != network() {
            return None;
        }
        let host = match listen.ip() {
            IpAddr::V4(all) if all.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(all) if all.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            other => other,
        };
        let reached_at = format!("http://{}", SocketAddr::new(host, listen.port()));
        let is_it = |given: &str| {
            let given = given.trim_end_matches('/');
            given == url || given == reached_at || given == format!("http://localhost:{}", listen.port())
        };
        // Another program may listen there now: only a process that holds the folder's lock gets the token.
        (given.is_none_or(is_it) && lock::is_taken(data)).then(|| Self { reached_at, url, data: data.to_owned() })
    }

    /// Returns the administrator's token, if it can be read.
    ///
    /// # Errors
    /// If it exists and cannot be removed.
    pub(crate) fn admin_token(&self) -> anyhow::Result<Option<String>> {
        if let Some(token) = std::env::var("LONGSHORE_ADMIN_TOKEN").ok().filter(|token| !token.trim().is_empty()) {
            return Ok(Some(token));
        }
        let path = self.data.join("admin-token");
        match std::fs::read_to_string(&path) {
            Ok(token) => Ok(Some(token.trim().to_owned())),
            // It is among the server's own settings.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_runs_on_the_folder_and_is_meant_is_ones_own() {
        let data = tempfile::tempdir().unwrap();
        let find = |given: Option<&str>| OwnServer::on(data.path(), given).map(|own| own.reached_at);
        assert_eq!(find(None), None);
        announce(data.path(), "0.0.0.0:8080".parse().unwrap(), "https://ci.example.org").unwrap();
        assert_eq!(find(None), None, "nobody holds the lock");
        let _lock = lock::take(data.path()).unwrap();
        let here = Some("http://127.0.0.1:8080".to_owned());
        for given in
            [None, Some("https://ci.example.org/"), Some("http://localhost:8080"), Some("http://127.0.0.1:8080")]
        {
            assert_eq!(find(given), here, "{given:?}");
        }
        for other in ["https://ci.example.com", "http://localhost:8081", "https://ci.example.org.evil"] {
            assert_eq!(find(Some(other)), None, "{other}");
        }
        let written = std::fs::read_to_string(data.path().join(folder::LISTENER)).unwrap();
        let elsewhere = written.replace("net:[", "net:[9");
        std::fs::write(data.path().join(folder::LISTENER), elsewhere).unwrap();
        assert_eq!(find(None), None, "it listens in another network");
        announce(data.path(), "[::]:80".parse().unwrap(), "https://ci.example.org").unwrap();
        assert_eq!(find(None).as_deref(), Some("http://[::1]:80"));
        retract(data.path());
        assert_eq!(find(None), None, "it listens no more");
    }

    #[test]
    fn a_server_that_is_just_starting_is_waited_for() {
        let data = tempfile::tempdir().unwrap();
        let _lock = lock::take(data.path()).unwrap();
        let folder = data.path().to_owned();
        let (asked, asks) = std::sync::mpsc::channel();
        let server = thread::spawn(move || {
            asks.recv().unwrap();
            announce(&folder, "0.0.0.0:8080".parse().unwrap(), "https://ci.example.org").unwrap();
        });
        asked.send(()).unwrap();
        let found = OwnServer::started_on(data.path(), Some("https://ci.example.org"));
        assert_eq!(found.unwrap().reached_at, "http://127.0.0.1:8080");
        server.join().unwrap();
    }
}
