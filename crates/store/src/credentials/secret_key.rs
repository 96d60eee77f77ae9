//! The key that seals secrets: given by the operator, or generated at the first use and kept in the data folder.
//!
//! Called by `secrets`, `registries`, `connections`, `repos` and `sealing`. The settings contain a sealed word. If the
//! current key does not open it, the database was written with another key, and nobody has to find that out from
//! secrets that do not open. Key and values are never printed.

use std::{fmt, fs, io::ErrorKind, path::Path, str::FromStr};

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};

use longshore_core::sealing::{KeyProblem, NotAKey};
use longshore_files::folder::write_private;
use sqlx::SqliteConnection;

use crate::{Invalid, Store, StoreError, WriteTx, settings};

/// The key's file in the data folder.
pub const KEY_FILE: &str = "secrets.key";
/// The setting with the sealed word.
pub(crate) const CHECK: &str = "secret_key_check";

const NONCE_LEN: usize = 24;

/// The key: 32 bytes, written as 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey([u8; 32]);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl FromStr for SecretKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let mut key = [0; 32];
        // The error never quotes the text.
        hex::decode_to_slice(text.trim(), &mut key).map_err(|_| NotAKey)?;
        Ok(Self(key))
    }
}

impl SecretKey {
    /// Returns a new key, for a store that is thrown away.
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// Seals a value that opens only with the same binding.
    pub(crate) fn seal(&self, binding: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let payload = Payload { msg: value, aad: binding.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| Invalid::Unsealable)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens a value that was sealed with this binding and this key. `None` for anything else.
    pub(crate) fn open(&self, binding: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        self.cipher().decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: binding.as_bytes() }).ok()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }

    /// Reads the key from the data folder. `None` if there is none.
    fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        match fs::read_to_string(path) {
            Ok(text) => {
                text.parse().map(Some).map_err(|NotAKey| StoreError::SecretKey(KeyProblem::Malformed(path.to_owned())))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(path, error)),
        }
    }

    /// Generates a key and writes it into the data folder.
    fn generate(path: &Path) -> Result<Self, StoreError> {
        let key = Self::random();
        write_private(path, &hex::encode(key.0)).map_err(|error| StoreError::io(path, error))?;
        tracing::info!(path = %path.display(), "generated the key that seals secrets; without it they cannot be read: keep a copy");
        Ok(key)
    }
}

/// Returns the key that this database's secrets are sealed with. `None` if it has no key yet.
///
/// [`StoreError::SecretKey`] if the current key is missing or another one.
pub(crate) async fn of_database(store: &Store, conn: &mut SqliteConnection) -> Result<Option<SecretKey>, StoreError> {
    let Some(check) = settings::get_on(conn, CHECK).await? else { return Ok(None) };
    let path = store.data_dir().join(KEY_FILE);
    let (key, other) = match store.given_secret_key() {
        Some(key) => (key, KeyProblem::OtherGiven),
        None => match SecretKey::read(&path)? {
            Some(key) => (key, KeyProblem::OtherInFile(path)),
            None => return Err(StoreError::SecretKey(KeyProblem::Gone(path))),
        },
    };
    let fits = hex::decode(&check).ok().and_then(|sealed| key.open(CHECK, &sealed)).is_some();
    if !fits {
        return Err(StoreError::SecretKey(other));
    }
    Ok(Some(key))
}

/// Like [`of_database`], and generates a key if the database has none yet.
pub(crate) async fn of_database_or_new(tx: &mut WriteTx) -> Result<SecretKey, StoreError> {
    let store = tx.store().clone();
    if let Some(key) = of_database(&store, tx.conn()).await? {
        return Ok(key);
    }
    let path = tx.store().data_dir().join(KEY_FILE);
    let key = match tx.store().given_secret_key() {
        Some(key) => key,
        None => match SecretKey::read(&path)? {
            Some(key) => key,
            None => SecretKey::generate(&path)?,
        },
    };
    let check = hex::encode(key.seal(CHECK, b"longshore")?);
    settings::set(tx, CHECK, &check).await?;
    Ok(key)
}

/// Returns the current key, even if the database was written with another one. Values that it does not open stay
/// sealed.
pub(crate) fn current(store: &Store) -> Result<Option<SecretKey>, StoreError> {
    match store.given_secret_key() {
        Some(key) => Ok(Some(key)),
        None => match SecretKey::read(&store.data_dir().join(KEY_FILE)) {
            // The start of the server reports this error.
            Err(StoreError::SecretKey(_)) => Ok(None),
            read => read,
        },
    }
}

/// Permits another key if the database's key is lost and no secret, no password of a registry and no notification is
/// left. Values that are sealed with the lost key stay sealed.
pub(crate) async fn forget_if_lost(tx: &mut WriteTx) -> Result<(), StoreError> {
    let kept = "SELECT 1 FROM secrets UNION ALL SELECT 1 FROM registries UNION ALL SELECT 1 FROM notifications LIMIT 1";
    if sqlx::query(kept).fetch_optional(tx.conn()).await?.is_some() {
        return Ok(());
    }
    let store = tx.store().clone();
    match of_database(&store, tx.conn()).await {
        Ok(_) => Ok(()),
        Err(StoreError::SecretKey(error)) => {
            tracing::warn!(%error, "the lost key of secrets may be replaced by another one");
            settings::remove(tx, CHECK).await
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_at_its_place_with_its_key_and_nowhere_else() {
        let (key, other) = (SecretKey([7; 32]), SecretKey([8; 32]));
        let sealed = key.seal("repo/A", b"value").unwrap();
        assert_ne!(sealed, key.seal("repo/A", b"value").unwrap());
        assert_eq!(key.open("repo/A", &sealed).as_deref(), Some(b"value".as_slice()));
        assert_eq!(key.open("repo/B", &sealed), None);
        assert_eq!(other.open("repo/A", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open("repo/A", &changed), None, "changed at {at}");
        }
        assert_eq!(key.open("repo/A", b"short"), None);
    }

    #[test]
    fn a_key_that_is_none_is_refused_without_quoting_it() {
        assert!("00".repeat(32).parse::<SecretKey>().is_ok());
        let error = "hunter2".parse::<SecretKey>().unwrap_err();
        assert!(!error.to_string().contains("hunter2") && error.to_string().contains("64 hexadecimal"), "{error}");
    }
}
