// SPDX-License-Identifier: Apache-2.0
//! What a node answers, in RESP2.

use bytes::{BufMut, Bytes, BytesMut};

/// One answer.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Reply {
    /// A status line.
    Status(&'static str),
    /// An error line, its code word included. It may quote a key, line breaks and all, as the server does.
    Error(Bytes),
    /// A number.
    Integer(i64),
    /// A string of bytes.
    Bulk(Bytes),
    /// No string.
    Null,
    /// No array.
    NullArray,
    /// Answers in a row.
    Array(Vec<Self>),
}

impl Reply {
    /// `+OK`.
    pub(super) const OK: Self = Self::Status("OK");

    /// A string.
    #[cfg(test)]
    pub(super) fn bulk(bytes: impl Into<Bytes>) -> Self {
        Self::Bulk(bytes.into())
    }

    /// A string made of text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Bulk(Bytes::from(text.into()))
    }

    /// A string, or none.
    pub(super) fn bulk_or_null(bytes: Option<Bytes>) -> Self {
        bytes.map_or(Self::Null, Self::Bulk)
    }

    /// An array of strings.
    pub(super) fn bulks(items: impl IntoIterator<Item = Bytes>) -> Self {
        Self::Array(items.into_iter().map(Self::Bulk).collect())
    }

    /// A count.
    pub(super) fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// An error line of this text, the code word `ERR` put before it.
    pub(super) fn err(text: impl AsRef<[u8]>) -> Self {
        Self::Error([b"ERR ", text.as_ref()].concat().into())
    }

    /// Whether it is an error.
    pub(super) fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// Appends the RESP form to `out`.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Status(text) => put_line(out, b'+', text.as_bytes()),
            // As on the server, a line break in a quoted key breaks the protocol.
            Self::Error(text) => put_line(out, b'-', text),
            Self::Integer(number) => put_line(out, b':', number.to_string().as_bytes()),
            Self::Bulk(bytes) => {
                put_line(out, b'$', bytes.len().to_string().as_bytes());
                out.put_slice(bytes);
                out.put_slice(b"\r\n");
            }
            Self::Null => out.put_slice(b"$-1\r\n"),
            Self::NullArray => out.put_slice(b"*-1\r\n"),
            Self::Array(items) => {
                put_line(out, b'*', items.len().to_string().as_bytes());
                items.iter().for_each(|item| item.encode(out));
            }
        }
    }
}

fn put_line(out: &mut BytesMut, sigil: u8, text: &[u8]) {
    out.put_u8(sigil);
    out.put_slice(text);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_form_of_the_protocol() {
        let reply = Reply::Array(vec![
            Reply::OK,
            Reply::Integer(-2),
            Reply::bulk("a\r\nb"),
            Reply::Null,
            Reply::NullArray,
            Reply::err("bad\r\nkey"),
        ]);
        let mut out = BytesMut::new();
        reply.encode(&mut out);
        assert_eq!(out, "*6\r\n+OK\r\n:-2\r\n$4\r\na\r\nb\r\n$-1\r\n*-1\r\n-ERR bad\r\nkey\r\n");
    }
}
