//! How many connections there are place for, and how many of them may be members.

use super::MEMBERS_ROOM_MAX;

/// The most that HTTP keeps for itself of the places, and what it has where there are that many.
const HTTP_PLACES: std::ops::RangeInclusive<usize> = 32..=1_024;

/// How many places there are where `members_max` members may be.
pub fn places_for(members_max: usize) -> usize {
    let few = HTTP_PLACES.start().min(&members_max);
    members_max + (members_max / 8).clamp(*few, *HTTP_PLACES.end())
}

/// How many of `members_max` members each shard has room for from its start.
pub fn room_for(members_max: usize) -> usize {
    members_max.min(MEMBERS_ROOM_MAX)
}

/// How many members may be where there are `places` places; at least one.
pub fn members_of(places: usize) -> usize {
    let (few, many) = (*HTTP_PLACES.start(), *HTTP_PLACES.end());
    let most = (places / 9 * 8).min(places.saturating_sub(few));
    most.max(places.saturating_sub(many)).max(places / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_leave_a_part_of_the_places_to_http() {
        for (places, members) in [
            (1, 1),
            (2, 1),
            (16, 8),
            (64, 32),
            (100, 68),
            (768, 680),
            (9_216, 8_192),
            (19_744, 18_720),
            (1_001_024, 1_000_000),
        ] {
            assert_eq!(members_of(places), members, "{places}");
            let all = places_for(members);
            assert!(all <= places.max(2) && places <= all + 8, "{places}: {all}");
        }
    }
}
