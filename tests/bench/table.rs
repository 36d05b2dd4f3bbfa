//! Tables of records: one for each scenario on a terminal, one of all of them for the manual.

use super::fidelity::{self, Lost};
use super::peers;
use super::record::Record;
use super::scenarios::{ALL, Scenario};

/// The runs of one peer with one tree.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) peer: String,
    pub(crate) label: String,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// Medians, in seconds.
    pub(crate) synced: f64,
    pub(crate) exit: f64,
    pub(crate) cpu: f64,
    /// The shortest and longest until synced.
    pub(crate) range: (f64, f64),
    /// The most bytes of memory.
    pub(crate) memory: u64,
    /// The most that was lost in any run that was checked.
    pub(crate) lost: Option<Lost>,
    pub(crate) status: i32,
    pub(crate) runs: usize,
    pub(crate) disturbed: usize,
}

/// The rows of a scenario: smallest tree first, then the fastest.
pub(crate) fn rows(scenario: &Scenario, records: &[Record]) -> Vec<Row> {
    let mut keys: Vec<(u64, &str)> = Vec::new();
    let of_it = || records.iter().filter(|record| record.scenario == scenario.name);
    for record in of_it() {
        if !keys.contains(&(record.entries, &record.peer)) {
            keys.push((record.entries, &record.peer));
        }
    }
    let same = |key: &(u64, &str)| of_it().filter(|r| (r.entries, &*r.peer) == *key).collect::<Vec<_>>();
    let mut rows: Vec<_> = keys.iter().map(|key| row(key.1, &same(key))).collect();
    rows.sort_by(|a, b| a.entries.cmp(&b.entries).then(a.synced.total_cmp(&b.synced)));
    rows
}

