//! How MLflow's JSON spells values.
//!
//! The reference renders protobuf messages: int64 leaves as a number but may arrive as a string,
//! NaN and infinities are strings, enums arrive by name or number, and query parameters arrive as
//! strings whatever their type. [`FromWire`] and [`ToWire`] say this once per type; the `wire!`
//! macro applies them to every field of a message.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// A value that is read as MLflow's server reads it.
pub trait FromWire: Sized {
    /// Reads a value, accepting each spelling that MLflow accepts.
    ///
    /// # Errors
    /// When the value has another type.
    fn from_wire<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// A value that is written as MLflow's server writes it.
pub trait ToWire {
    /// Writes the value.
    ///
    /// # Errors
    /// Those of the serializer.
    fn to_wire<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Whether the field is left out of its message.
    fn is_absent(&self) -> bool {
        false
    }
}

/// `deserialize_with` of every message field.
///
/// # Errors
/// When the value has another type.
pub fn read<'de, T: FromWire, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::from_wire(deserializer)
}

/// `serialize_with` of every message field.
///
/// # Errors
/// Those of the serializer.
pub fn write<T: ToWire, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.to_wire(serializer)
}

/// `skip_serializing_if` of every message field.
pub fn is_absent<T: ToWire>(value: &T) -> bool {
    value.is_absent()
}

struct In<T>(T);

impl<'de, T: FromWire> Deserialize<'de> for In<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::from_wire(deserializer).map(In)
    }
}

struct Out<'a, T>(&'a T);

impl<T: ToWire> Serialize for Out<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_wire(serializer)
    }
}

impl FromWire for String {
    fn from_wire<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

impl ToWire for String {
    fn to_wire<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<T: FromWire> FromWire for Option<T> {
    fn from_wire<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<In<T>>::deserialize(deserializer)?.map(|value| value.0))
    }
}

impl<T: ToWire> ToWire for Option<T> {
    fn to_wire<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => serializer.serialize_some(&Out(value)),
            None => serializer.serialize_none(),
        }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

/// A repeated field; a query parameter given once arrives as a lone string.
impl<T: FromWire> FromWire for Vec<T> {
    fn from_wire<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Repeated<T>(std::marker::PhantomData<T>);

        impl<'de, T: FromWire> Visitor<'de> for Repeated<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(4096));
                while let Some(In(value)) = seq.next_element::<In<T>>()? {
                    values.push(value);
                }
                Ok(values)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                let lone: StrDeserializer<'_, E> = text.into_deserializer();
                Ok(vec![T::from_wire(lone)?])
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(vec![T::from_wire(BorrowedStrDeserializer::new(text))?])
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Vec::new())
            }
        }

        deserializer.deserialize_any(Repeated(std::marker::PhantomData))
    }
}

impl<T: ToWire> ToWire for Vec<T> {
    fn to_wire<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Out))
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl FromWire for i64 {
    fn from_wire<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Int64;

        impl Visitor<'_> for Int64 {
            type Value = i64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a 64-bit integer, as a number or as a string")
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<i64, E> {
                Ok(value)
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<i64, E> {
                i64::try_from(value).map_err(|_| E::custom(format!("`{value}` is out of range")))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<i64, E> {
                // 2^63 itself is out of range; everything below converts exactly.
                const LIMIT: f64 = 9_223_372_036_854_775_808.0;
                if value.fract() == 0.0 && (-LIMIT..LIMIT).contains(&value) {
                    Ok(value as i64)
                } else {
                    Err(E::custom(format!("`{value}` is not a 64-bit integer")))
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<i64, E> {
                text.trim()
                    .parse()
                    .map_err(|_| E::custom(format!("`{text}` is not a 64-bit integer")))
            }
        }

        deserializer.deserialize_any(Int64)
    }
}

impl ToWire for i64 {
    fn to_wire<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(*self)
    }
}

impl FromWire for f64 {
    fn from_wire<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Double;

        impl Visitor<'_> for Double {
            type Value = f64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or one of the strings NaN, Infinity and -Infinity")
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
                Ok(value)
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
                Ok(value as f64)
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
                Ok(value as f64)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
                match text {
                    "NaN" => Ok(f64::NAN),
                    "Infinity" => Ok(f64::INFINITY),
                    "-Infinity" => Ok(f64::NEG_INFINITY),
                    _ => text
                        .parse()
                        .map_err(|_| E::custom(format!("`{text}` is not a number"))),
                }
            }
        }

        deserializer.deserialize_any(Double)
    }
}

impl ToWire for f64 {
    fn to_wire<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_nan() {
            serializer.serialize_str("NaN")
        } else if *self == f64::INFINITY {
            serializer.serialize_str("Infinity")
        } else if *self == f64::NEG_INFINITY {
            serializer.serialize_str("-Infinity")
        } else {
            serializer.serialize_f64(*self)
        }
    }
}

impl FromWire for bool {
    fn from_wire<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bool;

        impl Visitor<'_> for Bool {
            type Value = bool;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
                Ok(value)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
                match text.to_ascii_lowercase().as_str() {
                    "true" => Ok(true),
                    "false" => Ok(false),
                    _ => Err(E::custom(format!("`{text}` is neither true nor false"))),
                }
            }
        }

        deserializer.deserialize_any(Bool)
    }
}

