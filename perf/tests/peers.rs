//! The generator against fakes that frame as the peers do which bring a protocol of their own.

// This binary uses a part of the fake.
#[allow(dead_code)]
mod fake;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;

use cpi_hub_perf::client::connection::Server;
use cpi_hub_perf::client::dialect::Dialect;
use cpi_hub_perf::measure::figures::Figures;
use cpi_hub_perf::scenario::{self, Target};
use fake::{accept, frame, read_frame};
use serde_json::Value;

/// Runs one publisher, alone in its space, against what `serve` does with its connection.
fn run(dialect: Dialect, serve: fn(TcpStream) -> Option<()>) -> Figures {
    run_space(dialect, 1, 1, serve)
}

/// Runs a space of `members`, of whom `publishers` publish.
fn run_space(
    dialect: Dialect,
    members: usize,
    publishers: usize,
    serve: fn(TcpStream) -> Option<()>,
) -> Figures {
    let text = "kind = \"fanout\"\nin_flight = 3\nwarmup = 0.02\nseconds = 0.1\nsettle = 0.5\n";
    let settings = [format!("members={members}"), format!("publishers={publishers}")];
    let scenario = scenario::read("test", text, &settings).expect("good");
    let server = Server { address: accept(serve), tls: None, dialect, signer: None };
    scenario.run(Target { server, pid: None, first_space: 9 }).expect("the fake answers")
}

/// Socket.IO's handshake, and each event sent back in the server's form.
fn socket_io(mut stream: TcpStream) -> Option<()> {
    stream.write_all(&frame(0x81, "0{\"sid\":\"a\",\"pingInterval\":25000}")).ok()?;
    let mut ids = 0;
    loop {
        let (_, payload) = read_frame(&mut stream)?;
        let text = String::from_utf8(payload).ok()?;
        match text.as_str() {
            "40" => stream.write_all(&frame(0x81, "40{\"sid\":\"b\"}")).ok()?,
            "3" => {}
            event => {
                let content = event.strip_prefix("42[\"chat\",{\"type\":\"chat\",\"data\":{")?;
                ids += 1;
                let event = format!("42[\"chat\",{{\"data\":{{\"id\":\"{ids:026}\",{content}");
                // A ping in between: it must be answered and not be taken for a chat.
                stream.write_all(&[frame(0x81, "2"), frame(0x81, &event)].concat()).ok()?;
            }
        }
    }
}

/// NATS: what is published comes back as a message, in frames that are cut anywhere.
fn nats(mut stream: TcpStream) -> Option<()> {
    stream.write_all(&frame(0x82, "INFO {\"server_id\":\"x\"}\r\n")).ok()?;
    let (_, greeting) = read_frame(&mut stream)?;
    let greeting = String::from_utf8(greeting).ok()?;
    assert!(greeting.contains("SUB space.9 1\r\n") && greeting.ends_with("PING\r\n"));
    stream.write_all(&frame(0x82, "PONG\r\n")).ok()?;
    let mut cut = 1;
    loop {
        let (opcode, payload) = read_frame(&mut stream)?;
        let text = String::from_utf8(payload).ok()?;
        assert_eq!(opcode, 2, "{text}");
        let Some((line, rest)) = text.split_once("\r\n") else { continue };
        let Some(bytes) = line.strip_prefix("PUB space.9 ") else { continue };
        let message = format!("PING\r\nMSG space.9 1 {bytes}\r\n{rest}");
        // Also in the middle of a line, and of a frame's head: two frames in one write.
        let (first, second) = message.split_at(cut % message.len());
        cut += 37;
        stream.write_all(&[frame(0x82, first), frame(0x82, second)].concat()).ok()?;
    }
}

/// One connection of the fake below: its output, and whether it owes a pong.
struct Subscriber {
    stream: TcpStream,
    owes_pong: bool,
}

type Channel = Mutex<Vec<Subscriber>>;

