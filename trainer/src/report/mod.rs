//! The report of a run: one HTML page that stands alone, and its charts as PNG.
//!
//! [`ReportData`] is plain data. [`render_html`] and [`render_pngs`] turn it into bytes, the same bytes for the same
//! data; neither reads a file, a clock or a font of the machine.

mod charts;
mod data;
mod downsample;
mod format;
mod histogram;
mod html;
mod provenance;
mod results;
#[cfg(test)]
mod sample;
mod table;
#[cfg(test)]
mod tests;
mod verdict;

pub use data::*;
pub use downsample::{downsample, downsample_candles, min_max_indices};
pub use html::render_html;
pub use verdict::{BaselineEvents, Verdict};

/// Why a chart could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("can't draw chart `{chart}`: {reason}")]
pub struct ReportError {
    /// Name of the chart, as of its file.
    pub chart: String,
    /// What went wrong.
    pub reason: String,
}

/// The charts of the report as PNG files: name and bytes, in the order of the page.
pub fn render_pngs(data: &ReportData) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
    let kinds = charts::Kinds::new(&data.events);
    charts::charts(data, &kinds)
        .into_iter()
        .map(|chart| match chart.png() {
            Ok(bytes) => Ok((format!("{}.png", chart.name), bytes)),
            Err(reason) => Err(ReportError {
                chart: chart.name,
                reason,
            }),
        })
        .collect()
}
