//! Interprets a forge's answer: the statuses and headers that all of them have in common.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::HeaderMap;

use crate::error::CallError;

/// Characters of a forge's message that are kept.
const MAX_MESSAGE_CHARS: usize = 300;
/// The longest wait that a forge may ask for.
const MAX_WAIT: Duration = Duration::from_secs(60 * 60);

/// The answer of a call that succeeded.
#[derive(Debug)]
pub(crate) struct Answer {
    headers: HeaderMap,
    /// Null if the answer is not JSON.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Reads the body. `None` if it has another shape.
    pub(crate) fn read<T: DeserializeOwned>(self) -> Option<T> {
        serde_json::from_value(self.body).ok()
    }
}

/// Distinguishes what a caller can do about an answer.
pub(crate) fn interpret(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    host: &str,
    secret: &str,
) -> Result<Answer, CallError> {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if (200..300).contains(&status) {
        return Ok(Answer { headers: headers.clone(), body });
    }
    let host = host.to_owned();
    let message = || message_of(&body, status, secret);
    let limited = status == 429 || (status == 403 && is_limit(headers, &body));
    Err(match status {
        _ if limited => CallError::Limited { host, message: message(), wait: wait_of(headers, SystemTime::now()) },
        401 => CallError::BadToken { host, message: message() },
        403 => CallError::MissingRight { host, needs: message() },
        404 | 410 => CallError::NotFound { host, what: "such thing".to_owned() },
        408 | 500..=599 => CallError::Unavailable { host, status, message: message() },
        300..=399 => CallError::Refused {
            host,
            status,
            message: "it redirects to another address, which is not followed with a token: use that address".to_owned(),
        },
        _ => CallError::Refused { host, status, message: message() },
    })
}

/// Returns whether a 403 is about the number of requests. GitHub says so by headers, and for its secondary limits in
/// words.
fn is_limit(headers: &HeaderMap, body: &Value) -> bool {
    let none_left = ["x-ratelimit-remaining", "ratelimit-remaining"]
        .iter()
        .any(|name| headers.get(*name).is_some_and(|value| value.as_bytes() == b"0"));
    let says_so = body["message"].as_str().is_some_and(|message| message.to_ascii_lowercase().contains("rate limit"));
    none_left || says_so || headers.contains_key("retry-after")
}

/// Returns how long to wait before the next request: `Retry-After` in seconds, or until the time at which the limit is
/// reset.
fn wait_of(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    if let Some(seconds) = number("retry-after") {
        return Some(Duration::from_secs(seconds).min(MAX_WAIT));
    }
    let reset = number("x-ratelimit-reset").or_else(|| number("ratelimit-reset"))?;
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(reset.saturating_sub(now)).min(MAX_WAIT))
}

/// Returns what the forge says, as one line without the token.
fn message_of(body: &Value, status: u16, secret: &str) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    };
    let message = text(&body["message"])
        .or_else(|| text(&body["error"]["message"]))
        .or_else(|| text(&body["error_description"]))
        .or_else(|| text(&body["error"]));
    let mut message = message.unwrap_or_else(|| format!("status {status}"));
    if let Some(more) =
        body["errors"].as_array().and_then(|errors| errors.first()).and_then(|one| text(&one["message"]))
    {
        message = format!("{message}: {more}");
    }
    let message = if secret.len() >= 4 { message.replace(secret, "***") } else { message };
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn error_of(status: u16, pairs: &[(&'static str, &str)], body: &Value) -> CallError {
        interpret(status, &headers(pairs), body.to_string().as_bytes(), "forge.example", "s3cret-token").unwrap_err()
    }

    #[test]
    fn a_forge_that_wants_a_pause_gets_it() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(wait_of(&headers(&[("retry-after", "7")]), now), Some(Duration::from_secs(7)));
        assert_eq!(wait_of(&headers(&[("x-ratelimit-reset", "1000060")]), now), Some(Duration::from_secs(60)));
        assert_eq!(wait_of(&headers(&[("ratelimit-reset", "999")]), now), Some(Duration::ZERO));
        assert_eq!(wait_of(&headers(&[("retry-after", "999999999")]), now), Some(MAX_WAIT));
        for (status, pairs, message) in [
            (429, &[][..], ""),
            (403, &[("x-ratelimit-remaining", "0")][..], ""),
            (403, &[("retry-after", "1")][..], ""),
            (403, &[][..], "You have exceeded a secondary rate limit"),
        ] {
            let error = error_of(status, pairs, &json!({ "message": message }));
            assert!(matches!(error, CallError::Limited { .. }) && error.may_pass(), "{error:?}");
        }
        assert!(!error_of(403, &[], &json!({ "message": "Resource not accessible" })).may_pass());
    }

    #[test]
    fn no_message_has_the_token_or_more_than_one_line() {
        for body in [
            json!({ "message": "bad s3cret-token\nhere" }),
            json!({ "error": { "message": "s3cret-token" } }),
            json!({ "message": { "name": ["s3cret-token"] } }),
            json!({ "message": "x", "errors": [{ "message": "s3cret-token" }] }),
        ] {
            let text = error_of(422, &[], &body).to_string();
            assert!(text.contains("***") && !text.contains("s3cret") && !text.contains('\n'), "{text}");
        }
        assert!(error_of(500, &[], &json!({ "message": "x".repeat(5000) })).to_string().len() < 400);
    }

    #[test]
    fn a_redirect_is_an_error_that_says_what_to_do() {
        let error = error_of(307, &[("location", "https://evil.example")], &Value::Null);
        assert!(error.to_string().contains("use that address") && !error.may_pass(), "{error}");
    }
}
