//! Masking and unmasking, which are the same act (RFC 6455, section 5.3).

/// Unmasks `bytes` in place and turns `key` so that it fits the byte that comes next.
pub fn unmask(bytes: &mut [u8], key: &mut [u8; 4]) {
    let [a, b, c, d] = *key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for eight in words {
        *eight = (u64::from_ne_bytes(*eight) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
    key.rotate_left(bytes.len() % 4);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_every_cut_is_unmasked_like_byte_by_byte() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..70 {
            let masked: Vec<u8> = (0..length).collect();
            let plain: Vec<u8> = masked.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            for cut in 0..=masked.len() {
                let (mut bytes, mut turned) = (masked.clone(), key);
                let (front, back) = bytes.split_at_mut(cut);
                unmask(front, &mut turned);
                unmask(back, &mut turned);
                assert_eq!(bytes, plain, "length {length}, cut {cut}");
            }
        }
    }
}
