//! Rows as the pipeline sees them: small columns in memory, features in passes.

use std::ops::Range;

use detectors::evaluation::EventInfo;
use ndarray::{ArrayView2, Axis};

use super::split::Part;

/// What is known of every row besides its features. All columns have one entry a row.
#[derive(Debug, Default)]
pub struct RowIndex {
    /// Event time (a candle's open), µs since the epoch; `None` for tables without time.
    pub time: Option<Vec<i64>>,
    /// Index into `symbols`.
    pub symbol: Vec<u32>,
    /// 0 for none, else 1 + the index into `events`.
    pub event: Vec<u32>,
    /// The label of a table's row where there are no events: whether it is an anomaly.
    pub positive: Option<Vec<bool>>,
    /// The part that each row belongs to.
    pub part: Vec<Part>,
    /// Names of the symbols; one empty name where the data have none.
    pub symbols: Vec<String>,
    /// The events.
    pub events: Vec<EventInfo>,
}

impl RowIndex {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.symbol.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.symbol.is_empty()
    }

    /// The rows of `part`, ascending.
    pub fn rows_of(&self, part: Part) -> Vec<u32> {
        (0_u32..)
            .zip(&self.part)
            .filter(|&(_, &other)| other == part)
            .map(|(row, _)| row)
            .collect()
    }
}

/// A chunk of consecutive rows: the first one's number and their features, (n_samples, n_features).
pub type OnChunk<'f> = dyn FnMut(usize, ArrayView2<'_, f64>) -> anyhow::Result<()> + 'f;

/// Positions among the wanted rows, and their features, (n_samples, n_features).
pub type OnRows<'f> = dyn FnMut(Range<usize>, ArrayView2<'_, f64>) -> anyhow::Result<()> + 'f;

/// Where features come from; they may be read more than once.
pub trait RowSource: Sync {
    /// The features' names, in column order.
    fn feature_names(&self) -> &[String];

    /// Hands the rows in `rows`, in order, to `on_chunk`.
    ///
    /// # Errors
    /// When they can't be read, or what `on_chunk` returns.
    fn scan(&self, rows: Range<usize>, on_chunk: &mut OnChunk<'_>) -> anyhow::Result<()>;
}

/// Rows in memory, row-major.
#[derive(Debug)]
pub struct InMemory {
    /// Names of the columns.
    pub names: Vec<String>,
    /// (n_samples, n_features)
    pub values: Vec<f64>,
}

impl RowSource for InMemory {
    fn feature_names(&self) -> &[String] {
        &self.names
    }

    fn scan(&self, rows: Range<usize>, on_chunk: &mut OnChunk<'_>) -> anyhow::Result<()> {
        const CHUNK_ROWS: usize = 65_536;
        let n_features = self.names.len();
        let mut first = rows.start;
        while first < rows.end {
            let end = (first + CHUNK_ROWS).min(rows.end);
            let values = &self.values[first * n_features..end * n_features];
            on_chunk(
                first,
                ArrayView2::from_shape((end - first, n_features), values)?,
            )?;
            first = end;
        }
        Ok(())
    }
}

/// Scans just the `wanted` rows (ascending), compacted: `on_rows` gets a range of positions in
/// `wanted` and their features.
///
/// # Errors
/// As [`RowSource::scan`].
pub fn scan_rows(
    source: &dyn RowSource,
    wanted: &[u32],
    on_rows: &mut OnRows<'_>,
) -> anyhow::Result<()> {
    let (Some(&first), Some(&last)) = (wanted.first(), wanted.last()) else {
        return Ok(());
    };
    let mut position = 0;
    source.scan(
        first as usize..last as usize + 1,
        &mut |chunk_first, chunk| {
            let chunk_end = chunk_first + chunk.nrows();
            let here = wanted[position..].partition_point(|&row| (row as usize) < chunk_end);
            let range = position..position + here;
            position += here;
            if here == 0 {
                return Ok(());
            }
            if here == chunk.nrows() {
                return on_rows(range, chunk);
            }
            let offset = wanted[range.start] as usize - chunk_first;
            if wanted[range.end - 1] as usize - chunk_first + 1 - offset == here {
                return on_rows(
                    range,
                    chunk.slice_axis(Axis(0), (offset..offset + here).into()),
                );
            }
            let picked: Vec<usize> = wanted[range.clone()]
                .iter()
                .map(|&row| row as usize - chunk_first)
                .collect();
            on_rows(range, chunk.select(Axis(0), &picked).view())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_of_some_rows_hands_out_just_those_in_order() {
        let n_rows = 200_000;
        let source = InMemory {
            names: vec!["x".to_owned()],
            values: (0..n_rows).map(f64::from).collect(),
        };
        let wanted: Vec<u32> = (0..n_rows as u32)
            .filter(|row| (1000..70_000).contains(row) || row % 3 == 1 && *row > 140_000)
            .collect();
        let mut seen = Vec::new();
        scan_rows(&source, &wanted, &mut |range, chunk| {
            assert_eq!(range.start, seen.len());
            assert_eq!(range.len(), chunk.nrows());
            seen.extend(chunk.iter().map(|&value| value as u32));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, wanted);
        scan_rows(&source, &[], &mut |_, _| panic!("no rows are wanted")).unwrap();
    }
}
