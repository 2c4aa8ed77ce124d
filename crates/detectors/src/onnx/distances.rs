//! Detectors that compare a row with the rows they kept: row by row, with all of them.

use super::Scored;
use super::columns::scaled;
use super::graph::{Graph, Kind, Setting, Value};
use crate::dbscan::Dbscan;
use crate::error::{Error, Result};
use crate::knn::{Knn, KnnDistance};
use crate::neighbors::KdTree;

/// Values of the kept rows at most: 40 MB in the file, and about as many sums a row.
const MAX_VALUES: usize = 5_000_000;

pub(super) fn knn(graph: &mut Graph, rows: &Value, detector: &Knn) -> Result<Scored> {
    let (scaler, tree, n_neighbors, distance) = detector.parts();
    let kept = Kept::new(graph, tree, "knn")?;
    let rows = scaled(graph, rows, scaler);
    let score = |graph: &mut Graph, squares: &Value| {
        let n = graph.list(&[n_neighbors as i64]);
        let settings = vec![
            ("axis", Setting::Int(0)),
            ("largest", Setting::Int(0)),
            ("sorted", Setting::Int(1)),
        ];
        let (nearest, at) = graph.pair("TopK", &[squares, &n], settings);
        let distances = graph.op("Sqrt", &[&nearest]);
        let score = match distance {
            KnnDistance::Largest => graph.last_axis_at(&distances, -1),
            KnnDistance::Mean => {
                let sum = graph.sum_in_order(&distances);
                graph.over(&sum, n_neighbors as f64)
            }
        };
        let counted = match distance {
            KnnDistance::Largest => vec![n_neighbors as i64 - 1],
            KnnDistance::Mean => (0..n_neighbors as i64).collect(),
        };
        let counted = graph.list(&counted);
        let at = graph.gather(&at, &counted, 0);
        (score, at)
    };
    Ok(kept.compare(graph, &rows, 1.0, score))
}

pub(super) fn dbscan(graph: &mut Graph, rows: &Value, detector: &Dbscan) -> Result<Scored> {
    let (scaler, core) = detector.parts();
    let kept = Kept::new(graph, core, "dbscan")?;
    let rows = scaled(graph, rows, scaler);
    let eps = detector.eps();
    let score = |graph: &mut Graph, squares: &Value| {
        let n = graph.list(&[1]);
        let settings = vec![("axis", Setting::Int(0)), ("largest", Setting::Int(0))];
        let (nearest, at) = graph.pair("TopK", &[squares, &n], settings);
        let nearest = graph.last_axis_at(&nearest, 0);
        let distance = graph.op("Sqrt", &[&nearest]);
        let units = graph.over(&distance, eps);
        (graph.at_most(&units, f64::MAX), at)
    };
    Ok(kept.compare(graph, &rows, eps, score))
}

/// Rows that others are compared with, column by column.
struct Kept {
    columns: Vec<Value>,
}

impl Kept {
    fn new(graph: &mut Graph, tree: &KdTree, what: &str) -> Result<Self> {
        let dims = tree.dims();
        let n_rows = tree.len();
        if n_rows * dims > MAX_VALUES {
            return Err(Error::NotExportable {
                what: format!("`{what}`"),
                reason: format!(
                    "it keeps {n_rows} rows of {dims} columns, more than {MAX_VALUES} values: a \
                     smaller `max_rows` is needed"
                ),
            });
        }
        let columns = (0..dims).map(|column| {
            let values: Vec<f64> = (0..n_rows).map(|row| tree.row(row)[column]).collect();
            graph.doubles(&values, &[n_rows])
        });
        Ok(Self {
            columns: columns.collect(),
        })
    }

    /// `score` makes of a row's squared distances its score, in units of `unit`, and says which kept rows
    /// made it.
    fn compare(
        &self,
        graph: &mut Graph,
        rows: &Value,
        unit: f64,
        score: impl FnOnce(&mut Graph, &Value) -> (Value, Value),
    ) -> Scored {
        let double = Kind::Double;
        let body = graph.body(&[double], 0, &[double, double], |graph, inputs| {
            let mut sum: Option<Value> = None;
            let mut values = Vec::new();
            for (i, column) in self.columns.iter().enumerate() {
                let value = graph.last_axis_at(&inputs[0], i as i64);
                let difference = graph.sub(column, &value);
                let square = graph.mul(&difference, &difference);
                sum = Some(match sum {
                    None => square,
                    Some(sum) => graph.add(&sum, &square),
                });
                values.push(value);
            }
            let squares = sum.unwrap_or_else(|| inputs[0].clone());
            let (score, at) = score(graph, &squares);
            let parts = self.parts(graph, &squares, &values, &at, unit);
            vec![score, parts]
        });
        let settings = vec![
            ("body", Setting::Body(body)),
            ("num_scan_inputs", Setting::Int(1)),
        ];
        // onnxruntime can't scan no rows, and of a symbol there may be none: one goes before them.
        let axis = vec![("axis", Setting::Int(0))];
        let none = graph.doubles(&vec![0.0; self.columns.len()], &[1, self.columns.len()]);
        let rows = graph.op_with("Concat", &[&none, rows], axis);
        let (raw, parts) = graph.pair("Scan", &[&rows], settings);
        let (first, end) = (graph.list(&[1]), graph.list(&[i64::MAX]));
        let raw = graph.op("Slice", &[&raw, &first, &end]);
        let parts = graph.op("Slice", &[&parts, &first, &end]);
        Scored {
            raw,
            parts: Some(parts),
        }
    }

    /// Squared differences from the rows `at`, over their distances in `unit`s and their number.
    fn parts(
        &self,
        graph: &mut Graph,
        squares: &Value,
        values: &[Value],
        at: &Value,
        unit: f64,
    ) -> Value {
        let squares = graph.gather(squares, at, 0);
        let distances = graph.op("Sqrt", &[&squares]);
        let (zero, one) = (graph.double(0.0), graph.double(1.0));
        let apart = graph.op("Greater", &[&distances, &zero]);
        // A row that is the same adds nothing, whatever it is divided by.
        let distances = graph.select(&apart, &distances, &one);
        let distances = graph.times(&distances, unit);
        let mut parts = Vec::new();
        for (column, value) in self.columns.iter().zip(values) {
            let neighbors = graph.gather(column, at, 0);
            let difference = graph.sub(value, &neighbors);
            let square = graph.mul(&difference, &difference);
            let share = graph.div(&square, &distances);
            let part = graph.reduce("ReduceMean", &share, 0);
            parts.push(graph.reshape(&part, &[1]));
        }
        let parts: Vec<&Value> = parts.iter().collect();
        graph.op_with("Concat", &parts, vec![("axis", Setting::Int(0))])
    }
}
