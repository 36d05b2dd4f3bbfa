//! The real client against the stand-in.

use std::sync::Arc;

use serde_json::json;

use super::{Client, Cloud, Paper, Refusal};

fn cloud() -> Cloud {
    Cloud::start("iad1", Arc::new(Paper))
}

/// Makes the server `name` with everything a server needs; its id.
fn server(client: &Client, cloud: &Cloud, name: &str) -> String {
    let key = cloud.state().behave.looks;
    std::fs::write(client.config().with_file_name("key.pub"), format!("ssh-ed25519 AAAA{key} test\n")).unwrap();
    let key = client.config().with_file_name("key.pub");
    if cloud.state().key_pairs.is_empty() {
        assert_eq!(client.run("iad1", &format!("keypair create --public-key {} mine", key.display())).code, 0);
    }
    let words = "server create --image linux --flavor small --network net --security-group ssh --key-name mine";
    let made = client.run("iad1", &format!("{words} --property decamp_run=R1 -f json -c id {name}")).json();
    made["id"].as_str().unwrap().to_owned()
}

/// Looks until a volume or a server has a state.
fn until(client: &Client, kind: &str, id: &str, status: &str) {
    for _ in 0..10 {
        let seen = client.run("iad1", &format!("{kind} show {id} -f json -c status")).json();
        if seen["status"] == status {
            return;
        }
    }
    panic!("{kind} {id} does not become {status}");
}

#[test]
fn the_client_as_it_is_installed_is_the_one_that_is_kept_loaded() {
    let cloud = cloud();
    let Some(client) = Client::new(&[&cloud]) else { return };
    let id = cloud.plant("data", 3);
    let words = format!("volume show {id} -f json");
    assert_eq!(client.run_cold("iad1", &words).json(), client.run("iad1", &words).json());
    assert_eq!(client.run_cold("iad1", "volume show nosuch").code, client.run("iad1", "volume show nosuch").code);
    assert_eq!(client.run("iad1", "volume show nosuch").stderr, "No Volume found for nosuch\n");
}

#[test]
fn a_volume_lives_through_all_its_states() {
    let cloud = cloud();
    let Some(client) = Client::new(&[&cloud]) else { return };
    let run = |words: &str| client.run("iad1", words);
    assert_eq!(run("token issue -f json").json()["user_id"], "user");
    let made = run("volume create --size 2 --type fast --property decamp_run=R1 -f json copy").json();
    let volume = made["id"].as_str().unwrap();
    assert_eq!((&made["status"], &made["properties"]), (&json!("creating"), &json!({ "decamp_run": "R1" })));
    until(&client, "volume", volume, "available");
    assert_eq!(run(&format!("volume set --read-only --bootable --image-property hw_disk_bus=scsi {volume}")).code, 0);
    let shown = run(&format!("volume show {volume} -f json")).json();
    assert_eq!(shown["volume_image_metadata"], json!({ "hw_disk_bus": "scsi" }));
    assert_eq!(shown["properties"]["readonly"], "True");
    let id = server(&client, &cloud, "mover");
    until(&client, "server", &id, "ACTIVE");
    assert_eq!(run(&format!("server add volume {id} {volume}")).code, 0);
    until(&client, "volume", volume, "in-use");
    let shown = run(&format!("volume show {volume} -f json")).json();
    assert_eq!(shown["attachments"][0]["server_id"], id.as_str());
    assert_ne!(run(&format!("volume delete {volume}")).code, 0);
    assert_ne!(run(&format!("server add volume {id} {volume}")).code, 0);
    assert!(run(&format!("console log show {id}")).stdout.contains("BEGIN SSH HOST KEY KEYS"));
    assert_eq!(run(&format!("server remove volume {id} {volume}")).code, 0);
    until(&client, "volume", volume, "available");
    assert_eq!(run(&format!("server delete {id}")).code, 0);
    while run(&format!("server show {id}")).code == 0 {}
    assert_eq!(run(&format!("volume delete {volume}")).code, 0);
    while run(&format!("volume show {volume}")).code == 0 {}
    assert_eq!(run("keypair delete mine").code, 0);
    assert!(cloud.state().volumes.is_empty() && cloud.state().servers.is_empty() && cloud.state().key_pairs.is_empty());
}

