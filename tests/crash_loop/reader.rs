//! A reader of events: comes back after each end of its stream as an `EventSource` does, with the
//! id of the last event that it had. And a member that takes what is said compressed.

use serde_json::Value;

use super::book::{Receiver, id};
use super::link;
use super::load::Shared;
use super::talker::{READ_WAIT, after};
use crate::support::deflated::{Came as Said, Deflated};
use crate::support::events::{Came, Events, ask};

/// Reads a space's events until it is told to stop.
pub fn read_events(shared: &Shared, space: i32) -> Receiver {
    let mut receiver = Receiver::new(space);
    let mut last_id = String::new();
    while !shared.is_stopped() {
        let read = shared.connected(|address| {
            let header = format!("Last-Event-ID: {last_id}\r\n");
            let header = if last_id.is_empty() { "" } else { &header };
            let mut events = open(address, space, header)?;
            receiver.connect();
            let began_away = shared.is_store_away();
            events.set_patience(READ_WAIT);
            while !shared.is_stopped() {
                let (name, message) = match events.came() {
                    Came::Event(name, message) => (name, message),
                    Came::Comment(_) | Came::Nothing => continue,
                    Came::End => return None,
                };
                last_id.clone_from(&events.last_id);
                match name.as_str() {
                    "chat" => {
                        assert_eq!(message["data"]["id"], *last_id);
                        receiver.receive(id(&last_id));
                        shared.count(|counts| &counts.received);
                    }
                    "resumed" => {
                        let complete = message["data"]["complete"] == true;
                        receiver.resumed(complete);
                        shared.note_resume(complete, began_away);
                        assert_eq!(message["data"]["to"], *last_id);
                    }
                    _ => {}
                }
            }
            Some(())
        });
        if read.is_none() && !shared.is_stopped() {
            shared.pause();
        }
    }
    receiver
}

/// A stream, if the hub is there to answer with one.
fn open(address: std::net::SocketAddr, space: i32, header: &str) -> Option<Events> {
    use std::io::Write;
    let mut stream = link::connect(address)?;
    let path = format!("/v1/spaces/{space}/events?user_id=98&username=Eva");
    stream.write_all(ask(&path, header).as_bytes()).ok()?;
    Events::answered(stream)?.ok()
}

/// Takes what a space says compressed, until it is told to stop.
pub fn read_deflated(shared: &Shared, space: i32) -> Receiver {
    let (mut receiver, mut deflated) = (Receiver::new(space), 0);
    while !shared.is_stopped() {
        let path = format!("/v1/ws/spaces/{space}?user_id=97&username=Zoe{}", after(&receiver));
        let read = shared.connected(|address| {
            let lines = "Sec-WebSocket-Protocol: cpi-hub.v1\r\n";
            let mut socket = Deflated::open(link::connect(address)?, &path, lines)?;
            receiver.connect();
            let began_away = shared.is_store_away();
            socket.set_patience(READ_WAIT);
            while !shared.is_stopped() {
                let message: Value = match socket.came() {
                    Said::Text(text) => serde_json::from_str(&text).expect("JSON"),
                    Said::Nothing => continue,
                    _ => return None,
                };
                deflated += socket.take_deflated();
                match message["type"].as_str() {
                    Some("chat") => {
                        receiver.receive(id(message["data"]["id"].as_str().expect("an id")));
                        shared.count(|counts| &counts.received);
                    }
                    Some("resumed") => {
                        let complete = message["data"]["complete"] == true;
                        receiver.resumed(complete);
                        shared.note_resume(complete, began_away);
                    }
                    _ => {}
                }
            }
            Some(())
        });
        if read.is_none() && !shared.is_stopped() {
            shared.pause();
        }
    }
    assert!(deflated > 0, "what is said comes compressed");
    receiver
}
