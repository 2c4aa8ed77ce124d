//! `[evaluate]` and `[register]`.

use super::{check_name, count};
use crate::config::experiment::{Data, DataKind, Evaluate, Register, ThresholdRule};
use crate::config::section::{Section, Violations};

pub(super) fn check_evaluate(
    mut section: Section<'_>,
    data: Option<&Data>,
    out: &mut Violations,
) -> Option<Evaluate> {
    let budget = section.number(
        "alerts_per_symbol_day",
        "above 0",
        |budget| budget > 0.0,
        out,
    );
    let quantile = section.number(
        "threshold_quantile",
        "between 0 and 1",
        |q| q > 0.0 && q < 1.0,
        out,
    );
    if section.has("alerts_per_symbol_day") && section.has("threshold_quantile") {
        section.report(
            "threshold_quantile",
            "and `evaluate.alerts_per_symbol_day` exclude one another",
            out,
        );
    }
    let has_time = data.is_some_and(|data| data.kind != DataKind::Features || data.time.is_some());
    if data.is_some() && budget.is_some() && !has_time {
        section.report(
            "alerts_per_symbol_day",
            "needs time; a table without it takes `threshold_quantile`",
            out,
        );
    }
    if let (Some(budget), Some(interval)) = (budget, data.and_then(|data| data.interval)) {
        #[expect(clippy::cast_precision_loss, reason = "a day has 8.64e10 µs")]
        let rows_per_day = market::DAY_US as f64 / interval.micros() as f64;
        if budget >= rows_per_day {
            section.report(
                "alerts_per_symbol_day",
                format!(
                    "is {budget}, but a day has {rows_per_day} rows; an alert is the exception"
                ),
                out,
            );
        }
    }
    let threshold = match (budget, quantile) {
        (Some(budget), _) => ThresholdRule::AlertsPerSymbolDay(budget),
        (None, Some(quantile)) => ThresholdRule::Quantile(quantile),
        (None, None) if has_time => ThresholdRule::AlertsPerSymbolDay(1.0),
        (None, None) => ThresholdRule::Quantile(0.95),
    };
    let resamples = section
        .integer("resamples", 0..=100_000, out)
        .unwrap_or(200);
    let confidence = section
        .number("confidence", "between 0 and 1", |c| c > 0.0 && c < 1.0, out)
        .unwrap_or(0.95);
    let block = section.integer("block", 1..=i64::MAX, out).map(count);
    let episode_gap = section
        .integer("episode_gap", 0..=1_000_000, out)
        .unwrap_or(5);
    let importance_rows = section
        .integer("importance_rows", 0..=10_000_000, out)
        .unwrap_or(20_000);
    section.finish(out);
    Some(Evaluate {
        threshold,
        resamples: count(resamples),
        confidence,
        block,
        episode_gap: count(episode_gap),
        importance_rows: count(importance_rows),
    })
}

pub(super) fn check_register(mut section: Section<'_>, out: &mut Violations) -> Option<Register> {
    if !section.is_present() {
        return None;
    }
    let model = section.required_string("model", out);
    if let Some(model) = &model {
        check_name(&section, "model", model, out);
    }
    let alias = section.string("alias", out);
    if let Some(alias) = &alias {
        let is_version = alias
            .strip_prefix('v')
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
        let allowed = alias
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if !allowed || is_version || alias == "latest" {
            section.report("alias", format!("is `{alias}`; an alias has letters, digits, `_` and `-`, and is neither `latest` nor a version such as `v1`"), out);
        }
    }
    section.finish(out);
    Some(Register {
        model: model?,
        alias,
    })
}
