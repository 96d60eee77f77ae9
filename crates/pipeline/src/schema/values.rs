//! Types of values that many keys share.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Environment variables by name.
#[derive(JsonSchema)]
#[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" }))]
pub(super) struct Env(BTreeMap<String, Option<Text>>);

/// One value, or a list.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// Defines types whose schema is written by hand instead of derived from a Rust type.
macro_rules! described {
    ($($name:ident = $schema:tt;)*) => {
        $(pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })*
    };
}

described! {
    // Numbers and booleans are taken as they are written.
    Text = { "type": ["string", "number", "boolean"] };
    Name = { "type": ["string", "number", "boolean"], "pattern": "^[^/]{1,64}$" };
    Duration = { "type": "string", "pattern": "^(?=.)([0-9]+h)?([0-9]+m)?([0-9]+s)?$" };
    // An expression, with or without the braces around it.
    Condition = { "type": ["string", "boolean"] };
    Flag = { "type": ["boolean", "string"], "pattern": "^\\s*\\$\\{\\{[\\s\\S]*\\}\\}\\s*$" };
    // The IDs of steps, or all of them.
    Wait = { "anyOf": [{ "const": true }, { "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }] };
    Count = { "type": "integer", "minimum": 0 };
}
