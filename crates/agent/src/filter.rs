//! Drops a namespace's packets to denied IPv4 addresses, with a chain of nf_tables.
//!
//! Routing rules refuse at once, and hold no socket that names its interface (SO_BINDTODEVICE, which needs no right):
//! where no route is found for such a socket, Linux takes an IPv4 address for a neighbour. A packet filter sees the
//! packet itself. IPv6 has no such exception, so its rules hold; a filter would also drop what a host answers to those
//! who look for its link-local address. `denied_addresses` calls this.
//!
//! The messages are written by hand, because they are five: `linux/netfilter/nf_tables.h` has their numbers. Attributes
//! are in network order, headers in the host's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr as Kernel};

const NETLINK_NETFILTER: isize = 12;
/// `NFNL_SUBSYS_NFTABLES`: the upper byte of its messages' types.
const NF_TABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = NF_TABLES << 8;
const NEW_CHAIN: u16 = (NF_TABLES << 8) | 3;
const NEW_RULE: u16 = (NF_TABLES << 8) | 6;
/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;
const NLA_F_NESTED: u16 = 0x8000;
/// Also the type of an acknowledgement.
const NLMSG_ERROR: u16 = 2;
const MESSAGE_HEADER_BYTES: usize = 16;

const TABLE: &str = "longshore";
const CHAIN: &str = "denied";
/// The hook of packets that leave the namespace's own sockets.
const OUTPUT_HOOK: u32 = 3;
const DROP_VERDICT: u32 = 0;
const ACCEPT_VERDICT: u32 = 1;
/// The key of `meta` for the protocol that a packet carries.
const PROTOCOL_META_KEY: u32 = 16;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Bases of `payload`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// Where the receiver's address is in IPv4.
const RECEIVER_AT: u32 = 16;
/// Where the port of the receiver is in TCP and UDP.
const PORT_AT: u32 = 2;

/// Drops what goes to `denied`, except to `port` of any address and to `allowed`. Leaves IPv6 as it is.
pub(crate) fn install(denied: &[(IpAddr, u8)], port: u16, allowed: &[SocketAddr]) -> io::Result<()> {
    let of_ipv4 = |&(address, length): &(IpAddr, u8)| match address {
        IpAddr::V4(address) => Some((address, length)),
        IpAddr::V6(_) => None,
    };
    let denied: Vec<(Ipv4Addr, u8)> = denied.iter().filter_map(of_ipv4).collect();
    let Some((&last, others)) = denied.split_last() else { return Ok(()) };
    let mut batch = Batch::default();
    batch.message(BATCH_BEGIN, 0, 0, &[]);
    batch.message(NEW_TABLE, NLM_F_CREATE, IPV4, &text(1, TABLE));
    let hook = [number(1, OUTPUT_HOOK), number(2, 0)].concat();
    let chain =
        [text(1, TABLE), text(3, CHAIN), nested(4, &hook), number(5, ACCEPT_VERDICT), text(7, "filter")].concat();
    batch.message(NEW_CHAIN, NLM_F_CREATE, IPV4, &chain);
    for allowed in allowed {
        let SocketAddr::V4(allowed) = allowed else { continue };
        for protocol in [TCP, UDP] {
            batch.rule(0, &[to(*allowed.ip(), 32), to_port(protocol, allowed.port()), verdict(ACCEPT_VERDICT)]);
        }
    }
    batch.rule(0, &[to_port(TCP, port), verdict(ACCEPT_VERDICT)]);
    batch.rule(0, &[to_port(UDP, port), verdict(ACCEPT_VERDICT)]);
    for &(address, length) in others {
        batch.rule(0, &[to(address, length), verdict(DROP_VERDICT)]);
    }
    batch.rule(NLM_F_ACK, &[to(last.0, last.1), verdict(DROP_VERDICT)]);
    let last = batch.seq;
    batch.message(BATCH_END, 0, 0, &[]);
    batch.send(last)
}

/// Messages that the kernel takes all or none of.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// The number of the last message.
    seq: u32,
}

impl Batch {
    fn message(&mut self, kind: u16, flags: u16, family: u8, attributes: &[u8]) {
        self.seq += 1;
        // nfgenmsg: the beginning and the end of a batch name the subsystem, others nothing.
        let resource = if kind >> 8 == 0 { NF_TABLES } else { 0 };
        let length = (MESSAGE_HEADER_BYTES + 4 + attributes.len()) as u32;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.seq.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(attributes);
    }

