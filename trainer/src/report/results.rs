//! Tables of results.

use super::charts::{Kinds, outcome_words};
use super::data::{Column, Estimate, Event, Group, Outcome, ReportData, Unit};
use super::format::{self, count, escape, significant};
use super::html::{part_range, range};
use super::table::Table;

const NONE: &str = "<span class=\"muted\">–</span>";

/// The headline metrics, models side by side.
pub(super) fn metrics(data: &ReportData) -> String {
    let mut table =
        Table::new("Metrics on the test data, with confidence intervals").words("Metric");
    for column in &data.columns {
        table = table.numbers_html(column_title(column));
    }
    for metric in &data.metrics {
        let help = if metric.help.is_empty() {
            String::new()
        } else {
            format!("<span class=\"help\">{}</span>", escape(&metric.help))
        };
        let unit = if metric.unit == Unit::PerSymbolDay {
            " <span class=\"muted\">per symbol and day</span>"
        } else {
            ""
        };
        let mut cells = vec![format!("{}{unit}{help}", escape(&metric.name))];
        cells.extend((0..data.columns.len()).map(|i| {
            metric
                .values
                .get(i)
                .map_or(NONE.to_owned(), |v| estimate(v, metric.unit))
        }));
        table.row(cells);
    }
    table.render(data.limits.table_rows)
}

/// The candidates from the best on validation data down.
pub(super) fn leaderboard(data: &ReportData) -> String {
    if data.leaders.is_empty() {
        return String::new();
    }
    let mut table =
        Table::new("Candidates, the best trial of each; chosen by validation data only")
            .words("Candidate")
            .numbers("Place")
            .numbers("Average precision, validation")
            .numbers("Average precision, test")
            .numbers("Events caught")
            .numbers("False alerts per symbol and day")
            .numbers("Beats the winner")
            .numbers("Trials")
            .numbers("Seconds");
    for row in &data.leaders {
        let failed = match row.failed {
            0 => String::new(),
            n => format!("<span class=\"help\">{} failed</span>", count(n as f64)),
        };
        table.row(vec![
            format!(
                "{}<span class=\"help\">{}</span>",
                escape(&row.candidate),
                escape(&row.params)
            ),
            row.rank.map_or(NONE.to_owned(), |rank| count(rank as f64)),
            estimate(&row.validation, Unit::Score),
            estimate(&row.average_precision, Unit::Score),
            estimate(&row.event_recall, Unit::Percent),
            estimate(&row.false_alerts, Unit::PerSymbolDay),
            row.beats_winner.map_or(NONE.to_owned(), |chance| {
                format::number(chance, Unit::Percent)
            }),
            format!("{}{failed}", count(row.trials as f64)),
            significant(row.seconds),
        ]);
    }
    let flip = data.flip_probability.map_or(String::new(), |chance| {
        format!(
            "<p class=\"prose\">On other test data like these, another candidate would do better than the \
             winner with a probability of <strong>{}</strong>: the share of paired block bootstrap \
             resamples in which one has a higher average precision.</p>\n",
            format::number(chance, Unit::Percent)
        )
    });
    table.render(data.limits.table_rows) + &flip
}

/// Recall by kind of anomaly.
pub(super) fn by_kind(data: &ReportData, kinds: &Kinds) -> String {
    groups(
        data,
        &data.by_kind,
        "Events caught by kind",
        "Kind",
        &|label| kind(kinds, label),
    )
}

/// Recall by magnitude band.
pub(super) fn by_magnitude(data: &ReportData) -> String {
    groups(
        data,
        &data.by_magnitude,
        "Events caught by magnitude",
        "Magnitude",
        &|label| escape(label),
    )
}

fn groups(
    data: &ReportData,
    groups: &[Group],
    caption: &str,
    first: &str,
    label: &dyn Fn(&str) -> String,
) -> String {
    let mut table = Table::new(caption).words(first).numbers("Events");
    for column in &data.columns {
        table = table.numbers_html(column_title(column));
    }
    for group in groups {
        let mut cells = vec![label(&group.label), count(group.events as f64)];
        cells.extend((0..data.columns.len()).map(|i| {
            group.cells.get(i).map_or(NONE.to_owned(), |cell| {
                let mut html = format!(
                    "{} caught · {}",
                    count(cell.caught as f64),
                    estimate(&cell.recall, Unit::Percent)
                );
                if let Some(delay) = cell.median_delay.filter(|d| d.is_finite()) {
                    html.push_str(&format!(
                        "<span class=\"help\">median delay {}</span>",
                        format::duration(delay)
                    ));
                }
                html
            })
        }));
        table.row(cells);
    }
    table.render(data.limits.table_rows)
}

