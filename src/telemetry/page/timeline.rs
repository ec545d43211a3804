//! The slots of an obligation, one mark each, and how large what fills them is.

use jiff::Timestamp;
use maud::{Markup, html};

use super::marks;
use crate::domain::id::Kind;
use crate::plan::status::{ObligationStatus, SlotState, SlotStatus};
use crate::telemetry::words;

/// Height of the drawing of sizes, in its own units.
const HEIGHT: u64 = 100;
/// Width of a bar with its gap.
const STEP: usize = 10;
/// Changes are told in percent.
const HUNDRED: i128 = 100;

/// The marks, what they mean, and the sizes.
pub(super) fn slots(own: &ObligationStatus, now: Timestamp) -> Markup {
    let slots = &own.slots;
    html! {
        @if !slots.is_empty() {
            ol .slots aria-label=(format!("The last {} slots, the oldest first", slots.len())) {
                @for slot in slots { (mark(slot, now)) }
            }
            p .legend {
                @for state in SlotState::ALL {
                    @let number = slots.iter().filter(|slot| slot.state == state).count();
                    @let (class, sign, words) = marks::slot(state);
                    @if number > 0 {
                        span .tally { span .mark.(class) aria-hidden="true" { (sign) } " " (number) " " (words) } " "
                    }
                }
                @if let (Some(first), Some(last)) = (slots.first(), slots.last()) {
                    @if slots.len() > 1 { span .ago { "from " (day(first)) " to " (day(last)) } }
                }
            }
        }
        (sizes(own))
    }
}

fn day(slot: &SlotStatus) -> String {
    slot.slot.instant().strftime("%Y-%m-%d").to_string()
}

fn mark(slot: &SlotStatus, now: Timestamp) -> Markup {
    let (class, sign, words) = marks::slot(slot.state);
    let at = slot.slot.instant();
    let told = format!("{}, {}: {words}", words::utc(at), words::relative(at, now));
    html! {
        li .mark.(class) title=(told) {
            span aria-hidden="true" { (sign) }
            span .unseen { (told) }
        }
    }
}

/// How large the dumps are that are still there, as bars; what a snapshot has allocated says nothing of its data.
fn sizes(own: &ObligationStatus) -> Markup {
    let kept: Vec<u64> = own.slots.iter().filter_map(|slot| slot.size_bytes).collect();
    let (Some(largest), true) = (kept.iter().copied().max().filter(|most| *most > 0), own.kind == Kind::Dump) else {
        return html! {};
    };
    let [.., before, newest] = kept.as_slice() else {
        return html! { p .quiet { "Size: " (words::size(largest)) "." } };
    };
    let change = change(*before, *newest);
    html! {
        figure .sizes {
            svg viewBox=(format!("0 0 {} {HEIGHT}", own.slots.len() * STEP)) preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                @for (index, slot) in own.slots.iter().enumerate() {
                    @if let Some(size) = slot.size_bytes {
                        @let height = (u128::from(size) * u128::from(HEIGHT) / u128::from(largest)).max(1);
                        rect x=(index * STEP + 1) y=(u128::from(HEIGHT) - height) width=(STEP - 2) height=(height) {}
                    }
                }
            }
            figcaption .quiet {
                "Sizes: the newest " (words::size(*newest)) ", " (change) " the one before; the largest " (words::size(largest)) "."
            }
        }
    }
}

fn change(before: u64, newest: u64) -> String {
    let (before, newest) = (i128::from(before), i128::from(newest));
    match (newest - before) * HUNDRED / before.max(1) {
        0 => "as".to_owned() + " large as",
        more @ 1.. => format!("{more} % more than"),
        less => format!("{} % less than", -less),
    }
}
