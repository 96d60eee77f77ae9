//! Matrix: an event `m.room.message` of an account in the room. Its transaction id is the message's, so that it appears
//! in the room once, however often it is sent.

use serde_json::{Value, json};

use crate::{
    Message,
    text::{html, without_mentions},
};

pub(crate) fn body(message: &Message) -> Value {
    let (name, happened) = message.headline_parts();
    let details: Vec<String> = message.details().iter().map(|line| without_mentions(line)).collect();
    let mut plain = format!("{} {}", message.headline(), message.url);
    let mut formatted = format!("<a href=\"{}\">{}</a> {}", html(&message.url), html(&name), html(&happened));
    for line in &details {
        plain.push('\n');
        plain.push_str(line);
        formatted.push_str("<br>");
        formatted.push_str(&html(line));
    }
    json!({
        "msgtype": "m.text",
        "body": plain,
        "format": "org.matrix.custom.html",
        "formatted_body": formatted,
        "m.mentions": {},
    })
}
