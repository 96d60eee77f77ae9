//! Sends the audit log to syslog: a message of RFC 5424 for each record, in order, each with the record's line of JSON.
//! How far it has got is kept, so that a restart or a socket that is away loses nothing. Over UDP, what the network
//! drops is lost.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use longshore_core::Timestamp;
use longshore_store::{
    Store,
    audit::{self, Decision, Record},
    settings,
};
use tokio_util::sync::CancellationToken;

/// The facility "log audit".
const FACILITY: u8 = 13;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;
/// Records that are sent at once.
const RECORDS_PER_BATCH: u32 = 100;
/// The pause before syslog is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// The setting that says how far it has got.
const SENT: &str = "audit records sent to syslog";

/// Where syslog listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Syslog {
    Unix(PathBuf),
    Udp(String),
}

impl FromStr for Syslog {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(path.into()));
        }
        let address = text.strip_prefix("udp://").filter(|address| {
            address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        });
        let form = || format!("`{text}` is not where syslog listens: write udp://HOST:PORT or unix:///dev/log");
        address.map(|address| Self::Udp(address.to_owned())).ok_or_else(form)
    }
}

/// Sends until `shutdown`.
pub(crate) async fn run(store: Store, syslog: Syslog, shutdown: CancellationToken) {
    shutdown.run_until_cancelled(send_for_ever(&store, &syslog)).await;
}

async fn send_for_ever(store: &Store, syslog: &Syslog) {
    let mut audited = store.audited();
    let mut warned = false;
    loop {
        audited.borrow_and_update();
        match send_new(store, syslog).await {
            Ok(()) => {
                warned = false;
                if audited.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut warned, true) {
                    tracing::warn!("the audit log is not sent to syslog ({syslog:?}): {error:#}; it is tried again");
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Sends what was not sent. The first time that is nothing: what was before stays in the export.
async fn send_new(store: &Store, syslog: &Syslog) -> anyhow::Result<()> {
    let sent = settings::get(store, SENT).await?.and_then(|text| text.parse::<i64>().ok());
    let Some(mut sent) = sent else {
        let newest = audit::list(store, &audit::Filter::default(), None, 1).await?.items;
        return record_sent(store, newest.first().map_or(0, |record| record.number)).await;
    };
    loop {
        let records = audit::after(store, sent, RECORDS_PER_BATCH).await?;
        let Some(last) = records.last() else { return Ok(()) };
        sent = last.number;
        let syslog = syslog.clone();
        tokio::task::spawn_blocking(move || send(&syslog, &records)).await??;
        record_sent(store, sent).await?;
    }
}

async fn record_sent(store: &Store, sent: i64) -> anyhow::Result<()> {
    let mut tx = store.write().await?;
    settings::set(&mut tx, SENT, &sent.to_string()).await?;
    tx.commit().await?;
    Ok(())
}

fn send(syslog: &Syslog, records: &[Record]) -> std::io::Result<()> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let messages = records.iter().map(|record| message(record, &host));
    match syslog {
        Syslog::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            for message in messages {
                socket.send(message.as_bytes())?;
            }
        }
        Syslog::Udp(address) => {
            let to = address.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
            let from: SocketAddr = match to {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(from)?;
            for message in messages {
                socket.send_to(message.as_bytes(), to)?;
            }
        }
    }
    Ok(())
}

fn message(record: &Record, host: &str) -> String {
    let severity = match record.entry.decision {
        Decision::Allowed => INFORMATIONAL,
        Decision::Denied | Decision::Failed => WARNING,
    };
    let (priority, at) = (FACILITY * 8 + severity, Timestamp::from_millis(record.entry.at));
    format!("<{priority}>1 {at} {host} longshore {} audit - {}", std::process::id(), record.line)
}

#[cfg(test)]
mod tests {
    use longshore_store::audit::Entry;

    use super::*;

    async fn record(store: &Store, action: &str, decision: Decision) {
        let mut tx = store.write().await.unwrap();
        audit::record(&mut tx, Entry { decision, ..Entry::of_server(action) }, Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn each_record_from_the_first_start_on_arrives_once_also_after_syslog_was_away() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let path = dir.path().join("log");
        let syslog: Syslog = format!("unix://{}", path.display()).parse().unwrap();
        record(&store, "a.before", Decision::Allowed).await;
        send_new(&store, &syslog).await.unwrap();
        record(&store, "b.while-away", Decision::Denied).await;
        assert!(send_new(&store, &syslog).await.is_err());

        let socket = UnixDatagram::bind(&path).unwrap();
        record(&store, "c.d", Decision::Allowed).await;
        send_new(&store, &syslog).await.unwrap();
        send_new(&store, &syslog).await.unwrap();
        socket.set_nonblocking(true).unwrap();
        let received = || {
            let mut bytes = vec![0; 4096];
            socket.recv(&mut bytes).map(|length| String::from_utf8_lossy(&bytes[..length]).into_owned())
        };
        let first = received().unwrap();
        assert!(first.starts_with("<108>1 2") && first.contains("\"action\":\"b.while-away\""), "{first}");
        let second = received().unwrap();
        assert!(second.starts_with("<110>1 2") && second.contains("\"action\":\"c.d\""), "{second}");
        assert!(received().is_err());

        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to: Syslog = format!("udp://{}", udp.local_addr().unwrap()).parse().unwrap();
        record(&store, "e.f", Decision::Allowed).await;
        send_new(&store, &to).await.unwrap();
        let mut bytes = vec![0; 4096];
        let length = udp.recv(&mut bytes).unwrap();
        assert!(String::from_utf8_lossy(&bytes[..length]).contains("\"action\":\"e.f\""));
        for bad in ["", "tcp://a:1", "udp://a", "udp://:514", "unix://log"] {
            assert!(bad.parse::<Syslog>().is_err(), "{bad}");
        }
    }
}
