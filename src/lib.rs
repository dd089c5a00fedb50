//! Groundwork takes an environment from an empty AWS account and an uninitialised Vault to the
//! state where Terraform can run and applications can fetch their secrets.
//!
//! The stages, in the order data flows through them:
//!
//! 1. [`plan`]: the declared YAML file, with a source position for every value.
//! 2. [`resolve`]: expressions become values; what is not known yet is marked as such.
//! 3. [`graph`]: steps and their edges, ordered, cycles refused.
//! 4. [`observe`]: the live systems are read, concurrently, never written.
//! 5. [`diff`]: desired against observed, field by field.
//! 6. [`changeset`]: the actions a person reviews.
//!    [`review`] puts them as people see them: grouped, with line differences and risks.
//! 7. [`apply`]: the only stage that may write; holds the permission to do so.
//! 8. [`journal`]: durable intents and outcomes, never a secret; [`lock`]: one run at a time.
//!
//! [`destination`] is where a run goes: addresses, accounts, stores, and who can open what is kept.
//! [`lint`] judges a plan without the network: what is allowed but unwise.
//! Between 6 and 7 a changeset may lie in a file: [`saved`].
//!
//! Beside them: [`resource`] is the contract every kind implements, [`providers`] the kinds,
//! [`secret`] and [`custody`] everything that touches a secret value, [`sandbox`] the local
//! AWS and Vault, [`hygiene`] how the process guards its memory, [`event`] what the stages
//! report, [`confined_path`] and [`workspace`] the files beside a plan, [`trace`] every request,
//! [`trust`] what the caller allows a plan to use, [`signing`] who wrote its journal and what is in
//! custody, [`visible`] how others' text is shown, and [`ui`] the only place that prints.

// The layout of the futures that carry a whole run nests deeper than the compiler's default.
#![recursion_limit = "256"]

pub mod apply;
pub mod changeset;
pub mod cli;
pub mod confined_path;
pub mod custody;
pub mod destination;
pub mod diff;
pub mod event;
pub mod graph;
pub mod hygiene;
pub mod journal;
pub mod lint;
pub mod lock;
pub mod observe;
pub mod plan;
pub mod providers;
pub mod removal;
pub mod resolve;
pub mod resource;
pub mod review;
pub mod sandbox;
pub mod saved;
pub mod secret;
pub mod session;
pub mod signing;
pub mod trace;
pub mod trust;
pub mod ui;
pub mod visible;
pub mod workspace;
