//! A small snapshot of a real server, and what is done to it.

use super::*;
use crate::secret::Secret;

const SNAPSHOT: &[u8] = include_bytes!("testdata/shamir.snapshot");

/// How many bits are flipped, one at a time, by default.
const FLIPS: usize = 1000;

fn shares() -> Vec<Secret> {
    include_str!("testdata/shares.txt").lines().map(|line| Secret::from(line.to_owned())).collect()
}

fn vitals(file: &[u8]) -> Result<(Frame, Vitals), Flaw> {
    outline(&mut &file[..])
}

fn unlocked(vitals: &Vitals) -> Unlocked {
    let key = vitals.try_shares(&shares()).key.expect("the shares open it");
    Unlocked::with_seal_key(vitals, &key).expect("the right key")
}

#[test]
fn snapshot_says_without_a_key_what_opens_it() {
    let (frame, vitals) = vitals(SNAPSHOT).expect("whole");
    assert_eq!((frame.meta.index, frame.meta.term, frame.entries), (76, 3, 73));
    assert_eq!(frame.meta.servers()[0].id, "s1");
    assert_eq!((frame.bytes, frame.sha256.len()), (SNAPSHOT.len() as u64, 64));
    assert_eq!((&vitals.seal, vitals.config.shares, vitals.config.threshold), (&Seal::Shamir, 3, 2));
    assert_eq!(vitals.newest_version(), Some("2.7.2"));
    let newer = ["2.6.2", "2.7.2", "2.10.0"].map(|server| vitals.newer_than(server));
    assert_eq!(newer, [Some("2.7.2"), None, None]);
    assert!(vitals.generation.expect("a digest").starts_with("sha256:"));
}

#[test]
fn each_share_is_judged_by_itself() {
    let (_, vitals) = vitals(SNAPSHOT).expect("whole");
    let good = shares();
    assert_eq!(vitals.try_shares(&good).verdicts, [Verdict::Good; 3]);
    assert_eq!(vitals.try_shares(&good[..1]).verdicts, [Verdict::Unproven], "too few to tell");
    let mut flipped = good[1].expose_str().expect("text").to_owned();
    let last = if flipped.starts_with('0') { "1" } else { "0" };
    flipped.replace_range(..1, last);
    let mixed = [Secret::from(flipped), good[0].clone(), Secret::from("zz".to_owned()), good[2].clone()];
    let report = vitals.try_shares(&mixed);
    assert_eq!(report.verdicts, [Verdict::Wrong, Verdict::Good, Verdict::Malformed, Verdict::Good]);
    assert_eq!((report.good(), report.threshold), (2, 2));
    let others = ["11", "22"].map(|byte| Secret::from(byte.repeat(33)));
    let report = vitals.try_shares(&others);
    assert_eq!((report.verdicts, report.key), (vec![Verdict::Wrong; 2], None));
}

#[test]
fn every_entry_is_authenticated_and_listed_without_a_value() {
    let (frame, vitals) = vitals(SNAPSHOT).expect("whole");
    let key = vitals.try_shares(&shares()).key.expect("the shares open it");
    frame.check_sealed_sums(&key).expect("the seal has signed it");
    let (_, contents) = read(SNAPSHOT, &mut unlocked(&vitals)).expect("authentic");
    let of = |table| contents.mounts_of(table).map(|mount| mount.path.as_str()).collect::<Vec<_>>();
    let engines = of(Table::Secrets);
    assert_eq!(engines[..5], ["cubbyhole/", "identity/", "old/", "secret/", "sys/"]);
    assert!(engines.contains(&"team/sub/kv/"), "{engines:?}");
    assert_eq!(of(Table::Auth), ["approle/", "team/sub/token/", "team/token/", "token/"]);
    let approle = contents.mounts_of(Table::Auth).next().expect("one");
    assert_eq!((approle.kind.as_str(), approle.entries), ("approle", 3));
    assert_eq!((contents.policies.len(), contents.policies["team/tp"].len()), (8, 36));
    assert!(contents.policies["app"].contains("secret/data/app/*"));
    assert_eq!(contents.audit[0].path, "main/");
    assert!(contents.audit[0].options["file_path"].ends_with("audit.log"));
    assert_eq!(contents.cluster_id.as_deref().map(str::len), Some(36));
    let paths: Vec<String> =
        contents.secrets.iter().map(|one| format!("{}{}@{}", one.mount, one.path, one.current)).collect();
    assert_eq!(paths, ["old/legacy@0", "secret/app/db@3", "secret/web@1", "team/sub/kv/n@1"]);
    let versions = &contents.secrets[1].versions;
    assert!(versions[0].destroyed && versions[1].deleted.is_some() && versions[2].created.is_some());
    assert_eq!((contents.counts.entries, contents.counts.tokens), (73, 1));
    assert!(contents.counts.authenticated > 35);
    assert!(!format!("{contents:?}{vitals:?}{frame:?}").contains("canary-"));
}

