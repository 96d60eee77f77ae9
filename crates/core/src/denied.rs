//! Addresses that jobs may not reach, as the server's administrator writes them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// The networks that `link-local` means: clouds answer there with a machine's credentials.
const LINK_LOCAL: [&str; 2] = ["169.254.0.0/16", "fe80::/10"];

/// Addresses that jobs may not reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeniedAddresses {
    /// The address at which a container finds the host: the gateway of its network.
    Host,
    Network(IpNet),
}

impl DeniedAddresses {
    /// The list of a server without one of its own.
    pub const DEFAULT: &str = "link-local, host";

    /// Parses a list such as `link-local, host, 10.0.0.0/8, 192.168.1.10`. Empty for none.
    ///
    /// # Errors
    /// An entry is neither `link-local` nor `host`, nor an address or network.
    pub fn parse_list(list: &str) -> Result<Vec<Self>, DeniedAddressesError> {
        let mut denied = Vec::new();
        for entry in list.split([',', ' ', '\n']).map(str::trim).filter(|entry| !entry.is_empty()) {
            if entry == "link-local" {
                denied.extend(LINK_LOCAL.iter().filter_map(|network| network.parse().ok().map(Self::Network)));
            } else {
                denied.push(entry.parse()?);
            }
        }
        Ok(denied)
    }
}

impl FromStr for DeniedAddresses {
    type Err = DeniedAddressesError;

    fn from_str(entry: &str) -> Result<Self, Self::Err> {
        if entry == "host" {
            return Ok(Self::Host);
        }
        let network = entry.parse::<IpNet>().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
        network.map(|network| Self::Network(network.trunc())).ok_or_else(|| DeniedAddressesError(entry.to_owned()))
    }
}

/// One entry, as [`FromStr`] reads it.
impl fmt::Display for DeniedAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Network(network) => network.fmt(f),
        }
    }
}

/// An entry that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address: write a network (`10.0.0.0/8`), an address, `link-local` or `host`")]
pub struct DeniedAddressesError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back_as_its_entries() {
        let denied = DeniedAddresses::parse_list("link-local, host,10.1.2.3/8 fd00::1").unwrap();
        let entries: Vec<String> = denied.iter().map(ToString::to_string).collect();
        assert_eq!(entries, ["169.254.0.0/16", "fe80::/10", "host", "10.0.0.0/8", "fd00::1/128"]);
        assert_eq!(entries.iter().map(|entry| entry.parse().unwrap()).collect::<Vec<DeniedAddresses>>(), denied);
        assert_eq!(DeniedAddresses::parse_list(" "), Ok(Vec::new()));
        assert!(DeniedAddresses::parse_list("local").unwrap_err().to_string().contains("`local`"));
    }
}
