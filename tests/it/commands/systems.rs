//! The shop's own systems, as the daemon finds them and their secrets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::process::Signal;
use serde_json::Value;
use sha2::Sha256;

use super::{csv, stocked};

const DRIP: &str = "title = \"trial\"\ncategory = \"followup\"\nstart = { tag_added = \"trial\" }\nagain = \"never\"\n\
                    [[step]]\nname = \"tell\"\nafter = \"1min\"\naction = { webhook = \"crm\" }\n";

/// A system that takes everything; what comes is a request's head and its body.
fn system() -> (SocketAddr, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, came) = channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut read = Vec::new();
            let mut chunk = [0; 4_096];
            let (head, length) = loop {
                let count = stream.read(&mut chunk).unwrap();
                read.extend_from_slice(&chunk[..count]);
                let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
                if let Some((head, _)) = text.split_once("\r\n\r\n") {
                    let length = head.split("content-length: ").nth(1).unwrap();
                    break (head.to_owned(), length.lines().next().unwrap().parse::<usize>().unwrap());
                }
            };
            let mut body = read.split_off(head.len() + 4);
            while body.len() < length {
                let count = stream.read(&mut chunk).unwrap();
                body.extend_from_slice(&chunk[..count]);
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
            if tell.send((head, body)).is_err() {
                return;
            }
        }
    });
    (address, came)
}

#[test]
fn a_system_is_told_once_its_secret_can_be_read() {
    let (address, came) = system();
    let shop = stocked();
    shop.remove_examples();
    shop.write("drips/trial.toml", DRIP);
    let main = shop.read("haishin.toml");
    let crm =
        format!("\n[webhooks.crm]\nurl = \"http://{address}/hook\"\nsecret = {{ file = \"secrets/crm\" }}\n");
    shop.write("haishin.toml", &(main + &crm));
    let mut daemon = shop.daemon(&["--clock", "2090-12-04T12:00:00+09:00", "--speed", "60"]);
    // Nobody stops for a system: applying says what is missing, and everything else goes on.
    for (lang, words) in
        [("ja", "[webhooks.crm]: 秘密の値「"), ("en", "webhook `crm`: cannot read the secret in `")]
    {
        let said = shop.run(&["--lang", lang, "apply", "--yes"]);
        assert!(said.code == 0 && said.out.contains(words), "{said:?}");
    }
    let file = shop.file("tags.csv", &csv("number,tag\n1,trial\n"));
    shop.ok(&["import", "tags", file.to_str().unwrap()]);
    let line = daemon.wait_for("requests fail; they are tried again");
    assert!(line.contains("lane=webhook/crm") && line.contains("put it right under [webhooks]"), "{line}");
    shop.write("secrets/crm", "a-secret-of-the-crm");
    daemon.signal(Signal::HUP);
    daemon.wait_for("requests get through again");
    let (head, body) = came.recv().unwrap();
    assert!(head.starts_with("post /hook http/1.1\r\n"), "{head}");
    let mut mac = Hmac::<Sha256>::new_from_slice(b"a-secret-of-the-crm").unwrap();
    mac.update(&body);
    let signature = format!("x-haishin-signature: sha256={}", hex::encode(mac.finalize().into_bytes()));
    assert!(head.contains(&signature), "{head}");
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&told["type"], &told["step"], &told["external_id"]),
        (&"drip_step".into(), &"tell".into(), &"K-001".into())
    );
    let (code, log) = daemon.terminate();
    assert_eq!(code, 0);
    assert!(!log.contains("a-secret") && !log.contains("K-001"), "{log}");
    assert!(came.try_recv().is_err(), "once");
}
