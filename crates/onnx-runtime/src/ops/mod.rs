//! Operators of `ai.onnx.ml` that tract lacks.

mod label_encoder;
mod trees;

use tract_onnx::model::Onnx;
use tract_onnx::pb::{AttributeProto, NodeProto};

/// tract's ONNX with ours. What an exporter noted of shapes between input and output isn't read: it calls
/// the number of rows by a name of its own, as PyTorch does, and tract would take that for another number.
pub(crate) fn onnx() -> Onnx {
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    onnx.op_register
        .insert("TreeEnsembleRegressor", trees::build);
    onnx.op_register
        .insert("LabelEncoder", label_encoder::build);
    onnx
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute
        .iter()
        .find(|attribute| attribute.name == name)
}

fn ints(node: &NodeProto, name: &str) -> Vec<i64> {
    attribute(node, name).map_or_else(Vec::new, |a| a.ints.clone())
}

/// Floats, or the doubles of `<name>_as_tensor`.
fn numbers(node: &NodeProto, name: &str) -> Vec<f64> {
    if let Some(floats) = attribute(node, name) {
        return floats.floats.iter().map(|v| f64::from(*v)).collect();
    }
    let tensor = attribute(node, &format!("{name}_as_tensor")).and_then(|a| a.t.as_ref());
    let Some(tensor) = tensor else {
        return Vec::new();
    };
    // 1 is float, 11 double; values stand in a field of their own or as bytes.
    let (four, _) = tensor.raw_data.as_chunks::<4>();
    let (eight, _) = tensor.raw_data.as_chunks::<8>();
    match tensor.data_type {
        1 if tensor.raw_data.is_empty() => {
            tensor.float_data.iter().map(|v| f64::from(*v)).collect()
        }
        1 => four
            .iter()
            .map(|b| f64::from(f32::from_le_bytes(*b)))
            .collect(),
        11 if tensor.raw_data.is_empty() => tensor.double_data.clone(),
        11 => eight.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        _ => Vec::new(),
    }
}

fn texts<'a>(node: &'a NodeProto, name: &str) -> Vec<&'a str> {
    let strings = attribute(node, name).into_iter().flat_map(|a| &a.strings);
    strings
        .map(|text| std::str::from_utf8(text).unwrap_or(""))
        .collect()
}

fn text<'a>(node: &'a NodeProto, name: &str, default: &'a str) -> &'a str {
    attribute(node, name)
        .and_then(|a| std::str::from_utf8(&a.s).ok())
        .unwrap_or(default)
}
