//! What any bytes of a feed are held to: for fuzzers, and for the tests beside this. Compiled for
//! these alone.

use super::{Boot, Question, Received, Stretch, Writer};

/// Messages of a feed: what is read of any bytes is written as it was.
pub(crate) fn feed(bytes: &[u8]) {
    if let Ok(received) = Received::read(bytes) {
        assert_eq!(again(&received), bytes, "{received:?}");
    }
}

/// What was received, written again.
pub(super) fn again(received: &Received<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match received {
        Received::Feed(feed) => {
            let mut writer = Writer::new(feed.slot, feed.place);
            feed.entries().for_each(|entry| writer.push(&entry).expect("it was as long"));
            return writer.end();
        }
        Received::Stretch(stretch) => {
            let Stretch { slot, number, newest, count, .. } = *stretch;
            let question = Question { slot, boot: Boot(0), number, from: newest };
            Stretch::begin(&mut out, &question, newest, count);
            for part in stretch.parts() {
                Stretch::add(&mut out, &again(&Received::Feed(part)));
            }
        }
        Received::Question(question) => question.append_to(&mut out),
        Received::Anew(anew) => anew.append_to(&mut out),
    }
    out
}
