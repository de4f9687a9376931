//! What must hold, checked.

use super::tally::Tally;
use super::watch::AtRest;

/// Growth of the memory from the second quarter to the last that is still flat: a share, and MB.
const FLAT: (f64, f64) = (0.05, 32.0);

/// Everything that did not hold.
pub(super) fn violations(
    tally: &Tally,
    truth: &[String],
    resident_mb: &[f64],
    at_rest: &AtRest,
    max_refusal_ms: f64,
) -> Vec<String> {
    let surprises = tally.surprises.iter();
    let mut found: Vec<String> = surprises
        .map(|(what, count)| format!("{count} times: {what}"))
        .collect();
    let refusals = tally.refusal_ms();
    if refusals.p99 > max_refusal_ms {
        found.push(format!(
            "1 of 100 refusals took {:.1} ms or more, above {max_refusal_ms} ms ({} refusals)",
            refusals.p99, refusals.count
        ));
    }
    if tally.num_completed == 0 {
        found.push("not one request was answered".to_owned());
    }
    found.extend(texts(tally, truth));
    found.extend(growth(resident_mb));
    found.extend(
        at_rest
            .illness
            .iter()
            .map(|illness| format!("afterwards, /health says: {illness}")),
    );
    found.extend(
        at_rest
            .held
            .iter()
            .map(|line| format!("at rest, /metrics says: {line}")),
    );
    found
}

/// Texts that the idle server does not confirm, case by case.
fn texts(tally: &Tally, truth: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (case, truth) in truth.iter().enumerate() {
        let whole = tally.whole[case].iter().filter(|text| *text != truth);
        let begun = tally.begun[case]
            .iter()
            .filter(|text| !truth.starts_with(*text));
        for text in whole.chain(begun) {
            let same = text
                .chars()
                .zip(truth.chars())
                .take_while(|(a, b)| a == b)
                .count();
            found.push(format!(
                "case {case}: a text is not that of the idle server, from character {same} on"
            ));
        }
    }
    found
}

/// The memory grew.
fn growth(resident_mb: &[f64]) -> Option<String> {
    // The first quarter is for caches to fill.
    let quarter = resident_mb.len() / 4;
    let (early, late) = (
        median(resident_mb.get(quarter..2 * quarter)?)?,
        median(resident_mb.get(3 * quarter..)?)?,
    );
    let (share, megabytes) = FLAT;
    (late > early * (1.0 + share) && late > early + megabytes).then(|| {
        format!("the server's memory grew from {early:.0} MB in the second quarter to {late:.0} MB in the last")
    })
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
