//! A proxy before PostgreSQL that loses commits, in each of the ways in which they can be lost.
//!
//! Bytes pass as they are; only the `COMMIT` behind a writer's rows is looked for. One in three is
//! cut: before the server has it, after its answer, or so that the server gets it only once its
//! successor asks what became of it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::eventually;

/// Ends with the process.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    commits: AtomicUsize,
    cuts: AtomicUsize,
    /// How often positions were asked for.
    asked: AtomicUsize,
}

impl Proxy {
    /// Starts one before a server's socket.
    pub fn start(server: &Path) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let (server, own) = (server.to_owned(), Arc::clone(&shared));
        std::thread::spawn(move || serve(&listener, &server, &own));
        Proxy { address, shared }
    }

    /// How many commits were cut so far.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

fn serve(listener: &TcpListener, server: &PathBuf, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        let Ok(server) = UnixStream::connect(server) else { continue };
        let mute = Arc::new(AtomicBool::new(false));
        let (from, to) = (server.try_clone(), client.try_clone());
        let (from, to, mutes) = (from.expect("a copy"), to.expect("a copy"), Arc::clone(&mute));
        std::thread::spawn(move || answers(from, to, &mutes));
        let shared = Arc::clone(shared);
        std::thread::spawn(move || questions(client, server, &shared, &mute));
    }
}

/// From the server to the client, unless the answer is to be lost.
fn answers(mut server: UnixStream, mut client: TcpStream, mute: &AtomicBool) {
    let mut chunk = vec![0; 1 << 16];
    while let Ok(read @ 1..) = server.read(&mut chunk) {
        if mute.load(Ordering::SeqCst) || client.write_all(&chunk[..read]).is_err() {
            break;
        }
    }
    _ = client.shutdown(Shutdown::Both);
}

/// From the client to the server.
fn questions(mut client: TcpStream, mut server: UnixStream, shared: &Shared, mute: &AtomicBool) {
    let (mut chunk, mut copied) = (vec![0; 1 << 16], false);
    while let Ok(read @ 1..) = client.read(&mut chunk) {
        let bytes = &chunk[..read];
        // What only asks has a transaction too.
        copied |= find(bytes, b"PGCOPY\n");
        if find(bytes, b"INSERT INTO hub_positions") {
            shared.asked.fetch_add(1, Ordering::SeqCst);
        }
        let commit = copied && find(bytes, b"COMMIT\0");
        copied &= !commit;
        let number = if commit { shared.commits.fetch_add(1, Ordering::SeqCst) } else { 0 };
        match number % 9 {
            3 => {
                shared.cuts.fetch_add(1, Ordering::SeqCst);
                break;
            }
            6 => {
                shared.cuts.fetch_add(1, Ordering::SeqCst);
                mute.store(true, Ordering::SeqCst);
            }
            8 => {
                shared.cuts.fetch_add(1, Ordering::SeqCst);
                mute.store(true, Ordering::SeqCst);
                let asked = shared.asked.load(Ordering::SeqCst);
                _ = client.shutdown(Shutdown::Both);
                eventually("positions are asked for", || {
                    (shared.asked.load(Ordering::SeqCst) > asked).then_some(())
                });
            }
            _ => {}
        }
        if server.write_all(bytes).is_err() {
            break;
        }
    }
    _ = server.shutdown(Shutdown::Write);
    _ = client.shutdown(Shutdown::Both);
}

/// Whether some bytes hold others.
pub fn find(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
