//! Times as people read them.

/// `0.01234` seconds as `12.3 ms`, `4000` as `1 h 6 min`. NaN counts as no time.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let whole = seconds.round() as u64;
    // The thresholds are where rounding would reach the next unit.
    match whole {
        _ if seconds == 0.0 => "0 s".to_owned(),
        _ if seconds < 999.5e-6 => format!("{:.0} µs", seconds * 1e6),
        _ if seconds < 0.99995 => format!("{:.1} ms", seconds * 1e3),
        _ if seconds < 59.95 => format!("{seconds:.1} s"),
        0..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn times_are_in_the_unit_that_people_would_use() {
        for (seconds, want) in [
            (f64::NAN, "0 s"),
            (-1.0, "0 s"),
            (0.000_12, "120 µs"),
            (0.012_34, "12.3 ms"),
            (0.999_96, "1.0 s"),
            (5.14, "5.1 s"),
            (59.96, "1 min 0 s"),
            (144.4, "2 min 24 s"),
            (4000.0, "1 h 6 min"),
            (200_000.0, "2 d 7 h"),
        ] {
            assert_eq!(duration(seconds), want, "{seconds}");
        }
    }
}
