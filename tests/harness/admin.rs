// SPDX-License-Identifier: Apache-2.0
//! What an operator sends to the parts of a Codis.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Sends `PUT /api/topom/<what>/<xauth><arguments>` to a dashboard, which must do it.
pub(crate) fn order(dashboard: SocketAddr, what: &str, arguments: &str, body: &str) {
    // Of the product `demo`.
    let xauth = "c32db19baf104a834a2d07a99c55a19a";
    let answer = call(dashboard, "PUT", &format!("/api/topom/{what}/{xauth}{arguments}"), body);
    assert!(answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
}

/// What a server answers, head and all.
pub(crate) fn call(server: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    let (length, close) = (body.len(), "Connection: close");
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: d\r\nContent-Length: {length}\r\n{close}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
