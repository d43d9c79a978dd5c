//! Users and spaces that the store does not know: refused at the door for a while, so that poison
//! costs its sender a message and nobody else anything.

use std::collections::HashMap;

use crate::limits::ABSENT_MAX;
use crate::wire::reject::Reject;
use crate::wire::time::MonoMs;
use crate::wire::{SpaceId, UserId};

/// Who does not exist, until when that is believed.
#[derive(Default, Debug)]
pub(super) struct Absent {
    users: HashMap<UserId, MonoMs>,
    spaces: HashMap<SpaceId, MonoMs>,
}

impl Absent {
    /// There is no such user.
    pub(super) fn no_user(&mut self, user: UserId, until: MonoMs) {
        if self.users.len() >= ABSENT_MAX {
            self.users.clear();
        }
        self.users.insert(user, until);
    }

    /// There is no such space.
    pub(super) fn no_space(&mut self, space: SpaceId, until: MonoMs) {
        if self.spaces.len() >= ABSENT_MAX {
            self.spaces.clear();
        }
        self.spaces.insert(space, until);
    }

    /// Whether either is known not to exist.
    pub(super) fn check(&self, now: MonoMs, user: UserId, space: SpaceId) -> Result<(), Reject> {
        if self.users.is_empty() && self.spaces.is_empty() {
            return Ok(());
        }
        let holds = |until: Option<&MonoMs>| until.is_some_and(|until| now < *until);
        if holds(self.users.get(&user)) {
            return Err(Reject::UnknownUser);
        }
        if holds(self.spaces.get(&space)) { Err(Reject::UnknownSpace) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_absent_is_refused_for_a_while() {
        let mut absent = Absent::default();
        let check = |absent: &Absent, now| absent.check(MonoMs(now), UserId(1), SpaceId(2));
        assert_eq!(check(&absent, 0), Ok(()));
        absent.no_space(SpaceId(2), MonoMs(10));
        assert_eq!(check(&absent, 9), Err(Reject::UnknownSpace));
        absent.no_user(UserId(1), MonoMs(20));
        assert_eq!(check(&absent, 9), Err(Reject::UnknownUser));
        assert_eq!(check(&absent, 20), Ok(()));
        (0..10_000).for_each(|user| absent.no_user(UserId(user), MonoMs(30)));
        assert!(absent.users.len() <= ABSENT_MAX);
    }
}