impl ToWire for bool {
    fn to_wire<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(*self)
    }
}

/// A map from text to text; it is left out when empty.
impl FromWire for BTreeMap<String, String> {
    fn from_wire<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or_default())
    }
}

impl ToWire for BTreeMap<String, String> {
    fn to_wire<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// Any JSON, as it is; also where it is null.
impl FromWire for serde_json::Value {
    fn from_wire<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

impl ToWire for serde_json::Value {
    fn to_wire<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }
}

/// Declares messages: derives what a message needs and applies [`FromWire`] and [`ToWire`] to
/// every field; a field that is missing takes its default.
macro_rules! wire {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident : $type:ty, )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(
                    deserialize_with = "crate::wire::read",
                    serialize_with = "crate::wire::write",
                    skip_serializing_if = "crate::wire::is_absent"
                )]
                pub $field: $type,
            )*
        }

        impl crate::wire::FromWire for $name {
            fn from_wire<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                <Self as serde::Deserialize>::deserialize(d)
            }
        }

        impl crate::schema::Schema for $name {
            fn schema(named: &mut crate::schema::Named) -> serde_json::Value {
                named.message(stringify!($name), |_named| {
                    vec![$(
                        (
                            stringify!($field),
                            <$type as crate::schema::Schema>::schema(_named),
                        ),
                    )*]
                })
            }
        }

        impl crate::wire::ToWire for $name {
            fn to_wire<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(self, s)
            }
        }
    )*};
}

/// Declares protobuf enums: written by name, read by name or number.
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $number:literal, $text:literal; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )*
        }

        impl $name {
            /// The name on the wire and in the database.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )* }
            }

            /// The value of that name on the wire.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $( $text => Some(Self::$variant), )* _ => None }
            }

            /// The value of that number in the protobuf descriptor.
            #[must_use]
            pub fn from_number(number: i64) -> Option<Self> {
                match number { $( $number => Some(Self::$variant), )* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl crate::wire::FromWire for $name {
            fn from_wire<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct ByNameOrNumber;

                impl serde::de::Visitor<'_> for ByNameOrNumber {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("one of", $( " ", $text, )*))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::from_name(text)
                            .or_else(|| $name::from_number(text.parse().ok()?))
                            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
                    }

                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$name, E> {
                        $name::from_number(number).ok_or_else(|| {
                            E::invalid_value(serde::de::Unexpected::Signed(number), &self)
                        })
                    }

                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$name, E> {
                        i64::try_from(number).ok().and_then($name::from_number).ok_or_else(|| {
                            E::invalid_value(serde::de::Unexpected::Unsigned(number), &self)
                        })
                    }
                }

                d.deserialize_any(ByNameOrNumber)
            }
        }

        impl crate::wire::ToWire for $name {
            fn to_wire<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl crate::schema::Schema for $name {
            fn schema(_: &mut crate::schema::Named) -> serde_json::Value {
                serde_json::json!({ "type": "string", "enum": [$( $text ),*] })
            }
        }
    };
}

pub(crate) use {wire, wire_enum};

#[cfg(test)]
mod tests {
    use crate::types::{LogMetric, Metric, SearchRuns, UpdateRun};

    #[test]
    fn integers_arrive_as_numbers_or_strings_and_leave_as_numbers() {
        for body in [
            r#"{"key":"a","value":1,"timestamp":"9007199254740993","step":2}"#,
            r#"{"key":"a","value":"1.0","timestamp":9007199254740993,"step":"2"}"#,
        ] {
            let metric: Metric = serde_json::from_str(body).unwrap();
            assert_eq!(metric.timestamp, 9_007_199_254_740_993);
            assert_eq!(
                serde_json::to_string(&metric).unwrap(),
                r#"{"key":"a","value":1.0,"timestamp":9007199254740993,"step":2}"#
            );
        }
        for bad in [
            r#"{"timestamp":1.5}"#,
            r#"{"timestamp":"x"}"#,
            r#"{"timestamp":1e30}"#,
        ] {
            assert!(serde_json::from_str::<Metric>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_that_json_lacks_are_strings() {
        for (value, text) in [
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            let metric = Metric {
                value,
                ..Metric::default()
            };
            let json = serde_json::to_string(&metric).unwrap();
            assert!(json.contains(text), "{json}");
            let back: LogMetric = serde_json::from_str(&json).unwrap();
            assert_eq!(back.value.map(f64::to_bits), Some(value.to_bits()));
        }
    }

    #[test]
    fn enums_arrive_by_name_or_number() {
        for body in [
            r#"{"status":"FINISHED"}"#,
            r#"{"status":3}"#,
            r#"{"status":"3"}"#,
        ] {
            let update: UpdateRun = serde_json::from_str(body).unwrap();
            assert_eq!(
                update.status,
                Some(crate::types::RunStatus::Finished),
                "{body}"
            );
        }
        assert!(serde_json::from_str::<UpdateRun>(r#"{"status":"DONE"}"#).is_err());
    }

    #[test]
    fn a_lone_query_parameter_is_a_list_of_one() {
        let search: SearchRuns = serde_json::from_str(r#"{"experiment_ids":"0"}"#).unwrap();
        assert_eq!(search.experiment_ids, ["0"]);
        assert_eq!(serde_json::to_string(&SearchRuns::default()).unwrap(), "{}");
    }
}
