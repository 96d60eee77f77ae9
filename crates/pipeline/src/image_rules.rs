//! Decides which images jobs may use, by the server's setting `images_allow`.
//!
//! The runner hands [`ImageRules::check`] to the executor, which asks it for every image of a job before anything
//! starts. Patterns are those of `on`. An image has several names: `debian:12` is `docker.io/library/debian:12` too,
//! and `debian` without its tag. A pattern that fits one of them fits the image.
//!
//! A registry at an address of the engine's own host is refused even where every image is allowed: by such a name, a
//! pipeline would make the engine talk to whatever listens there. A pattern allows it that has its host written out.

use std::net::IpAddr;

use longshore_core::{ImageRef, address};

use crate::filter::Patterns;

/// Which images jobs may use.
#[derive(Debug, Clone)]
pub struct ImageRules {
    /// `None` allows all names.
    patterns: Option<Patterns>,
}

impl ImageRules {
    /// Reads patterns. Without any, every image is allowed, except those at addresses of this host.
    ///
    /// # Errors
    /// If a pattern is wrong; the error says which one, and why.
    pub fn new(written: &[String]) -> Result<Self, String> {
        if written.is_empty() {
            return Ok(Self { patterns: None });
        }
        let mut patterns = Patterns::new();
        for pattern in written {
            patterns.add(pattern).map_err(|why| format!("`{pattern}`: {why}"))?;
        }
        Ok(Self { patterns: Some(patterns) })
    }

