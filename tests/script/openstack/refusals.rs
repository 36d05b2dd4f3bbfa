//! Clouds that misbehave: every time the run says what is wrong, loses nothing, and goes on or is undone.

use super::world::{World, ended};
use crate::script::support::run_id;
use crate::support::openstack::{Refusal, State};

fn refuse(method: &'static str, path: &'static str, status: u16, done: bool) -> Vec<Refusal> {
    vec![Refusal { method, path, status, message: "for the sake of a test", times: 1, done }]
}

/// Runs in a cloud that misbehaves; it must end with these words. Then the cloud is mended, and the run resumed.
fn mended(world: &World, spoil: impl Fn(&mut State), words: &str, mend: impl Fn(&mut State)) {
    spoil(&mut world.src.state());
    spoil(&mut world.dst.state());
    let ran = ended(world.start_in_haste());
    assert!(ran.status != 0 && ran.stderr.contains(words), "{} {}", ran.status, ran.stderr);
    mend(&mut world.src.state());
    mend(&mut world.dst.state());
    let resumed = ended(world.call.again().args(["resume", "--set", "timeout=1m"]));
    assert_eq!(resumed.status, 0, "{}", resumed.stderr);
    assert_eq!(world.wrong(), Vec::<String>::new());
}

/// Runs in a cloud that misbehaves; it must end with these words, and can be undone.
fn undone(world: &World, spoil: impl Fn(&mut State), words: &str) {
    spoil(&mut world.src.state());
    spoil(&mut world.dst.state());
    let ran = ended(world.start_in_haste());
    assert!(ran.status != 0 && ran.stderr.contains(words), "{} {}", ran.status, ran.stderr);
    for cloud in [&world.src, &world.dst] {
        cloud.state().behave = Default::default();
    }
    let undo = ended(world.call.again().args(["undo", &run_id(&world.call)]));
    assert_eq!(undo.status, 0, "{}", undo.stderr);
    assert_eq!(world.not_undone(), Vec::<String>::new());
}

#[test]
fn a_conflict_ends_the_run_and_is_gone_when_it_is_resumed() {
    let Some(world) = World::new() else { return };
    mended(
        &world,
        // In one of them, since each refuses once, and the run is resumed once.
        |cloud| {
            if cloud.name == "iad2" {
                cloud.behave.refusals = refuse("POST", "/servers", 409, false);
            }
        },
        "for the sake of a test",
        |_| (),
    );
}

#[test]
fn what_was_done_and_told_as_failed_is_found_again() {
    for (method, path, status) in [("POST", "/volumes", 500), ("POST", "v2.1/servers", 500), ("POST", "os-keypairs", 0)]
    {
        let Some(world) = World::new() else { return };
        for cloud in [&world.src, &world.dst] {
            cloud.state().behave.refusals = refuse(method, path, status, true);
        }
        let mut ran = ended(world.start());
        for _ in 0..3 {
            if ran.status != 0 {
                ran = ended(world.call.again().arg("resume"));
            }
        }
        assert_eq!((ran.status, world.wrong()), (0, Vec::new()), "{path}: {}", ran.stderr);
    }
}

#[test]
fn a_failure_for_a_moment_is_not_even_seen() {
    let Some(world) = World::new() else { return };
    for cloud in [&world.src, &world.dst] {
        let mut refusals = [refuse("GET", "/servers", 503, false), refuse("GET", "/volumes", 500, false)].concat();
        // Numbers of ids and ports are no states.
        refusals.iter_mut().for_each(|refusal| refusal.message = "request 401f-403e-409d failed");
        cloud.state().behave.refusals = refusals;
        cloud.state().behave.token_uses = Some(2);
    }
    world.start().run();
    assert_eq!(world.wrong(), Vec::<String>::new());
}

#[test]
fn a_slow_cloud_is_waited_for() {
    let Some(world) = World::new() else { return };
    for cloud in [&world.src, &world.dst] {
        cloud.state().behave.looks = 6;
    }
    world.start().run();
    assert_eq!(world.wrong(), Vec::<String>::new());
}

