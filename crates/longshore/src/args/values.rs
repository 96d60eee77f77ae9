//! Parsers of single arguments.

use longshore_agent_protocol::ImageConfig;

/// A type of its own, since clap takes an array for a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nonce(pub(super) [u8; 16]);

pub(super) fn image_config(text: &str) -> Result<ImageConfig, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

pub(super) fn nonce(text: &str) -> Result<Nonce, String> {
    let mut nonce = [0; 16];
    hex::decode_to_slice(text, &mut nonce).map_err(|error| format!("not 32 hexadecimal digits: {error}"))?;
    Ok(Nonce(nonce))
}

/// The address of a server. An empty one counts as none: files for many containers set variables to nothing.
#[derive(Debug, Clone)]
pub(super) struct Address(pub(super) Option<String>);

pub(super) fn address(text: &str) -> Result<Address, String> {
    if text.trim().is_empty() {
        return Ok(Address(None));
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(Address(Some(text.to_owned())));
    }
    Err(format!("an address begins with http:// or https://: write http://{text}"))
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

pub(super) fn secret(text: &str) -> Result<(String, String), String> {
    if text.contains('=') {
        return key_value(text);
    }
    std::env::var(text)
        .map(|value| (text.to_owned(), value))
        .map_err(|_| format!("`{text}` has no value: write {text}=VALUE, or set it in the environment"))
}
