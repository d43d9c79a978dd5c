//! Which figures are shown of which kind of scenario, and how numbers are written.

/// One figure as tables show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Column {
    pub(super) figure: &'static str,
    pub(super) title: &'static str,
    /// Whether a ratio of it means something, and which side of 1 is better.
    pub(super) better: Better,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Better {
    Lower,
    Higher,
    /// The figure is told, not compared.
    Neither,
}

const fn lower(figure: &'static str, title: &'static str) -> Column {
    Column { figure, title, better: Better::Lower }
}

const fn told(figure: &'static str, title: &'static str) -> Column {
    Column { figure, title, better: Better::Neither }
}

const CPU: Column = lower("hub_cpu_ns_per_delivery", "CPU a delivery, ns");
const P50: Column = lower("p50_ms", "p50, ms");
const P99: Column = lower("p99_ms", "p99, ms");
const RATE: Column = Column {
    figure: "deliveries_per_s",
    title: "deliveries a second (more is better)",
    better: Better::Higher,
};

const FANOUT: [Column; 4] = [CPU, RATE, P50, P99];
const OPEN: [Column; 4] = [CPU, told("hub_cpu_cores", "cores used"), P50, P99];
const STALLED: [Column; 6] = [
    told("p99_without_ms", "p99 without, ms"),
    P99,
    told("p99_ratio", "p99, with over without"),
    told("cpu_ratio", "CPU a delivery, with over without"),
    told("rss_growth_mib", "memory grew, MiB"),
    told("stalled_closed", "stalled that were closed"),
];
const DURABLE: [Column; 4] = [
    told("messages_per_s", "messages a second"),
    lower("accepted_p99_ms", "accepted p99, ms"),
    lower("durable_p50_ms", "durable p50, ms"),
    lower("durable_p99_ms", "durable p99, ms"),
];
const IDLE: [Column; 4] = [
    lower("rss_bytes_per_connection", "memory a connection, bytes"),
    lower("rss_bytes_per_connection_second_half", "of the last step, bytes"),
    lower("hub_cpu_us_per_join", "CPU a join, µs"),
    told("rss_bytes_before", "memory before, bytes"),
];
const CHURN: [Column; 4] = [
    lower("hub_cpu_us_per_join_and_leave", "CPU a join and leave, µs"),
    told("joins_per_s", "joins a second"),
    P50,
    P99,
];
const HERD: [Column; 5] = [
    lower("all_back_s", "all back, s"),
    told("back_99_s", "99 % back, s"),
    lower("hub_cpu_us_per_return", "CPU a return, µs"),
    P50,
    told("refused", "refusals"),
];

const OVERLOAD: [Column; 7] = [
    told("offered_per_s", "offered a second"),
    told("accepted_per_s", "accepted a second"),
    told("deliveries_per_s", "deliveries a second"),
    told("refused_per_s", "refused a second"),
    told("polite_p99_ms", "p99 of those who wait, ms"),
    told("p99_ms", "p99 of all, ms"),
    told("hub_peak_rss_mib", "memory at most, MiB"),
];
const POSTS: [Column; 6] = [
    told("offered_per_s", "offered a second"),
    told("stored_per_s", "stored a second"),
    told("refused_per_s", "refused a second"),
    P50,
    P99,
    told("hub_peak_rss_mib", "memory at most, MiB"),
];
const DRAIN: [Column; 4] = [
    told("ended_after_s", "ended after, s"),
    told("last_close_s", "last close, s"),
    told("accepted", "accepted"),
    told("hub_rss_mib", "memory, MiB"),
];
const RESTART: [Column; 4] = [
    told("arrivals_in", "strangers who came in"),
    told("arrivals_refused", "strangers refused"),
    told("arrival_p99_ms", "their p99, ms"),
    told("members_with_gaps", "members with gaps"),
];

/// All kinds, in the order in which they are shown.
const KINDS: [(&str, &[Column]); 11] = [
    ("fanout", &FANOUT),
    ("open", &OPEN),
    ("stalled", &STALLED),
    ("durable", &DURABLE),
    ("idle", &IDLE),
    ("churn", &CHURN),
    ("herd", &HERD),
    ("overload", &OVERLOAD),
    ("posts", &POSTS),
    ("drain", &DRAIN),
    ("restart", &RESTART),
];

/// A kind's place.
pub(super) fn rank(kind: &str) -> usize {
    KINDS.iter().position(|(known, _)| *known == kind).unwrap_or(KINDS.len())
}

/// A kind's figures; the first is the one that is compared at a glance.
pub(super) fn of(kind: &str) -> &'static [Column] {
    KINDS.iter().find(|(known, _)| *known == kind).map_or(&[], |(_, columns)| columns)
}

/// A number with three digits that count, groups of three apart.
pub(super) fn show(number: f64) -> String {
    let digits = match number.abs() {
        n if n == 0.0 || n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        n if n >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{number:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(w, r)| (w, r));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if !rest.is_empty() {
        grouped.push('.');
        grouped.push_str(rest);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        for (number, text) in [
            (0.0, "0"),
            (0.12345, "0.123"),
            (1.5, "1.50"),
            (45.678, "45.7"),
            (274.4, "274"),
            (3_456_789.0, "3,456,789"),
            (-12_345.0, "-12,345"),
        ] {
            assert_eq!(show(number), text);
        }
    }
}
