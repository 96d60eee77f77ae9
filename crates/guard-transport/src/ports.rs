//! Published ports. They listen on `localhost` in the guard's own network namespace, which is the job's sandbox, and
//! forward to a container of the job. Nothing listens on the host.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_guard::{EngineBody, EngineCall, Port, Ports, Protocol, Rule};
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::handle::{Failure, refusal};
use crate::proxy::Proxy;

/// The most connections to published ports at a time. Further ones wait.
const CONNECTIONS: usize = 1024;
/// The most clients of published UDP ports at a time. A further one replaces the one that has been silent longest.
const CLIENTS: usize = 512;
/// How long a container may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// The pause before the engine's events are requested again.
const PAUSE: Duration = Duration::from_secs(1);

/// The listeners, by the container's id.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// Held while ports are opened, because two containers may ask for the same port.
    opening: tokio::sync::Mutex<()>,
    open: Mutex<HashMap<String, Published>>,
    connections: Arc<Semaphore>,
    /// Places for clients of UDP ports.
    pub(crate) clients: Arc<Semaphore>,
    /// Ends the listeners and their connections.
    pub(crate) stop: CancellationToken,
}

/// The listeners of a container, which end when this is dropped.
#[derive(Debug)]
struct Published {
    ports: Vec<Port>,
    stop: CancellationToken,
}

impl Drop for Published {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self {
            opening: tokio::sync::Mutex::default(),
            open: Mutex::default(),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            clients: Arc::new(Semaphore::new(CLIENTS)),
            stop: CancellationToken::new(),
        }
    }
}

impl Publisher {
    fn is_open(&self, id: &str) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    fn opened(&self) -> Vec<String> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

impl Proxy {
    /// Opens the listeners of a container that is about to start, unless they are open.
    pub(crate) async fn publish(self: &Arc<Self>, id: &str) -> Result<(), Failure> {
        let Some(asked) = self.published(id) else { return Ok(()) };
        let _opening = self.publisher.opening.lock().await;
        if self.publisher.is_open(id) {
            return Ok(());
        }
        let mut ports = asked.named;
        if asked.all {
            let container = self.container(id).await.map_err(Failure::Engine)?.unwrap_or_default();
            let exposed = container["Config"]["ExposedPorts"].as_object().into_iter().flat_map(serde_json::Map::keys);
            let exposed = exposed.filter_map(|port| Protocol::of_port(port));
            let is_named =
                |exposed: &(u16, Protocol)| ports.iter().any(|named| (named.container, named.protocol) == *exposed);
            let missing: Vec<(u16, Protocol)> = exposed.filter(|exposed| !is_named(exposed)).collect();
            let any = |(container, protocol)| Port { container, protocol, asked: None, bound: None };
            ports.extend(missing.into_iter().map(any));
        }
        let mut listeners = Vec::new();
        for port in &mut ports {
            let bound = match bind(port).await {
                Some(bound) => bound,
                None => {
                    // A container that has just ended may still hold the port.
                    self.unpublish_ended().await;
                    bind(port).await.ok_or_else(|| taken(port))?
                }
            };
            port.bound = bound.first().and_then(|listener| listener.address().ok()).map(|address| address.port());
            listeners.extend(bound.into_iter().map(|listener| (listener, port.container)));
        }
        let stop = self.publisher.stop.child_token();
        for (listener, port) in listeners {
            let (proxy, id, stop) = (Arc::clone(self), id.to_owned(), stop.clone());
            let listen = async move {
                match listener {
                    Listener::Tcp(listener) => proxy.accept(listener, &id, port).await,
                    Listener::Udp(socket) => proxy.relay(Arc::new(socket), &id, port).await,
                }
            };
            self.tasks.spawn(stop.run_until_cancelled_owned(listen));
        }
        self.change(|guard| guard.table.set_ports(id, ports.clone()));
        let mut open = self.publisher.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(id.to_owned(), Published { ports, stop });
        Ok(())
    }

    /// Returns the ports that a container publishes. `None` for jobs without a sandbox.
    fn published(&self, id: &str) -> Option<Ports> {
        let guard = self.guard();
        guard.table.ports(id).filter(|_| guard.sandbox().is_some())
    }

    /// Ends the listeners of a container.
    pub(crate) fn unpublish(&self, id: &str) {
        let published = self.publisher.open.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(published) = published {
            tracing::debug!(id, ports = ?published.ports, "ports are not published any more");
            self.change(|guard| guard.table.unbind(id));
        }
    }

    async fn unpublish_ended(&self) {
        for id in self.publisher.opened() {
            if !self.is_running(&id).await {
                self.unpublish(&id);
            }
        }
    }

    async fn container(&self, id: &str) -> Result<Option<Value>, String> {
        self.engine.get(&format!("/containers/{id}/json")).await
    }

    /// Whether a container is running. `false` if the engine does not answer.
    pub(crate) async fn is_running(&self, id: &str) -> bool {
        match self.container(id).await {
            Ok(container) => container.is_some_and(|container| container["State"]["Running"] == true),
            Err(_) => true,
        }
    }