#[test]
fn letters_do_not_matter() {
    let Some(world) = World::new() else { return };
    for cloud in [&world.src, &world.dst] {
        cloud.state().behave.wrong_letter = true;
    }
    world.start().run();
    assert_eq!(world.wrong(), Vec::<String>::new());
}

#[test]
fn a_volume_that_ends_at_another_server_is_not_written_to() {
    let Some(world) = World::new() else { return };
    let target = world.src.plant("other", 1);
    let server = world.src.plant_server("other", &target);
    let wrong = server.clone();
    let spoil = move |cloud: &mut State| cloud.behave.wrong_server = (cloud.name == "iad1").then(|| wrong.clone());
    spoil(&mut world.src.state());
    let ran = ended(world.start());
    assert!(ran.stderr.contains(&format!("attached to server {server}")), "{}", ran.stderr);
    let made = world.dst.state().volumes.keys().next().unwrap().clone();
    assert!(std::fs::read(world.metal.image(&made)).unwrap().iter().all(|byte| *byte == 0));
    world.src.state().behave.wrong_server = None;
    assert_eq!(world.client.run("iad1", &format!("server remove volume {server} {}", world.volume)).code, 0);
    while world.client.run("iad1", &format!("volume show -f value -c status {}", world.volume)).stdout != "available\n"
    {
    }
    world.call.again().arg("resume").run();
    assert_eq!(world.wrong(), Vec::<String>::new());
}

#[test]
fn a_volume_that_hangs_in_attaching_is_told() {
    let Some(world) = World::new() else { return };
    let freed = |cloud: &mut State| {
        cloud.behave.stuck_attaching = false;
        for volume in cloud.volumes.values_mut().filter(|volume| volume.status.now == "attaching") {
            volume.attachments.clear();
            volume.status = crate::support::openstack::Status::is("available");
        }
    };
    mended(&world, |cloud| cloud.behave.stuck_attaching = true, "it is attaching", freed);
}

#[test]
fn servers_and_volumes_that_end_in_error_can_be_undone() {
    let Some(world) = World::new() else { return };
    undone(&world, |cloud| cloud.behave.server_error = true, "state ERROR");
    let Some(world) = World::new() else { return };
    undone(&world, |cloud| cloud.behave.volume_error = true, "state error");
}

#[test]
fn a_console_that_tells_no_host_key_lets_nobody_in() {
    let Some(world) = World::new() else { return };
    undone(&world, |cloud| cloud.behave.silent_console = true, "prints no host keys");
}

#[test]
fn what_cannot_succeed_is_found_before_anything_is_made() {
    let Some(world) = World::new() else { return };
    world.dst.state().limits.gibibytes = 4;
    world.src.state().limits.instances = 0;
    if let Some(volume) = world.src.state().volumes.get_mut(&world.volume) {
        volume.encrypted = true;
    }
    let run = world.start().args(["--dst-flavor", "huge", "--dst-size", "7"]);
    let ran = ended(run);
    assert_eq!(ran.status, 2, "{}", ran.stderr);
    for words in ["GiB of volumes", "more instances", "encrypted", "no flavor huge", "--dst-size 7 is less"] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert_eq!(world.src.asked("POST", "compute") + world.dst.asked("POST", "compute"), 0);
}

#[test]
fn a_name_of_several_volumes_is_no_name() {
    let Some(world) = World::new() else { return };
    world.src.plant("data", 1);
    let args = [
        "run",
        "./openstack-volume.rhai",
        "--src-cloud",
        "iad1",
        "--dst-cloud",
        "iad2",
        "--flavor",
        "small",
        "--image",
        "linux",
    ];
    world.call.again().args(args).args(["--volume", "data"]).status(2).stderr_has("2 volumes of the name data").run();
    let again = world.call.again().args(args).args(["--volume", "nothing"]);
    again.status(2).stderr_has("no volume nothing").run();
    world.call.again().args(["run", "openstack-volume"]).status(2).stderr_has("--volume is required").run();
}