    fn rule(&mut self, flags: u16, expressions: &[Vec<u8>]) {
        let rule = [text(1, TABLE), text(2, CHAIN), nested(4, &expressions.concat())].concat();
        self.message(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND | flags, IPV4, &rule);
    }

    /// Sends them, and reads the kernel's answers up to that of message `last`. An error answers any of them. All
    /// answers are there when the messages are sent, so nothing waits for one.
    fn send(self, last: u32) -> io::Result<()> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&Kernel::new(0, 0))?;
        socket.set_non_blocking(true)?;
        socket.send(&self.bytes, 0)?;
        loop {
            let (answers, _) = socket.recv_from_full()?;
            let mut rest = answers.as_slice();
            while let Some(answer) = Answer::read(rest) {
                if answer.code != 0 {
                    return Err(io::Error::from_raw_os_error(-answer.code));
                }
                if answer.seq == last {
                    return Ok(());
                }
                rest = rest.get(answer.length..).unwrap_or_default();
            }
            if !rest.is_empty() {
                return Err(io::Error::other("the kernel gave no answer that is known"));
            }
        }
    }
}

struct Answer {
    length: usize,
    seq: u32,
    /// 0, or an errno below it.
    code: i32,
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let length = (word(0)? as usize).next_multiple_of(4);
        let code = word(MESSAGE_HEADER_BYTES)?.cast_signed();
        (kind == NLMSG_ERROR && length > MESSAGE_HEADER_BYTES).then_some(Self { length, seq: word(8)?, code })
    }
}

/// An attribute, padded to four bytes.
fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = (4 + data.len()) as u16;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, attributes)
}

fn number(kind: u16, number: u32) -> Vec<u8> {
    attribute(kind, &number.to_be_bytes())
}

fn text(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), &[0]].concat())
}

/// An expression of a rule. All work on register 1.
fn expression(name: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, &attributes.concat())].concat())
}

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[number(1, 1), number(2, key)])
}

fn payload(base: u32, offset: u32, length: u32) -> Vec<u8> {
    expression("payload", &[number(1, 1), number(2, base), number(3, offset), number(4, length)])
}

/// Goes on with the rule if the register has these bytes.
fn is(bytes: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(1, 1), number(2, 0), nested(3, &attribute(1, bytes))])
}

fn masked(mask: &[u8]) -> Vec<u8> {
    let (mask, none) = (attribute(1, mask), attribute(1, &vec![0; mask.len()]));
    let length = (none.len() - 4) as u32;
    expression("bitwise", &[number(1, 1), number(2, 1), number(3, length), nested(4, &mask), nested(5, &none)])
}

fn verdict(code: u32) -> Vec<u8> {
    expression("immediate", &[number(1, 0), nested(2, &nested(2, &number(1, code)))])
}

/// Goes on if the packet goes to the network.
fn to(address: Ipv4Addr, length: u8) -> Vec<u8> {
    let mut expressions = payload(NETWORK_HEADER, RECEIVER_AT, 4);
    if length < 32 {
        expressions.extend(masked(&mask(length, 4)));
    }
    expressions.extend(is(&address.octets()));
    expressions
}

fn mask(length: u8, bytes: usize) -> Vec<u8> {
    let ones = |at: usize| usize::from(length).saturating_sub(8 * at).min(8);
    (0..bytes).map(|at| !(0xff_u16 >> ones(at)) as u8).collect()
}

fn to_port(protocol: u8, port: u16) -> Vec<u8> {
    let port_of = payload(TRANSPORT_HEADER, PORT_AT, 2);
    [meta(PROTOCOL_META_KEY), is(&[protocol]), port_of, is(&port.to_be_bytes())].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_as_many_ones_as_a_network_is_long() {
        assert_eq!(mask(20, 4), [0xff, 0xff, 0xf0, 0]);
        assert_eq!(mask(0, 4), [0; 4]);
        assert_eq!(mask(32, 4), [0xff; 4]);
        assert_eq!(mask(9, 16)[..3], [0xff, 0x80, 0]);
    }

    #[test]
    fn an_answer_is_read_and_half_a_one_is_not() {
        let mut bytes = Vec::new();
        bytes.extend(36_u32.to_ne_bytes());
        bytes.extend(NLMSG_ERROR.to_ne_bytes());
        bytes.extend(0_u16.to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend((-1_i32).to_ne_bytes());
        bytes.resize(36, 0);
        let answer = Answer::read(&bytes).unwrap();
        assert_eq!((answer.length, answer.seq, answer.code), (36, 7, -1));
        assert!(Answer::read(&bytes[..19]).is_none() && Answer::read(&[]).is_none());
    }
}
