//! The settings and facts of this process that answers depend on. The binary makes them; nothing here changes later.

use std::{fmt, path::PathBuf, sync::Arc};

use longshore_core::Timestamp;

use crate::public_url::PublicUrl;

/// Facts and settings of this process.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    pub public_url: PublicUrl,
    /// Further names that people reach the server by, besides that of its public address.
    pub more_hosts: Vec<String>,
    /// SHA-256 of the administrator's token. Without it, only stored tokens count.
    pub admin_token_hash: Option<[u8; 32]>,
    /// How many jobs run at once.
    pub capacity: usize,
    pub version: &'static str,
    pub started_at: Timestamp,
    /// Returns whether the engine answers, as known now. `/readyz` asks it, so it must not block.
    pub engine: EngineProbe,
    /// The client for calls to forges.
    pub forges: longshore_forge_client::Http,
    /// The audit log of the guard between this server and the engine. Missing if no guard shares its folder.
    pub guard_log: PathBuf,
    /// The clients that notify people.
    pub notifications: longshore_notification::Sender,
}

/// Returns why no job could run now, or `None` if one could.
#[derive(Clone)]
pub struct EngineProbe(Arc<dyn Fn() -> Option<String> + Send + Sync>);

impl EngineProbe {
    pub fn new(probe: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(probe))
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        (self.0)()
    }
}

impl fmt::Debug for EngineProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineProbe(..)")
    }
}
