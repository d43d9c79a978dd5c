//! Counts of the rare things that seeds reached, so that a simulator that misses them shows.

macro_rules! coverage {
    ($($name:ident)*) => {
        /// How often each thing happened.
        #[derive(Clone, PartialEq, Eq, Default, Debug)]
        pub struct Coverage {
            $(pub $name: u64,)*
        }

        impl Coverage {
            pub fn add(&mut self, other: &Coverage) {
                $(self.$name += other.$name;)*
            }

            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

coverage! {
    seeds turns inputs joins chats fed duplicates posts notifications deliveries private_frames
    partial_sends two_slice_sends sends_blocked
    too_slow_evictions write_wait_evictions fallen_evictions pong_timeouts
    kicks junk_closes flood_closes refused_joins
    pauses reads_resumed trims trims_with_laggards
    resumes_from_memory resumes_trimmed resumes_from_store resumes_too_many pages_read pages_refused
    resumes_ahead resumes_of_big_spaces
    presence_counts lobby_counts leaves_in_groups lists_of_two_steps lobby_readers
    durable_acks store_refusals durable_errors journal_refusals append_failures overloads
    fed_resumes_from_memory fed_resumes_from_store fed_trims fed_fallen_evictions fed_pauses
    deflated_readers deflated_resumes deflated_frames
    event_readers event_watchers event_resumes event_pings event_closings
    drains restarts power_cuts chats_cut panics
    by_store struck late_refusals hasty_answers blanks_skipped
    joins_behind_waiting resumes_behind_waiting
    stalls repeats_after_restarts clock_jumps stale_inputs spaces_freed
}
