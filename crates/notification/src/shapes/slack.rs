//! Slack's incoming webhooks: blocks. Texts by others stand in `plain_text`, which has no markup.

use serde_json::{Value, json};

use crate::{Message, text::without_mentions};

/// Characters of a block's text; Slack takes 3,000.
const MAX_BLOCK_CHARS: usize = 2_900;

pub(crate) fn body(message: &Message) -> Value {
    let (name, happened) = message.headline_parts();
    let link = format!("*<{}|{}>* {happened}", escaped(&message.url), escaped(&name));
    let mut blocks = vec![json!({ "type": "section", "text": { "type": "mrkdwn", "text": link, "verbatim": true } })];
    let details: String = without_mentions(&message.details().join("\n")).chars().take(MAX_BLOCK_CHARS).collect();
    if !details.is_empty() {
        blocks.push(json!({ "type": "section", "text": { "type": "plain_text", "text": details, "emoji": false } }));
    }
    json!({
        "text": escaped(&without_mentions(&message.headline())),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// Escapes the characters that have a meaning in Slack's markup. `|` has no escape.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('|', "¦")
}
