//! The administrator's token and first sign-in link.

use anyhow::Context as _;
use longshore_api::PublicUrl;
use longshore_core::Timestamp;
use longshore_store::{
    Store,
    audit::{self, Entry},
    sessions::{self, Opener},
    settings,
};

use crate::config::Config;

/// The least length of an admin token, in characters.
const MIN_ADMIN_TOKEN: usize = 16;

/// Returns the admin token from the settings or from the data folder, where the first start creates it.
pub(super) fn admin_token(config: &Config) -> anyhow::Result<String> {
    if let Some(token) = &config.admin_token {
        anyhow::ensure!(
            token.len() >= MIN_ADMIN_TOKEN,
            "the admin token has fewer than {MIN_ADMIN_TOKEN} characters: use a longer one"
        );
        return Ok(token.clone());
    }
    let path = config.data.join("admin-token");
    match std::fs::read_to_string(&path) {
        Ok(token) => {
            let token = token.trim();
            // A shorter one was not created by Longshore, and an empty one would let everybody in.
            anyhow::ensure!(
                token.len() >= MIN_ADMIN_TOKEN,
                "{} does not contain a valid token: delete it, and the next start creates a new one",
                path.display()
            );
            return Ok(token.to_owned());
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let token = longshore_store::tokens::random_secret();
    longshore_files::folder::write_private(&path, &token)
        .with_context(|| format!("cannot write {}", path.display()))?;
    // The token is not printed, because output stays in the engine's log, and wherever that is sent.
    tracing::info!(file = %path.display(), "a new admin token is stored in this file");
    Ok(token)
}

pub(super) fn describe_admin_token(config: &Config) -> String {
    match config.admin_token {
        Some(_) => "The admin token is set in the settings.".to_owned(),
        None => format!("The admin token is stored in {}.", config.data.join("admin-token").display()),
    }
}

/// Returns a link that signs a browser in as the administrator, at the first start on a data folder.
pub(super) async fn first_link(store: &Store, url: &PublicUrl) -> anyhow::Result<Option<String>> {
    const SHOWN: &str = "sign-in link shown";
    if settings::get(store, SHOWN).await?.is_some() {
        return Ok(None);
    }
    let now = Timestamp::now();
    let admin = Opener { name: "admin".to_owned(), token: None, until: None };
    let mut tx = store.write().await?;
    let code = sessions::make_link(&mut tx, &admin, now).await?;
    settings::set(&mut tx, SHOWN, &now.to_string()).await?;
    audit::record(&mut tx, Entry { object: admin.name, ..Entry::of_server("session.link") }, now).await?;
    tx.commit().await?;
    Ok(Some(format!("{url}/sign-in?code={code}")))
}
