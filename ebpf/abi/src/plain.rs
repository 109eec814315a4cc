//! Values that may cross the system-call boundary as bytes: the one module of this crate with `unsafe` in it.
#![expect(unsafe_code, reason = "viewing a padding-free value as bytes is what this module is for")]

use core::mem::MaybeUninit;

/// A value that is nothing but its bytes: fixed layout, no padding, every bit pattern valid.
///
/// # Safety
/// The type is `repr(C)` or `repr(transparent)`, its size is the sum of its fields' sizes, and each field is an integer
/// or itself `Plain`. Implement it with `plain!`, which proves the sizes when the crate is compiled.
pub unsafe trait Plain: Copy + 'static {
    /// The value's bytes, as the kernel sees them.
    fn bytes(&self) -> &[u8] {
        // SAFETY: Plain promises that all size_of::<Self>() bytes are initialised, and the slice borrows self.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// The value whose bytes these are; `None` where their number is not its size.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != size_of::<Self>() {
            return None;
        }
        let mut value = MaybeUninit::<Self>::uninit();
        // SAFETY: the lengths were compared, source and target do not overlap, and every bit pattern is valid.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), value.as_mut_ptr().cast(), bytes.len());
            Some(value.assume_init())
        }
    }

    /// All bytes zero: what an array map holds before its first write.
    fn zeroed() -> Self {
        // SAFETY: every bit pattern is valid, so the zero pattern is.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }
}

/// Implements [`Plain`] for a struct at the size it must have, with a proof that its fields leave no gap.
macro_rules! plain {
    ($type:ty, $size:literal: $($field:tt: $field_type:ty),+ $(,)?) => {
        const _: () = {
            assert!(size_of::<$type>() == $size, concat!("the size of ", stringify!($type), " has changed"));
            assert!(
                0 $(+ size_of::<$field_type>())+ == $size,
                concat!(stringify!($type), " has padding")
            );
            // Each name and type is checked against the struct here, so the list above cannot drift from it.
            const fn _fields(value: &$type) { $(let _: &$field_type = &value.$field;)+ }
        };
        // SAFETY: the assertions above prove that the fields fill the type; each is an integer or Plain by the list.
        #[expect(unsafe_code, reason = "proved by the assertions beside it")]
        unsafe impl $crate::plain::Plain for $type {}
    };
}
pub(crate) use plain;

macro_rules! plain_integers {
    ($($type:ty),+) => {
        // SAFETY: integers have no padding and no invalid bit pattern.
        $(unsafe impl Plain for $type {})+
    };
}
plain_integers!(u8, u16, u32, u64);

// SAFETY: an array is its elements in a row, without gaps.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}
