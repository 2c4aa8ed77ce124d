//! A graph against its signature.

use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use tract_onnx::tract_hir::internal::DatumType;

use crate::error::{Error, Result};
use crate::rule::{listed, quoted};
use crate::signature::{ColumnKind, Signature};

/// Versions of the operators that are read: tract's and three more, which today's PyTorch writes, and
/// those before `TreeEnsemble`.
const OPSETS: [(&str, std::ops::RangeInclusive<i64>); 2] =
    [("ai.onnx", 9..=21), ("ai.onnx.ml", 1..=4)];

/// The last version of `ai.onnx` that tract is made for.
const TRACT_OPSET: i64 = 18;

/// Operators that do something else, or more, in versions after [`TRACT_OPSET`]; others only took more types.
const CHANGED: [&str; 9] = [
    "AveragePool",
    "DFT",
    "DequantizeLinear",
    "GridSample",
    "GroupNormalization",
    "Pad",
    "QuantizeLinear",
    "Resize",
    "Upsample",
];

/// How rows go into the graph.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Layout {
    /// One tensor, (n_samples, n_features).
    Matrix(DatumType),
    /// A tensor a column, (n_samples) or, with `true`, (n_samples, 1).
    Columns(Vec<(DatumType, bool)>),
}

/// Refuses opsets and operators that can't be run here.
pub(crate) fn check_operators(model: &ModelProto, known: impl Fn(&str) -> bool) -> Result<()> {
    for opset in &model.opset_import {
        let domain = match opset.domain.as_str() {
            "" => "ai.onnx",
            domain => domain,
        };
        let versions = OPSETS.iter().find(|(name, _)| *name == domain);
        let Some((_, versions)) = versions else {
            return Err(Error::mismatch(
                "operators",
                "those of ai.onnx and ai.onnx.ml",
                format!("the domain `{domain}`"),
            ));
        };
        if !versions.contains(&opset.version) {
            return Err(Error::mismatch(
                format!("opset of {domain}"),
                format!("{} to {}", versions.start(), versions.end()),
                opset.version.to_string(),
            ));
        }
    }
    let opset = |domain: &str| {
        let of_domain = model.opset_import.iter().find(|o| o.domain == domain);
        of_domain.map_or(0, |o| o.version)
    };
    let version = opset("").max(opset("ai.onnx"));
    let mut unknown: Vec<String> = Vec::new();
    let nodes = model
        .graph
        .iter()
        .flat_map(|graph: &GraphProto| &graph.node);
    for NodeProto { op_type, .. } in nodes {
        if version > TRACT_OPSET && CHANGED.contains(&op_type.as_str()) {
            return Err(Error::mismatch(
                format!("opset of ai.onnx, for the operator `{op_type}`"),
                format!("at most {TRACT_OPSET}"),
                version.to_string(),
            ));
        }
        if !known(op_type) && !unknown.contains(op_type) {
            unknown.push(op_type.clone());
        }
    }
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(Error::mismatch(
            "operators",
            "those that tract runs, `TreeEnsembleRegressor` and `LabelEncoder`",
            listed(&unknown),
        ))
    }
}

/// Inputs that aren't constants.
pub(crate) fn graph_inputs(graph: &GraphProto) -> Vec<&ValueInfoProto> {
    let constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    graph
        .input
        .iter()
        .filter(|input| !constant(&input.name))
        .collect()
}

/// How rows of `signature` go into `graph`, and how many values a row has.
pub(crate) fn layout(graph: &GraphProto, signature: &Signature) -> Result<(Layout, usize)> {
    for input in &signature.inputs {
        if let ColumnKind::Other(kind) = &input.kind {
            let name = input.name.as_deref().unwrap_or("");
            return Err(Error::mismatch(
                format!("type of the signature's input `{name}`"),
                "a number",
                quoted(kind),
            ));
        }
    }
    let inputs = graph_inputs(graph);
    let declared = signature.n_features();
    if let [only] = inputs.as_slice() {
        let (kind, shape) = tensor(only)?;
        if let [_, width] = shape.as_slice() {
            let n = match (declared, *width) {
                (Some(n), None) => n,
                (None, Some(width)) => width,
                (Some(n), Some(width)) if n == width => n,
                (None, None) => {
                    return Err(Error::mismatch(
                        format!("columns of input `{}`", only.name),
                        "a number in the graph or in the signature",
                        "none",
                    ));
                }
                (Some(n), Some(width)) => {
                    return Err(Error::mismatch(
                        format!("columns of input `{}`", only.name),
                        format!("{n}, as the signature has"),
                        width.to_string(),
                    ));
                }
            };
            return Ok((Layout::Matrix(kind), n));
        }
    }
    let names = signature.column_names().ok_or_else(|| {
        let found: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
        Error::mismatch(
            "inputs of the graph",
            "one of two dimensions",
            listed(&found),
        )
    })?;
    let found: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
    let mut sorted = (names.clone(), found.clone());
    sorted.0.sort();
    sorted.1.sort();
    if sorted.0 != sorted.1 {
        return Err(Error::mismatch(
            "inputs of the graph",
            format!("{}, as the signature has", listed(&names)),
            listed(&found),
        ));
    }
    let columns = inputs
        .iter()
        .map(|input| {
            let (kind, shape) = tensor(input)?;
            match shape.as_slice() {
                [_] => Ok((kind, false)),
                [_, None | Some(1)] => Ok((kind, true)),
                other => Err(Error::mismatch(
                    format!("dimensions of input `{}`", input.name),
                    "(n_samples) or (n_samples, 1)",
                    format!("{} dimensions", other.len()),
                )),
            }
        })
        .collect::<Result<_>>()?;
    let n = names.len();
    Ok((Layout::Columns(columns), n))
}

/// Type and shape of an input; `None` for a dimension of any size.
fn tensor(input: &ValueInfoProto) -> Result<(DatumType, Vec<Option<usize>>)> {
    use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dimension;
    let what = || format!("type of input `{}`", input.name);
    let expected = "a tensor of float or double";
    let Some(TypeValue::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Err(Error::mismatch(what(), expected, "no tensor"));
    };
    let kind = match tensor.elem_type {
        1 => DatumType::F32,
        11 => DatumType::F64,
        7 => return Err(Error::mismatch(what(), expected, "int64")),
        8 => return Err(Error::mismatch(what(), expected, "string")),
        other => return Err(Error::mismatch(what(), expected, format!("type {other}"))),
    };
    let shape = tensor.shape.iter().flat_map(|shape| &shape.dim);
    let shape = shape
        .map(|dim| match dim.value {
            Some(Dimension::DimValue(n)) => usize::try_from(n).ok().filter(|n| *n > 0),
            _ => None,
        })
        .collect();
    Ok((kind, shape))
}
