//! The floor that servers are held against gives everybody everything, or its figure would be none.

use std::io::Read;
use std::thread;
use std::time::Duration;

use cpi_hub_perf::client::connection::{self, Server};
use cpi_hub_perf::client::dialect::{Dialect, Seat};
use cpi_hub_perf::client::frames;
use cpi_hub_perf::floor;
use cpi_hub_perf::scenario::{self, Target};

fn start() -> Server {
    let any = "127.0.0.1:0".parse().expect("an address");
    let listener = mio::net::TcpListener::bind(any).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || floor::serve(listener));
    Server { address, tls: None, dialect: Dialect::Bytes, signer: None }
}

#[test]
fn everybody_gets_what_is_said_in_their_space_once_and_in_order() {
    let text = "kind = \"fanout\"\nspaces = 3\nmembers = 7\npublishers = 4\nin_flight = 5\n\
                warmup = 0.02\nseconds = 0.2\nsettle = 2\n";
    let scenario = scenario::read("test", text, &[]).expect("good");
    let target = Target { server: start(), pid: None, first_space: 9 };
    let figures = scenario.run(target).expect("it serves");
    assert_eq!(figures.faults(), []);
    // At least each publisher's first messages came to all seven.
    assert!(figures.get_count("deliveries_all") >= 3 * 4 * 5 * 7, "{}", figures.to_text());
}

#[test]
fn who_reads_late_is_waited_for() {
    const MESSAGES: usize = 400;
    let server = start();
    let late = connection::connect(server, Seat { space: 1, user: 1 }).expect("a member");
    let mut stream = std::net::TcpStream::from(late.stream.into_socket());
    let talker = connection::connect(server, Seat { space: 1, user: 2 }).expect("a member");
    let mut talker = std::net::TcpStream::from(talker.stream.into_socket());
    for socket in [&stream, &talker] {
        socket.set_nonblocking(false).expect("an option");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("an option");
    }
    // More than the kernel takes for somebody who doesn't read.
    let payload = vec![b'x'; 60_000];
    let reading = talker.try_clone().expect("a second handle");
    let drain = thread::spawn(move || std::io::copy(&mut &reading, &mut std::io::sink()));
    let mut frame = Vec::new();
    frames::write(&mut frame, frames::TEXT, &payload, [1, 2, 3, 4]);
    for _ in 0..MESSAGES {
        std::io::Write::write_all(&mut talker, &frame).expect("it takes them");
    }
    let mut came = late.cut;
    let mut messages = 0;
    let mut chunk = vec![0; 1 << 20];
    while messages < MESSAGES {
        let count = stream.read(&mut chunk).expect("more");
        assert!(count > 0, "{messages} came");
        came.extend_from_slice(&chunk[..count]);
        let mut taken = 0;
        while let Some(frame) = frames::first(&came[taken..]).expect("a server's frame") {
            messages += usize::from(frame.payload == payload);
            taken += frame.bytes;
        }
        came.drain(..taken);
    }
    talker.shutdown(std::net::Shutdown::Both).expect("it is open");
    assert!(drain.join().is_ok());
}
