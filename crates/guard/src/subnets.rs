//! The addresses of jobs with Docker: each job has a block of one range. Its own network has the first part of the block,
//! and the networks that it makes have the others.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// The prefix of the widest range.
const WIDEST: u8 = 8;
/// The prefix of a job's block: 256 addresses.
const BLOCK: u8 = 24;
/// The prefix of one network: addresses for 29 containers, of which a job has fewer.
const NETWORK: u8 = 27;

/// The range of the networks of jobs with Docker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobSubnets(Ipv4Net);

impl JobSubnets {
    /// The range if none is set, enough for 512 jobs at once. It is set apart for measurements between networks (RFC
    /// 2544), so that hardly any host has a route into it.
    pub const DEFAULT: &str = "198.18.0.0/15";

    /// Returns a subnet for the network of one more job, in a block that none of the networks `taken` has a part of;
    /// `at` chooses among the free ones.
    #[must_use]
    pub fn of_new_job(&self, taken: &[IpNet], at: u32) -> Option<Ipv4Net> {
        let overlaps = |block: &Ipv4Net, subnet: &IpNet| match subnet {
            IpNet::V4(subnet) => block.contains(subnet) || subnet.contains(block),
            IpNet::V6(_) => false,
        };
        let is_free = |block: &Ipv4Net| !taken.iter().any(|subnet| overlaps(block, subnet));
        let free: Vec<Ipv4Net> = self.0.subnets(BLOCK).ok()?.filter(is_free).collect();
        let block = free.get((at as usize).checked_rem(free.len())?)?;
        block.subnets(NETWORK).ok()?.next()
    }

    /// Returns the subnets for the networks that a job makes, given the gateway of its own network.
    #[must_use]
    pub fn of_job(&self, gateway: IpAddr) -> Vec<Ipv4Net> {
        self.block(gateway).and_then(|block| block.subnets(NETWORK).ok()).into_iter().flatten().skip(1).collect()
    }

    /// Returns the whole range.
    #[must_use]
    pub const fn range(&self) -> Ipv4Net {
        self.0
    }

    /// Returns whether a network of a job may have this subnet.
    pub(crate) fn has(&self, subnet: &str) -> bool {
        subnet
            .parse::<Ipv4Net>()
            .is_ok_and(|subnet| subnet.prefix_len() == NETWORK && subnet.trunc() == subnet && self.0.contains(&subnet))
    }

    fn block(&self, gateway: IpAddr) -> Option<Ipv4Net> {
        match gateway {
            IpAddr::V4(gateway) if self.0.contains(&gateway) => {
                Ipv4Net::new(gateway, BLOCK).ok().map(|net| net.trunc())
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }
}

impl FromStr for JobSubnets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = text
            .parse::<Ipv4Net>()
            .ok()
            .filter(|range| range.trunc() == *range && (WIDEST..=BLOCK).contains(&range.prefix_len()));
        range.map(Self).ok_or_else(|| {
            format!(
                "`{text}` is no range of 256 to 16,777,216 addresses: write it by its first address, such as {}",
                Self::DEFAULT
            )
        })
    }
}

impl fmt::Display for JobSubnets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_hundred_jobs_have_blocks_of_their_own_with_a_network_each_and_others_to_make() {
        let range: JobSubnets = JobSubnets::DEFAULT.parse().unwrap();
        let (mut taken, mut given) = (vec!["172.17.0.0/16".parse().unwrap(), "fd00::/64".parse().unwrap()], Vec::new());
        for at in 0..500_u32 {
            let own = range.of_new_job(&taken, at * 7).unwrap();
            let gateway = IpAddr::V4(own.hosts().next().unwrap());
            let others = range.of_job(gateway);
            assert_eq!(others.len(), 7);
            for subnet in others.iter().chain([&own]) {
                assert!(range.has(&subnet.to_string()), "{subnet}");
            }
            given.extend(others.into_iter().chain([own]));
            taken.push(own.into());
        }
        given.sort_unstable();
        assert!(given.windows(2).all(|pair| !pair[0].contains(&pair[1]) && !pair[1].contains(&pair[0])));
    }

    #[test]
    fn a_range_that_is_used_up_gives_nothing() {
        let range: JobSubnets = "10.89.4.0/24".parse().unwrap();
        assert_eq!(range.of_new_job(&[], 5).unwrap().to_string(), "10.89.4.0/27");
        for taken in ["10.89.4.32/27", "10.89.4.0/24", "10.0.0.0/8"] {
            assert_eq!(range.of_new_job(&[taken.parse().unwrap()], 5), None, "{taken}");
        }
        assert!(range.of_job("10.89.5.1".parse().unwrap()).is_empty(), "the network is not of the range");
    }

    #[test]
    fn only_networks_of_the_size_within_the_range_are_allowed() {
        let range: JobSubnets = "10.89.4.0/22".parse().unwrap();
        assert!(range.has("10.89.7.224/27"));
        for subnet in
            ["10.89.8.0/27", "10.89.4.0/24", "10.89.4.0/28", "10.89.4.1/27", "0.0.0.0/0", "fd00::/64", "", "x"]
        {
            assert!(!range.has(subnet), "{subnet}");
        }
        for text in ["0.0.0.0/0", "10.89.4.0/25", "10.89.4.1/22", "10.89.4.0", "fd00::/64", ""] {
            assert!(text.parse::<JobSubnets>().unwrap_err().contains("198.18.0.0/15"), "{text}");
        }
    }
}
