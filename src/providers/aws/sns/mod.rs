//! The Simple Notification Service: topics and subscriptions.

mod subscription;
mod topic;

pub use subscription::SnsSubscription;
pub use topic::SnsTopic;
