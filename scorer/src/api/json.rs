//! JSON as it was written: keys in their order, none of two lost, numbers that Python writes.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::Refusal;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as a double.
    Number(f64),
    /// A whole number that fits.
    Integer(i64),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a whole body.
    ///
    /// # Errors
    /// It is no JSON: where and why.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body)
            .map_err(|error| Refusal::unreadable(format!("the body is no JSON: {error}")))
    }

    /// What it is, for people.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) | Self::Integer(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// The number that it is.
    ///
    /// # Errors
    /// What it is instead.
    pub(super) fn number(&self) -> Result<f64, String> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Integer(number) => Ok(*number as f64),
            Self::Null => Err("a number is needed, and there is null".to_owned()),
            Self::Text(text) if is_not_finite(text) => {
                Err(format!("a finite number is needed, and there is {text}"))
            }
            other => Err(format!("a number is needed, and there is {}", other.what())),
        }
    }
}

fn is_not_finite(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(|number| !number.is_finite())
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Number(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Integer(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                let integer = i64::try_from(value).map(Json::Integer);
                Ok(integer.unwrap_or(Json::Number(value as f64)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Json, E> {
                Ok(Json::Text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Json::Array(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Json::Object(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_stand_there_twice_are_both_seen() {
        let read = Json::read(br#"{"a": 1, "a": [null, true, "x", 0.5]}"#).unwrap();
        let Json::Object(entries) = read else {
            panic!("{read:?}");
        };
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].1.number(), Ok(1.0));
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (text, place) in [
            ("{\"a\": NaN}", "line 1 column 7"),
            ("{\n\"a\": 1,}", "line 2 column 8"),
            ("[1e999]", "out of range"),
            ("", "EOF"),
        ] {
            let refusal = Json::read(text.as_bytes()).unwrap_err();
            let (status, message, _) = refusal.said();
            assert_eq!(status, 400);
            assert!(message.contains(place), "{message}");
        }
        // Deep nesting ends in a refusal, not in a crash.
        assert!(Json::read("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn numbers_are_numbers_only() {
        let of = |text: &str| Json::read(text.as_bytes()).unwrap().number();
        assert_eq!(of("9007199254740993"), Ok(9007199254740992.0));
        assert_eq!(of("-3"), Ok(-3.0));
        for (text, words) in [
            ("\"NaN\"", "a finite number is needed, and there is NaN"),
            ("\"-Infinity\"", "finite"),
            ("\"1.5\"", "there is a string"),
            ("null", "there is null"),
            ("[]", "there is an array"),
            ("true", "there is a boolean"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
