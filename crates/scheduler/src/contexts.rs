//! Contexts of expressions that are known only once there is a build.

use longshore_core::{BuildId, expression::Value};

/// The context `build`: its number, its id, and its page where the server has an address.
#[must_use]
pub fn build_context(id: BuildId, number: u64, server_url: &str) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "no repository has 2^53 builds")]
    let number = Value::Number(number as f64);
    let url = match server_url {
        "" => Value::Null,
        known => format!("{known}/builds/{id}").into(),
    };
    Value::map([("number", number), ("id", id.to_string().into()), ("url", url)])
}
