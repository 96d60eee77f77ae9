//! Puts addresses out of the reach of a sandbox's jobs, with routing rules and a packet filter in its network
//! namespace.
//!
//! Both need the right to change the namespace's network, which no container of a job has, so a job cannot remove them.
//! The rules refuse at once ("permission denied"), so nothing waits for an answer. The filter drops what the rules do
//! not catch: packets of sockets that name their interface. Port 53 stays open, because some networks have their name
//! servers at such an address.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use longshore_core::DeniedAddresses;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::route::RouteHeader;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr as Kernel};

use crate::filter;

/// The port of name servers.
const DNS_PORT: u16 = 53;
/// Before the main table's rule (32766), after the one for the namespace's own addresses (0).
const FIRST_PRIORITY: u32 = 1000;

/// Adds the rules and the filter; `allowed` are ports that stay open at denied addresses. Adds as many as it can, and
/// returns the first error.
pub(crate) fn deny(denied: &[DeniedAddresses], allowed: &[SocketAddr]) -> io::Result<()> {
    if denied.is_empty() {
        return Ok(());
    }
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&Kernel::new(0, 0))?;
    let networks = denied.iter().flat_map(|denied| match *denied {
        DeniedAddresses::Network(network) => vec![(network.network(), network.prefix_len())],
        DeniedAddresses::Host => gateways().into_iter().map(|gateway| (gateway, whole(gateway))).collect(),
    });
    let networks: Vec<(IpAddr, u8)> = networks.collect();
    let filtered = filter::install(&networks, DNS_PORT, allowed);
    let open = allowed.iter().map(|allowed| port(allowed.ip(), whole(allowed.ip()), allowed.port()));
    let rules =
        open.chain(networks.iter().flat_map(|&(address, length)| {
            [port(address, length, DNS_PORT), rule(address, length, RuleAction::Prohibit)]
        }));
    let mut first_error = filtered.err();
    for (priority, mut rule) in (FIRST_PRIORITY..).zip(rules) {
        rule.attributes.push(RuleAttribute::Priority(priority));
        if let Err(error) = add(&socket, rule) {
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}

const fn whole(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Returns a rule that leaves a port open.
fn port(address: IpAddr, length: u8, port: u16) -> RuleMessage {
    let mut rule = rule(address, length, RuleAction::ToTable);
    rule.header.table = RouteHeader::RT_TABLE_MAIN;
    rule.attributes.push(RuleAttribute::DestinationPortRange(RulePortRange { start: port, end: port }));
    rule
}

fn rule(address: IpAddr, length: u8, action: RuleAction) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    rule.header.dst_len = length;
    rule.header.action = action;
    rule.attributes = vec![RuleAttribute::Destination(address)];
    rule
}

/// Sends one rule to the kernel and waits for its answer.
fn add(socket: &Socket, rule: RuleMessage) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::NewRule(rule)));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::Error(error) => error.code.map_or(Ok(()), |_| Err(error.to_io())),
        _ => Err(io::Error::other("the kernel gave no answer that is known")),
    }
}

/// Returns the addresses that packets to other networks are sent to: the host's own, on its bridge.
pub(crate) fn gateways() -> Vec<IpAddr> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let v4 = read("/proc/net/route").lines().filter_map(gateway_v4).map(IpAddr::from).collect::<Vec<_>>();
    let v6 = read("/proc/net/ipv6_route").lines().filter_map(gateway_v6).map(IpAddr::from).collect::<Vec<_>>();
    v4.into_iter().chain(v6).collect()
}

/// Reads a line of `/proc/net/route`: interface, destination, gateway, both as hexadecimal words in the host's order.
fn gateway_v4(line: &str) -> Option<Ipv4Addr> {
    let mut fields = line.split_whitespace().skip(1);
    let (destination, gateway) = (fields.next()?, fields.next()?);
    let gateway = u32::from_str_radix(gateway, 16).ok().filter(|gateway| *gateway != 0)?;
    (destination == "00000000").then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
}

/// Reads a line of `/proc/net/ipv6_route`: destination, its length, source, its length, next hop, and more.
fn gateway_v6(line: &str) -> Option<Ipv6Addr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, length, _, _, next_hop, ..] = fields[..] else { return None };
    let next_hop = u128::from_str_radix(next_hop, 16).ok().filter(|next_hop| *next_hop != 0)?;
    (length == "00").then(|| Ipv6Addr::from(next_hop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_of_a_namespace_is_read_from_its_routes() {
        let route = "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        assert_eq!(gateway_v4(route), Some(Ipv4Addr::new(172, 17, 0, 1)));
        assert_eq!(gateway_v4("eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0"), None);
        assert_eq!(gateway_v4("Iface\tDestination\tGateway"), None);
        let next_hop = "fd000000000000000000000000000001";
        let none = "0".repeat(32);
        let route = format!("{none} 00 {none} 00 {next_hop} 00000400 00000001 00000000 00000003 eth0");
        assert_eq!(gateway_v6(&route), Some("fd00::1".parse().unwrap()));
        assert_eq!(gateway_v6(&format!("{none} 00 {none} 00 {none} ffffffff 1 0 00200200 lo")), None);
    }
}
