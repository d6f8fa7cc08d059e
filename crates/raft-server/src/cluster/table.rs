//! Tables for terminals.

/// Renders rows with aligned columns, the first row as the header, without blanks at the ends.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns are as wide as their widest cell, counted in characters.
    #[test]
    fn columns_are_aligned() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rows =
            [row(&["NAME", "ID", "LOG"]), row(&["n1", "8e9e05", "a"]), row(&["öööööö", "1"])];
        assert_eq!(
            table(&rows),
            "NAME    ID      LOG\n\
             n1      8e9e05  a\n\
             öööööö  1\n"
        );
        assert_eq!(table(&[]), "");
    }
}
