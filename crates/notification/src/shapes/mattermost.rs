//! Mattermost's incoming webhooks: Markdown with every sign of others escaped.

use serde_json::{Value, json};

use crate::{Message, text::markdown};

pub(crate) fn body(message: &Message) -> Value {
    let (name, happened) = message.headline_parts();
    let url: String = message.url.chars().filter(|c| !matches!(c, '(' | ')' | '<' | '>' | ' ')).collect();
    let mut text = format!("**[{}]({url})** {happened}", markdown(&name));
    for line in message.details() {
        // Two spaces at the end break the line.
        text.push_str("  \n");
        text.push_str(&markdown(&line));
    }
    json!({ "text": text })
}
