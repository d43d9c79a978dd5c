//! The generator against fakes that frame as the peers do which bring a protocol of their own.

// This binary uses a part of the fake.
#[allow(dead_code)]
mod fake;

use std::io::Write;
use std::net::TcpStream;

use cpi_hub_perf::client::Server;
use cpi_hub_perf::dialect::Dialect;
use cpi_hub_perf::figures::Figures;
use cpi_hub_perf::scenario::{self, Target};
use fake::{accept, frame, read_frame};

/// Runs one publisher, alone in its space, against what `serve` does with its connection.
fn run(dialect: Dialect, serve: fn(TcpStream) -> Option<()>) -> Figures {
    let text = "kind = \"fanout\"\nmembers = 1\nin_flight = 3\nwarmup = 0.02\nseconds = 0.1\n";
    let scenario = scenario::read("test", text, &["settle=0.5".into()]).expect("good");
    let server = Server { address: accept(serve), dialect };
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
