//! The page: header, sections, charts in place.

use super::charts::{self, Chart, Kinds, Section};
use super::data::{Header, ReportData, TimeRange};
use super::format::{self, escape};
use super::{provenance, results};

/// A part of the page with its own entry in the navigation.
pub(super) struct Part {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) body: String,
}

/// The report as one HTML page that needs nothing else: no request, no script. A chart that can't be drawn is named
/// with the reason in its place.
#[must_use]
pub fn render_html(data: &ReportData) -> String {
    let kinds = Kinds::new(&data.events);
    let charts = charts::charts(data, &kinds);
    let figures = |section: Section| -> String {
        charts
            .iter()
            .filter(|c| c.section == section)
            .map(figure)
            .collect()
    };

    let parts: Vec<Part> = [
        Part {
            id: "results",
            title: "Results",
            body: results::leaderboard(data)
                + &results::metrics(data)
                + &results::by_fold(data)
                + &figures(Section::Curves)
                + &figures(Section::Scores),
        },
        Part {
            id: "anomalies",
            title: "By anomaly",
            body: results::by_kind(data, &kinds)
                + &results::by_magnitude(data)
                + &figures(Section::Magnitude),
        },
        Part {
            id: "time",
            title: "Price and alerts",
            body: note_on_charts(data) + &figures(Section::Prices) + &results::by_symbol(data),
        },
        Part {
            id: "closeups",
            title: "Close-ups",
            body: closeups(&figures(Section::Closeups)),
        },
        Part {
            id: "events",
            title: "Events",
            body: results::events(data, &kinds),
        },
        Part {
            id: "threshold",
            title: "Threshold",
            body: results::threshold(data),
        },
        Part {
            id: "features",
            title: "Features",
            body: figures(Section::Importance),
        },
        Part {
            id: "provenance",
            title: "Provenance",
            body: provenance::body(data),
        },
    ]
    .into_iter()
    .filter(|p| !p.body.is_empty())
    .collect();

    let title = [
        data.header.experiment.as_str(),
        data.header.run_name.as_str(),
    ]
    .into_iter()
    .filter(|t| !t.is_empty())
    .collect::<Vec<_>>()
    .join(" · ");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{} · Foreshock report</title>\n<style>\n{}\n@media screen and (prefers-color-scheme: dark) {{\n{}}}\n\
         </style>\n</head>\n<body>\n",
        escape(&title),
        include_str!("style.css"),
        charts::dark_css(),
    );
    page.push_str(&header(data));
    page.push_str("<nav aria-label=\"Sections\">");
    for part in &parts {
        page.push_str(&format!("<a href=\"#{}\">{}</a>", part.id, part.title));
    }
    page.push_str("</nav>\n<main>\n");
    for Part { id, title, body } in &parts {
        page.push_str(&format!("<section id=\"{id}\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{title}</h2>\n{body}</section>\n"));
    }
    page.push_str(
        "</main>\n<footer>Made by Foreshock. All times are UTC.</footer>\n</body>\n</html>\n",
    );
    page
}

fn header(data: &ReportData) -> String {
    let h = &data.header;
    let mut facts: Vec<(&str, String)> = Vec::new();
    let mut fact = |name, html: String| {
        if !html.is_empty() {
            facts.push((name, html));
        }
    };
    fact(
        "Run id",
        if h.run_id.is_empty() {
            String::new()
        } else {
            code(&h.run_id)
        },
    );
    fact("Detector", escape(&h.detector));
    fact("Registered", registered(h));
    fact("Data", h.data_range.map(range).unwrap_or_default());
    let test = h.test_range.map(|r| part_range(r, h.parts_by_symbol));
    fact("Test data", test.unwrap_or_default());
    fact("Symbols", symbols(&h.symbols));
    fact(
        "Interval",
        h.interval.as_deref().map(escape).unwrap_or_default(),
    );
    fact("Seed", h.seed.to_string());
    fact("Commit", commit(h));
    fact(
        "Created",
        format!(
            "{} UTC",
            format::time(h.created.div_euclid(1_000_000) * 1_000_000)
        ),
    );

    let verdict = data.verdict.sentence();
    let mut html = format!(
        "<header>\n<p class=\"brand\"><span class=\"mark\" aria-hidden=\"true\"></span>Foreshock \
         <span class=\"muted\">run report</span></p>\n<h1>{} <span class=\"run\">{}</span></h1>\n",
        escape(&h.experiment),
        escape(&h.run_name),
    );
    if !verdict.is_empty() {
        html.push_str(&format!(
            "<p class=\"verdict\">{}.</p>\n",
            escape(&capital(&verdict))
        ));
    }
    html.push_str("<dl class=\"facts\">\n");
    for (name, value) in facts {
        html.push_str(&format!("<div><dt>{name}</dt><dd>{value}</dd></div>\n"));
    }
    html + "</dl>\n</header>\n"
}

