//! Tables of text for people: columns as wide as they need to be.

/// Rows below a heading, two blanks between columns; columns whose heading begins with a blank
/// are set to the right. No line ends in blanks.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(heading[column].trim_start().chars().count())
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let placed = cells.zip(heading).zip(&widths).map(|((cell, heading), width)| match heading
            .starts_with(' ')
        {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        placed.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut heading.iter().map(|cell| cell.trim_start()))];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["ñandú".to_owned(), "7".into()], vec!["a".into(), "1234".into()]];
        assert_eq!(table(&["name", " rows"], &rows), "name   rows\nñandú     7\na      1234");
        assert_eq!(table(&["name", " rows"], &[]), "name  rows");
    }
}