/// The Pusher protocol: a signed subscription, then each client event to the others of the
/// channel, in the form that it came in; to its sender as well if `is_echoing`.
fn pusher(mut stream: TcpStream, channel: &Channel, is_echoing: bool) -> Option<()> {
    let established = "{\"event\":\"pusher:connection_established\",\
                       \"data\":\"{\\\"socket_id\\\":\\\"1.2\\\",\\\"activity_timeout\\\":120}\"}";
    stream.write_all(&frame(0x81, established)).ok()?;
    let mut own = None;
    loop {
        let (_, payload) = read_frame(&mut stream)?;
        let text = String::from_utf8(payload).ok()?;
        let message: Value = serde_json::from_str(&text).expect("the generator sends JSON");
        let mut subscribers = channel.lock().expect("no test thread panics");
        match message["event"].as_str().expect("an event") {
            "pusher:subscribe" => {
                assert_eq!(message["data"]["channel"], "private-space-9", "{text}");
                let auth = message["data"]["auth"].as_str().expect("signed");
                assert_eq!((&auth[..5], auth.len()), ("perf:", 5 + 64), "{text}");
                own = Some(subscribers.len());
                // The pong to this must come before any event of the member's.
                stream.write_all(&frame(0x81, "{\"event\":\"pusher:ping\"}")).ok()?;
                stream.write_all(&frame(0x81, SUBSCRIBED)).ok()?;
                subscribers.push(Subscriber { stream: stream.try_clone().ok()?, owes_pong: true });
            }
            "pusher:pong" => subscribers[own?].owes_pong = false,
            "client-chat" if !subscribers[own?].owes_pong => {
                for (number, subscriber) in subscribers.iter_mut().enumerate() {
                    if is_echoing || Some(number) != own {
                        subscriber.stream.write_all(&frame(0x81, &text)).ok()?;
                    }
                }
            }
            other => panic!("{other} out of turn"),
        }
    }
}

const SUBSCRIBED: &str = "{\"event\":\"pusher_internal:subscription_succeeded\",\
                          \"channel\":\"private-space-9\",\"data\":\"{}\"}";

/// Checks a space whose server sends a message to all but its sender.
fn check_pusher(members: usize, publishers: usize, serve: fn(TcpStream) -> Option<()>) {
    let figures = run_space(Dialect::Pusher, members, publishers, serve);
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    let messages = figures.get_count("messages_all");
    assert!(messages > 3 * publishers as u64, "the loop goes round: {}", figures.to_text());
    let deliveries = messages * (members as u64 - 1);
    assert_eq!(figures.get_count("deliveries_all"), deliveries, "{}", figures.to_text());
}

#[test]
fn pusher_is_spoken_and_a_message_is_through_when_another_member_has_it() {
    static CHANNEL: Channel = Channel::new(Vec::new());
    check_pusher(4, 2, |stream| pusher(stream, &CHANNEL, false));
}

#[test]
fn pusher_is_spoken_where_everybody_publishes() {
    static CHANNEL: Channel = Channel::new(Vec::new());
    check_pusher(3, 3, |stream| pusher(stream, &CHANNEL, false));
}

#[test]
fn pusher_is_spoken_where_one_of_two_publishes() {
    static CHANNEL: Channel = Channel::new(Vec::new());
    check_pusher(2, 1, |stream| pusher(stream, &CHANNEL, false));
}

#[test]
fn a_message_back_to_its_sender_is_foreign_where_it_goes_to_others_only() {
    static CHANNEL: Channel = Channel::new(Vec::new());
    let serve: fn(TcpStream) -> Option<()> = |stream| pusher(stream, &CHANNEL, true);
    let figures = run_space(Dialect::Pusher, 3, 2, serve);
    let messages = figures.get_count("messages_all");
    assert!(messages > 6, "{}", figures.to_text());
    assert_eq!(figures.get_count("foreign"), messages, "{}", figures.to_text());
}

#[test]
fn a_space_of_one_is_refused_where_messages_go_to_others_only() {
    let text = "kind = \"fanout\"\nmembers = 1\nin_flight = 1\n";
    let scenario = scenario::read("test", text, &[]).expect("good");
    let server = Server {
        address: ([127, 0, 0, 1], 9).into(),
        tls: None,
        dialect: Dialect::Pusher,
        signer: None,
    };
    let error = scenario.run(Target { server, pid: None, first_space: 1 }).expect_err("refused");
    assert!(error.to_string().contains("two members"), "{error}");
}

/// What a fake Centrifugo refuses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refuses {
    Nothing,
    Subscriptions,
    Publications,
}

