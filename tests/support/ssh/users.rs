//! Who may log in to the servers of the tests: files that are mounted over those in `/etc`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The password of everybody who has one.
pub(crate) const PASSWORD: &str = "open sesame";

/// What `/etc/shadow` has of it.
const HASH: &str = "$6$decamp$WvJLzsK/cRLEg9ksOWSPcZhjaZd2L6Q6yDgNLMatgZNSm7CULjNyNbkc.AKBKxIPgPFN6wd8TLzM628SgJFqX1";

/// A user of a server.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    id: u32,
    shell: &'static str,
    sudo: &'static str,
}

/// Everybody but root: all have the password, and the key lets them in as well.
pub(crate) const USERS: [User; 4] = [
    User { name: "ada", id: 60101, shell: "/bin/bash", sudo: "NOPASSWD: ALL" },
    User { name: "bob", id: 60102, shell: "/bin/sh", sudo: "ALL" },
    User { name: "finn", id: 60103, shell: "/usr/bin/fish", sudo: "ALL" },
    User { name: "cleo", id: 60104, shell: "/bin/csh", sudo: "ALL" },
];

/// The files below `/etc` that are replaced.
pub(super) const FILES: [&str; 4] = ["passwd", "shadow", "group", "sudoers"];

pub(super) fn write(dir: &Path) {
    let [mut passwd, mut shadow, mut group] = [
        "root:x:0:0:root:@HOMES@/root:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        "root:*:19000:0:99999:7:::\nsshd:!:19000::::::\nnobody:*:19000:0:99999:7:::\n",
        "root:x:0:\nshadow:x:42:\ntty:x:5:\nnogroup:x:65534:\n",
    ]
    .map(|text| text.replace("@HOMES@", &dir.join("homes").display().to_string()));
    let mut sudoers = String::from("Defaults env_reset\nDefaults lecture=never\nroot ALL=(ALL:ALL) ALL\n");
    for User { name, id, shell, sudo } in &USERS {
        let home = dir.join("homes").join(name);
        passwd.push_str(&format!("{name}:x:{id}:{id}::{}:{shell}\n", home.display()));
        shadow.push_str(&format!("{name}:{HASH}:19000:0:99999:7:::\n"));
        group.push_str(&format!("{name}:x:{id}:\n"));
        sudoers.push_str(&format!("{name} ALL=(ALL) {sudo}\n"));
        fs::create_dir_all(&home).unwrap();
        std::os::unix::fs::chown(&home, Some(*id), Some(*id)).unwrap();
    }
    fs::create_dir_all(dir.join("homes/root")).unwrap();
    for (name, text, mode) in
        [("passwd", passwd, 0o644), ("shadow", shadow, 0o600), ("group", group, 0o644), ("sudoers", sudoers, 0o440)]
    {
        fs::write(dir.join(name), text).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
}
