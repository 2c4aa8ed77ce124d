//! `LabelEncoder` from numbers to numbers, as skl2onnx looks up the depth of leaves.

use std::collections::HashMap;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::{attribute, ints, numbers};

/// A table of keys and values, as bits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LabelEncoder {
    /// Bits of an `f64`, or of an `i64`.
    table: HashMap<u64, u64>,
    default: u64,
    from_ints: bool,
    to_ints: bool,
}

impl std::hash::Hash for LabelEncoder {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.table.len().hash(state);
        (self.default, self.from_ints, self.to_ints).hash(state);
    }
}

pub(super) fn build(
    _ctx: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let int_bits =
        |values: Vec<i64>| -> Vec<u64> { values.into_iter().map(i64::cast_unsigned).collect() };
    let float_bits = |values: Vec<f64>| -> Vec<u64> {
        values.into_iter().map(|v| (v + 0.0).to_bits()).collect()
    };
    let of = |which: &str| -> TractResult<(bool, Vec<u64>)> {
        let whole = format!("{which}_int64s");
        let floats = format!("{which}_floats");
        if attribute(node, &whole).is_some() {
            Ok((true, int_bits(ints(node, &whole))))
        } else if attribute(node, &floats).is_some() {
            Ok((false, float_bits(numbers(node, &floats))))
        } else {
            bail!("its {which} are neither `{whole}` nor `{floats}`")
        }
    };
    let (from_ints, keys) = of("keys")?;
    let (to_ints, values) = of("values")?;
    ensure!(
        keys.len() == values.len(),
        "{} keys for {} values",
        keys.len(),
        values.len()
    );
    let default = match to_ints {
        true => attribute(node, "default_int64")
            .map_or(-1, |a| a.i)
            .cast_unsigned(),
        false => attribute(node, "default_float")
            .map_or(-0.0, |a| f64::from(a.f))
            .to_bits(),
    };
    let encoder = LabelEncoder {
        table: keys.into_iter().zip(values).collect(),
        default,
        from_ints,
        to_ints,
    };
    Ok((expand(encoder), vec![]))
}

impl LabelEncoder {
    fn to(&self) -> DatumType {
        if self.to_ints {
            DatumType::I64
        } else {
            DatumType::F32
        }
    }

    fn look_up(&self, key: u64) -> u64 {
        self.table.get(&key).copied().unwrap_or(self.default)
    }
}

impl Expansion for LabelEncoder {
    fn name(&self) -> StaticName {
        "LabelEncoder".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, self.to())?;
        s.equals(&outputs[0].shape, &inputs[0].shape)?;
        Ok(())
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for LabelEncoder {
    fn name(&self) -> StaticName {
        "LabelEncoder".into()
    }

    op_as_typed_op!();
}

impl EvalOp for LabelEncoder {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let found: tract_ndarray::ArrayD<u64> = if self.from_ints {
            // tract keeps whole numbers as dimensions where it can.
            let keys = input.cast_to::<i64>()?;
            let keys = keys.to_plain_array_view::<i64>()?;
            keys.mapv(|key| self.look_up(key.cast_unsigned()))
        } else {
            let keys = input.cast_to::<f32>()?;
            let keys = keys.to_plain_array_view::<f32>()?;
            keys.mapv(|key| self.look_up((f64::from(key) + 0.0).to_bits()))
        };
        let out = if self.to_ints {
            found.mapv(u64::cast_signed).into_tvalue()
        } else {
            found.mapv(|bits| f64::from_bits(bits) as f32).into_tvalue()
        };
        Ok(tvec!(out))
    }
}

impl TypedOp for LabelEncoder {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(self.to().fact(inputs[0].shape.clone())))
    }

    as_op!();
}
