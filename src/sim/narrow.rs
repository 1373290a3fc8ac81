//! Which faults a failure takes.

use crate::error::Error;
use crate::sim::torture::{Torture, torture};

/// Leaves out as many faults as it can while the same promise is still broken. Calls `tried` after each try with how many
/// faults are left.
///
/// # Errors
/// Those of [`torture`].
pub fn narrow(failing: &Torture, mut tried: impl FnMut(usize)) -> Result<Torture, Error> {
    let Some(violation) = torture(failing)?.violation else { return Ok(failing.clone()) };
    let mut best = failing.clone();
    let mut chunk = best.plan.faults.len().div_ceil(2);
    while chunk > 0 && !best.plan.faults.is_empty() {
        let mut start = 0;
        let mut progress = false;
        while start < best.plan.faults.len() {
            let mut fewer = best.clone();
            let end = (start + chunk).min(fewer.plan.faults.len());
            fewer.plan.faults.drain(start..end);
            let same = torture(&fewer)?.violation.is_some_and(|other| other.rule == violation.rule);
            if same {
                best = fewer;
                progress = true;
            } else {
                start += chunk;
            }
            tried(best.plan.faults.len());
        }
        if !progress || chunk > best.plan.faults.len() {
            chunk /= 2;
        }
    }
    Ok(best)
}
