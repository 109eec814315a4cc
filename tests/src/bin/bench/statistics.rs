//! Medians, percentiles and intervals.

/// The middle of some values; NaN where there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// The value that `percent` of all do not exceed; NaN where there is none. The median of an even number is the mean of
/// the two in the middle, and so for the others.
pub(crate) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = percent / 100.0 * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The interval that holds the median of such values with a confidence of 95 %, by drawing from them with replacement
/// (percentile bootstrap).
pub(crate) fn interval_of_median(values: &[f64]) -> (f64, f64) {
    const DRAWS: usize = 2_000;
    // The same numbers at each run: a report should not differ by the dice.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        values[(state % values.len() as u64) as usize]
    };
    if values.is_empty() {
        return (f64::NAN, f64::NAN);
    }
    let medians: Vec<f64> =
        (0..DRAWS).map(|_| median(&values.iter().map(|_| draw()).collect::<Vec<_>>())).collect();
    (percentile(&medians, 2.5), percentile(&medians, 97.5))
}

/// Each value over the one of the same round.
pub(crate) fn ratios(values: &[f64], to: &[f64]) -> Vec<f64> {
    values.iter().zip(to).map(|(value, to)| value / to).collect()
}

/// Each value less the one of the same round.
pub(crate) fn net(values: &[f64], of: &[f64]) -> Vec<f64> {
    values.iter().zip(of).map(|(value, of)| value - of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_the_neighbours() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(median(&values), 2.5);
        assert_eq!(percentile(&values, 0.0), 1.0);
        assert_eq!(percentile(&values, 100.0), 4.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_interval_holds_the_median_and_lies_within_the_values() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let (low, high) = interval_of_median(&values);
        assert!((1.0..=4.0).contains(&low) && (4.0..=7.0).contains(&high), "{low} to {high}");
        assert_eq!(interval_of_median(&[2.0, 2.0]), (2.0, 2.0));
    }
}
