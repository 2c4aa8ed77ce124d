//! What messages look like, as JSON Schema, for an OpenAPI description.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A type that can say what its JSON looks like.
pub trait Schema {
    /// The schema; those of messages are kept in `named` and referred to.
    fn schema(named: &mut Named) -> Value;
}

/// Schemas by the name of their message.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Named(BTreeMap<&'static str, Value>);

impl Named {
    /// A reference to the message of that name; `fields` is asked the first time.
    pub fn message(
        &mut self,
        name: &'static str,
        fields: impl FnOnce(&mut Self) -> Vec<(&'static str, Value)>,
    ) -> Value {
        if !self.0.contains_key(name) {
            // A message may hold itself.
            self.0.insert(name, Value::Null);
            let properties: Map<String, Value> = fields(self)
                .into_iter()
                .map(|(field, schema)| (field.trim_start_matches("r#").to_owned(), schema))
                .collect();
            let schema = json!({ "type": "object", "properties": properties });
            self.0.insert(name, schema);
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// All of them.
    #[must_use]
    pub fn into_components(self) -> Value {
        json!(self.0)
    }
}

impl Schema for String {
    fn schema(_: &mut Named) -> Value {
        json!({ "type": "string" })
    }
}

impl Schema for i64 {
    fn schema(_: &mut Named) -> Value {
        json!({ "type": "integer", "format": "int64" })
    }
}

impl Schema for f64 {
    fn schema(_: &mut Named) -> Value {
        json!({ "anyOf": [
            { "type": "number", "format": "double" },
            { "enum": ["NaN", "Infinity", "-Infinity"] },
        ] })
    }
}

impl Schema for bool {
    fn schema(_: &mut Named) -> Value {
        json!({ "type": "boolean" })
    }
}

/// Anything.
impl Schema for Value {
    fn schema(_: &mut Named) -> Value {
        json!({})
    }
}

/// A map from text to text.
impl Schema for BTreeMap<String, String> {
    fn schema(_: &mut Named) -> Value {
        json!({ "type": "object", "additionalProperties": { "type": "string" } })
    }
}

impl<T: Schema> Schema for Option<T> {
    fn schema(named: &mut Named) -> Value {
        T::schema(named)
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn schema(named: &mut Named) -> Value {
        json!({ "type": "array", "items": T::schema(named) })
    }
}
