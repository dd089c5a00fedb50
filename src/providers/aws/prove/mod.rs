//! The trials of AWS's kinds, which prove that their things work.
//!
//! AWS has no object or item that ends by itself within minutes. The things of a trial have a random name that begins
//! with [`NAME`], holds nothing but that name, and is removed as soon as it has served.

pub(super) mod access_key;
pub(super) mod bucket;
mod bucket_trial;
pub(super) mod key;
#[cfg(feature = "aws-sns")]
pub(super) mod notified;
pub(super) mod principal;
pub(super) mod table;

use super::AwsClient;
use crate::proof::Prover;
use crate::secret::random_bytes;

/// A prover of a kind of AWS.
type Aws<'a> = Prover<'a, AwsClient>;

/// How the names of what trials make begin.
const NAME: &str = "groundwork-verify";

/// A random name.
fn unique() -> String {
    hex::encode(random_bytes(16))
}
