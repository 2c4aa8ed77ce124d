//! What MLflow says of a model's inputs.

use serde_json::Value;

use crate::error::{Error, Result};

/// A model's inputs, as MLflow's signature has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// In order.
    pub inputs: Vec<SignatureInput>,
}

/// A column or a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureInput {
    /// Its name; tensors may have none.
    pub name: Option<String>,
    /// What it holds.
    pub kind: ColumnKind,
    /// A tensor's shape, −1 for any number; `None` for a column.
    pub shape: Option<Vec<i64>>,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnKind {
    /// Numbers that a `double` holds.
    Number,
    /// Anything else, by MLflow's name.
    Other(String),
}

impl Signature {
    /// Reads the JSON that stands in `MLmodel` under `signature.inputs`.
    ///
    /// # Errors
    /// What is no list of columns or tensors, or an empty one.
    pub fn from_json(inputs: &str) -> Result<Self> {
        let refuse = |reason: &str| Error::unreadable("signature", reason);
        let parsed: Value =
            serde_json::from_str(inputs).map_err(|e| Error::unreadable("signature", e))?;
        let list = parsed.as_array().ok_or_else(|| refuse("it is no list"))?;
        let inputs: Vec<SignatureInput> = list
            .iter()
            .map(|input| {
                let kind = input["type"]
                    .as_str()
                    .ok_or_else(|| refuse("an input has no type"))?;
                let spec = &input["tensor-spec"];
                let shape = (kind == "tensor").then(|| {
                    let shape = spec["shape"].as_array().into_iter().flatten();
                    shape.map(|n| n.as_i64().unwrap_or(-1)).collect()
                });
                let kind = if kind == "tensor" {
                    let dtype = spec["dtype"].as_str();
                    dtype.ok_or_else(|| refuse("a tensor has no dtype"))?
                } else {
                    kind
                };
                let numbers = [
                    "double", "float", "long", "integer", "float64", "float32", "int64", "int32",
                ];
                Ok(SignatureInput {
                    name: input["name"].as_str().map(str::to_owned),
                    kind: if numbers.contains(&kind) {
                        ColumnKind::Number
                    } else {
                        ColumnKind::Other(kind.to_owned())
                    },
                    shape,
                })
            })
            .collect::<Result<_>>()?;
        if inputs.is_empty() {
            return Err(refuse("it declares no input"));
        }
        Ok(Self { inputs })
    }

    /// Names of the columns, where all have one and each is a column of its own.
    #[must_use]
    pub fn column_names(&self) -> Option<Vec<String>> {
        let wide = |shape: &Vec<i64>| shape.len() > 1 && shape[1..] != [1];
        self.inputs
            .iter()
            .map(|input| {
                input
                    .name
                    .clone()
                    .filter(|_| !input.shape.as_ref().is_some_and(wide))
            })
            .collect()
    }

    /// Number of values of a row; `None` where a tensor doesn't say.
    #[must_use]
    pub fn n_features(&self) -> Option<usize> {
        self.inputs
            .iter()
            .map(|input| match input.shape.as_deref() {
                None | Some([] | [_]) => Some(1),
                Some([_, n]) => usize::try_from(*n).ok(),
                Some(_) => None,
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_tensors_are_read() {
        let columns = r#"[{"type": "double", "name": "a", "required": true}, {"type": "string", "name": "s"}]"#;
        let signature = Signature::from_json(columns).unwrap();
        assert_eq!(signature.column_names().unwrap(), ["a", "s"]);
        assert_eq!(signature.n_features(), Some(2));
        assert_eq!(
            signature.inputs[1].kind,
            ColumnKind::Other("string".to_owned())
        );
        let tensor =
            r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}]"#;
        let signature = Signature::from_json(tensor).unwrap();
        assert_eq!(signature.column_names(), None);
        assert_eq!(signature.n_features(), Some(4));
        for bad in ["", "{}", "[]", "[{}]", r#"[{"type": "tensor"}]"#] {
            assert!(Signature::from_json(bad).is_err(), "{bad}");
        }
    }
}
