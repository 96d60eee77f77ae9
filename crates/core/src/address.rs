//! Judges addresses that others name and the server would call: whether one leads to this host or into its own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses at which clouds answer a machine's questions about itself, with credentials among the answers.
const METADATA: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];
/// The same by name.
const METADATA_NAMES: [&str; 2] = ["metadata.google.internal", "metadata.goog"];

/// Returns whether an address is one of this host: its loopback, its link, or where clouds answer about a machine.
#[must_use]
pub fn is_of_this_host(address: IpAddr) -> bool {
    let address = address.to_canonical();
    METADATA.contains(&address)
        || match address {
            IpAddr::V4(address) => address.is_loopback() || address.is_link_local() || address.octets()[0] == 0,
            IpAddr::V6(address) => address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local(),
        }
}

/// Returns whether a name always leads to this host, whatever a name server says.
#[must_use]
pub fn is_name_of_this_host(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || METADATA_NAMES.contains(&name.as_str())
}

/// Returns whether an address is not one of the public internet: of this host, of a private network, or reserved.
#[must_use]
pub fn is_internal(address: IpAddr) -> bool {
    let address = address.to_canonical();
    is_of_this_host(address)
        || match address {
            IpAddr::V4(address) => is_internal_v4(address),
            IpAddr::V6(address) => {
                let segments = address.segments();
                let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
                match segments {
                    // Addresses that contain one of IPv4: compatible, NAT64, 6to4.
                    [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                        embeds_internal(v4(high, low))
                    }
                    [0x2002, high, low, ..] => embeds_internal(v4(high, low)),
                    // NAT64 of a local network, Teredo, documentation, discard.
                    [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] | [0x2001, 0xdb8, ..] | [0x100, 0, 0, 0, ..] => true,
                    [first, ..] => address.is_unique_local() || address.is_multicast() || (first & 0xffc0) == 0xfec0,
                }
            }
        }
}

fn embeds_internal(address: Ipv4Addr) -> bool {
    is_of_this_host(IpAddr::V4(address)) || is_internal_v4(address)
}

fn is_internal_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_multicast()
        || address.is_documentation()
        // Shared by carriers, for protocols, for benchmarks, reserved with broadcast.
        || (a == 100 && (b & 0xc0) == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b & 0xfe) == 18)
        || (a == 168 && b == 63 && address == Ipv4Addr::new(168, 63, 129, 16))
        || a >= 240
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_the_public_internet_is_internal_however_it_is_written() {
        for internal in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "198.18.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:a00:1::",
            "2002:7f00:1::1",
            "fe80::1",
            "fec0::1",
            "fd00::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "100::1",
        ] {
            assert!(is_internal(internal.parse().unwrap()), "{internal}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "168.63.129.17",
            "2606:4700::1111",
            "2002:101:101::1",
            "64:ff9b::101:101",
        ] {
            assert!(!is_internal(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn names_of_this_host_are_known_without_asking() {
        for name in ["localhost", "LOCALHOST", "localhost.", "a.localhost", "metadata.google.internal"] {
            assert!(is_name_of_this_host(name), "{name}");
        }
        assert!(!is_name_of_this_host("example.org") && !is_name_of_this_host("localhost.example.org"));
    }
}
