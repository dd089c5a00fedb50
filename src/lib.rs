//! Groundwork takes an environment from an empty AWS account and an uninitialised Vault to the
//! state where Terraform can run and applications can fetch their secrets.
//!
//! The stages, in the order data flows through them:
//!
//! 1. [`plan`]: the declared YAML file, with a source position for every value.
//! 2. [`resolve`]: expressions become values; values that are not known yet are marked as such.
//! 3. [`graph`]: steps and their edges, ordered, cycles refused.
//! 4. [`observe`]: the live systems are read, concurrently, never written.
//! 5. [`diff`]: desired against observed, field by field.
//! 6. [`changeset`]: the actions a person reviews.
//!    [`review`] puts them as people see them: grouped, with line differences and risks.
//! 7. [`apply`]: the only stage that may write; holds the permission to do so.
//! 8. [`journal`]: durable intents and outcomes, never a secret; [`lock`]: one run at a time.
//!
//! [`verify`] proves that what stands works: drift first, then what each kind tries ([`proof`]).
//! [`status`] is how an environment stands: servers ([`health`]), custody, backups, what is due.
//! [`runbook`] writes the procedures for its bad days from the plan alone.
//! [`access`] is who can reach what, and what a changeset changes in that.
//! [`destination`] is where a run goes: addresses, accounts, stores, and who can open what is kept.
//! [`lint`] judges a plan without the network: what is allowed but unwise.
//! Between 6 and 7 a changeset may lie in a file: [`saved`].
//!
//! Beside them: [`resource`] is the contract every kind implements, [`providers`] the kinds,
//! [`secret`] and [`custody`] everything that touches a secret value, [`template`] the bounded
//! evaluation of expressions, [`schema`] the plan's JSON Schema, [`trust`] what the caller allows a
//! plan to use, [`signing`] who wrote its journal and what is in custody, [`sandbox`] the local AWS
//! and Vault, [`event`] what the stages report and [`trace`] every request.
//!
//! [`snapshot`] reads a snapshot of Vault without a server, [`backup`] proves and keeps them, [`rebuild`] plans how
//! everything comes back with what is in one, and [`drill`] has the reports of rehearsed recoveries.
//!
//! At the bottom: [`error`] and [`permit`], [`environment`] for the process's variables, [`net`] for HTTP, [`confined_path`], [`workspace`] and
//! [`durable`] for files, [`visible`] for others' text, [`console`] and [`prompt`] for the terminal, [`relay`] for shares of people elsewhere
//! ([`ui`] is what they show), [`hygiene`] for the process's memory. `tests/it/layers.rs` lists which
//! module may use which.

// The layout of the futures that carry a whole run nests deeper than the compiler's default.
#![recursion_limit = "256"]
// A smaller build leaves helpers without users.
#![cfg_attr(not(feature = "full"), allow(dead_code, unused_imports))]

pub mod access;
pub mod apply;
pub mod backup;
pub mod changeset;
pub mod cli;
pub mod confined_path;
pub mod console;
pub mod custody;
pub mod destination;
pub mod diff;
pub mod drill;
pub mod durable;
pub mod environment;
pub mod error;
pub mod event;
pub mod graph;
pub mod health;
pub mod hygiene;
pub mod journal;
pub mod lint;
pub mod lock;
pub mod net;
pub mod observe;
pub mod permit;
pub mod place;
pub mod plan;
pub mod plan_shape;
pub mod prompt;
pub mod proof;
pub mod provider;
pub mod providers;
pub mod rebuild;
pub mod relay;
pub mod removal;
pub mod resolve;
pub mod resource;
pub mod review;
pub mod run;
pub mod runbook;
pub mod sandbox;
pub mod saved;
pub mod schema;
pub mod secret;
pub mod session;
pub mod signing;
pub mod snapshot;
pub mod status;
pub mod stop;
pub mod suggest;
pub mod template;
pub mod trace;
pub mod trust;
pub mod ui;
pub mod verify;
pub mod visible;
pub mod workspace;