#[test]
fn a_server_on_its_way_takes_no_command() {
    let cloud = cloud();
    let Some(client) = Client::new(&[&cloud]) else { return };
    let id = server(&client, &cloud, "mover");
    until(&client, "server", &id, "ACTIVE");
    cloud.state().behave.looks = 9;
    assert_eq!(client.run("iad1", &format!("server stop {id}")).code, 0);
    let shown = client.run("iad1", &format!("server show {id} -f json")).json();
    assert_eq!((&shown["status"], &shown["OS-EXT-STS:task_state"]), (&json!("ACTIVE"), &json!("powering-off")));
    let said = client.run("iad1", &format!("server stop {id}"));
    assert!(said.code != 0 && said.stderr.contains("409") && said.stderr.contains("task_state"), "{said:?}");
    until(&client, "server", &id, "SHUTOFF");
}

#[test]
fn lists_limits_and_quotas_are_told() {
    let (one, two) = (cloud(), Cloud::start("iad2", Arc::new(Paper)));
    let Some(client) = Client::new(&[&one, &two]) else { return };
    let id = one.plant("data", 3);
    let listed = client.run("iad1", "volume list --long -f json").json();
    assert_eq!((listed[0]["ID"].as_str(), listed[0]["Name"].as_str()), (Some(id.as_str()), Some("data")));
    assert_eq!(client.run("iad2", "volume list -f json").json(), json!([]));
    let limits = client.run("iad1", "limits show --absolute -f json").json();
    let limit =
        |name: &str| limits.as_array().unwrap().iter().find(|line| line["Name"] == name).unwrap()["Value"].clone();
    assert_eq!((limit("total_gigabytes_used"), limit("max_total_volume_gigabytes")), (json!(3), json!(1000)));
    let quota = client.run("iad1", "quota show -f json").json();
    assert!(quota.as_array().unwrap().contains(&json!({ "Resource": "gigabytes", "Limit": 1000 })), "{quota}");
}

#[test]
fn it_misbehaves_when_told_to() {
    let cloud = cloud();
    let Some(client) = Client::new(&[&cloud]) else { return };
    let volume = cloud.plant("data", 1);
    let refuse = |method, path, status, done| {
        let message = "for the sake of a test";
        cloud.state().behave.refusals = vec![Refusal { method, path, status, message, times: 1, done }];
    };
    refuse("POST", "/volumes", 409, false);
    let said = client.run("iad1", "volume create --size 1 new");
    assert!(said.code != 0 && said.stderr.contains("for the sake of a test"), "{said:?}");
    assert_eq!(cloud.state().volumes.len(), 1);
    // Told that it failed, and done all the same.
    refuse("POST", "/volumes", 500, true);
    assert_ne!(client.run("iad1", "volume create --size 1 new").code, 0);
    assert_eq!(cloud.state().volumes.len(), 2);
    // A token that expires between two requests is renewed by the client.
    cloud.state().behave.token_uses = Some(2);
    assert_eq!(client.run("iad1", "volume list -f json").json().as_array().unwrap().len(), 2);
    cloud.state().behave.token_uses = None;
    cloud.state().limits.gibibytes = 2;
    assert!(client.run("iad1", "volume create --size 1 third").stderr.contains("quota"));
    let (mine, other) = (server(&client, &cloud, "mine"), server(&client, &cloud, "other"));
    cloud.state().behave.wrong_server = Some(other.clone());
    assert_eq!(client.run("iad1", &format!("server add volume {mine} {volume}")).code, 0);
    until(&client, "volume", &volume, "in-use");
    assert_eq!(cloud.state().volumes[&volume].attachments[0].server, other);
    cloud.state().behave.server_error = true;
    until(&client, "server", &server(&client, &cloud, "broken"), "ERROR");
}
