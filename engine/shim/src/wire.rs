//! A tiny binary encoding for what the server and the shim tell each other. Both are built from the same source, so it
//! needs no versions, only bounds: every decoder says `None` instead of reading past the end. (A server upgraded under
//! running shims checks [`super::message::PROTOCOL`] in the frame header.)

/// A value that can be sent.
pub trait Wire: Sized {
    /// Appends the encoding.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes one value off the front; `None` when the bytes are not one.
    fn take(from: &mut &[u8]) -> Option<Self>;
}

macro_rules! wire_int {
    ($($t:ty),*) => { $(
        impl Wire for $t {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut &[u8]) -> Option<Self> {
                let (head, rest) = from.split_first_chunk()?;
                *from = rest;
                Some(Self::from_le_bytes(*head))
            }
        }
    )* };
}
wire_int!(u8, u16, u32, u64, i32, i64);

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(u8::take(from)? != 0)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u32).put(out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        let length = u32::take(from)? as usize;
        let (head, rest) = from.split_at_checked(length)?;
        *from = rest;
        String::from_utf8(head.to_vec()).ok()
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u32).put(out);
        for item in self {
            item.put(out);
        }
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        let length = u32::take(from)? as usize;
        let mut items = Vec::with_capacity(length.min(from.len()));
        for _ in 0..length {
            items.push(T::take(from)?);
        }
        Some(items)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.put(out);
            }
        }
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        match u8::take(from)? {
            0 => Some(None),
            1 => Some(Some(T::take(from)?)),
            _ => None,
        }
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        Some((A::take(from)?, B::take(from)?))
    }
}

/// A struct whose fields are sent in order.
macro_rules! wire_struct {
    ($(#[$meta:meta])* pub struct $name:ident { $( $(#[$fmeta:meta])* pub $field:ident : $t:ty ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        #[cfg_attr(not(feature = "shim"), derive(serde::Serialize, serde::Deserialize))]
        pub struct $name { $( $(#[$fmeta])* pub $field: $t ),* }
        impl Wire for $name {
            #[allow(unused_variables)]
            fn put(&self, out: &mut Vec<u8>) {
                $( self.$field.put(out); )*
            }
            #[allow(unused_variables)]
            fn take(from: &mut &[u8]) -> Option<Self> {
                Some(Self { $( $field: Wire::take(from)? ),* })
            }
        }
    };
}

/// An enum of unit and struct variants, each with its number on the wire.
macro_rules! wire_enum {
    ($(#[$meta:meta])* pub enum $name:ident {
        $( $(#[$vmeta:meta])* $variant:ident $( { $( $(#[$fmeta:meta])* $field:ident : $t:ty ),* $(,)? } )? = $tag:literal ),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        #[cfg_attr(not(feature = "shim"), derive(serde::Serialize, serde::Deserialize))]
        pub enum $name { $( $(#[$vmeta])* $variant $( { $( $(#[$fmeta])* $field: $t ),* } )? ),* }
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self { $( $name::$variant $( { $( $field ),* } )? => {
                    out.push($tag);
                    $( $( $field.put(out); )* )?
                } ),* }
            }
            fn take(from: &mut &[u8]) -> Option<Self> {
                match u8::take(from)? {
                    $( $tag => Some($name::$variant $( { $( $field: Wire::take(from)? ),* } )? ), )*
                    _ => None,
                }
            }
        }
    };
}
