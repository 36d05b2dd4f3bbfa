//! A volume moves from cloud to cloud: planned, done, undone.

use super::world::{GIB, UNIT, World, ended};
use crate::script::support::run_id;
use crate::support::openstack::same_content;

#[test]
fn a_volume_moves_and_nothing_else_is_left() {
    let Some(world) = World::new() else { return };
    let ran = world.start().run();
    assert_eq!(world.wrong(), Vec::<String>::new(), "{}", ran.stderr);
    assert!(ran.stdout.contains("source_digest") && ran.stdout.contains("ext4"), "{}", ran.stdout);
    // The document's command leaves a gzip stream there.
    let made = world.dst.state().volumes.keys().next().unwrap().clone();
    let first = std::fs::read(world.metal.image(&made)).unwrap();
    assert_ne!(first[..2], [0x1f, 0x8b]);
    for (cloud, servers) in [(&world.src, 1), (&world.dst, 1)] {
        assert_eq!((cloud.asked("POST", "compute/v2.1/servers ->"), cloud.asked("POST", "os-keypairs")), (servers, 1));
    }
}

#[test]
fn a_plan_changes_nothing_and_tells_what_would_be_made() {
    let Some(world) = World::new() else { return };
    let ran = world.start().arg("--plan").run();
    for said in
        ["server create", "volume create --size 8", "server add volume", "volume set --read-only", "server delete"]
    {
        assert!(ran.stdout.contains(said), "{said}: {}", ran.stdout);
    }
    for cloud in [&world.src, &world.dst] {
        let log = &cloud.state().log;
        let changed: Vec<&String> =
            log.iter().filter(|line| !line.starts_with("GET") && !line.contains("/auth/tokens")).collect();
        assert!(changed.is_empty(), "{changed:?}");
    }
    assert!(!world.call.state().join("journal.db").exists());
}

#[test]
fn undo_takes_everything_back() {
    let Some(world) = World::new() else { return };
    world.start().run();
    world.call.again().args(["undo", &run_id(&world.call)]).run();
    assert_eq!(world.not_undone(), Vec::<String>::new());
}

#[test]
fn a_volume_that_is_in_use_is_taken_from_a_stopped_server_and_given_back() {
    let Some(world) = World::new() else { return };
    let server = world.src.plant_server("app", &world.volume);
    world.start().status(2).stderr_has("--stop-server").run();
    assert_eq!(world.src.asked("POST", "servers"), 0);
    let ran = world.start().arg("--stop-server").run();
    assert_eq!(world.wrong(), Vec::<String>::new());
    assert_eq!(world.src.state().servers[&server].status.now, "SHUTOFF");
    let id = ran.stderr.lines().find_map(|line| line.strip_prefix("run ")).unwrap().to_owned();
    world.call.again().args(["undo", &id]).run();
    assert_eq!(world.src.state().servers[&server].status.now, "ACTIVE");
    assert_eq!(world.src.state().volumes[&world.volume].attachments[0].server, server);
    assert_eq!(world.not_undone(), Vec::<String>::new());
}

#[test]
fn a_boot_volume_stays_one_and_may_become_larger() {
    let Some(world) = World::new() else { return };
    if let Some(volume) = world.src.state().volumes.get_mut(&world.volume) {
        volume.bootable = true;
        volume.image.insert("hw_disk_bus".into(), "scsi".into());
        volume.image.insert("checksum".into(), "of the image".into());
    }
    let target = world.dst.plant("unused", 1);
    let server = world.dst.plant_server("app", &target);
    let ran = world
        .start()
        .args(["--dst-size", "9", "--dst-name", "copy", "--dst-type", "fast", "--dst-server", &server])
        .run();
    let state = world.dst.state();
    let made = state.volumes.values().find(|volume| volume.name == "copy").unwrap();
    assert_eq!((made.bootable, made.gib, made.kind.as_str()), (true, 9, "fast"));
    assert_eq!(made.image.iter().collect::<Vec<_>>(), [(&"hw_disk_bus".to_owned(), &"scsi".to_owned())]);
    assert_eq!(made.attachments[0].server, server);
    assert!(same_content(&world.metal.image(&world.volume), &world.metal.image(&made.id), GIB * UNIT));
    drop(state);
    assert!(ran.stdout.contains("unused_bytes"), "{}", ran.stdout);
    // Whoever has it may have written to it since.
    let undone = ended(world.call.again().args(["undo", &run_id(&world.call)]));
    assert_eq!(undone.status, 9, "{}", undone.stderr);
    assert!(undone.stderr.contains("handed-over"), "{}", undone.stderr);
}
