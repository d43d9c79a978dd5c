//! Where a request stands in the trace of its sender: `traceparent` of W3C Trace Context. Pure.

/// What a request says of the trace that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Parent {
    /// The trace; not 0.
    pub trace: u128,
    /// The sender's span; not 0.
    pub span: u64,
    /// Whether the sender keeps the trace.
    pub sampled: bool,
}

/// Bytes of `traceparent` in version 00.
const BYTES: usize = 55;

impl Parent {
    /// What the lines of `traceparent` say; nothing, where there are none or two, or one that is
    /// not as it should be.
    pub(super) fn read<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> Option<Parent> {
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let (known, rest) = line.split_at_checked(BYTES)?;
        let [version, trace, span, flags] =
            [&known[..2], &known[3..35], &known[36..52], &known[53..]];
        if [2, 35, 52].iter().any(|at| known[*at] != b'-') {
            return None;
        }
        // Versions to come may say more, behind a dash.
        let may_go_on = match number(version)? {
            0x00 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let (trace, span, flags) = (number(trace)?, number(span)?, number(flags)?);
        let span = u64::try_from(span).ok()?;
        (may_go_on && trace != 0 && span != 0).then_some(Parent {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }
}

/// A number of digits to the base of 16, small letters alone.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOUND: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(line: &str) -> Option<Parent> {
        Parent::read([line.as_bytes()].into_iter())
    }

    #[test]
    fn a_parent_is_read_from_one_sound_line() {
        let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        let parent = Parent { trace, span: 0x00f0_67aa_0ba9_02b7, sampled: true };
        assert_eq!(read(SOUND), Some(parent));
        let unsampled = SOUND.replace("-01", "-00");
        assert_eq!(read(&unsampled), Some(Parent { sampled: false, ..parent }));
        // Other flags and later versions say nothing against it.
        assert_eq!(read(&SOUND.replace("-01", "-ff")), Some(parent));
        for later in ["cc-", "01-"] {
            let later = SOUND.replacen("00-", later, 1);
            assert_eq!(read(&later), Some(parent), "{later}");
            assert_eq!(read(&format!("{later}-more")), Some(parent), "{later}");
            assert_eq!(read(&format!("{later}.more")), None, "{later}");
        }
    }

    #[test]
    fn what_is_no_parent_is_none() {
        for bad in [
            "",
            "00",
            &SOUND[..54],
            &format!("{SOUND}0"),
            &format!("{SOUND}-more"),
            &SOUND.to_uppercase(),
            &SOUND.replace('-', "_"),
            &SOUND.replacen("00-", "ff-", 1),
            &SOUND.replacen("00-", "0x-", 1),
            &SOUND.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &SOUND.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &SOUND.replace("-01", "-0g"),
            &format!(" {}", &SOUND[..54]),
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let twice = [SOUND.as_bytes(); 2];
        assert_eq!(Parent::read(twice.into_iter()), None);
        assert_eq!(Parent::read([].into_iter()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(line: Vec<u8>) {
            let _ = Parent::read([&line[..]].into_iter());
        }

        #[test]
        fn what_is_written_is_read(trace in 1u128.., span in 1u64.., flags: u8) {
            let line = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
            let parent = Parent { trace, span, sampled: flags & 1 == 1 };
            prop_assert_eq!(read(&line), Some(parent));
        }
    }
}