#[test]
fn one_secret_comes_out_in_any_version_that_is_left() {
    let (_, vitals) = vitals(SNAPSHOT).expect("whole");
    let mut unlocked = unlocked(&vitals);
    let (_, contents) = read(SNAPSHOT, &mut unlocked).expect("authentic");
    let mut take = |path, version: Option<u64>| {
        let located = contents.locate(path).expect("it is there");
        let version = version.unwrap_or(located.secret.current);
        let data = located.data(SNAPSHOT, &mut unlocked, version).expect("authentic");
        data.map(|data| data.expose_str().expect("JSON").to_owned())
    };
    let newest = take("secret/app/db", None);
    assert_eq!(newest.as_deref(), Some(r#"{"password":"canary-three-22d0"}"#));
    assert!(take("secret/app/db", Some(2)).expect("deleted, not destroyed").contains("canary-two"));
    assert_eq!((take("secret/app/db", Some(1)), take("secret/app/db", Some(9))), (None, None));
    assert!(take("secret/web", None).expect("there").contains("12345678901234567890"));
    assert!(take("old/legacy", None).expect("there").contains("canary-old"));
    assert!(take("team/sub/kv/n", None).expect("there").contains("canary-ns"));
    for absent in ["secret/app", "secret/app/db2", "nowhere/x", "secret/", ""] {
        assert!(contents.locate(absent).is_none(), "{absent}");
    }
}

#[test]
fn wrong_key_is_named_as_foreign() {
    let (frame, vitals) = vitals(SNAPSHOT).expect("whole");
    let key = Secret::new(vec![9; 32]);
    assert!(matches!(Unlocked::with_seal_key(&vitals, &key), Err(Flaw::Foreign(_))));
    assert!(matches!(frame.check_sealed_sums(&key), Err(Flaw::Forged(_))));
}

#[test]
fn cut_file_is_named_as_cut_wherever_it_ends() {
    for length in (1..SNAPSHOT.len()).step_by(97).chain([SNAPSHOT.len() - 1, SNAPSHOT.len() - 8]) {
        let flaw = vitals(&SNAPSHOT[..length]).expect_err("cut");
        assert!(matches!(flaw, Flaw::Cut(_)), "{length}: {flaw:?}");
    }
    assert!(matches!(vitals(b"").expect_err("empty"), Flaw::Cut(_)));
}

#[test]
fn appended_bytes_are_named() {
    for more in [&[0][..], b"\n", SNAPSHOT] {
        let flaw = vitals(&[SNAPSHOT, more].concat()).expect_err("more");
        assert!(matches!(flaw, Flaw::Appended(_)), "{flaw:?}");
    }
}

#[test]
fn other_files_are_not_snapshots() {
    use std::io::Write;
    for other in [&b"{\"errors\":[]}"[..], b"<html>", &[0; 600]] {
        assert!(matches!(vitals(other).expect_err("another"), Flaw::NotASnapshot(_)));
    }
    let archive = |names: &[&str]| {
        let mut file = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_ustar();
            header.set_size(2);
            header.set_mode(0o600);
            header.set_cksum();
            file.append_data(&mut header, name, &b"{}"[..]).expect("appends");
        }
        let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
        let tar = file.into_inner().expect("an archive");
        let mut deflate = flate2::write::DeflateEncoder::new(&mut packed, flate2::Compression::fast());
        deflate.write_all(&tar).and_then(|()| deflate.finish().map(drop)).expect("compresses");
        let mut crc = flate2::Crc::new();
        crc.update(&tar);
        [packed.as_slice(), &crc.sum().to_le_bytes(), &crc.amount().to_le_bytes()].concat()
    };
    for names in [&["a.txt"][..], &["meta.json"], &["meta.json", "meta.json"], &["state.bin"], &[]] {
        let flaw = vitals(&archive(names)).expect_err("another archive");
        assert!(matches!(flaw, Flaw::NotASnapshot(_)), "{names:?}: {flaw:?}");
    }
}

/// `SNAPSHOT_FLIPS` sets how many. A bit that the compression does not use may be another one, as long as every
/// byte of the contents is the same; the digest of the file in its manifest finds those.
#[test]
fn flipped_bit_is_refused_wherever_it_is() {
    let flips = std::env::var("SNAPSHOT_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(FLIPS);
    let bits = SNAPSHOT.len() * 8;
    let (whole, vitals_of_whole) = vitals(SNAPSHOT).expect("whole");
    let mut file = SNAPSHOT.to_vec();
    let mut unused = 0;
    for flip in 0..flips.min(bits) {
        let bit = flip * bits / flips.min(bits);
        file[bit / 8] ^= 1 << (bit % 8);
        match vitals(&file) {
            Err(flaw) => assert!(!matches!(flaw, Flaw::Unreadable(_)), "bit {bit}: {flaw:?}"),
            Ok((frame, vitals)) => {
                assert_ne!(frame.sha256, whole.sha256, "bit {bit}");
                assert_eq!((frame.sums, frame.meta), (whole.sums.clone(), whole.meta.clone()), "bit {bit}");
                assert_eq!(vitals.generation, vitals_of_whole.generation);
                unused += 1;
            }
        }
        file[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(unused * 200 < flips, "{unused} of {flips} were not noticed");
}