/// The test range per symbol.
pub(super) fn by_symbol(data: &ReportData) -> String {
    let rows = &data.by_symbol;
    let mut table = Table::new("Per symbol")
        .words("Symbol")
        .numbers("Rows scored")
        .numbers("Events")
        .numbers("Caught")
        .numbers("False alerts")
        .numbers("False alerts per day");
    let thresholds = rows.iter().any(|r| r.threshold.is_some());
    if thresholds {
        table = table.numbers("Threshold");
    }
    for row in rows {
        let mut cells = vec![
            escape(&row.symbol),
            count(row.rows as f64),
            count(row.events as f64),
            count(row.caught as f64),
            count(row.false_alerts as f64),
            estimate(&row.false_alerts_per_day, Unit::PerSymbolDay),
        ];
        if thresholds {
            cells.push(row.threshold.map_or(NONE.to_owned(), significant));
        }
        table.row(cells);
    }
    table.render(data.limits.table_rows)
}

/// The test fold by fold.
pub(super) fn by_fold(data: &ReportData) -> String {
    if data.by_fold.is_empty() {
        return String::new();
    }
    let mut table = Table::new("Fold by fold, each by a model fitted on everything before it")
        .words("Tested (UTC)")
        .numbers("Events")
        .numbers("Caught")
        .numbers("Average precision")
        .numbers("Baseline's")
        .numbers("ROC AUC")
        .numbers("False alerts per symbol and day");
    for fold in &data.by_fold {
        table.row(vec![
            range(fold.range),
            count(fold.events as f64),
            count(fold.caught as f64),
            estimate(&fold.average_precision, Unit::Score),
            estimate(&fold.baseline, Unit::Score),
            estimate(&fold.roc_auc, Unit::Score),
            estimate(&fold.false_alerts, Unit::PerSymbolDay),
        ]);
    }
    table.render(data.limits.table_rows)
}

/// Every labelled event of the test range, in the order of the data.
pub(super) fn events(data: &ReportData, kinds: &Kinds) -> String {
    if data.events.is_empty() {
        return String::new();
    }
    let caught = data
        .events
        .iter()
        .filter(|e| matches!(e.outcome, Outcome::Caught { .. }))
        .count();
    let unscored = data
        .events
        .iter()
        .filter(|e| matches!(e.outcome, Outcome::NotScored { .. }))
        .count();
    let missed = data.events.len() - caught - unscored;
    let mut words = format!(
        "{} caught, {} missed",
        count(caught as f64),
        count(missed as f64)
    );
    if unscored > 0 {
        words.push_str(&format!(", {} not scored", count(unscored as f64)));
    }
    let mut table = Table::new("Labelled events in the test data")
        .words("Event")
        .words("Symbol")
        .words("Kind")
        .words("Start (UTC)")
        .numbers("Length")
        .numbers("Magnitude, σ")
        .words("Outcome")
        .numbers("Delay")
        .numbers("Peak score");
    for event in &data.events {
        let (mark, cells) = event_row(event, kinds);
        table.marked_row(mark, cells);
    }
    format!("<p>{words}.</p>\n{}", table.render(data.limits.table_rows))
}

fn event_row(event: &Event, kinds: &Kinds) -> (&'static str, Vec<String>) {
    let (mark, outcome, delay) = match &event.outcome {
        Outcome::Caught { delay } => (
            "caught",
            "<span class=\"sign\" aria-hidden=\"true\">●</span> caught".to_owned(),
            format::duration(*delay),
        ),
        Outcome::Missed => (
            "missed",
            "<span class=\"sign\" aria-hidden=\"true\">○</span> missed".to_owned(),
            NONE.to_owned(),
        ),
        Outcome::NotScored { .. } => (
            "unscored",
            escape(&outcome_words(&event.outcome)),
            NONE.to_owned(),
        ),
    };
    let seconds = event.end.saturating_sub(event.start) as f64 / 1e6;
    let finite = |value: Option<f64>| value.filter(|v| v.is_finite());
    let cells = vec![
        escape(&event.id),
        escape(&event.symbol),
        kind(kinds, &event.kind),
        format!("<span class=\"time\">{}</span>", format::time(event.start)),
        format::duration(seconds),
        finite(event.magnitude).map_or(NONE.to_owned(), |m| format::fixed(m, 1)),
        outcome,
        delay,
        finite(event.peak_score).map_or(NONE.to_owned(), significant),
    ];
    (mark, cells)
}

