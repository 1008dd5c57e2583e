//! Rows below a heading, in columns.
//!
//! A long list comes page by page: the columns are as wide as what was seen of them so far, and on a terminal as narrow as
//! they have to be. What is too long for its column ends in `…`; a pipe gets all of it.

use std::fmt::Write;

use clap::builder::styling::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Failed;
use super::output::{HEADING, Output};
use crate::domain::outcome::clip;

/// The longest text in a cell, in characters.
const MOST: usize = 4096;

/// Between two columns.
const GAP: usize = 2;

/// A column that can be narrowed keeps so many places, and one that is not meant to be, so many in the end.
const NARROW: usize = 10;
const NARROWEST: usize = 3;

/// What stands in one place. Whoever is served by the server has chosen some of it, so it is escaped.
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self { text: clip(text.as_ref(), MOST), style }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

/// A column, by its name. With `…` behind it, it is narrowed first where there is too little room.
type Name = &'static str;

/// A table that is being printed.
pub(super) struct Table {
    names: Vec<Name>,
    /// The widest of each column so far.
    widths: Vec<usize>,
    is_headed: bool,
}

impl Table {
    pub(super) fn new(names: &[Name]) -> Self {
        let widths = names.iter().map(|name| heading(name).width()).collect();
        Self { names: names.to_vec(), widths, is_headed: false }
    }

    /// Prints rows, below a heading if they are the first. Of no rows there is no heading.
    pub(super) fn print<const N: usize>(&mut self, out: &mut Output, rows: &[[Cell; N]]) -> Result<(), Failed> {
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            for (widest, cell) in self.widths.iter_mut().zip(row) {
                *widest = (*widest).max(cell.text.width());
            }
        }
        let widths = out.width().map_or_else(|| self.widths.clone(), |width| self.fit(width));
        if !std::mem::replace(&mut self.is_headed, true) {
            let names: Vec<_> = self.names.iter().map(|name| Cell::styled(heading(name), HEADING)).collect();
            out.line(line(&names, &widths))?;
        }
        rows.iter().try_for_each(|row| out.line(line(row, &widths)))
    }

    /// The widths with which a row fits into `room`, as far as that can be.
    fn fit(&self, room: usize) -> Vec<usize> {
        let mut widths = self.widths.clone();
        let gaps = GAP * widths.len().saturating_sub(1);
        let shrinks: Vec<_> = self.names.iter().map(|name| heading(name) != *name).collect();
        while widths.iter().sum::<usize>() + gaps > room {
            let widest = |least: usize, may: &dyn Fn(usize) -> bool| {
                let wide = widths.iter().enumerate().filter(|(place, width)| **width > least && may(*place));
                wide.max_by_key(|(_, width)| **width).map(|(place, _)| place)
            };
            let narrowed = widest(NARROW, &|place| shrinks[place]).or_else(|| widest(NARROWEST, &|_| true));
            let Some(place) = narrowed else { break };
            widths[place] -= 1;
        }
        widths
    }
}

fn heading(name: Name) -> Name {
    name.trim_end_matches('…')
}

fn line(cells: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    // Written before the next text, so that no line ends in spaces.
    let mut owed = 0;
    for (Cell { text, style }, width) in cells.iter().zip(widths) {
        let shown = cut(text, *width);
        if !shown.is_empty() {
            line.extend(std::iter::repeat_n(' ', std::mem::take(&mut owed)));
            // Writing into a String can't fail.
            let _ = write!(line, "{style}{shown}{style:#}");
        }
        owed += GAP + width.saturating_sub(shown.width());
    }
    line
}

/// As much of `text` as fits into `width` places.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or_default();
        used <= width
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_ends_in_an_ellipsis() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 1), "…");
    }

    #[test]
    fn columns_are_aligned_by_what_a_terminal_shows() {
        let row = |cells: [&str; 3]| line(&cells.map(Cell::from), &[4, 6, 2]);
        assert_eq!(row(["a", "日本", "x"]), "a     日本    x");
        assert_eq!(row(["abcdef", "b", ""]), "abc…  b");
        assert_eq!(row(["a", "", "c"]), "a             c");
        assert_eq!(row(["a\u{1b}[2J", "\n", "c"]), "a\\u…  \\n      c", "what is shown can't steer the terminal");
    }

    #[test]
    fn a_table_gives_way_where_it_can() {
        let mut table = Table::new(&["ID", "URL…", "ERROR…"]);
        table.widths = vec![20, 60, 30];
        assert_eq!(table.fit(200), [20, 60, 30]);
        assert_eq!(table.fit(84), [20, 30, 30]);
        assert_eq!(table.fit(64), [20, 20, 20]);
        assert_eq!(table.fit(44), [20, 10, 10]);
        assert_eq!(table.fit(34), [10, 10, 10]);
        assert_eq!(table.fit(1), [3, 3, 3]);
    }
}
