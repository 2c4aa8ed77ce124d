//! What it takes to check and repeat the run.

use super::data::{ReportData, Split};
use super::format::{bytes, count, escape};
use super::html::{code, part_range};
use super::table::Table;

pub(super) fn body(data: &ReportData) -> String {
    let p = &data.provenance;
    let limit = data.limits.table_rows;
    let mut html = String::new();
    if !p.command.is_empty() {
        html.push_str(&format!(
            "<h3>Repeat this run</h3>\n<pre><code>{}</code></pre>\n",
            escape(&p.command)
        ));
    }

    let mut objects = Table::new("Data read")
        .words("File or object")
        .numbers("Size")
        .words("SHA-256");
    for object in &p.objects {
        objects.row(vec![
            code(&object.name),
            bytes(object.bytes),
            format!("<code class=\"hash\">{}</code>", escape(&object.sha256)),
        ]);
    }
    html.push_str(&objects.render(limit));
    let by_symbol = data.header.parts_by_symbol;
    html.push_str(&splits(&p.splits, by_symbol, limit));

    let mut counts = Table::new("Counted on the way")
        .words("What")
        .numbers("Count");
    for c in &p.counts {
        counts.row(vec![escape(&c.name), count(c.count as f64)]);
    }
    let pairs = |caption: &str, first: &str, second: &str, pairs: &[(String, String)]| {
        let mut table = Table::new(caption).words(first).words(second);
        for (name, value) in pairs {
            table.row(vec![escape(name), code(value)]);
        }
        table.render(limit)
    };
    let beside = [
        counts.render(limit),
        pairs("Versions", "Program or library", "Version", &p.versions),
        pairs("Parameters", "Name", "Value", &p.parameters),
    ];
    if beside.iter().any(|t| !t.is_empty()) {
        html.push_str("<div class=\"beside\">");
        for table in beside.iter().filter(|t| !t.is_empty()) {
            html.push_str(&format!("<div>{table}</div>"));
        }
        html.push_str("</div>\n");
    }
    if !p.experiment_text.is_empty() {
        let name = if p.experiment_file.is_empty() {
            "Experiment file"
        } else {
            &p.experiment_file
        };
        html.push_str(&format!(
            "<details><summary>{} <span class=\"muted\">(the experiment, word for word)</span></summary>\n\
             <pre><code>{}</code></pre></details>\n",
            escape(name),
            escape(&p.experiment_text),
        ));
    }
    html
}

fn splits(splits: &[Split], by_symbol: bool, limit: usize) -> String {
    let times = splits.iter().any(|s| s.range.is_some());
    let events = splits.iter().any(|s| s.events.is_some());
    let mut table = Table::new("Splits").words("Split");
    if times {
        table = table.words("From (UTC) to, exclusive");
    }
    table = table.numbers("Rows ready").numbers("Rows not ready");
    if events {
        table = table.numbers("Events");
    }
    for split in splits {
        let mut cells = vec![escape(&split.name)];
        if times {
            let range = split.range.map(|r| part_range(r, by_symbol));
            cells.push(range.unwrap_or_default());
        }
        cells.extend([count(split.ready as f64), count(split.not_ready as f64)]);
        if events {
            cells.push(split.events.map_or(String::new(), |e| count(e as f64)));
        }
        table.row(cells);
    }
    table.render(limit)
}
