//! The report as one page without anything from elsewhere: it can be mailed, printed, and kept for years.

use super::{Document, cells, chain_in_words, cost};
use crate::cli::text;
use crate::domain::drill::{DrillPath, Verdict};
use crate::plan::evidence::DrillEvidence;

/// Bars of the chart: height of one, and of the space that it takes.
const BAR: i64 = 14;
const ROW: i64 = 24;
/// Room for the names on the left and the figures on the right of bars.
const NAMES: i64 = 330;
const FIGURES: i64 = 110;
const WIDTH: i64 = 900;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--paper:#fff;--snapshot:#0b6bcb;--pitr:#8a4fbe;--dump:#1a7f37;--bad:#b3261e}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--line:#30363d;--paper:#0d1117;--snapshot:#58a6ff;--pitr:#c297f0;--dump:#3fb950;--bad:#ff7b72}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}p{color:var(--soft)}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap}th{color:var(--soft);font-weight:600}\
.bad{color:var(--bad);font-weight:600}svg{width:100%;height:auto;max-width:56rem}svg text{fill:var(--ink);font-size:13px}\
.snapshot{fill:var(--snapshot)}.pitr{fill:var(--pitr)}.dump{fill:var(--dump)}.target{stroke:var(--ink);stroke-width:2}\
@media print{body{margin:0}}";

/// The page.
pub(super) fn page(document: &Document) -> String {
    let Document { evidence, chain } = document;
    let mut body = String::new();
    let title = format!("Evidence of {}", escaped(evidence.installation.as_str()));
    let span = format!("From {} to {}.", text::utc(evidence.since), text::utc(evidence.until));
    body += &format!("<h1>{title}</h1><p>{span}</p>");
    for unseen in &evidence.unseen {
        body += &format!("<p class=bad>Not seen: {}</p>", escaped(unseen));
    }
    body += "<h2>Restore drills</h2>";
    body += &chart(&evidence.drills);
    let headings = ["Ended", "Source", "Path", "Verdict", "RTO", "wanted", "RPO", "wanted", "Rows", "Class"];
    let rows = evidence.drills.iter().map(|drill| (drill.verdict != Verdict::Passed, cells(drill)));
    body += &table(&headings, rows);
    body += &format!("<p>{}</p>", cost(evidence));
    let details = evidence.drills.iter().filter(|drill| !drill.details.is_empty());
    body.extend(details.map(|drill| {
        let of = format!("{} {} by {}: ", text::utc(drill.at), drill.source, drill.path);
        format!("<p>{}</p>", escaped(&(of + &drill.details.join("; "))))
    }));
    body += "<h2>Verifications of dumps</h2>";
    let rows = evidence.verifications.iter().map(|own| {
        let (plane, level) = (own.plane.as_str().to_owned(), own.level.to_owned());
        (own.found != "good", vec![text::utc(own.at), own.dump.clone(), plane, level, own.found.clone()])
    });
    body += &table(&["Ended", "Dump", "Plane", "Level", "Found"], rows);
    let class = if chain.broken.is_empty() && chain.unread.is_empty() { "" } else { " class=bad" };
    body += &format!("<h2>The chain</h2><p{class}>{}</p>", escaped(&chain_in_words(chain)));
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
}

/// Restore times of the drills that have one, as bars; a line marks what the policy wants.
fn chart(drills: &[DrillEvidence]) -> String {
    let timed: Vec<(&DrillEvidence, i64)> =
        drills.iter().filter_map(|drill| Some((drill, drill.rto_seconds?))).collect();
    let wanted = timed.iter().filter_map(|(drill, _)| drill.rto_wanted_seconds);
    let Some(most) = timed.iter().map(|(_, seconds)| *seconds).chain(wanted).max().filter(|most| *most > 0) else {
        return String::new();
    };
    let scale = |seconds: i64| seconds * (WIDTH - NAMES - FIGURES) / most;
    let rows = i64::try_from(timed.len()).unwrap_or(i64::MAX);
    let height = ROW * rows + ROW;
    let mut svg = format!(
        "<div class=wide><svg viewBox=\"0 0 {WIDTH} {height}\" role=img aria-label=\"Restore times of {rows} drills, the longest \
         {}\">",
        length(timed.iter().map(|(_, seconds)| *seconds).max().unwrap_or(0))
    );
    for (index, (drill, seconds)) in timed.iter().enumerate() {
        let y = ROW * i64::try_from(index).unwrap_or(0);
        let (middle, right) = (y + BAR, NAMES + scale(*seconds).max(2));
        let name = format!("{} {} {}", text::utc(drill.at), drill.source, drill.path);
        let class = match drill.path {
            DrillPath::Snapshot => "snapshot",
            DrillPath::Pitr => "pitr",
            DrillPath::Dump => "dump",
        };
        svg += &format!(
            "<text x=\"{}\" y=\"{middle}\" text-anchor=end>{}</text><rect class={class} x=\"{NAMES}\" y=\"{}\" \
             width=\"{}\" height=\"{BAR}\" rx=2 /><text x=\"{}\" y=\"{middle}\">{}</text>",
            NAMES - 8,
            escaped(&name),
            y + 2,
            right - NAMES,
            right + 6,
            length(*seconds)
        );
        if let Some(wanted) = drill.rto_wanted_seconds {
            let x = NAMES + scale(wanted);
            svg += &format!("<line class=target x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\" />", y - 1, y + BAR + 5);
        }
    }
    let legend = "bars: from the order to the last row read; lines: what the policy wants";
    svg += &format!("<text x=\"{NAMES}\" y=\"{}\">{legend}</text></svg></div>", height - 6);
    svg
}

fn length(seconds: i64) -> String {
    text::length(jiff::SignedDuration::from_secs(seconds))
}

fn table(headings: &[&str], rows: impl Iterator<Item = (bool, Vec<String>)>) -> String {
    let cell = |tag: &str, text: &str| format!("<{tag}>{}</{tag}>", escaped(text));
    let mut body: String = rows
        .map(|(is_bad, cells)| {
            let class = if is_bad { " class=bad" } else { "" };
            format!("<tr{class}>{}</tr>", cells.iter().map(|text| cell("td", text)).collect::<String>())
        })
        .collect();
    if body.is_empty() {
        body = format!("<tr><td colspan={}>None.</td></tr>", headings.len());
    }
    let head: String = headings.iter().map(|text| cell("th", text)).collect();
    format!("<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
