//! The parts of a repository that are sealed at rest: its webhook's secret, and the credentials in its clone address.

use std::fmt;

use longshore_core::{RepoId, sealing::KeyProblem};

use crate::{StoreError, secret_key::SecretKey};

/// A webhook's secret. It is shown once, and never printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct HookSecret(pub(super) Option<String>);

impl HookSecret {
    /// Returns a new secret: 32 random bytes as hexadecimal digits.
    #[must_use]
    pub fn random() -> Self {
        Self(Some(hex::encode(rand::random::<[u8; 32]>())))
    }

    /// Returns the secret. [`StoreError::SecretKey`] if the current key does not open it.
    pub fn expose(&self) -> Result<&str, StoreError> {
        self.0.as_deref().ok_or(StoreError::SecretKey(KeyProblem::HookSecret))
    }
}

impl fmt::Debug for HookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookSecret(..)")
    }
}

/// Returns what a repository's hook secret is bound to when it is sealed. No secret's name contains a dash.
pub(crate) fn hook_binding(id: RepoId) -> String {
    format!("{id}/hook-secret")
}

/// Returns what a repository's clone address is bound to when it is sealed.
pub(super) fn address_binding(id: RepoId) -> String {
    format!("{id}/clone-url")
}

/// Returns what is stored of a clone address: the address without credentials, and the whole address sealed if it has
/// any.
pub(crate) fn sealed_address(
    key: &SecretKey,
    id: RepoId,
    address: &str,
) -> Result<(String, Option<Vec<u8>>), StoreError> {
    let open = without_credentials(address);
    let sealed = if open == address { None } else { Some(key.seal(&address_binding(id), address.as_bytes())?) };
    Ok((open, sealed))
}

/// Returns a clone address without the credentials before the host. The user of an ssh address is not secret.
pub(crate) fn without_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((login, host)) if scheme != "ssh" || login.contains(':') => format!("{scheme}://{host}{path}"),
        Some(_) | None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_without_what_opens_it() {
        for (whole, open) in [
            ("https://me:pass@forge.example:3000/r.git", "https://forge.example:3000/r.git"),
            ("https://token@forge.example/r.git", "https://forge.example/r.git"),
            ("https://a@b:c@forge.example/r@x", "https://forge.example/r@x"),
            ("https://forge.example/r@x.git", "https://forge.example/r@x.git"),
            ("ssh://git@forge.example/r.git", "ssh://git@forge.example/r.git"),
            ("git@forge.example:r.git", "git@forge.example:r.git"),
        ] {
            assert_eq!(without_credentials(whole), open);
        }
    }
}
