//! Microsoft Teams: an Adaptive Card, as workflows take it. Texts by others stand in text runs, which have no markup.

use longshore_core::NotificationEvent;
use serde_json::{Value, json};

use crate::{Message, Subject};

pub(crate) fn body(message: &Message) -> Value {
    let color = match message.subject {
        Subject::Event(NotificationEvent::Failure) => "attention",
        Subject::Event(NotificationEvent::Fixed) => "good",
        Subject::Event(NotificationEvent::Approval | NotificationEvent::Anomaly) => "warning",
        Subject::Test => "default",
    };
    let line = |run: Value| json!({ "type": "RichTextBlock", "inlines": [run] });
    let headline = json!({ "type": "TextRun", "text": message.headline(), "weight": "bolder", "color": color });
    let mut blocks = vec![line(headline)];
    blocks.extend(message.details().into_iter().map(|text| line(json!({ "type": "TextRun", "text": text }))));
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
        "actions": [{ "type": "Action.OpenUrl", "title": "Open", "url": message.url }],
    });
    let attachment =
        json!({ "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card });
    json!({ "type": "message", "attachments": [attachment] })
}
