//! The upper tail of the standard normal distribution, as a logarithm, and its inverse.
//!
//! φ = −log10 Q(z), with Q(z) = P(X > z). The obvious 1 − F(z) loses all its digits at φ ≈ 15.95 (z ≈ 8.3), where F
//! rounds to 1; a fixed series for erfc underflows at z ≈ 38. The logarithm itself does neither.

use std::f64::consts::{LN_10, PI};

/// Above this the continued fraction is used, below it the power series. At 3 both are good to 13 digits: the series
/// has lost a factor 1/Q(3) = 741 to cancellation, and the fraction has converged after about 40 terms.
const CROSSOVER: f64 = 3.0;

/// Terms of the continued fraction: at z = 3 the truncation error is 2e-15, and it falls with z.
const FRACTION_TERMS: u32 = 50;

/// φ of a point `z` standard deviations above the mean: −log10 P(X > z). Finite for every |z| up to 1e150.
pub(super) fn phi_of(z: f64) -> f64 {
    -ln_upper_tail(z) / LN_10
}

/// The z at which φ reaches `phi`, so that the equivalent time-out of a normal detector is μ + z·σ.
///
/// Newton's method: −ln Q is increasing and convex, and Q(z) ≤ exp(−z²/2), so that the start lies above the root and
/// the iteration comes down to it without overshooting: 4 to 8 steps for φ from 0.5 to 100.
pub(super) fn z_of(phi: f64) -> f64 {
    let target = phi * LN_10;
    let mut z = (2.0 * target).sqrt();
    for _ in 0..100 {
        let ln_tail = ln_upper_tail(z);
        let ln_density = -0.5 * z * z - 0.5 * libm::log(2.0 * PI);
        let step = (-ln_tail - target) / libm::exp(ln_density - ln_tail);
        z -= step;
        if step.abs() <= 1e-14 * z.abs().max(1.0) {
            break;
        }
    }
    z
}

/// ln P(X > z) for a standard normal X.
pub(super) fn ln_upper_tail(z: f64) -> f64 {
    if z > CROSSOVER {
        -0.5 * z * z - 0.5 * libm::log(2.0 * PI) - libm::log(inverse_mills_ratio(z))
    } else if z >= 0.0 {
        libm::log(0.5 - central_area(z))
    } else if z >= -CROSSOVER {
        libm::log1p(-(0.5 - central_area(-z)))
    } else {
        libm::log1p(-libm::exp(ln_upper_tail(-z)))
    }
}

/// density(z) / Q(z) = z + 1/(z + 2/(z + 3/(z + …))), for z above [`CROSSOVER`] (Laplace's fraction).
fn inverse_mills_ratio(z: f64) -> f64 {
    (1..=FRACTION_TERMS).rev().fold(z, |tail, k| z + f64::from(k) / tail)
}

/// P(0 < X < z) for 0 ≤ z ≤ [`CROSSOVER`]: density(z) · (z + z³/3 + z⁵/15 + …). All terms are positive, so nothing
/// cancels; at z = 3 the series ends after 45 terms.
fn central_area(z: f64) -> f64 {
    let mut term = z;
    let mut sum = z;
    let mut odd = 1.0;
    while term > sum * 1e-17 {
        odd += 2.0;
        term *= z * z / odd;
        sum += term;
    }
    sum * libm::exp(-0.5 * z * z) / (2.0 * PI).sqrt()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::LN_2;

    use super::*;

    #[test]
    fn upper_tail_is_accurate_from_minus_ten_to_a_million() {
        // From mpmath with 60 digits.
        let exact = [
            (-10.0, -7.61985302416053e-24),
            (-5.0, -2.86651612963764e-07),
            (-3.5, -0.000232656141376805),
            (-3.0, -0.00135080996474819),
            (-1.0, -0.17275377902345),
            (-0.1, -0.616505010115026),
            (0.0, -LN_2),
            (0.1, -0.776154592730273),
            (0.5, -1.17591176159362),
            (1.0, -1.84102164500926),
            (2.0, -3.78318433368203),
            (2.9, -6.28405823494742),
            (2.999_999, -6.60772293841216),
            (3.0, -6.60772622151035),
            (3.000_001, -6.60772950460947),
            (3.1, -6.94068845842123),
            (5.0, -15.0649983939887),
            (8.0, -35.0134371599146),
            (10.0, -53.2312851505125),
            (37.6, -711.426648670776),
            (40.0, -804.608442013754),
            (100.0, -5005.52420869421),
            (1e3, -500_007.826_694_812),
            (1e4, -50_000_010.129_279),
            (1e6, -500_000_000_014.734),
        ];
        for (z, expected) in exact {
            let error = ln_upper_tail(z) / expected - 1.0;
            assert!(error.abs() < 1e-12, "z {z}: off by {error:e}");
        }
    }

    #[test]
    fn z_matches_the_table() {
        // Of the standard normal distribution's upper tail: 1.282 at 10 %, 2.326 at 1 %, …
        let table = [
            (1.0, 1.282),
            (2.0, 2.326),
            (3.0, 3.090),
            (4.0, 3.719),
            (5.0, 4.265),
            (6.0, 4.753),
            (7.0, 5.199),
            (8.0, 5.612),
            (10.0, 6.361),
            (12.0, 7.034),
            (16.0, 8.222),
        ];
        for (phi, z) in table {
            assert!((z_of(phi) - z).abs() < 6e-4, "phi {phi}: {}", z_of(phi));
        }
    }

    #[test]
    fn z_inverts_phi() {
        for step in 1..10_000 {
            let phi = f64::from(step) * 0.01;
            let error = phi_of(z_of(phi)) / phi - 1.0;
            assert!(error.abs() < 1e-12, "phi {phi}: off by {error:e}");
        }
    }
}
