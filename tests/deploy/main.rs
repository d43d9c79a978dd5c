//! What `deploy/` offers, each part by the program that it is for: proxies in front of a real hub,
//! the units by systemd's own reader, images and charts by their linters.
//!
//! A program that the machine does not have shows as an ignored test; `scripts/test` installs it.

use std::process::ExitCode;

use support::trials::{self, Named, named};

mod chart;
mod front;
mod images;
mod proxies;
#[path = "../support/mod.rs"]
mod support;
mod tools;
mod units;

const TESTS: &[Named] = &named![
    units::the_unit_of_systemd_leaves_the_hub_little_to_reach,
    units::systemd_reads_the_units_without_a_complaint,
    images::a_linter_of_images_finds_nothing,
    images::the_image_holds_the_hub_alone_and_runs_it_as_nobody,
    images::what_is_sent_to_the_build_is_enough_for_it,
    images::without_a_key_the_image_serves_nobody_and_says_why,
    images::the_composition_gives_the_hub_what_it_needs,
    images::the_health_check_tells_a_hub_that_serves_from_one_that_does_not,
    images::shells_find_nothing_in_the_scripts,
    chart::the_chart_is_read_without_a_complaint,
    chart::kubernetes_takes_what_the_chart_makes,
    chart::the_chart_fits_the_hub,
    chart::the_probes_ask_what_the_hub_answers,
    chart::values_that_can_not_work_are_refused_with_their_name,
    proxies::nginx_lets_people_through_and_says_who_they_are,
    proxies::haproxy_lets_people_through_and_says_who_they_are,
    proxies::caddy_lets_people_through_and_says_who_they_are,
    proxies::nginx_cuts_no_quiet_socket_that_the_hub_pings,
    proxies::haproxy_cuts_no_quiet_socket_that_the_hub_pings,
    proxies::caddy_cuts_no_quiet_socket_that_the_hub_pings,
    proxies::nginx_refuses_nobody_while_a_hub_with_an_inherited_socket_restarts,
    proxies::haproxy_refuses_nobody_while_a_hub_with_an_inherited_socket_restarts,
    proxies::caddy_refuses_nobody_while_a_hub_with_an_inherited_socket_restarts,
    proxies::caddy_has_people_wait_while_nobody_listens,
];

fn main() -> ExitCode {
    trials::run(TESTS, 2)
}
