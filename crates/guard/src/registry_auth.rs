//! Credentials for registries, which are parsed from headers and written into headers of our own.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};

use crate::fields::Fields;
use crate::json;
use crate::refusal::{Judged, Refusal, Rule, refuse};

/// Credentials for a registry. They are never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct RegistryAuth {
    fields: BTreeMap<&'static str, String>,
}

impl std::fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegistryAuth(..)")
    }
}

const AUTH_KEYS: [&str; 7] =
    ["username", "password", "auth", "email", "serveraddress", "identitytoken", "registrytoken"];

/// Makes a decoder. Clients use both alphabets for this header, padded or not.
fn decoder(alphabet: &base64::alphabet::Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

fn decode_header(text: &str) -> Judged<Vec<u8>> {
    decoder(&base64::alphabet::URL_SAFE)
        .decode(text)
        .or_else(|_| decoder(&base64::alphabet::STANDARD).decode(text))
        .map_err(|_| Refusal::new(Rule::Registry, "the header with credentials is not base64".to_owned()))
}

fn encode_header(value: &Value) -> String {
    base64::engine::general_purpose::URL_SAFE.encode(value.to_string())
}

impl RegistryAuth {
    pub(crate) fn read(mut fields: Fields) -> Judged<Self> {
        let mut read = BTreeMap::new();
        for key in AUTH_KEYS {
            if let Some(text) = fields.optional_text(key)?.filter(|text| !text.is_empty()) {
                read.insert(key, text);
            }
        }
        // docker-java sends what Docker's command line keeps in the same file.
        fields.dropped("stackOrchestrator");
        fields.finish()?;
        Ok(Self { fields: read })
    }

    pub(crate) fn body(body: &[u8]) -> Judged<Self> {
        Self::read(Fields::body(json::parse(body)?)?)
    }

    /// Reads `X-Registry-Auth`. Clients without credentials leave it out, empty or null.
    pub(crate) fn header(text: &str) -> Judged<Self> {
        match decode_header(text)?.as_slice() {
            b"" | b"null" => Ok(Self::default()),
            bytes => Self::body(bytes),
        }
    }

    pub(crate) fn server(&self) -> &str {
        self.fields.get("serveraddress").map_or("", String::as_str)
    }

    fn value(&self) -> Value {
        json!(self.fields)
    }

    pub(crate) fn to_header(&self) -> String {
        encode_header(&self.value())
    }
}

/// Reads `X-Registry-Config`: the credentials for several registries, for builds.
pub(crate) fn registry_config(text: &str) -> Judged<BTreeMap<String, RegistryAuth>> {
    let bytes = decode_header(text)?;
    match json::parse(&bytes)? {
        json::Json::Object(entries) => entries
            .into_iter()
            .map(|(registry, auth)| {
                let auth = RegistryAuth::read(Fields::new(auth, "X-Registry-Config.".to_owned())?)?;
                Ok((registry, auth))
            })
            .collect(),
        json::Json::Null => Ok(BTreeMap::new()),
        _ => refuse!(Registry, "the header with credentials is not an object"),
    }
}

pub(crate) fn registry_config_header(config: &BTreeMap<String, RegistryAuth>) -> String {
    let value: BTreeMap<_, _> = config.iter().map(|(registry, auth)| (registry, auth.value())).collect();
    encode_header(&json!(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_in_every_spelling_and_never_shown() {
        let secret = r#"{"username":"u","password":"p?>~","serveraddress":"r"}"#;
        for text in [
            base64::engine::general_purpose::URL_SAFE.encode(secret),
            base64::engine::general_purpose::STANDARD.encode(secret),
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret),
        ] {
            let auth = RegistryAuth::header(&text).unwrap();
            assert_eq!(auth.server(), "r");
            assert!(!format!("{auth:?}").contains("p?>"));
            assert_eq!(RegistryAuth::header(&auth.to_header()).unwrap(), auth);
        }
        for none in ["e30=", "bnVsbA==", ""] {
            assert_eq!(RegistryAuth::header(none).unwrap(), RegistryAuth::default());
        }
        for text in ["!", "MQ==", "eyJVc2VybmFtZSI6ICJ4In0="] {
            assert!(RegistryAuth::header(text).is_err(), "{text}");
        }
    }
}
