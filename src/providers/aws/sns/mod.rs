//! The Simple Notification Service: topics and subscriptions.

mod publish;
mod subscription;
mod topic;

pub use publish::publish;
pub use subscription::SnsSubscription;
pub use topic::SnsTopic;
