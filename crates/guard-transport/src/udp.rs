//! Published UDP ports: what arrives at one of them is sent to the container, and the container's answers go back to
//! the sender.
//!
//! UDP knows no connections, so a client is remembered by its address for as long as it sends or gets something: each has
//! a socket of its own to the container, by which its answers are known.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;

use crate::proxy::Proxy;

/// How long a silent client is remembered: as long as Docker's own proxy does.
const IDLE: Duration = Duration::from_secs(90);
/// How often silent clients are forgotten.
const SWEEP: Duration = Duration::from_secs(30);
/// How long a container's address is used for new clients before it is looked up again.
const KNOWN: Duration = Duration::from_secs(1);
/// More than the longest datagram has.
const LONGEST: usize = 64 << 10;

/// A client of a port, which is forgotten when this is dropped.
struct Client {
    to_container: Arc<UdpSocket>,
    /// When something was sent last, in either direction.
    last: Arc<Mutex<Instant>>,
    _answers: AbortOnDropHandle<()>,
    _place: OwnedSemaphorePermit,
}

impl Client {
    fn silent_since(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Forwards datagrams between the clients of a port and a container. What cannot be forwarded is lost, as it is on
    /// any network.
    pub(crate) async fn relay(&self, port: Arc<UdpSocket>, id: &str, of_container: u16) {
        let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
        let mut known: Option<(Instant, SocketAddr)> = None;
        let mut sweep = tokio::time::interval(SWEEP);
        let mut datagram = vec![0; LONGEST];
        loop {
            let received = tokio::select! {
                received = port.recv_from(&mut datagram) => received,
                _ = sweep.tick() => {
                    clients.retain(|_, client| client.silent_since().elapsed() < IDLE);
                    continue;
                }
            };
            // An error is about an answer that nobody takes any more.
            let Ok((length, from)) = received else { continue };
            if !clients.contains_key(&from) {
                if known.is_none_or(|(at, _)| at.elapsed() >= KNOWN) {
                    let address = self.address_of(id).await;
                    known = address.map(|address| (Instant::now(), SocketAddr::new(address, of_container)));
                }
                let (Some((_, container)), Some(place)) = (known, self.place_for_client(&mut clients)) else {
                    continue;
                };
                match meet(Arc::clone(&port), from, container, place).await {
                    Ok(client) => drop(clients.insert(from, client)),
                    Err(error) => tracing::debug!(id, of_container, %error, "a container gets no datagrams"),
                }
            }
            if let Some(client) = clients.get(&from) {
                *client.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                let _ = client.to_container.try_send(&datagram[..length]);
            }
        }
    }

    /// Takes a place for a new client, from the one that was silent longest if none is free.
    fn place_for_client(&self, clients: &mut HashMap<SocketAddr, Client>) -> Option<OwnedSemaphorePermit> {
        let place = || Arc::clone(&self.publisher.clients).try_acquire_owned().ok();
        place().or_else(|| {
            let longest = clients.iter().min_by_key(|(_, client)| client.silent_since()).map(|(from, _)| *from)?;
            clients.remove(&longest);
            place()
        })
    }
}

/// Opens a new client's socket to the container.
async fn meet(
    port: Arc<UdpSocket>,
    from: SocketAddr,
    container: SocketAddr,
    place: OwnedSemaphorePermit,
) -> io::Result<Client> {
    let any: IpAddr = if container.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let to_container = Arc::new(UdpSocket::bind((any, 0)).await?);
    to_container.connect(container).await?;
    // What is sent at once is not lost for a socket that was not asked yet.
    to_container.writable().await?;
    let last = Arc::new(Mutex::new(Instant::now()));
    let answers = tokio::spawn(answer(port, from, Arc::clone(&to_container), Arc::clone(&last)));
    Ok(Client { to_container, last, _answers: AbortOnDropHandle::new(answers), _place: place })
}

/// Sends a container's answers to their client.
async fn answer(port: Arc<UdpSocket>, to: SocketAddr, from_container: Arc<UdpSocket>, last: Arc<Mutex<Instant>>) {
    while from_container.readable().await.is_ok() {
        // Only while there is something to read: there may be many clients.
        let mut datagram = vec![0; LONGEST];
        // An error says that the container did not listen when something was sent to it. It may by now.
        if let Ok(length) = from_container.try_recv(&mut datagram) {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            let _ = port.send_to(&datagram[..length], to).await;
        }
    }
}
