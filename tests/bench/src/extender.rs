//! NodeNumber as an HTTP extender, on loopback until the process ends.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Longest request: the pod and the names of the nodes.
const REQUEST_BYTES_MAX: usize = 64 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Arguments {
    pod: Value,
    node_names: Vec<String>,
}

/// Serves it; returns its `urlPrefix`.
pub fn serve() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // Whoever hangs up needs no answer.
                let _ = answer_all(&connection);
            });
        }
    });
    Ok(url)
}

fn answer_all(connection: &TcpStream) -> Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().context("a length")?;
            }
        }
        if length > REQUEST_BYTES_MAX {
            bail!("a request of {length} bytes");
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = scores(&serde_json::from_slice(&body)?).to_string();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
        (&*connection)
            .write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
    }
}

fn last_digit(name: &str) -> Option<char> {
    name.chars().last().filter(char::is_ascii_digit)
}

fn scores(arguments: &Arguments) -> Value {
    let digit = last_digit(arguments.pod["metadata"]["name"].as_str().unwrap_or_default());
    let score = |name: &String| if digit.is_none() || last_digit(name) == digit { 10 } else { 0 };
    arguments.node_names.iter().map(|name| json!({ "Host": name, "Score": score(name) })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_with_the_digit_of_the_pod_scores() {
        let arguments = json!({ "Pod": { "metadata": { "name": "bench-7" } }, "Nodes": null, "NodeNames": ["n-7", "n-8"] });
        let arguments = serde_json::from_value(arguments).unwrap();
        let expected = json!([{ "Host": "n-7", "Score": 10 }, { "Host": "n-8", "Score": 0 }]);
        assert_eq!(scores(&arguments), expected);
    }
}
