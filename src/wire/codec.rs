//! How messages are written: numbers in as many bytes as they need, texts behind their length.

/// A message that does not hold what it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends too early.
    #[error("a message ends within a value")]
    Short,
    /// It goes on where it should end.
    #[error("a message goes on behind its end")]
    Long,
    /// A number is larger than what it counts can be.
    #[error("a number in a message is out of range")]
    Range,
    /// It is of a kind nobody knows.
    #[error("a message of unknown kind {0}")]
    Kind(u8),
}

/// Writes one message.
#[derive(Debug, Default, Clone)]
pub struct Put(pub Vec<u8>);

impl Put {
    /// An empty message of a kind.
    #[must_use]
    pub fn of(kind: u8) -> Self {
        Self(vec![kind])
    }

    /// One byte.
    pub fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// A number: seven bits a byte, the lowest first (LEB128).
    pub fn number(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8)
    }

    /// A number that may be below zero, small ones of either sign in few bytes (zigzag).
    pub fn signed(&mut self, value: i64) -> &mut Self {
        self.number(((value << 1) ^ (value >> 63)) as u64)
    }

    /// Bytes behind their number.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.number(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// Bytes whose number both sides know.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    /// 0 or 1.
    pub fn flag(&mut self, value: bool) -> &mut Self {
        self.byte(u8::from(value))
    }
}

/// Reads one message; everything it gives has been checked to be there.
#[derive(Debug, Clone, Copy)]
pub struct Take<'m>(pub &'m [u8]);

impl<'m> Take<'m> {
    /// One byte.
    ///
    /// # Errors
    /// [`Malformed::Short`] at the end of the message.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.raw(1)?[0])
    }

    /// A number, as [`Put::number`] wrote it.
    ///
    /// # Errors
    /// [`Malformed`] if the message ends within it, or it has more than 64 bits.
    pub fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed::Range);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Range)
    }

    /// A number that fits what it is taken for, such as `u32`.
    ///
    /// # Errors
    /// [`Malformed`] if the message ends within it, or it does not fit.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.number()?).map_err(|_| Malformed::Range)
    }

    /// A number that may be below zero, as [`Put::signed`] wrote it.
    ///
    /// # Errors
    /// [`Malformed`] if the message ends within it, or it has more than 64 bits.
    pub fn signed(&mut self) -> Result<i64, Malformed> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Bytes behind their number.
    ///
    /// # Errors
    /// [`Malformed::Short`] if fewer follow than were announced.
    pub fn bytes(&mut self) -> Result<&'m [u8], Malformed> {
        let count = self.number()?;
        self.raw(usize::try_from(count).map_err(|_| Malformed::Short)?)
    }

    /// So many bytes.
    ///
    /// # Errors
    /// [`Malformed::Short`] if fewer are left.
    pub fn raw(&mut self, count: usize) -> Result<&'m [u8], Malformed> {
        let (value, rest) = self.0.split_at_checked(count).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(value)
    }

    /// An array of so many bytes, such as a digest.
    ///
    /// # Errors
    /// [`Malformed::Short`] if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.raw(N)?.try_into().map_err(|_| Malformed::Short)
    }

    /// 0 or 1.
    ///
    /// # Errors
    /// [`Malformed`] if it is neither.
    pub fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Range),
        }
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'m [u8] {
        std::mem::take(&mut self.0)
    }

    /// Ends the message.
    ///
    /// # Errors
    /// [`Malformed::Long`] if anything is left.
    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Long) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_is_taken(number: u64, signed: i64, text: Vec<u8>, flag: bool) {
            let mut put = Put::of(7);
            put.number(number).signed(signed).bytes(&text).flag(flag).raw(&[1, 2]);
            let mut take = Take(&put.0);
            prop_assert_eq!(take.byte(), Ok(7));
            prop_assert_eq!(take.number(), Ok(number));
            prop_assert_eq!(take.signed(), Ok(signed));
            prop_assert_eq!(take.bytes(), Ok(&text[..]));
            prop_assert_eq!(take.flag(), Ok(flag));
            prop_assert_eq!(take.array(), Ok([1, 2]));
            prop_assert_eq!(take.end(), Ok(()));
        }

        #[test]
        fn a_message_that_was_cut_is_noticed(number: u64, text: Vec<u8>, cut: prop::sample::Index) {
            let mut put = Put::default();
            put.number(number).bytes(&text);
            let mut take = Take(&put.0[..cut.index(put.0.len())]);
            let taken = take.number().and_then(|_| take.bytes());
            prop_assert_eq!(taken, Err(Malformed::Short));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(Take(&[0xff; 10]).number(), Err(Malformed::Range));
        assert_eq!(Take(&[0x80; 10]).number(), Err(Malformed::Range));
        assert_eq!(Take(&[0x80, 0x80, 0x04]).small::<u16>(), Err(Malformed::Range));
        assert_eq!(Take(&[2]).flag(), Err(Malformed::Range));
        assert_eq!(Take(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).bytes(), Err(Malformed::Short));
        assert_eq!(Take(&[0]).end(), Err(Malformed::Long));
    }
}
