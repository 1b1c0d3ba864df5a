//! Base64 with padding (RFC 4648 section 4), as Python writes it.

/// The bytes; panics on what is not base64.
pub fn decoded(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.bytes().filter(|byte| *byte != b'=').map(digit).collect();
    let bytes = digits.chunks(4).flat_map(|group| {
        let bits = group.iter().enumerate().fold(0, |bits, (at, digit)| bits | digit << (18 - 6 * at));
        // Four digits are three bytes, three are two, two are one.
        let [_, bytes @ ..] = bits.to_be_bytes();
        bytes.into_iter().take(group.len() - 1)
    });
    bytes.collect()
}

fn digit(byte: u8) -> u32 {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let place = ALPHABET.iter().position(|digit| *digit == byte);
    place.unwrap_or_else(|| panic!("{byte:?} is no digit of base64")) as u32
}

#[test]
fn base64_is_read() {
    // The examples of RFC 4648 section 10.
    for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmE=", "fooba")] {
        assert_eq!(decoded(text), bytes.as_bytes(), "{text}");
    }
}