/// Centrifugo's JSON protocol: commands and replies a line each, several of them in a frame, and
/// each publication to everybody in the channel.
fn centrifugo(mut stream: TcpStream, channel: &Channel, refuses: Refuses) -> Option<()> {
    let mut own: Option<usize> = None;
    loop {
        let (opcode, payload) = read_frame(&mut stream)?;
        let text = String::from_utf8(payload).ok()?;
        assert_eq!(opcode, 1, "{text}");
        let mut answers = Vec::new();
        let mut subscribers = channel.lock().expect("no test thread panics");
        for line in text.lines() {
            let command: Value = serde_json::from_str(line).expect("the generator sends JSON");
            let (id, subscription) = (&command["id"], &command["subscribe"]);
            let publication = &command["publish"];
            if line == "{}" {
                subscribers[own?].owes_pong = false;
            } else if command["connect"].is_object() {
                answers
                    .push(format!("{{\"id\":{id},\"connect\":{{\"client\":\"a\",\"ping\":25}}}}"));
            } else if refuses == Refuses::Subscriptions {
                answers.push(format!("{{\"id\":{id},\"error\":{{\"code\":103}}}}"));
            } else if subscription.is_object() {
                assert_eq!(subscription["channel"], "space:9", "{line}");
                own = Some(subscribers.len());
                let stream = stream.try_clone().ok()?;
                subscribers.push(Subscriber { stream, owes_pong: true });
                // The pong to the ping behind it must come before any publication of the member's.
                answers.push(format!("{{\"id\":{id},\"subscribe\":{{}}}}\n{{}}"));
            } else if refuses == Refuses::Publications {
                answers.push(format!("{{\"id\":{id},\"error\":{{\"code\":103}}}}"));
            } else {
                assert!(!subscribers[own?].owes_pong, "a publication before the pong");
                assert_eq!(publication["channel"], "space:9", "{line}");
                answers.push(format!("{{\"id\":{id},\"publish\":{{}}}}"));
                let push = format!(
                    "{{\"push\":{{\"channel\":\"space:9\",\"pub\":{{\"data\":{},\
                     \"info\":{{\"user\":\"1\",\"client\":\"a\"}}}}}}}}",
                    publication["data"]
                );
                for (number, subscriber) in subscribers.iter_mut().enumerate() {
                    match Some(number) == own {
                        true => answers.push(push.clone()),
                        false => subscriber.stream.write_all(&frame(0x81, &push)).ok()?,
                    }
                }
            }
        }
        // One frame for all of them, as a server joins what waits.
        if !answers.is_empty() {
            stream.write_all(&frame(0x81, &answers.join("\n"))).ok()?;
        }
    }
}

fn centrifugo_dialect() -> Dialect {
    Dialect::named("centrifugo").expect("a known dialect")
}

#[test]
fn centrifugo_is_spoken_in_frames_of_several_lines() {
    static CHANNEL: Channel = Channel::new(Vec::new());
    let serve: fn(TcpStream) -> Option<()> =
        |stream| centrifugo(stream, &CHANNEL, Refuses::Nothing);
    let figures = run_space(centrifugo_dialect(), 4, 2, serve);
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    let messages = figures.get_count("messages_all");
    assert!(messages > 6, "the loop goes round: {}", figures.to_text());
    assert_eq!(figures.get_count("deliveries_all"), messages * 4, "{}", figures.to_text());
}

#[test]
fn what_centrifugo_refuses_is_an_error_in_its_own_words() {
    static CHANNEL: Channel = Channel::new(Vec::new());
    let serve: fn(TcpStream) -> Option<()> =
        |stream| centrifugo(stream, &CHANNEL, Refuses::Publications);
    let figures = run(centrifugo_dialect(), serve);
    assert_eq!(figures.get_count("errors"), 3, "{}", figures.to_text());
    assert!(figures.to_text().contains("{\"id\":3,\"error\":{\"code\":103}}"));
}

#[test]
fn a_member_whom_centrifugo_keeps_out_has_not_joined() {
    static CHANNEL: Channel = Channel::new(Vec::new());
    let serve: fn(TcpStream) -> Option<()> =
        |stream| centrifugo(stream, &CHANNEL, Refuses::Subscriptions);
    let scenario = "kind = \"churn\"\nmembers = 1\nrate = 20\nstay = 0.01\nwarmup = 0.02\n\
                    seconds = 0.2\nsettle = 0.2\n";
    let scenario = scenario::read("test", scenario, &[]).expect("good");
    let server =
        Server { address: accept(serve), tls: None, dialect: centrifugo_dialect(), signer: None };
    let figures =
        scenario.run(Target { server, pid: None, first_space: 9 }).expect("the fake answers");
    assert_eq!(figures.get_count("joins_all"), 0, "{}", figures.to_text());
    assert!(figures.get_count("members_ended") > 1, "{}", figures.to_text());
}

#[test]
fn socket_io_is_spoken_and_nothing_is_lost() {
    let figures = run(Dialect::SocketIo, socket_io);
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    assert!(figures.get_count("deliveries_all") > 10, "{}", figures.to_text());
}

#[test]
fn nats_is_spoken_in_frames_cut_anywhere() {
    let figures = run(Dialect::Nats, nats);
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    assert!(figures.get_count("deliveries_all") > 10, "{}", figures.to_text());
}
