//! Flow control: how fast this node may write so that the whole cluster keeps up (van Renesse et al. 2008, section 4).
//!
//! Each participant has a rate that it wants and a most that it may. *Sharing* in every exchange moves permission from
//! those who do not use it to those who would; *local adaptation* (additive increase, multiplicative decrease) fits the sum of
//! all to what messages can carry.

/// The constants of local adaptation. The shape is the paper's; the numbers were fitted to its Fig. 3.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowConfig {
    /// The permitted rate is multiplied by this after `overflows` messages in a row that could not hold all they should.
    /// Default 0.75.
    pub decrease: f64,
    /// See `decrease`. Default 3.
    pub overflows: u32,
    /// This much is added to the permitted rate after `fits` messages in a row that held all. In units per second;
    /// the unit is the byte in a node and an update in the paper's experiments (0.2 there). Default 16,384.
    pub increase: f64,
    /// See `increase`. Default 10.
    pub fits: u32,
    /// The permitted rate at the start, in units per second. Default 1 MiB/s.
    pub initial: f64,
    /// The permitted rate never falls below this, so that a node can always say something. Default 1 KiB/s.
    pub min: f64,
    /// Nor rises above this, which also bounds what a false number from elsewhere can do. Default 64 MiB/s.
    pub max: f64,
}

impl Default for FlowConfig {
    fn default() -> Self {
        FlowConfig {
            decrease: 0.75,
            overflows: 3,
            increase: 16_384.0,
            fits: 10,
            initial: 1_048_576.0,
            min: 1_024.0,
            max: 67_108_864.0,
        }
    }
}

/// One participant's flow control.
#[derive(Clone, Debug)]
pub struct Flow {
    config: FlowConfig,
    permitted: f64,
    overflows: u32,
    fits: u32,
}

/// What two participants' permitted rates become when they meet: their sum stays the same.
///
/// If what both want fits into what both may, each gets what it wants and half of what is left over. Otherwise both get
/// the average, except that one who wants less than that gets just what it wants and the other the rest.
///
/// ```
/// use grapevine::flow::share;
///
/// assert_eq!(share((1.0, 4.0), (2.0, 2.0)), (2.5, 3.5), "both have what they want, and half of the spare 3");
/// assert_eq!(share((9.0, 2.0), (9.0, 4.0)), (3.0, 3.0), "both want more than there is");
/// assert_eq!(share((1.0, 2.0), (9.0, 4.0)), (1.0, 5.0), "one is content with less than the average");
/// ```
pub fn share((wanted_p, permitted_p): (f64, f64), (wanted_q, permitted_q): (f64, f64)) -> (f64, f64) {
    let sum = permitted_p + permitted_q;
    let wanted = wanted_p + wanted_q;
    if wanted <= sum {
        let spare = (sum - wanted) / 2.0;
        return (wanted_p + spare, wanted_q + spare);
    }
    let average = sum / 2.0;
    if wanted_p < average {
        (wanted_p, sum - wanted_p)
    } else if wanted_q < average {
        (sum - wanted_q, wanted_q)
    } else {
        (average, average)
    }
}

impl Flow {
    /// Flow control with the given constants.
    pub fn new(config: FlowConfig) -> Self {
        Flow { permitted: config.initial, config, overflows: 0, fits: 0 }
    }

    /// At most so many units per second may be written.
    pub fn permitted(&self) -> f64 {
        self.permitted
    }

    /// A message of an ordinary exchange was made, and held all that it should or not.
    pub fn message(&mut self, overflowed: bool) {
        if overflowed {
            self.fits = 0;
            self.overflows += 1;
            if self.overflows >= self.config.overflows {
                self.overflows = 0;
                self.set(self.permitted * self.config.decrease);
            }
        } else {
            self.overflows = 0;
            self.fits += 1;
            if self.fits >= self.config.fits {
                self.fits = 0;
                self.set(self.permitted + self.config.increase);
            }
        }
    }

    /// Shares with a partner who told its rates. Returns what to add to the partner's permitted rate.
    ///
    /// What one gives the other takes, and neither changes to less than half or more than twice what it was: a false number
    /// moves both by a bounded amount and does not replace what was learnt before.
    pub fn share(&mut self, wanted: f64, partner_wanted: f64, partner_permitted: f64) -> f64 {
        let theirs = (self.clamp(partner_wanted), self.clamp(partner_permitted).max(self.config.min));
        let (_, theirs_after) = share((self.clamp(wanted), self.permitted), theirs);
        let give = bounded(theirs.1, theirs_after - theirs.1);
        let take = bounded(self.permitted, -give);
        self.set(self.permitted + take);
        -take
    }

    /// The partner shared, and this is what it adds here.
    pub fn shared(&mut self, change: f64) {
        if change.is_finite() {
            self.set(self.permitted + bounded(self.permitted, change));
        }
    }

    fn set(&mut self, permitted: f64) {
        self.permitted = self.clamp(permitted).max(self.config.min);
    }

    fn clamp(&self, rate: f64) -> f64 {
        if rate.is_finite() { rate.clamp(0.0, self.config.max) } else { 0.0 }
    }
}

/// `change`, or what of it neither halves nor doubles `permitted` at once.
fn bounded(permitted: f64, change: f64) -> f64 {
    change.clamp(-permitted / 2.0, permitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharing_keeps_the_sum() {
        let mut dice = fastrand::Rng::with_seed(1);
        for _ in 0..1_000 {
            let mut rate = || dice.f64() * 100.0;
            let (p, q) = ((rate(), rate()), (rate(), rate()));
            let (after_p, after_q) = share(p, q);
            assert!((after_p + after_q - p.1 - q.1).abs() < 1e-9);
            assert!(after_p >= 0.0 && after_q >= 0.0);
        }
    }

    /// What the answerer gives up the asker takes in full.
    #[test]
    fn an_exchange_keeps_the_sum() {
        let config = |initial| FlowConfig { initial, ..FlowConfig::default() };
        let mut dice = fastrand::Rng::with_seed(2);
        for _ in 0..1_000 {
            let mut rate = || 2_048.0 * 10f64.powf(dice.f64() * 4.0);
            let (mut asker, mut answerer) = (Flow::new(config(rate())), Flow::new(config(rate())));
            let before = asker.permitted() + answerer.permitted();
            asker.shared(answerer.share(rate(), rate(), asker.permitted()));
            let after = asker.permitted() + answerer.permitted();
            assert!((after / before - 1.0).abs() < 1e-9, "{before} became {after}");
        }
    }

    #[test]
    fn adapts_after_three_overflows_and_ten_fits() {
        let mut flow = Flow::new(FlowConfig { initial: 1000.0, increase: 10.0, min: 1.0, ..FlowConfig::default() });
        flow.message(true);
        flow.message(true);
        flow.message(false);
        assert_eq!(flow.permitted(), 1000.0, "not in a row");
        for _ in 0..3 {
            flow.message(true);
        }
        assert_eq!(flow.permitted(), 750.0);
        for _ in 0..10 {
            flow.message(false);
        }
        assert_eq!(flow.permitted(), 760.0);
    }

    #[test]
    fn one_bad_number_does_not_spread() {
        let mut flow = Flow::new(FlowConfig::default());
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
            flow.share(0.0, bad, bad);
            flow.shared(bad);
            assert!(flow.permitted() >= 1_024.0 && flow.permitted() <= 67_108_864.0, "{bad}");
        }
    }
}
