//! Names, labels, annotations and times.

use serde::{Deserialize, Deserializer, de};

use super::text::{null_as_empty, with_text};

/// The part of `metadata` that the model needs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The name.
    pub name: Box<str>,
    /// The namespace, empty where none is given.
    #[serde(default)]
    pub namespace: Box<str>,
    /// The labels that mean something to a Service proxy.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub labels: Labels,
    /// The annotations that mean something to a Service proxy.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub annotations: Annotations,
    /// When the object was made.
    #[serde(default)]
    pub creation_timestamp: Option<Timestamp>,
    /// When its deletion was asked for. An object that finalizers keep is told with it until it is gone.
    #[serde(default)]
    pub deletion_timestamp: Option<Timestamp>,
}

/// The labels that mean something to a Service proxy; all others are dropped.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Labels {
    /// On a slice: the Service, in the slice's namespace, whose endpoints it holds.
    #[serde(default, rename = "kubernetes.io/service-name")]
    pub service_name: Option<Box<str>>,
    /// On a Service: another proxy serves it (KEP-2447).
    #[serde(default, rename = "service.kubernetes.io/service-proxy-name")]
    pub service_proxy_name: Option<Box<str>>,
    /// On a slice, whatever the value: its Service has no cluster address to serve.
    #[serde(default, rename = "service.kubernetes.io/headless")]
    pub headless: Option<Box<str>>,
}

/// The annotations that mean something to a Service proxy; all others are dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Annotations {
    /// On a slice: when what led to its last change happened (a pod became ready, a Service was made). Text that is no
    /// time counts as none, as with kube-proxy.
    #[serde(
        default,
        rename = "endpoints.kubernetes.io/last-change-trigger-time",
        deserialize_with = "time_or_none"
    )]
    pub last_change_trigger_time: Option<TriggerTime>,
}

/// When a change of endpoints was set off, by the clock of the control plane: nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TriggerTime(pub i64);

impl TriggerTime {
    /// Reads RFC 3339 with up to nine digits of a fraction. `None` where the text is something else, or a time that 64 bits
    /// do not hold (before 1678, after 2261).
    pub fn parse(text: &str) -> Option<Self> {
        let seconds = Timestamp::parse(text)?.0.checked_mul(1_000_000_000)?;
        let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).take(9);
        let (nanos, _) = digits.fold((0, 100_000_000), |(nanos, unit), digit| {
            (nanos + i64::from(digit - b'0') * unit, unit / 10)
        });
        seconds.checked_add(nanos).map(Self)
    }
}

fn time_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TriggerTime>, D::Error> {
    with_text(from, TriggerTime::parse)
}

/// A point in time: seconds since 1970-01-01T00:00:00Z. Kubernetes keeps the age of objects to the second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Reads RFC 3339; a fraction of a second is dropped. `None` where the text is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.split_once(['T', 't'])?;
        let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let zone = time.find(['Z', 'z', '+', '-'])?;
        let (clock, zone) = time.split_at_checked(zone)?;
        let mut clock = clock.split('.').next()?.splitn(3, ':').map(|part| part.parse::<i64>().ok());
        let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
        let in_range = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..=60).contains(&second);
        let offset = match zone {
            "Z" | "z" => 0,
            zone => {
                let (hours, minutes) = zone.get(1..)?.split_once(':')?;
                let east = hours.parse::<i64>().ok()? * 3_600 + minutes.parse::<i64>().ok()? * 60;
                if zone.starts_with('-') { -east } else { east }
            }
        };
        in_range.then(|| {
            Self(days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset)
        })
    }
}

/// Days of the Gregorian calendar. A year counts from March, so that its leap day is its last; 400 years are 146,097 days.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        with_text(from, |text| {
            Self::parse(text).ok_or_else(|| de::Error::custom(format!("{text:?} is not a time of RFC 3339")))
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_second_whatever_their_zone() {
        let seconds = |text| Timestamp::parse(text).map(|time| time.0);
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T12:00:00Z"), Some(951_825_600));
        assert_eq!(seconds("2026-11-21T13:51:04Z"), Some(1_795_269_064));
        assert_eq!(seconds("2026-11-21T14:51:04.25+01:00"), Some(1_795_269_064));
        assert_eq!(seconds("2026-11-21T08:21:04-05:30"), Some(1_795_269_064));
    }

    #[test]
    fn a_trigger_time_keeps_its_fraction() {
        let nanos = |text| TriggerTime::parse(text).map(|time| time.0);
        assert_eq!(nanos("1970-01-01T00:00:01Z"), Some(1_000_000_000));
        assert_eq!(nanos("1970-01-01T00:00:01.5Z"), Some(1_500_000_000));
        assert_eq!(nanos("1970-01-01T01:00:00.000000001+01:00"), Some(1));
        assert_eq!(nanos("1970-01-01T00:00:00.1234567899Z"), Some(123_456_789));
        assert_eq!(nanos("2500-01-01T00:00:00Z"), None);
    }

    #[test]
    fn an_annotation_that_is_no_time_counts_as_none() {
        let annotations = |time: &str| -> Annotations {
            let json =
                format!(r#"{{"endpoints.kubernetes.io/last-change-trigger-time": "{time}", "other": "x"}}"#);
            serde_json::from_str(&json).unwrap()
        };
        assert_eq!(annotations("soon").last_change_trigger_time, None);
        let told = annotations("1970-01-01T00:00:02Z").last_change_trigger_time;
        assert_eq!(told, Some(TriggerTime(2_000_000_000)));
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "2026-11-21T25:00:00Z",
            "2026-11-21T10:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
