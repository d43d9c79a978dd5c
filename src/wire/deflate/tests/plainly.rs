//! A reader of DEFLATE (RFC 1951) that is slow and plain, and tells how far a stream refers back.

/// Bits of a stream, the lowest of each byte first.
struct Bits<'a>(&'a [u8], usize);

impl Bits<'_> {
    fn take(&mut self, count: usize) -> usize {
        (0..count).fold(0, |value, place| {
            let bit = self.0[self.1 / 8] >> (self.1 % 8) & 1;
            self.1 += 1;
            value | usize::from(bit) << place
        })
    }
}

/// A Huffman code by its symbols' lengths: how many there are of each, and the symbols by length.
struct Code([usize; 16], Vec<usize>);

impl Code {
    fn new(lengths: &[usize]) -> Code {
        let mut counts = [0; 16];
        lengths.iter().for_each(|length| counts[*length] += 1);
        counts[0] = 0;
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|at| lengths[*at] > 0).collect();
        symbols.sort_by_key(|at| (lengths[*at], *at));
        Code(counts, symbols)
    }

    fn read(&self, bits: &mut Bits<'_>) -> usize {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.0[1..] {
            code |= bits.take(1);
            if code < first + count {
                return self.1[index + code - first];
            }
            (index, first) = (index + count, (first + count) << 1);
            code <<= 1;
        }
        panic!("no symbol")
    }
}

fn dynamic(bits: &mut Bits<'_>) -> (Code, Code) {
    let (literals, distances, codes) = (bits.take(5) + 257, bits.take(5) + 1, bits.take(4) + 4);
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let mut lengths = [0; 19];
    ORDER[..codes].iter().for_each(|at| lengths[*at] = bits.take(3));
    let (code, mut lengths) = (Code::new(&lengths), Vec::new());
    while lengths.len() < literals + distances {
        let (length, times) = match code.read(bits) {
            16 => (*lengths.last().expect("a length"), bits.take(2) + 3),
            17 => (0, bits.take(3) + 3),
            18 => (0, bits.take(7) + 11),
            length => (length, 1),
        };
        lengths.extend(vec![length; times]);
    }
    (Code::new(&lengths[..literals]), Code::new(&lengths[literals..]))
}

/// A length or a distance: a base, and bits behind it, which grow by one each `step` symbols.
fn value(bits: &mut Bits<'_>, symbol: usize, step: usize) -> usize {
    if symbol < 2 * step {
        return symbol;
    }
    let more = symbol / step - 1;
    ((step + symbol % step) << more) + bits.take(more)
}

/// What a message says, and the farthest that it refers back.
pub(super) fn inflated(payload: &[u8]) -> (Vec<u8>, usize) {
    let payload = [payload, &[0, 0, 0xFF, 0xFF]].concat();
    let (mut bits, mut out, mut farthest) = (Bits(&payload, 0), Vec::new(), 0);
    while bits.1 + 3 < payload.len() * 8 {
        assert_eq!(bits.take(1), 0, "no last block");
        let (literals, distances) = match bits.take(2) {
            0 => {
                bits.1 = bits.1.next_multiple_of(8);
                let length = bits.take(16);
                assert_eq!(bits.take(16), !length & 0xFFFF);
                out.extend((0..length).map(|_| bits.take(8) as u8));
                continue;
            }
            1 => {
                let lengths = [vec![8; 144], vec![9; 112], vec![7; 24], vec![8; 8]].concat();
                (Code::new(&lengths), Code::new(&[5; 30]))
            }
            2 => dynamic(&mut bits),
            _ => panic!("no such block"),
        };
        loop {
            match literals.read(&mut bits) {
                byte @ 0..256 => out.push(byte as u8),
                256 => break,
                symbol => {
                    let length = match symbol {
                        285 => 258,
                        symbol => value(&mut bits, symbol - 257, 4) + 3,
                    };
                    let symbol = distances.read(&mut bits);
                    let distance = value(&mut bits, symbol, 2) + 1;
                    farthest = farthest.max(distance);
                    let from = out.len() - distance;
                    (from..from + length).for_each(|at| out.push(out[at]));
                }
            }
        }
    }
    (out, farthest)
}
