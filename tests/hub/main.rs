//! One hub as its clients and operators meet it: black-box tests of the real binary on its embedded
//! database. Nothing is broken here but what clients send; `tests/faults` takes things away.

mod answers;
mod auth;
mod backup;
mod care;
mod commands;
mod connections;
mod contract;
mod crowd;
mod deflate;
mod doors;
mod echo;
mod events;
mod http;
mod input;
mod letters;
mod lingering;
mod lobby;
mod logs;
mod members;
mod memory;
mod metrics;
mod names;
mod observe;
mod operator;
mod order;
mod pages;
mod private;
mod request_ids;
mod resume;
mod search;
mod service;
mod signals;
mod sockets;
#[path = "../support/mod.rs"]
mod support;
mod telemetry;
mod tls;
mod tools;
mod ways;
