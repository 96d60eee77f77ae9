//! Discord's webhooks: an embed. Nobody is mentioned, whatever the texts contain.

use serde_json::{Value, json};

use crate::{Message, text::markdown};

/// Characters of a title and a description; Discord takes 256 and 4,096.
const MAX_TITLE_CHARS: usize = 250;
const MAX_DESCRIPTION_CHARS: usize = 4_000;

pub(crate) fn body(message: &Message) -> Value {
    let title: String = message.headline().chars().take(MAX_TITLE_CHARS).collect();
    let mut embed = json!({ "title": markdown(&title), "url": message.url, "color": message.subject.color() });
    let mut description = String::new();
    for line in message.details().iter().map(|line| markdown(line)) {
        if description.chars().count() + line.chars().count() < MAX_DESCRIPTION_CHARS {
            description.push_str(&line);
            description.push('\n');
        }
    }
    if !description.is_empty() {
        embed["description"] = description.trim_end().into();
    }
    json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } })
}
