//! Masks and headers, held against plainer readings of them.

use super::*;

use proptest::prelude::*;
use tungstenite::protocol::frame::FrameHeader;

const LIMITS: ReadLimits = ReadLimits {
    message_bytes_max: 512,
    fragments_max: 16,
    heard: Heard::Read,
    may_deflate: false,
};

#[test]
fn unmasking_by_words_is_the_same_as_by_bytes_and_tells_ascii() {
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    for length in 0..70 {
        for odd in 0..=length {
            let text: Vec<u8> = (0..length).map(|at| b'a' | (u8::from(at == odd) << 7)).collect();
            let masked = text.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
            let mut payload: Vec<u8> = masked.collect();
            assert_eq!(unmask(&mut payload, mask), text.is_ascii());
            assert_eq!(payload, text);
        }
    }
}

proptest! {
    #[test]
    fn a_header_is_read_as_tungstenite_writes_it(
        opcode in prop::sample::select(vec![0_u8, 1, 2, 8, 9, 10]),
        is_final in any::<bool>(),
        mask in any::<[u8; 4]>(),
        length in prop_oneof![0_u64..300, 65_000_u64..66_000, 0_u64..1 << 63],
    ) {
        let opcode = OpCode::from(opcode);
        let header = FrameHeader { is_final, opcode, mask: Some(mask), ..Default::default() };
        let mut bytes = Vec::new();
        header.format(length, &mut bytes).expect("a Vec takes all");
        for cut in 0..bytes.len() {
            prop_assert!(matches!(FrameHead::parse(&bytes[..cut], LIMITS), Ok(None)));
        }
        bytes.push(0xFF);
        let head = FrameHead::parse(&bytes, LIMITS).expect("valid").expect("whole");
        prop_assert_eq!(head.header_bytes, bytes.len() - 1);
        prop_assert_eq!(head.payload_bytes as u64, length);
        prop_assert_eq!((head.opcode, head.is_final, head.mask), (opcode, is_final, mask));
    }
}
