//! The way into a shard from other threads: a bounded lock-free queue with one wake a burst.
//!
//! Waking a thread costs 7-11 us, a push 0.1: so a sender wakes the shard only if it had gone to
//! sleep, and the first of a burst does it for all.

use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;

/// A queue of commands for one shard.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    /// In boxes: the ring is written at start, whole.
    queue: ArrayQueue<Box<T>>,
    reserved: usize,
    sleeping: AtomicBool,
    closed: AtomicBool,
    wake: Notify,
}

impl<T> Inbox<T> {
    /// A queue for `max` commands. A sixteenth is kept free of what can be refused
    /// (connections, posts), for what an operator asks.
    pub(super) fn new(max: usize) -> Inbox<T> {
        Inbox {
            queue: ArrayQueue::new(max),
            reserved: max / 16,
            sleeping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// Queues what may be refused: gives it back if the unreserved part is full.
    pub(super) fn offer(&self, command: T) -> Result<(), T> {
        if self.queue.len() + self.reserved >= self.queue.capacity() {
            return Err(command);
        }
        self.push(command)
    }

    /// Queues into the reserved part too.
    pub(super) fn push(&self, command: T) -> Result<(), T> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(command);
        }
        self.queue.push(Box::new(command)).map_err(|command| *command)?;
        // Pairs with the fence in `wait`: either we see the sleeper, or it sees the command. With
        // the one in `close` too.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            // Closed just now: nobody may come for it any more. Whoever waits sees it dropped.
            while self.queue.pop().is_some() {}
        }
        if self.sleeping.swap(false, Ordering::Relaxed) {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Takes no more commands: what is queued now may still be popped, by the only one who waits;
    /// all later ones are given back, or dropped.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The oldest command.
    pub(super) fn pop(&self) -> Option<T> {
        self.queue.pop().map(|command| *command)
    }

    /// Waits until there is a command. One waiter at a time.
    pub(super) async fn wait(&self) {
        loop {
            if !self.queue.is_empty() {
                return;
            }
            self.sleeping.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if !self.queue.is_empty() {
                self.sleeping.store(false, Ordering::Relaxed);
                return;
            }
            self.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_can_be_refused_leaves_room_for_what_can_not() {
        let inbox = Inbox::new(16);
        let offered = (0..16).take_while(|command| inbox.offer(*command).is_ok()).count();
        assert_eq!(offered, 15);
        assert_eq!(inbox.push(99), Ok(()));
        assert_eq!(inbox.push(100), Err(100));
    }

    #[test]
    fn nothing_is_left_in_a_closed_inbox() {
        for _ in 0..200 {
            let inbox = Arc::new(Inbox::new(64));
            let command = Arc::new(());
            let senders = [0; 2].map(|_| {
                let (inbox, command) = (Arc::clone(&inbox), Arc::clone(&command));
                std::thread::spawn(move || while inbox.push(Arc::clone(&command)).is_ok() {})
            });
            while inbox.pop().is_none() {
                std::thread::yield_now();
            }
            inbox.close();
            while inbox.pop().is_some() {}
            for sender in senders {
                sender.join().expect("the sender ends");
            }
            assert_eq!(Arc::strong_count(&command), 1);
        }
    }

    #[test]
    fn no_wake_is_lost_between_threads() {
        const COMMANDS: u32 = 50_000;
        let inbox = Arc::new(Inbox::new(64));
        let sender = Arc::clone(&inbox);
        let thread = std::thread::spawn(move || {
            for command in 0..COMMANDS {
                while sender.push(command).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut expected = 0;
            while expected < COMMANDS {
                inbox.wait().await;
                while let Some(command) = inbox.pop() {
                    assert_eq!(command, expected);
                    expected += 1;
                }
            }
        });
        thread.join().expect("the sender ends");
    }
}
