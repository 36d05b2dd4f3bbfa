//! Keys that are let in for a while.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use decamp::cancel::Cancel;
use decamp::host::ssh::{Options, keys};

use super::support::{host, options, output};
use crate::support::ssh::Sshd;

#[test]
fn a_key_is_let_in_and_exactly_that_line_taken_out() {
    let Some(server) = Sshd::start() else { return };
    let host = host(&server, "ada-peer");
    let cancel = Cancel::new();
    let key = server.dir().join("once");
    let public = keys::keypair(&key, "once").unwrap();
    let line = keys::line(&public, Some("restrict,command=\"echo it's me\""), "decamp-run-1").unwrap();
    let file = server.home("ada").join(".ssh/authorized_keys");
    // No file yet, a file whose last line is open, and a link to one.
    for (before, made) in [(None, true), (Some("# mine\nssh-rsa AAAA other"), false)] {
        if let Some(text) = before {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
            let home = fs::metadata(server.home("ada")).unwrap();
            std::os::unix::fs::chown(&file, Some(home.uid()), Some(home.gid())).unwrap();
            fs::rename(&file, server.home("ada").join("real")).unwrap();
            std::os::unix::fs::symlink("../real", &file).unwrap();
        }
        let owner = before.map(|_| fs::metadata(&file).map(|meta| (meta.uid(), meta.mode())).unwrap());
        let added = host.authorize(&line, None, &cancel).unwrap();
        assert_eq!((added.added, added.made), (true, made));
        assert!(!host.authorize(&line, None, &cancel).unwrap().added);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, before.map_or_else(String::new, |text| format!("{text}\n")) + &line + "\n");
        let once = Options { key: Some(key.clone()), ..options(&server) };
        let once = decamp::host::ssh::Host::new(decamp::host::ssh::Dest::parse("ada-peer").unwrap(), once);
        // The key lets in, and to that command alone.
        assert!(super::support::exec(&once, &["true"]).is_err());
        assert!(host.revoke(&line, added.made, None, &cancel).unwrap());
        assert!(!host.revoke(&line, added.made, None, &cancel).unwrap());
        match before {
            None => assert!(!file.exists()),
            Some(text) => {
                assert_eq!(fs::read_to_string(&file).unwrap(), format!("{text}\n"));
                assert!(file.is_symlink());
                assert_eq!(owner, Some(fs::metadata(&file).map(|meta| (meta.uid(), meta.mode())).unwrap()));
            }
        }
    }
    assert_eq!(output(&host, &["sh", "-c", "cd; ls -A . .ssh | grep -c decamp- || true"]), "0\n");
}
