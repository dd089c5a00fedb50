//! Results of requests that are sent together.

use crate::error::Result;

/// All results, or the first error in a fixed order. The error that is reported must not depend on which
/// response arrives first, or the same state could produce different saved changesets.
pub trait InOrder {
    /// The results without their errors.
    type Answers;

    /// For the results of `tokio::join!`.
    ///
    /// # Errors
    /// The first in the order of the tuple.
    fn in_order(self) -> Result<Self::Answers>;
}

macro_rules! in_order {
    ($($answer:ident)+) => {
        impl<$($answer),+> InOrder for ($(Result<$answer>,)+) {
            type Answers = ($($answer,)+);

            #[expect(non_snake_case, reason = "named like their types")]
            fn in_order(self) -> Result<Self::Answers> {
                let ($($answer,)+) = self;
                Ok(($($answer?,)+))
            }
        }
    };
}

in_order!(A B);
in_order!(A B C);
in_order!(A B C D E);
in_order!(A B C D E F G H I J);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn first_error_in_order_is_returned() {
        let error = |message: &str| Error::new(ErrorKind::Denied, "test", message);
        let results = (Ok(1), Err::<u8, _>(error("second")), Err::<u8, _>(error("third"))).in_order();
        assert_eq!(results.expect_err("two refusals").message, "second");
        assert_eq!((Ok(1), Ok("two")).in_order().expect("both"), (1, "two"));
    }
}
