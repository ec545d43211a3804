//! Rows out of the messages that they come in.

use std::ops::Range;

/// Type byte of the messages that come by the million.
pub(super) const COPY_DATA: u8 = b'd';
/// Length of a message's head: its type, and its length without the type.
pub(super) const HEAD: usize = 5;
/// The length of a message counts itself.
const LENGTH_BYTES: usize = 4;

/// Moves the rows in `buffer`, of which `start..end` is unread, together over the heads of their messages. Says where they are
/// now, and whether a message of another kind comes next; `left` is what is still to come of the last row.
pub(super) fn join_rows(buffer: &mut [u8], start: &mut usize, end: usize, left: &mut usize) -> (Range<usize>, bool) {
    let begin = *start;
    let (mut read, mut write) = (begin, begin);
    let is_other = loop {
        let take = (*left).min(end - read);
        buffer.copy_within(read..read + take, write);
        read += take;
        write += take;
        *left -= take;
        let Some(&[kind, a, b, c, d]) = buffer.get(read..end.min(read + HEAD)) else { break false };
        if *left > 0 {
            break false;
        }
        let length = (u32::from_be_bytes([a, b, c, d]) as usize).checked_sub(LENGTH_BYTES);
        match length.filter(|_| kind == COPY_DATA) {
            Some(length) => *left = length,
            // Or one of an impossible length, which whoever understands messages refuses.
            None => break true,
        }
        read += HEAD;
    };
    *start = read;
    (begin..write, is_other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fuzz;

    fn message(kind: u8, text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len() + LENGTH_BYTES).unwrap().to_be_bytes();
        [&[kind], &length[..], text].concat()
    }

    /// Reads as a session does, `step` bytes at a time; returns the rows, and what is left from the first other message on.
    fn read(wire: &[u8], step: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut rows, mut left, mut coming) = (Vec::new(), 0, wire);
        let mut buffer = Vec::new();
        loop {
            let (mut start, end) = (0, buffer.len());
            let (run, is_other) = join_rows(&mut buffer, &mut start, end, &mut left);
            rows.extend_from_slice(&buffer[run]);
            buffer.drain(..start);
            if is_other || coming.is_empty() {
                buffer.extend_from_slice(coming);
                return (rows, buffer);
            }
            let (now, later) = coming.split_at(step.min(coming.len()));
            buffer.extend_from_slice(now);
            coming = later;
        }
    }

    #[test]
    fn rows_are_what_the_messages_hold_however_they_are_cut() {
        fuzz::cases("copy_data", 3_000, |random| {
            let (mut wire, mut expected) = (Vec::new(), Vec::new());
            for _ in 0..random.below(8) {
                let text = fuzz::bytes(random, 40);
                wire.extend(message(COPY_DATA, &text));
                expected.extend(text);
            }
            let other = message(b'c', &fuzz::bytes(random, 9));
            wire.extend_from_slice(&other);
            let step = 1 + usize::try_from(random.below(50)).unwrap();
            assert_eq!(read(&wire, step), (expected, other));
        });
    }

    #[test]
    fn no_bytes_make_it_panic_or_give_more_than_came() {
        fuzz::cases("copy_data_noise", 3_000, |random| {
            let mut wire: Vec<u8> = (0..random.below(6)).flat_map(|_| message(COPY_DATA, b"1\tone\n")).collect();
            fuzz::mutate(random, &mut wire);
            let (rows, rest) = read(&wire, 1 + usize::try_from(random.below(20)).unwrap());
            assert!(rows.len() + rest.len() <= wire.len());
        });
    }

    #[test]
    fn a_message_of_an_impossible_length_is_not_taken_for_a_row() {
        let wire = [COPY_DATA, 0, 0, 0, 3, b'x'];
        assert_eq!(read(&wire, 100), (Vec::new(), wire.to_vec()));
    }
}
