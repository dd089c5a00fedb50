//! Shamir's secret sharing over GF(2^8), as Vault divides its key.

use crate::secret::Secret;

/// Length of a divided key in bytes; a share has one more, its place on the curve.
pub(super) const KEY_LEN: usize = 32;

/// A share in bytes.
pub(super) type Share = [u8; KEY_LEN + 1];

/// The key behind these shares, of which there are as many as the threshold. Wrong shares give a wrong key.
/// `None` if two of them have the same place, or one has none.
pub(super) fn combine(shares: &[&Share]) -> Option<Secret> {
    let places: Vec<u8> = shares.iter().map(|share| share[KEY_LEN]).collect();
    let is_repeated = |(index, place): (usize, &u8)| *place == 0 || places[..index].contains(place);
    if shares.is_empty() || places.iter().enumerate().any(is_repeated) {
        return None;
    }
    let mut key = vec![0; KEY_LEN];
    for (share, weight) in shares.iter().zip(weights(&places)) {
        for (byte, part) in key.iter_mut().zip(&share[..KEY_LEN]) {
            *byte ^= multiply(*part, weight);
        }
    }
    Some(Secret::new(key))
}

/// The factor of each share in the value at zero (Lagrange).
fn weights(places: &[u8]) -> Vec<u8> {
    let weight = |own: &u8| {
        let others = places.iter().filter(|other| *other != own);
        others.fold(1, |weight, other| multiply(weight, divide(*other, own ^ other)))
    };
    places.iter().map(weight).collect()
}

/// In the field of AES, without a branch on what is secret.
fn multiply(mut one: u8, other: u8) -> u8 {
    let mut product = 0;
    for bit in 0..8 {
        product ^= one & 0_u8.wrapping_sub((other >> bit) & 1);
        one = (one << 1) ^ (0x1b & 0_u8.wrapping_sub(one >> 7));
    }
    product
}

fn divide(one: u8, other: u8) -> u8 {
    // The 254th power is the inverse.
    let inverse = (0..7).fold((1, other), |(power, square), _| {
        let square = multiply(square, square);
        (multiply(power, square), square)
    });
    multiply(one, inverse.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Divides `key` with these coefficients, one list for each degree.
    fn share(place: u8, key: &[u8; KEY_LEN], coefficients: &[[u8; KEY_LEN]]) -> Share {
        let mut share = [place; KEY_LEN + 1];
        for index in 0..KEY_LEN {
            let degrees = coefficients.iter().rev().map(|list| list[index]).chain([key[index]]);
            share[index] = degrees.fold(0, |value, next| multiply(value, place) ^ next);
        }
        share
    }

    #[test]
    fn field_is_that_of_aes() {
        // FIPS 197, 4.2.
        assert_eq!((multiply(0x57, 0x83), multiply(0x57, 0x13)), (0xc1, 0xfe));
        assert!((1..=255).all(|value| multiply(divide(1, value), value) == 1));
    }

    #[test]
    fn any_three_of_five_shares_give_the_key() {
        let key: [u8; KEY_LEN] = std::array::from_fn(|index| u8::try_from(index * 7).expect("small"));
        let coefficients = [[0x3c; KEY_LEN], [0xa7; KEY_LEN]];
        let shares: Vec<Share> = [1, 9, 77, 200, 255].map(|place| share(place, &key, &coefficients)).into();
        for (one, other, third) in [(0, 1, 2), (4, 2, 0), (3, 1, 4)] {
            let found = combine(&[&shares[one], &shares[other], &shares[third]]).expect("a key");
            assert_eq!(found.expose_bytes(), key);
        }
        let two = combine(&[&shares[0], &shares[1]]).expect("some key");
        assert_ne!(two.expose_bytes(), key, "too few");
        assert!(combine(&[&shares[0], &shares[0], &shares[1]]).is_none(), "one of them twice");
        assert!(combine(&[]).is_none());
    }
}