    /// Whether a container has ended. One that was created and not yet started has not; neither has one whose state is
    /// unknown.
    pub(crate) async fn has_ended(&self, id: &str) -> bool {
        let ended =
            |container: Value| matches!(container["State"]["Status"].as_str(), Some("exited" | "dead" | "removing"));
        self.container(id).await.is_ok_and(|container| container.is_none_or(ended))
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, id: &str, port: u16) {
        loop {
            let Ok(place) = Arc::clone(&self.publisher.connections).acquire_owned().await else { return };
            let Ok((client, _)) = listener.accept().await else {
                // Most likely there is no free file descriptor. Some will become free.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (proxy, id, stop) = (Arc::clone(&self), id.to_owned(), self.publisher.stop.clone());
            self.tasks.spawn(async move {
                stop.run_until_cancelled(proxy.lead(client, &id, port)).await;
                drop(place);
            });
        }
    }

    /// Returns a container's address on a network of the job.
    pub(crate) async fn address_of(&self, id: &str) -> Option<IpAddr> {
        match self.container(id).await {
            Ok(Some(container)) => self.guard().address_of(&container),
            Ok(None) | Err(_) => None,
        }
    }

    /// Forwards a connection to a container, and closes it if the container does not accept it.
    async fn lead(&self, mut client: TcpStream, id: &str, port: u16) {
        let Some(address) = self.address_of(id).await else { return };
        match tokio::time::timeout(CONNECT, TcpStream::connect((address, port))).await {
            Ok(Ok(mut container)) => {
                let _ = copy_bidirectional(&mut client, &mut container).await;
            }
            Ok(Err(error)) => tracing::debug!(id, port, %error, "a container takes no connection"),
            Err(_) => tracing::debug!(id, port, "a container did not accept a connection in time"),
        }
    }

    /// Follows the engine's events about the job's containers, so that ports listen exactly while their container runs,
    /// whoever starts or ends it.
    pub(crate) async fn follow_containers(self: Arc<Self>) {
        loop {
            if let Err(reason) = self.follow_events().await {
                tracing::debug!(reason, "the engine's events broke off");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow_events(self: &Arc<Self>) -> Result<(), String> {
        let mut values = self.events_of_containers(&["start", "die", "destroy"]).await?;
        // The list of containers shows what happened before the first event.
        self.unpublish_ended().await;
        let known: Vec<String> = self.guard().table.container_ids().into_iter().collect();
        for id in known {
            let is_published = self.published(&id).is_some();
            if is_published && self.is_running(&id).await {
                self.started(&id).await;
            }
        }
        while let Some(events) = values.next().await? {
            for event in events {
                let id = event["Actor"]["ID"].as_str().unwrap_or_default();
                match event["Action"].as_str() {
                    Some("start") => self.started(id).await,
                    // It may be running again by now.
                    Some("die") if self.publisher.is_open(id) && !self.is_running(id).await => self.unpublish(id),
                    Some("destroy") => self.unpublish(id),
                    Some(_) | None => {}
                }
            }
        }
        Err("they ended".to_owned())
    }

    async fn started(self: &Arc<Self>, id: &str) {
        if let Err(failure) = self.publish(id).await {
            tracing::warn!(id, ?failure, "published ports do not listen");
        }
    }

    /// Connects the job's sandbox to a network of the job, so that the job reaches the containers there by their names.
    pub(crate) async fn join(&self, network: &str) -> Result<(), String> {
        let Some(sandbox) = self.guard().sandbox().map(str::to_owned) else { return Ok(()) };
        self.attach(network, "connect", serde_json::json!({ "Container": sandbox })).await
    }

    /// Disconnects the job's sandbox from a network that is about to be removed.
    pub(crate) async fn leave(&self, network: &str) -> Result<(), String> {
        let Some(sandbox) = self.guard().sandbox().map(str::to_owned) else { return Ok(()) };
        self.attach(network, "disconnect", serde_json::json!({ "Container": sandbox, "Force": true })).await
    }

    async fn attach(&self, network: &str, verb: &str, body: Value) -> Result<(), String> {
        let path = format!("/networks/{network}/{verb}");
        let call = EngineCall { method: "POST", path, body: EngineBody::Json(body), credentials: None };
        self.engine.done(&call).await
    }
}

/// What listens for a published port.
enum Listener {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Listener {
    async fn bind(protocol: Protocol, address: SocketAddr) -> io::Result<Self> {
        match protocol {
            Protocol::Tcp => TcpListener::bind(address).await.map(Self::Tcp),
            Protocol::Udp => UdpSocket::bind(address).await.map(Self::Udp),
        }
    }

    fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        }
    }
}

/// Binds the first free port in the requested range, or the one that was bound before.
async fn bind(port: &Port) -> Option<Vec<Listener>> {
    let before = port.bound.map(|bound| (bound, bound));
    let asked = before.into_iter().chain([port.asked.unwrap_or((0, 0))]);
    for number in asked.flat_map(|(first, last)| first..=last) {
        let listen =
            async |address: IpAddr, number| Listener::bind(port.protocol, SocketAddr::new(address, number)).await;
        let Ok(listener) = listen(Ipv4Addr::LOCALHOST.into(), number).await else { continue };
        let bound = listener.address().map(|address| address.port()).unwrap_or(number);
        // Only where the namespace has IPv6.
        let second = listen(Ipv6Addr::LOCALHOST.into(), bound).await.ok();
        return Some(std::iter::once(listener).chain(second).collect());
    }
    None
}

fn taken(port: &Port) -> Failure {
    let (first, last) = port.asked.unwrap_or_default();
    let wanted = if first == last { first.to_string() } else { format!("{first}-{last}") };
    let reason = format!(
        "Bind for 127.0.0.1:{wanted} failed: port is already allocated, by another container of the job or by a process in it"
    );
    refusal(Rule::Publish, &reason).into()
}
