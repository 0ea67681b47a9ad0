//! Tests of the bridge: what a client sees while owners come and go.

use super::*;
use std::sync::{Arc, Mutex};
use tokio::io::duplex;

/// An owner that answers every request with its own number, except that the first one dies on `die`.
fn owner(number: u32, heard: Arc<Mutex<Vec<String>>>) -> BoxedStream {
    let (near, far) = duplex(1 << 16);
    tokio::spawn(async move {
        let (reader, mut writer) = tokio::io::split(far);
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let message: Value = serde_json::from_str(&line).unwrap();
            let method = message["method"].as_str().unwrap_or_default().to_owned();
            heard.lock().unwrap().push(format!("{number}:{method}"));
            if method == "die" && number == 1 {
                return;
            }
            // No server answers an id that is no integer with that id.
            if let Some(id) = message.get("id") {
                let id = if id.is_f64() { &Value::Null } else { id };
                let reply = format!("{}\n", serde_json::json!({"jsonrpc": "2.0", "id": id, "result": number}));
                writer.write_all(reply.as_bytes()).await.unwrap();
            }
        }
    });
    Box::new(near)
}

#[tokio::test]
async fn a_client_does_not_notice_that_the_owner_changed() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut number = 0;
    let input = concat!(
        "{\"id\":1,\"method\":\"initialize\"}\n",
        "{\"method\":\"notifications/initialized\"}\n",
        "{\"id\":2,\"method\":\"die\"}\n",
    );
    let (mut client, near) = duplex(1 << 16);
    client.write_all(input.as_bytes()).await.unwrap();
    let told = Arc::clone(&heard);
    let connect = async move || {
        number += 1;
        Ok(owner(number, Arc::clone(&told)))
    };
    let (reader, writer) = tokio::io::split(near);
    let bridge = tokio::spawn(run(reader, writer, connect));
    let mut replies = BufReader::new(&mut client).lines();
    let first: Value = serde_json::from_str(&replies.next_line().await.unwrap().unwrap()).unwrap();
    let second: Value = serde_json::from_str(&replies.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!((first["id"].as_i64(), first["result"].as_i64()), (Some(1), Some(1)));
    assert_eq!((second["id"].as_i64(), second["result"].as_i64()), (Some(2), Some(2)));
    client.shutdown().await.unwrap();
    bridge.await.unwrap().unwrap();
    let heard = heard.lock().unwrap();
    assert_eq!(
        heard[heard.len() - 3..],
        ["2:initialize", "2:notifications/initialized", "2:die"].map(String::from),
        "{heard:?}"
    );
}

/// What a client gets for its whole input, after which it closes its side.
async fn answers(input: Vec<u8>, connect: impl AsyncFnMut() -> Result<BoxedStream, String>) -> Vec<Value> {
    let mut output = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), run(&input[..], &mut output, connect)).await;
    ended.expect("it ends as soon as everything is answered").unwrap();
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[tokio::test]
async fn a_line_that_cannot_be_answered_under_its_id_is_answered_once_and_not_waited_for() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut number = 0;
    let connect = async || {
        number += 1;
        Ok(owner(number, Arc::clone(&heard)))
    };
    let input = b"{\"id\":1.5,\"method\":\"ping\"}\n{\"id\":7,\"method\":\"die\"}\n".to_vec();
    let said = answers(input, connect).await;
    let ids: Vec<&Value> = said.iter().map(|answer| &answer["id"]).collect();
    assert_eq!(ids, [&Value::Null, &Value::from(7)], "{said:?}");
    assert_eq!(*heard.lock().unwrap(), ["1:ping", "1:die", "2:die"]);
    let only = b"{\"id\":1.5,\"method\":\"ping\"}\n".to_vec();
    let said = answers(only, async || Ok(owner(1, Arc::default()))).await;
    assert_eq!(said.len(), 1, "{said:?}");
}

#[tokio::test]
async fn a_line_that_is_too_long_is_refused_as_a_server_refuses_it_and_the_next_one_is_read() {
    let folder = crate::mcp::fixture::folder();
    let server = async || {
        let (near, far) = duplex(1 << 16);
        let (read, write) = tokio::io::split(far);
        let services = crate::mcp::fixture::services(folder.path(), crate::telemetry::Telemetry::detached());
        let server = crate::mcp::server::Server::new(services);
        tokio::spawn(crate::mcp::stream::serve(server, read, write, tokio_util::sync::CancellationToken::new()));
        Ok(Box::new(near) as BoxedStream)
    };
    let mut input = br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":""#.to_vec();
    input.resize(3 * LINE_BYTES_MAX, b'x');
    input.extend_from_slice(b"\"}}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}\n");
    let said = answers(input, server).await;
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!((&said[0]["id"], &said[0]["error"]["code"]), (&Value::Null, &Value::from(-32600)));
    assert_eq!(said[0]["error"]["message"], "the message is longer than 4194304 bytes");
    assert_eq!((&said[1]["id"], said[1].get("error")), (&Value::from(2), None));
}

#[tokio::test]
async fn an_owner_that_waits_for_its_answers_to_be_read_is_no_deadlock() {
    // It reads the next line only when the last answer is out, and no pipe between holds an answer or a line.
    let connect = async || {
        let (near, far) = duplex(1 << 10);
        tokio::spawn(async move {
            let (reader, mut writer) = tokio::io::split(far);
            let mut lines = BufReader::new(reader).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                writer.write_all(&[line.as_bytes(), b"\n"].concat()).await.unwrap();
            }
        });
        Ok(Box::new(near) as BoxedStream)
    };
    let line = format!("{{\"method\":\"{}\"}}\n", "x".repeat(1 << 16));
    let input = line.repeat(3).into_bytes();
    let mut output = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), run(&input[..], &mut output, connect)).await;
    ended.expect("it ends").unwrap();
    assert_eq!(output, input);
}

#[tokio::test]
async fn without_any_owner_the_reason_is_told() {
    let error = run(tokio::io::empty(), tokio::io::sink(), async || Err("locked".to_owned())).await.unwrap_err();
    assert_eq!(error.to_string(), "locked");
}
