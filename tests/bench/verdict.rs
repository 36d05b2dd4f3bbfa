//! Whether what decamp must reach is reached.

use super::peers;
use super::scenarios::Scenario;
use super::table::Row;

/// One thing to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Must {
    /// At most this part of the time that peer takes.
    Ratio(&'static str, f64),
    /// At most so many bytes of memory.
    Memory(u64),
    /// At the full size, at most so many times the time per entry of the smallest.
    PerEntry(f64),
}

/// A sentence for each thing to reach.
pub(crate) fn verdicts(scenario: &Scenario, rows: &[Row]) -> Vec<String> {
    scenario.musts.iter().map(|must| verdict(*must, rows)).collect()
}

fn verdict(must: Must, rows: &[Row]) -> String {
    let mut own = rows.iter().filter(|row| row.peer == "decamp");
    let Some(smallest) = own.next() else { return "decamp was not measured".into() };
    let largest = own.next_back().unwrap_or(smallest);
    let (what, figure, most) = match must {
        Must::Ratio(name, most) => {
            let label = peers::peer(name).map_or(name, |peer| peer.label);
            let Some(peer) = rows.iter().find(|row| row.peer == name && row.entries == largest.entries) else {
                return format!("must be ≤ {most} of {label}: that was not measured");
            };
            (format!("must be ≤ {most} of {label}"), largest.synced / peer.synced, most)
        }
        Must::Memory(most) => {
            let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
            (format!("must take ≤ {} MiB", mib(most)), mib(largest.memory), mib(most))
        }
        Must::PerEntry(most) => {
            let each = |row: &Row| row.synced / row.entries as f64;
            let few = smallest.entries;
            (format!("must take ≤ {most} of the time per entry at {few} entries"), each(largest) / each(smallest), most)
        }
    };
    let figure_text = if figure < 10.0 { format!("{figure:.2}") } else { format!("{figure:.0}") };
    if figure <= most {
        format!("{what}: {figure_text}, met")
    } else {
        format!("{what}: {figure_text}, missed by {:.0} %", (figure / most - 1.0) * 100.0)
    }
}
