//! Tables that assistive technology can read: a caption, column and row headers.

use super::format::{count, escape};

/// Tables longer than this are folded.
const FOLDED: usize = 20;

/// Cells are HTML; whoever fills them escapes.
#[derive(Debug, Default)]
pub(super) struct Table {
    caption: String,
    head: Vec<(String, bool)>,
    rows: Vec<(&'static str, Vec<String>)>,
}

impl Table {
    pub(super) fn new(caption: &str) -> Self {
        Self {
            caption: caption.to_owned(),
            ..Self::default()
        }
    }

    /// A column of words.
    pub(super) fn words(mut self, title: &str) -> Self {
        self.head.push((escape(title), false));
        self
    }

    /// A column of numbers.
    pub(super) fn numbers(mut self, title: &str) -> Self {
        self.head.push((escape(title), true));
        self
    }

    /// A column of numbers, its title in HTML.
    pub(super) fn numbers_html(mut self, title: String) -> Self {
        self.head.push((title, true));
        self
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(("", cells));
    }

    pub(super) fn marked_row(&mut self, class: &'static str, cells: Vec<String>) {
        self.rows.push((class, cells));
    }

    /// At most `limit` rows, folded where they are many; what isn't shown is said.
    pub(super) fn render(self, limit: usize) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut html = format!(
            "<div class=\"scroll\"><table><caption>{}</caption>\n<thead><tr>",
            escape(&self.caption)
        );
        for (title, number) in &self.head {
            html.push_str(&format!("<th scope=\"col\"{}>{title}</th>", class(*number)));
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for (mark, cells) in self.rows.iter().take(limit) {
            html.push_str(&if mark.is_empty() {
                "<tr>".to_owned()
            } else {
                format!("<tr class=\"{mark}\">")
            });
            for (i, cell) in cells.iter().enumerate() {
                let number = self.head.get(i).is_some_and(|h| h.1);
                if i == 0 {
                    html.push_str(&format!("<th scope=\"row\"{}>{cell}</th>", class(number)));
                } else {
                    html.push_str(&format!("<td{}>{cell}</td>", class(number)));
                }
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div>\n");
        let (shown, all) = (self.rows.len().min(limit), self.rows.len());
        if shown < all {
            let (shown, all) = (count(shown as f64), count(all as f64));
            html.push_str(&format!(
                "<p class=\"note\">The first {shown} of {all} rows are listed.</p>\n"
            ));
        }
        if all <= FOLDED {
            return html;
        }
        let what = if shown < all {
            format!("first {} of {} rows", shown, all)
        } else {
            format!("{all} rows")
        };
        format!(
            "<details><summary>{} <span class=\"muted\">({what})</span></summary>\n{html}</details>\n",
            escape(&self.caption)
        )
    }
}

fn class(number: bool) -> &'static str {
    if number { " class=\"num\"" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: usize) -> String {
        let mut table = Table::new("Events").words("id").numbers("score");
        (0..rows).for_each(|i| table.row(vec![format!("e{i}"), "1".to_owned()]));
        table.render(50)
    }

    #[test]
    fn long_tables_fold_and_say_what_they_leave_out() {
        assert_eq!(table(0), "");
        assert!(!table(20).contains("<details>"));
        assert!(table(21).contains("<details>") && !table(21).contains("are listed"));
        let long = table(51);
        assert!(
            long.contains("The first 50 of 51 rows are listed")
                && long.contains(">e49<")
                && !long.contains(">e50<")
        );
    }
}