fn registered(h: &Header) -> String {
    h.model.as_ref().map_or(String::new(), |m| {
        let alias = m.alias.as_ref().map_or(String::new(), |a| {
            format!(" <span class=\"tag\">@{}</span>", escape(a))
        });
        format!("{} version {}{alias}", escape(&m.name), escape(&m.version))
    })
}

fn symbols(symbols: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text = escape(
        &symbols
            .iter()
            .take(SHOWN)
            .cloned()
            .collect::<Vec<_>>()
            .join(", "),
    );
    if symbols.len() > SHOWN {
        text.push_str(&format!(" and {} more", symbols.len() - SHOWN));
    }
    text
}

fn commit(h: &Header) -> String {
    h.git_commit
        .as_deref()
        .filter(|c| !c.is_empty())
        .map_or(String::new(), |commit| {
            let short: String = commit.chars().take(12).collect();
            let dirty = if h.git_dirty {
                " <span class=\"tag warn\">uncommitted changes</span>"
            } else {
                ""
            };
            format!(
                "<code title=\"{}\">{}</code>{dirty}",
                escape(commit),
                escape(&short)
            )
        })
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

pub(super) fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

/// A time range; the date of its end only where it differs.
pub(super) fn range(range: TimeRange) -> String {
    format!(
        "<span class=\"time\">{}</span> to <span class=\"time\">{}</span>",
        minute(range.start),
        minute(range.end)
    )
}

/// The range of a part of the rows, which may be each symbol's own.
pub(super) fn part_range(part: TimeRange, by_symbol: bool) -> String {
    if by_symbol {
        format!("each symbol’s own, within {}", range(part))
    } else {
        range(part)
    }
}

/// To the minute where the seconds are zero.
fn minute(micros: i64) -> String {
    let text = format::time(micros);
    text.strip_suffix(":00").map_or(text.clone(), str::to_owned)
}

fn figure(chart: &Chart<'_>) -> String {
    let drawn = match chart.svg() {
        Ok(svg) => format!("<div class=\"scroll\">{svg}</div>"),
        Err(reason) => format!(
            "<p class=\"undefined\">This chart can't be drawn: {}</p>",
            escape(&reason)
        ),
    };
    format!(
        "<figure class=\"chart\" id=\"{name}\"><figcaption><h3 id=\"{name}-title\">{title}</h3>\
         <p id=\"{name}-caption\">{caption}</p></figcaption>\n{drawn}</figure>\n",
        name = chart.name,
        title = escape(&chart.title),
        caption = escape(&chart.caption),
    )
}

fn note_on_charts(data: &ReportData) -> String {
    let drawable = data
        .prices
        .iter()
        .filter(|p| !p.candles.is_empty() || !p.scores.is_empty())
        .count();
    if drawable <= data.limits.price_charts {
        return String::new();
    }
    format!(
        "<p class=\"note\">The first {} of {drawable} symbols are drawn.</p>\n",
        data.limits.price_charts
    )
}

fn closeups(figures: &str) -> String {
    if figures.is_empty() {
        return String::new();
    }
    format!(
        "<p>Events picked for a look: gross ones missed, subtle ones caught, the highest scores and the longest delays. \
         Hollow candles rise, filled ones fall; dots on the score are alerts.</p>\n<div class=\"grid\">\n{figures}</div>\n"
    )
}
