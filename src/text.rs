//! Columns for terminals, aligned by East Asian width.

use std::error::Error;

use unicode_width::UnicodeWidthStr;

use crate::lang::Lang;

/// Says that there is nothing of this kind and name, and the name that was probably meant.
pub fn no_such<'n>(
    lang: Lang,
    ja: &str,
    en: &str,
    name: &str,
    known: impl Iterator<Item = &'n str>,
) -> String {
    let scored = known.map(|known| (strsim::jaro_winkler(name, known), known));
    let near = scored.filter(|(score, _)| *score > 0.7).max_by(|a, b| a.0.total_cmp(&b.0));
    match (lang, near) {
        (Lang::Ja, Some((_, near))) => format!("{ja}「{name}」はありません。もしかして「{near}」？"),
        (Lang::Ja, None) => format!("{ja}「{name}」はありません。"),
        (Lang::En, Some((_, near))) => format!("there is no {en} `{name}`: did you mean `{near}`?"),
        (Lang::En, None) => format!("there is no {en} `{name}`"),
    }
}

/// What somebody wrote, fit for terminals, logs and tables: one line of at most `max` characters.
pub fn one_line(text: &str, max: usize) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.collect::<String>().trim().chars().take(max).collect()
}

/// An error that people read in their own language; its `Display` is the English.
pub trait Told: Error + 'static {
    /// What went wrong and what to do next, without its causes.
    fn told(&self, lang: Lang) -> String;
}

/// An error with its causes, each as `say` puts it; one that only repeats what was just said is left out.
pub fn causes(error: &(dyn Error + 'static), say: &dyn Fn(&(dyn Error + 'static)) -> String) -> String {
    let mut text = say(error);
    let mut next = error.source();
    while let Some(cause) = next {
        let said = say(cause);
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// A table whose numeric columns are aligned to the right.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// One more row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The text, without a line end after the last row.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let numeric: Vec<bool> = (0..columns).map(|column| self.is_numeric(column)).collect();
        let line = |row: &Vec<String>| {
            let mut text = String::new();
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths.get(column).copied().unwrap_or(0).saturating_sub(cell.width()));
                let right = numeric.get(column).copied().unwrap_or(false);
                text += &if right { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") };
            }
            text.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().skip(1).filter_map(|row| row.get(column)).peekable();
        cells.peek().is_some()
            && cells.all(|cell| !cell.is_empty() && cell.bytes().all(|b| b.is_ascii_digit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_east_asian_width() {
        let mut table = Table::new(&["セグメント", "友だち", "name"]);
        table.row(vec!["tokyo-regulars".into(), "408".into(), "都内の常連".into()]);
        table.row(vec!["冬".into(), "12".into(), "x".into()]);
        insta::assert_snapshot!(table.render(), @r"
        セグメント      友だち  name
        tokyo-regulars     408  都内の常連
        冬                  12  x
        ");
    }
}