/// How the threshold came about, in prose.
pub(super) fn threshold(data: &ReportData) -> String {
    let Some(t) = &data.threshold else {
        return String::new();
    };
    let mut sentences = Vec::new();
    if !t.score.is_empty() {
        sentences.push(format!("The score is {}.", escape(&t.score)));
    }
    let value = t.value.filter(|v| v.is_finite()).map_or(
        "Each symbol has its own alert threshold".to_owned(),
        |v| {
            format!(
                "A row above <strong>{}</strong> is an alert. The threshold",
                significant(v)
            )
        },
    );
    let set = if t.value.is_some_and(f64::is_finite) {
        " was set"
    } else {
        ", set"
    };
    let range = t.range.map(|r| part_range(r, data.header.parts_by_symbol));
    let on = match (t.set_on.is_empty(), range) {
        (true, None) => String::new(),
        (true, Some(r)) => format!(" on the rows of {r}"),
        (false, None) => format!(" on the {}", escape(&t.set_on)),
        (false, Some(r)) => format!(" on the {} ({r})", escape(&t.set_on)),
    };
    let budget = t.alerts_per_symbol_day.filter(|v| v.is_finite()).map(|v| {
        format!(
            " for a budget of <strong>{}</strong> per symbol and day",
            alerts(v)
        )
    });
    let quantile = t
        .quantile
        .filter(|q| q.is_finite())
        .map(|q| format!(" as the {} quantile of the scores", significant(q)));
    sentences.push(format!(
        "{value}{set}{on}{}{}.",
        budget.unwrap_or_default(),
        quantile.unwrap_or_default()
    ));
    let observed = t.observed.filter(|v| v.is_finite()).map(|v| {
        format!(
            "on the test data, true and false together, {}",
            format::significant_short(v)
        )
    });
    let reached = t
        .reached
        .filter(|v| v.is_finite())
        .map(|v| format!("it gave {} per symbol and day there", alerts(v)));
    match (reached, observed) {
        (Some(a), Some(b)) => sentences.push(format!("{}; {b}.", capital(&a))),
        (Some(a), None) => sentences.push(format!("{}.", capital(&a))),
        (None, Some(b)) => sentences.push(format!("{} alerts per symbol and day.", capital(&b))),
        (None, None) => {}
    }
    if !t.note.is_empty() {
        sentences.push(escape(&t.note));
    }
    format!("<p class=\"prose\">{}</p>\n", sentences.join(" "))
}

fn alerts(rate: f64) -> String {
    format!(
        "{} {}",
        format::significant_short(rate),
        if rate == 1.0 { "alert" } else { "alerts" }
    )
}

fn capital(text: &str) -> String {
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    first.to_uppercase() + rest
}

fn column_title(column: &Column) -> String {
    let mut html = escape(&column.name);
    if column.reported {
        html.push_str(" <span class=\"tag\">reported</span>");
    } else if column.baseline {
        html.push_str(" <span class=\"tag quiet\">baseline</span>");
    }
    if !column.detail.is_empty() {
        html.push_str(&format!(
            "<span class=\"help\">{}</span>",
            escape(&column.detail)
        ));
    }
    html
}

fn kind(kinds: &Kinds, name: &str) -> String {
    format!(
        "<span class=\"swatch k{}\" aria-hidden=\"true\"></span>{}",
        kinds.css_class(name),
        escape(name)
    )
}

/// A value with its interval below, or why there is none.
fn estimate(value: &Estimate, unit: Unit) -> String {
    match value {
        Estimate::Value { value, interval } if value.is_finite() => {
            let mut html = format!(
                "<span class=\"value\">{}</span>",
                format::number(*value, unit)
            );
            if let Some(range) = interval.filter(|r| format::finite(*r)) {
                html.push_str(&format!(
                    " <span class=\"interval\">{}</span>",
                    format::interval_text(range, unit)
                ));
            }
            html
        }
        _ => format!(
            "<span class=\"undefined\">{}</span>",
            escape(&format::estimate(value, unit))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::data::{Threshold, TimeRange};

    #[test]
    fn the_threshold_is_told_in_sentences() {
        let data = ReportData {
            threshold: Some(Threshold {
                alerts_per_symbol_day: Some(2.0),
                value: Some(2.857),
                set_on: "validation rows as they were before injection".to_owned(),
                range: Some(TimeRange {
                    start: 0,
                    end: 86_400_000_000,
                }),
                reached: Some(1.91),
                observed: Some(4.26),
                ..Threshold::default()
            }),
            ..ReportData::default()
        };
        assert_eq!(
            threshold(&data),
            "<p class=\"prose\">A row above <strong>2.857</strong> is an alert. The threshold was set on the \
             validation rows as they were before injection (<span class=\"time\">1970-01-01 00:00</span> to \
             <span class=\"time\">1970-01-02 00:00</span>) for a budget of <strong>2 alerts</strong> per symbol and \
             day. It gave 1.9 alerts per symbol and day there; on the test data, true and false together, 4.3.</p>\n"
        );
    }
}
