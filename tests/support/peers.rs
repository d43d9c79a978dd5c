//! Peers of other addresses, who read and write as slowly as they like, and what the hub's process
//! holds of memory meanwhile.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use super::{Answer, Hub, PATIENCE};

/// A connection to the hub from `127.0.0.last`, which counts as an address of its own where
/// addresses have shares; its window is as small as the system lets it be if it is `slow`.
pub fn connect_from(hub: &Hub, last: u8, slow: bool) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    if slow {
        socket.set_recv_buffer_size(1).expect("an option");
    }
    let own = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
    socket.bind(&own.into()).expect("the loopback has many addresses");
    socket.connect(&hub.address.into()).expect("the hub listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// Asks for a path from `127.0.0.last`.
pub fn get_from(hub: &Hub, last: u8, path: &str) -> Answer {
    let mut stream = connect_from(hub, last, false);
    stream.write_all(get(path).as_bytes()).expect("the hub reads");
    Answer::read(&mut stream)
}

/// Posts a chat of a user's from `127.0.0.last`.
pub fn post_from(hub: &Hub, last: u8, body: &str) -> Answer {
    let mut stream = connect_from(hub, last, false);
    // A refused body may be answered before it is read to its end.
    _ = stream.write_all(format!("{}{body}", post_head(body.len())).as_bytes());
    Answer::read(&mut stream)
}

/// A request for a path, the last of its connection.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// The head of a chat post to space 1.
pub fn post_head(bytes: usize) -> String {
    format!(
        "POST /v1/ws/spaces/1/chat HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {bytes}\r\n\r\n"
    )
}

/// A line of the kernel's on the hub's memory, such as `VmHWM` (the most that it ever held), in
/// bytes.
pub fn memory(hub: &Hub, line: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", hub.pid()));
    let status = status.expect("the hub runs");
    let found = status.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(':'));
    let kib = found.and_then(|it| it.trim().strip_suffix(" kB"));
    kib.expect("a line of the kernel's").trim().parse::<usize>().expect("a number") << 10
}

/// Forgets the most that it ever held.
pub fn forget_peak(hub: &Hub) {
    std::fs::write(format!("/proc/{}/clear_refs", hub.pid()), "5").expect("our own process");
}
