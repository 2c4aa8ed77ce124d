//! Operators by short names, and what is made of several of them.

use super::graph::{Graph, Kind, Setting, Value};
use super::proto::number;

impl Graph {
    pub(super) fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.op("Add", &[a, b])
    }

    pub(super) fn sub(&mut self, a: &Value, b: &Value) -> Value {
        self.op("Sub", &[a, b])
    }

    pub(super) fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.op("Mul", &[a, b])
    }

    pub(super) fn div(&mut self, a: &Value, b: &Value) -> Value {
        self.op("Div", &[a, b])
    }

    pub(super) fn times(&mut self, a: &Value, factor: f64) -> Value {
        let factor = self.double(factor);
        self.mul(a, &factor)
    }

    pub(super) fn over(&mut self, a: &Value, divisor: f64) -> Value {
        let divisor = self.double(divisor);
        self.div(a, &divisor)
    }

    pub(super) fn plus(&mut self, a: &Value, more: f64) -> Value {
        let more = self.double(more);
        self.add(a, &more)
    }

    pub(super) fn at_most(&mut self, a: &Value, limit: f64) -> Value {
        let limit = self.double(limit);
        self.op("Min", &[a, &limit])
    }

    pub(super) fn at_least(&mut self, a: &Value, limit: f64) -> Value {
        let limit = self.double(limit);
        self.op("Max", &[a, &limit])
    }

    pub(super) fn clamp(&mut self, a: &Value, low: f64, high: f64) -> Value {
        let a = self.at_least(a, low);
        self.at_most(&a, high)
    }

    pub(super) fn select(&mut self, condition: &Value, yes: &Value, no: &Value) -> Value {
        self.op("Where", &[condition, yes, no])
    }

    pub(super) fn cast(&mut self, a: &Value, to: Kind) -> Value {
        let to = match to {
            Kind::Float => number::FLOAT,
            Kind::Double => number::DOUBLE,
            Kind::Int => number::INT64,
            Kind::Bool => number::BOOL,
            Kind::Text => number::STRING,
        };
        self.op_with("Cast", &[a], vec![("to", Setting::Int(i64::from(to)))])
    }

    pub(super) fn gather(&mut self, table: &Value, at: &Value, axis: i64) -> Value {
        self.op_with("Gather", &[table, at], vec![("axis", Setting::Int(axis))])
    }

    /// What lies at `at` of the last axis, without that axis.
    pub(super) fn last_axis_at(&mut self, a: &Value, at: i64) -> Value {
        let at = self.int(at);
        self.gather(a, &at, -1)
    }

    /// Columns of (n_samples, n_features).
    pub(super) fn columns(&mut self, rows: &Value, columns: &[usize]) -> Value {
        let at: Vec<i64> = columns.iter().map(|c| *c as i64).collect();
        let at = self.list(&at);
        self.gather(rows, &at, 1)
    }

    pub(super) fn reshape(&mut self, a: &Value, shape: &[i64]) -> Value {
        let shape = self.list(shape);
        self.op("Reshape", &[a, &shape])
    }

    pub(super) fn unsqueeze(&mut self, a: &Value, axis: i64) -> Value {
        let axis = self.list(&[axis]);
        self.op("Unsqueeze", &[a, &axis])
    }

    pub(super) fn reduce(&mut self, op: &str, a: &Value, axis: i64) -> Value {
        let axis = self.list(&[axis]);
        self.op_with(op, &[a, &axis], vec![("keepdims", Setting::Int(0))])
    }

    /// Sum over the last axis, one after the other as the detectors add: `ReduceSum` has an order of its own.
    pub(super) fn sum_in_order(&mut self, a: &Value) -> Value {
        let axis = self.int(-1);
        let sums = self.op("CumSum", &[a, &axis]);
        self.last_axis_at(&sums, -1)
    }

    /// Of each value, how many of the numbers in its table are at most it (less than it, where `strict`),
    /// plus `base`: a binary search. `table` holds tables of `width` numbers, ascending, a power of two of which the
    /// last is infinite; a value's table begins at its `base`, which may be spread over axes that the
    /// values have.
    pub(super) fn rank(
        &mut self,
        values: &Value,
        base: &Value,
        table: &Value,
        width: usize,
        strict: bool,
    ) -> Value {
        let compare = if strict { "Less" } else { "LessOrEqual" };
        let mut place = base.clone();
        let mut step = width / 2;
        while step > 0 {
            let before = self.int(step as i64 - 1);
            let at = self.add(&place, &before);
            let knot = self.gather(table, &at, 0);
            let beyond = self.op(compare, &[&knot, values]);
            let step_value = self.int(step as i64);
            let next = self.add(&place, &step_value);
            place = self.select(&beyond, &next, &place);
            step /= 2;
        }
        place
    }

    /// ln(1 + x) for x ≥ 0 without losing small ones (Kahan).
    pub(super) fn ln_1p(&mut self, x: &Value) -> Value {
        let one = self.double(1.0);
        let u = self.add(x, &one);
        let ln = self.op("Log", &[&u]);
        let rest = self.sub(&u, &one);
        let ratio = self.div(x, &rest);
        let scaled = self.mul(&ln, &ratio);
        let lost = self.op("Equal", &[&u, &one]);
        self.select(&lost, x, &scaled)
    }

    /// Number of rows, as a list of one number.
    pub(super) fn n_rows(&mut self, rows: &Value) -> Value {
        let shape = self.op("Shape", &[rows]);
        let first = self.list(&[0]);
        self.gather(&shape, &first, 0)
    }

    /// As many numbers as there are rows.
    pub(super) fn filled(&mut self, n_rows: &Value, kind: Kind, value: f64) -> Value {
        let value = vec![("value", Setting::One(kind, value))];
        self.op_with("ConstantOfShape", &[n_rows], value)
    }
}

/// Tables of numbers made equally wide, a power of two with at least one place to spare, which hold
/// `padding`; (numbers, width).
pub(super) fn padded<'a>(
    tables: impl Iterator<Item = &'a [f64]> + Clone,
    padding: f64,
    width: usize,
) -> Vec<f64> {
    let mut out = Vec::new();
    for table in tables {
        out.extend_from_slice(table);
        out.extend(std::iter::repeat_n(padding, width - table.len()));
    }
    out
}

/// The width for [`padded`].
pub(super) fn padded_width<'a>(tables: impl Iterator<Item = &'a [f64]>) -> usize {
    tables
        .map(|table| (table.len() + 1).next_power_of_two())
        .max()
        .unwrap_or(2)
}
