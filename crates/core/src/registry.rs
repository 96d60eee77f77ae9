//! A registry of images as people give it, and the credentials for it. The store keeps credentials, the runner picks
//! those that a job may use, and the executor hands them to the engine with a pull.

use std::{fmt, str::FromStr};

use crate::image_ref::{ImageRef, is_registry};

/// The registry of images whose names have none.
const DOCKER_HUB: &str = "docker.io";
/// Its other names, as the engine and its command line write them.
const DOCKER_HUB_TOO: [&str; 2] = ["index.docker.io", "https://index.docker.io/v1/"];
/// The longest user name, in bytes.
pub const MAX_USERNAME_LEN: usize = 255;
/// The longest password or token, in bytes.
pub const MAX_PASSWORD_LEN: usize = 16 << 10;
/// The longest host with its port, in bytes.
const MAX_HOST_LEN: usize = 255;

/// A registry's host, with its port where it has one, in lower case: `registry.example:5000`. Docker Hub is
/// `docker.io`, whatever it was called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryHost(String);

impl RegistryHost {
    /// Returns the host that an image is pulled from.
    #[must_use]
    pub fn of(image: &ImageRef) -> Self {
        Self::normalized(image.registry().unwrap_or(DOCKER_HUB))
    }

    fn normalized(host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        Self(if DOCKER_HUB_TOO.contains(&host.as_str()) { DOCKER_HUB.to_owned() } else { host })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_docker_hub(&self) -> bool {
        self.0 == DOCKER_HUB
    }
}

/// A text that is not a registry's host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a registry: give its host as in image names, with the port if any and without `https://`, such as \
      `registry.example:5000` or `docker.io`",
    .0.chars().take(100).flat_map(char::escape_debug).collect::<String>()
)]
pub struct NotARegistry(pub String);

impl FromStr for RegistryHost {
    type Err = NotARegistry;

    fn from_str(text: &str) -> Result<Self, NotARegistry> {
        let host = Self::normalized(text);
        // Anything else would be the first part of a path on Docker Hub.
        let names_a_host = host.0.contains(['.', ':']) || host.0 == "localhost";
        if names_a_host && host.0.len() <= MAX_HOST_LEN && is_registry(&host.0) {
            Ok(host)
        } else {
            Err(NotARegistry(text.to_owned()))
        }
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A user of a registry and their password or token, which is never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RegistryCredentials {
    username: String,
    password: String,
}

/// Why these cannot be a registry's credentials. The message contains neither of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotCredentials(&'static str);

impl RegistryCredentials {
    /// # Errors
    /// If the user's name or the password is invalid.
    pub fn new(username: String, password: String) -> Result<Self, NotCredentials> {
        let wrong = if username.is_empty() || username.len() > MAX_USERNAME_LEN {
            "the user name must have 1 to 255 bytes"
        } else if username.contains(':') || username.chars().any(char::is_control) {
            "the user name cannot contain colons or control characters"
        } else if password.is_empty() {
            "the password is empty"
        } else if password.len() > MAX_PASSWORD_LEN {
            "the password is longer than 16 KiB"
        } else if password.contains('\0') {
            "the password contains a NUL byte"
        } else {
            return Ok(Self { username, password });
        };
        Err(NotCredentials(wrong))
    }

    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// Returns the password, for the engine, the store's seal and the masks.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryCredentials").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(image: &str) -> String {
        RegistryHost::of(&ImageRef::parse(image).unwrap()).to_string()
    }

    #[test]
    fn every_form_of_docker_hub_is_one_registry_and_no_other_host_is() {
        for image in
            ["debian", "debian:12", "team/tool", "docker.io/team/tool", "index.docker.io/library/debian", "Docker.io/a"]
        {
            assert_eq!(of(image), "docker.io", "{image}");
        }
        for text in ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "DOCKER.IO"] {
            assert!(text.parse::<RegistryHost>().unwrap().is_docker_hub(), "{text}");
        }
        assert_eq!(of("Registry.Example:5000/a"), "registry.example:5000");
        assert_eq!(of("docker.io.registry.example/a"), "docker.io.registry.example");
        // Another port is another registry, as it is to the engine.
        assert_ne!(of("registry.example:443/a"), of("registry.example/a"));
    }

    #[test]
    fn a_registry_is_the_host_of_an_images_name() {
        for text in
            ["registry.example", "registry.example:5000", "localhost", "localhost:5000", "10.0.0.1:5000", "[::1]:5000"]
        {
            assert_eq!(text.parse::<RegistryHost>().unwrap().as_str(), text);
        }
        let long = format!("{}.example", "a".repeat(300));
        for text in [
            "",
            "team",
            "https://registry.example",
            "registry.example/",
            "registry.example/team",
            "a b.c",
            "a.b:x",
            &long,
        ] {
            let error = text.parse::<RegistryHost>().unwrap_err().to_string();
            assert!(error.contains("registry.example:5000"), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_neither_printed_nor_quoted() {
        let credentials = RegistryCredentials::new("ada".to_owned(), "hunter22".to_owned()).unwrap();
        assert!(!format!("{credentials:?}").contains("hunter22"));
        for (name, password) in
            [("", "hunter22"), ("a:b", "hunter22"), ("a\n", "hunter22"), ("a", ""), ("a", "hunter22\0")]
        {
            let error = RegistryCredentials::new(name.to_owned(), password.to_owned()).unwrap_err().to_string();
            assert!(!error.contains("hunter22"), "{error}");
        }
    }
}