    /// Judges an image by its name, and by the addresses that its registry's name leads to, as far as they are known.
    ///
    /// # Errors
    /// If jobs may not use this image; the error says why.
    pub fn check(&self, image: &ImageRef, addresses: &[IpAddr]) -> Result<(), String> {
        let names = names(image);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if let Some(patterns) = &self.patterns
            && !patterns.admits_any(&names)
        {
            let all: Vec<String> = patterns.written().map(|pattern| format!("`{pattern}`")).collect();
            return Err(format!("`LONGSHORE_IMAGES_ALLOW` allows only {}", all.join(", ")));
        }
        let leads_here =
            |registry| is_of_this_host(registry) || addresses.iter().any(|address| address::is_of_this_host(*address));
        match image.registry() {
            Some(registry) if leads_here(registry) && !self.names(registry) => Err(format!(
                "its registry is at an address of the engine's own host; `LONGSHORE_IMAGES_ALLOW` must name it, as in \
                 `**, {registry}/**`"
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns whether a pattern has this registry's host written out. Its port may be a glob.
    fn names(&self, registry: &str) -> bool {
        let (host, _) = split_port(registry);
        let mut written = self.patterns.iter().flat_map(Patterns::written).filter(|pattern| !pattern.starts_with('!'));
        written.any(|pattern| {
            let pattern = pattern.replace('\\', "");
            let first = pattern.split('/').next().unwrap_or_default();
            split_port(first).0.eq_ignore_ascii_case(host)
        })
    }
}

/// Returns every name of an image, without its tag or digest and with it.
fn names(image: &ImageRef) -> Vec<String> {
    let path = image.path();
    let registry = image.registry().map(str::to_ascii_lowercase);
    let hub = matches!(registry.as_deref(), None | Some("docker.io" | "index.docker.io"));
    let mut bases = Vec::new();
    if hub {
        let short = path.strip_prefix("library/").unwrap_or(path);
        let full = if short.contains('/') { short.to_owned() } else { format!("library/{short}") };
        bases.extend([short.to_owned(), full.clone(), format!("docker.io/{short}"), format!("docker.io/{full}")]);
        bases.dedup();
    } else if let Some(registry) = registry {
        bases.push(format!("{registry}/{path}"));
    }
    // If there is a digest, the engine ignores the tag.
    let version = match image.digest() {
        Some(digest) => format!("@{digest}"),
        None => format!(":{}", image.tag().unwrap_or("latest")),
    };
    let versions: Vec<String> = bases.iter().map(|base| format!("{base}{version}")).collect();
    bases.into_iter().chain(versions).collect()
}

/// Returns the host and the port of a registry, or of a pattern's first part.
fn split_port(registry: &str) -> (&str, Option<&str>) {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (registry, None),
    }
}

/// Returns whether a registry is at an address of the engine's host, as far as its name shows it.
fn is_of_this_host(registry: &str) -> bool {
    let host = split_port(registry).0.to_ascii_lowercase();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if address::is_name_of_this_host(host) {
        return true;
    }
    match host.parse::<IpAddr>() {
        Ok(found) => address::is_of_this_host(found),
        // `127.1`, `0x7f000001` and `2130706433` are loopback to some resolvers. No name ends in a number.
        Err(_) => host
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()) && is_number(last)),
    }
}

fn is_number(label: &str) -> bool {
    label.strip_prefix("0x").unwrap_or(label).bytes().all(|byte| byte.is_ascii_hexdigit())
        && (label.starts_with("0x") || label.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn allows(patterns: &[&str], image: &str) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        ImageRules::new(&patterns).unwrap().check(&ImageRef::parse(image).unwrap(), &[]).is_ok()
    }

    #[test]
    fn an_image_is_allowed_by_any_of_its_names() {
        for pattern in ["debian", "debian:*", "library/*", "docker.io/library/debian", "docker.io/**", "*"] {
            for image in ["debian:12", "docker.io/debian:12", "library/debian:12", "index.docker.io/library/debian:12"]
            {
                assert!(allows(&[pattern], image), "{pattern} {image}");
            }
            assert!(!allows(&[pattern], "registry.example/debian:12"), "{pattern}");
        }
        assert!(allows(&["debian:latest"], "debian") && !allows(&["debian:12"], "debian"));
        assert!(allows(&["registry.example/team/**"], "Registry.example/team/a/b:1"));
        assert!(!allows(&["registry.example/team/**"], "registry.example/teams/a:1"));
        assert!(allows(&["**", "!debian:11"], "debian:12") && !allows(&["**", "!debian:11"], "docker.io/debian:11"));
        assert!(allows(&[], "registry.example/team/a"));
    }

    #[test]
    fn a_tag_that_is_allowed_allows_no_digest_behind_it() {
        assert!(!allows(&["debian:12"], &format!("debian:12@{HASH}")));
        assert!(allows(&["debian"], &format!("debian:12@{HASH}")));
        assert!(allows(&["debian@*"], &format!("debian:12@{HASH}")));
    }

    #[test]
    fn a_registry_at_an_address_of_this_host_is_refused_unless_it_is_named() {
        for image in [
            "127.0.0.1:5000/a",
            "127.8.9.1/a",
            "localhost/a",
            "localhost:5000/a",
            "LOCALHOST:5000/a",
            "registry.localhost/a",
            "169.254.169.254/latest/meta-data",
            "0.0.0.0:80/a",
            "[::1]:5000/a",
            "[::ffff:127.0.0.1]:5000/a",
            "[fe80::1]/a",
            "[fd00:ec2::254]/a",
            "100.100.100.200/a",
            "metadata.google.internal/a",
            "127.1/a",
            "0x7f.1/a",
            "2130706433:80/a",
            "0x7f000001:80/a",
        ] {
            for patterns in [&[][..], &["**"], &["**", "*:5000/**"], &["**", "registry.example/**"]] {
                assert!(!allows(patterns, image), "{patterns:?} {image}");
            }
            let refused = ImageRules::new(&[]).unwrap().check(&ImageRef::parse(image).unwrap(), &[]).unwrap_err();
            assert!(refused.contains("LONGSHORE_IMAGES_ALLOW"), "{refused}");
        }
        assert!(
            allows(&["127.0.0.1:*/**"], "127.0.0.1:5000/a") && allows(&["**", "localhost:5000/**"], "localhost:5000/a")
        );
        assert!(allows(&["**", r"\[::1\]:5000/**"], "[::1]:5000/a"));
        assert!(!allows(&["**", "!localhost:5000/**"], "localhost:5000/a"));
        for image in
            ["debian", "registry.example/a", "10.0.0.5:5000/a", "192.168.1.4/a", "[2001:db8::1]/a", "3com.example/a"]
        {
            assert!(allows(&[], image), "{image}");
        }
    }

    #[test]
    fn a_registry_whose_name_leads_to_this_host_is_refused_unless_it_is_named() {
        let image = ImageRef::parse("rebound.example:5000/a").unwrap();
        let check = |patterns: &[&str], addresses: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            ImageRules::new(&patterns).unwrap().check(&image, &addresses)
        };
        for addresses in [&["127.0.0.1"][..], &["192.0.2.1", "::1"], &["169.254.169.254"]] {
            assert!(check(&[], addresses).is_err() && check(&["**"], addresses).is_err(), "{addresses:?}");
            assert_eq!(check(&["**", "rebound.example:5000/**"], addresses), Ok(()));
        }
        assert_eq!(check(&[], &["192.0.2.1", "10.0.0.5"]), Ok(()));
    }
}