fn row(peer: &str, all: &[&Record]) -> Row {
    // Undisturbed runs, where there are any.
    let clean: Vec<_> = all.iter().copied().filter(|record| !record.disturbed).collect();
    let runs = if clean.is_empty() { all } else { &clean };
    let synced: Vec<_> = runs.iter().map(|record| record.timed.synced).collect();
    let mut lost: Option<Lost> = None;
    for record in all.iter().filter_map(|record| record.lost.as_ref()) {
        let lost = lost.get_or_insert_default();
        for (property, entries) in record {
            let most = lost.entry(property.clone()).or_default();
            *most = (*most).max(*entries);
        }
    }
    Row {
        peer: peer.to_owned(),
        label: peers::peer(peer).map_or(peer, |peer| peer.label).to_owned(),
        entries: all.first().map_or(0, |record| record.entries),
        bytes: all.first().map_or(0, |record| record.bytes),
        synced: median(synced.clone()),
        exit: median(runs.iter().map(|record| record.timed.exit).collect()),
        cpu: median(runs.iter().map(|record| record.timed.user + record.timed.system).collect()),
        range: (synced.iter().copied().fold(f64::MAX, f64::min), synced.iter().copied().fold(0.0, f64::max)),
        memory: all.iter().map(|record| record.timed.memory).max().unwrap_or(0),
        lost,
        status: all.iter().map(|record| record.timed.status).find(|status| *status != 0).unwrap_or(0),
        runs: all.len(),
        disturbed: all.len() - clean.len(),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// A scenario and what was copied in it.
pub(crate) fn title(scenario: &Scenario, rows: &[Row]) -> String {
    let Some(largest) = rows.iter().max_by_key(|row| row.entries) else { return scenario.title.into() };
    let size = match largest.bytes {
        gib if gib >= 1 << 30 => format!("{:.1} GiB", gib as f64 / (1 << 30) as f64),
        mib => format!("{:.0} MiB", mib as f64 / (1 << 20) as f64),
    };
    let entries = if largest.entries == 1 { "1 entry".into() } else { format!("{} entries", grouped(largest.entries)) };
    format!("{}: {entries}, {size}", scenario.title)
}

const HEAD: [&str; 8] = ["command", "synced s", "exit s", "min–max", "decamp ÷", "CPU s", "peak MiB", "lost"];

/// The cells of a row; `decamp` is the row of decamp with the same tree.
fn cells(row: &Row, decamp: Option<&Row>, several: bool) -> [String; 8] {
    let mut label = row.label.clone();
    if several {
        label.push_str(&format!(", {} entries", grouped(row.entries)));
    }
    if row.disturbed > 0 {
        label.push_str(&format!(" † {} of {}", row.disturbed, row.runs));
    }
    let mut lost = fidelity::shown(row.lost.as_ref());
    if row.status != 0 {
        lost.push_str(&format!(" (exit status {})", row.status));
    }
    [
        label,
        seconds(row.synced),
        seconds(row.exit),
        format!("{}–{}", seconds(row.range.0), seconds(row.range.1)),
        decamp.map_or("–".into(), |decamp| format!("{:.2}", decamp.synced / row.synced)),
        seconds(row.cpu),
        format!("{:.0}", row.memory as f64 / (1 << 20) as f64),
        lost,
    ]
}

fn filled(rows: &[Row]) -> Vec<[String; 8]> {
    let several = rows.iter().any(|row| row.entries != rows[0].entries);
    let decamp = |entries| rows.iter().find(|row| row.peer == "decamp" && row.entries == entries);
    rows.iter().map(|row| cells(row, decamp(row.entries), several)).collect()
}

/// What a mark behind a command means.
pub(crate) const DISTURBED: &str =
    "† runs that others disturbed each time they were tried; medians are of the others, if any";

/// A table for a terminal.
pub(crate) fn text(rows: &[Row]) -> String {
    let lines: Vec<[String; 8]> = [HEAD.map(String::from)]
        .into_iter()
        .chain(filled(rows))
        .map(|line| line.map(|cell| cell.replace("**", "")))
        .collect();
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().enumerate().map(|(at, cell)| {
            let space = " ".repeat(width(at) - cell.chars().count());
            // Words to the left, numbers to the right.
            if matches!(at, 0 | 7) { format!("{cell}{space}") } else { format!("{space}{cell}") }
        });
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    if rows.iter().any(|row| row.disturbed > 0) {
        text.push_str(DISTURBED);
        text.push('\n');
    }
    text
}

/// The table of the manual: every scenario there are records of, and where and when they were measured.
pub(crate) fn markdown(records: &[Record]) -> String {
    let mut text = format!("| | {} |\n|---|---|{}|\n", HEAD.join(" | "), ["--:"; 6].join("|") + "|---");
    let mut disturbed = false;
    for scenario in ALL {
        let rows = rows(scenario, records);
        disturbed |= rows.iter().any(|row| row.disturbed > 0);
        for (at, cells) in filled(&rows).iter().enumerate() {
            let title = if at == 0 { title(scenario, &rows) } else { String::new() };
            let cells = cells.each_ref().map(|cell| cell.replace('|', "\\|"));
            text.push_str(&format!("| {title} | {} |\n", cells.join(" | ")));
        }
    }
    let runs = records.iter().map(|record| record.run).max().unwrap_or(0);
    let mut machines: Vec<_> = records.iter().map(|record| (day(record.session), &*record.machine)).collect();
    machines.sort();
    machines.dedup();
    let places: Vec<_> = machines.iter().map(|(day, machine)| format!("{day} on {machine}")).collect();
    text.push_str(&format!("\nMedians of {runs} runs in turn, measured {}.", places.join("; ")));
    if disturbed {
        text.push_str(&format!(" {DISTURBED}."));
    }
    text.push('\n');
    text
}

fn day(session: i64) -> String {
    jiff::Timestamp::from_second(session)
        .map_or_else(|_| session.to_string(), |time| time.strftime("%Y-%m-%d").to_string())
}

/// Three digits that mean something.
fn seconds(value: f64) -> String {
    match value {
        0.0..1.0 => format!("{value:.3}"),
        1.0..100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
