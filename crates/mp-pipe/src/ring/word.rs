//! The word of a lane: where its ring ends, which packets lie beside it, and what the receiver is doing.

/// Positions are counted in so many bytes.
pub(super) const UNIT: usize = 16;

/// The receiver looks at the word: the next message may go into the ring without a packet.
pub(super) const ATTENDING: u64 = 1;

/// A sender is copying a message for the receiver that attends: it is worth while to look on.
pub(super) const PROMISED: u64 = 1 << 1;

/// The receiver takes the next packet without looking at it first, so that packet will not stay for others.
pub(super) const GRABBING: u64 = 1 << 2;

/// The receiving end does not know of the ring any more: all messages are packets.
pub(super) const DETACHED: u64 = 1 << 3;

const TAKEN: u32 = 4;
const SENT: u32 = 19;
const TAIL: u32 = 34;
const COUNT: u64 = (1 << 15) - 1;

/// Positions wrap here.
const POSITION: u32 = (1 << 30) - 1;

/// A value of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    /// Where the next record begins.
    #[inline]
    pub(super) fn tail(self) -> u32 {
        (self.0 >> TAIL) as u32
    }

    #[inline]
    pub(super) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    #[inline]
    pub(super) fn with(self, flags: u64) -> Self {
        Self(self.0 | flags)
    }

    #[inline]
    pub(super) fn without(self, flags: u64) -> Self {
        Self(self.0 & !flags)
    }

    #[inline]
    pub(super) fn with_tail(self, tail: u32) -> Self {
        let rest = self.0 & ((1 << TAIL) - 1);
        Self(rest | u64::from(tail & POSITION) << TAIL)
    }

    /// The packet that was counted last.
    #[inline]
    pub(super) fn sent(self) -> u64 {
        self.0 >> SENT & COUNT
    }

    /// The packet up to which all are taken.
    #[inline]
    pub(super) fn taken(self) -> u64 {
        self.0 >> TAKEN & COUNT
    }

    /// Counts exactly the packets up to this number as taken.
    pub(super) fn with_taken(self, number: u64) -> Self {
        Self(self.0 & !(COUNT << TAKEN) | (number & COUNT) << TAKEN)
    }

    /// Packets that are counted and not taken: if there are any, the descriptor can be read and will stay so.
    #[inline]
    pub(super) fn outstanding(self) -> bool {
        ahead(self.sent(), self.taken())
    }

    /// Counts a packet that has been sent. One that the receiver grabs is taken at once. The receiver's invitation was for
    /// this message, and not for the next one; but if it has the packet already, what it asks for is the next.
    pub(super) fn count_packet(self, number: u64) -> Self {
        let counted = Self(self.0 & !(COUNT << SENT) | (number & COUNT) << SENT);
        if !ahead(number, self.taken()) {
            return counted.without(PROMISED);
        }
        let passed = counted.without(ATTENDING | PROMISED);
        if self.has(GRABBING) { passed.without(GRABBING).with_taken(number) } else { passed }
    }

    /// Counts all packets up to this number as taken.
    pub(super) fn take_to(self, number: u64) -> Self {
        if ahead(number, self.taken()) { self.with_taken(number) } else { self }
    }

    /// Counts all packets that are counted as taken.
    pub(super) fn take_all(self) -> Self {
        self.take_to(self.sent())
    }

    /// Says whether a packet may go although there are messages in the ring: it is taken already, or another one that
    /// is counted comes behind it.
    pub(super) fn is_spare(self, number: u64) -> bool {
        !ahead(number, self.taken()) || ahead(self.sent(), number)
    }

    /// Says whether the packet that was counted last has this number.
    pub(super) fn is_last(self, number: u64) -> bool {
        self.sent() == number & COUNT
    }
}

/// Says whether `a` comes behind `b`, where both are counted modulo 2¹⁵.
#[inline]
fn ahead(a: u64, b: u64) -> bool {
    let distance = a.wrapping_sub(b) & COUNT;
    distance != 0 && distance <= COUNT / 2
}

/// How far it is from one position to another.
#[inline]
pub(super) fn distance(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from) & POSITION
}

/// The position so many units behind another.
#[inline]
pub(super) fn advance(from: u32, units: u32) -> u32 {
    from.wrapping_add(units) & POSITION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_across_the_wrap() {
        let mut word = Word(0).with_tail(POSITION);
        for number in 1..=(3 * COUNT) {
            assert!(!word.outstanding());
            word = word.count_packet(number);
            assert!(word.outstanding() && word.is_last(number) && !word.is_spare(number));
            assert!(word.is_spare(number - 1));
            word = word.take_to(number).take_to(number - 1);
            assert_eq!(word.tail(), POSITION);
        }
    }

    #[test]
    fn a_packet_that_is_grabbed_is_not_outstanding() {
        let word = Word(0).with(GRABBING).count_packet(1);
        assert!(!word.outstanding() && !word.has(GRABBING) && word.is_spare(1));
        assert!(word.count_packet(2).outstanding());
        // Taken before it was counted, so that what is asked for is the next one.
        let word = Word(0).take_to(1).with(GRABBING).count_packet(1);
        assert!(word.has(GRABBING) && !word.outstanding());
        let word = Word(0).take_to(1);
        assert!(!word.outstanding());
        assert!(!word.count_packet(1).outstanding());
    }

    #[test]
    fn positions_wrap() {
        assert_eq!(advance(POSITION, 1), 0);
        assert_eq!(distance(POSITION, 1), 2);
        assert_eq!(Word(u64::MAX).with_tail(advance(POSITION, 3)).tail(), 2);
    }
}
