//! Checks of the declared numbers.

use super::Desired;
use crate::error::FieldError;

/// Numbers that KMS does not take.
pub(super) fn numbers(desired: &Desired) -> Vec<FieldError> {
    let mut found = Vec::new();
    if !(7..=30).contains(&desired.deletion_window_days) {
        found.push(FieldError::new("deletion_window_days", "must be from 7 to 30 days"));
    }
    match desired.rotation_period_days {
        Some(days) if !(90..=2560).contains(&days) => {
            found.push(FieldError::new("rotation_period_days", "must be from 90 to 2560 days"));
        }
        Some(_) if !desired.rotates() => found.push(
            FieldError::new("rotation_period_days", "this key is not rotated")
                .help("remove it, or set `rotation: true` on a symmetric key"),
        ),
        _ => {}
    }
    found
}
