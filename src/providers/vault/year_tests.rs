//! A year in a minute: daily backups, weekly rotations, monthly changes of people and of key shares, a lost store now and
//! then. On every day custody opens the newest and the oldest backup that is kept.

use age::x25519::Identity;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::custodian::Initialisation;
use super::generation::Generation;
use crate::backup::{Kept, to_remove};
use crate::custody::{Custody, pgp, testing};
use crate::permit::Permit;
use crate::plan::settings::{KeepSettings, RecipientSettings};
use crate::secret::{Secret, random_bytes};

const DAYS: i64 = 365;
const KEEP: KeepSettings = KeepSettings { last: 3, daily: 14 };

/// A backup: what is encrypted with the cluster's key of its time.
struct Backup {
    kept: Kept,
    nonce: [u8; NONCE_LEN],
    ciphertext: Vec<u8>,
}

/// The key that shares give, as far as this model goes.
fn key(shares: &[Secret]) -> RandomizedNonceKey {
    let mut hash = Sha256::new();
    for share in shares {
        hash.update(share.expose_bytes());
    }
    RandomizedNonceKey::new(&AES_256_GCM, &hash.finalize()).expect("a key")
}

struct Year {
    folder: tempfile::TempDir,
    random: StdRng,
    /// The people who can open custody; the first one is at work today.
    team: Vec<Identity>,
    which: Initialisation,
    now: Timestamp,
    backups: Vec<Backup>,
    /// How often the shares were replaced, a rotation was made, and a store was lost.
    happened: [usize; 3],
}

impl Year {
    fn new() -> Self {
        let team = (0..3).map(|_| Identity::generate()).collect();
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            random: StdRng::seed_from_u64(18),
            team,
            which: Initialisation::begin("https://vault:8200"),
            now: "2027-01-01T03:00:00Z".parse().expect("a time"),
            backups: Vec::new(),
            happened: [0; 3],
        }
    }

    /// Custody as the person at work has it, on the machine of today.
    fn custody(&self) -> Custody {
        let custody = testing::custody(self.folder.path(), self.team[0].clone());
        let recipient = |one: &Identity| RecipientSettings::Age(one.to_public().to_string());
        custody.set_recipients(self.team.iter().map(recipient).collect());
        custody
    }

    /// New shares. A run may die before they are recorded, or before they are in force; then it is run again.
    async fn rekey(&mut self, dies: bool) {
        let (custody, permit) = (self.custody(), Permit::mint());
        let id = self.now.strftime("%Y%m%dt%H%M%S").to_string();
        let generation = Generation::of(&self.which, &id);
        let pair = pgp::KeyPair::generate().expect("a pair");
        let public = pair.public_key().expect("a key");
        let message = || {
            let share = Secret::from(hex::encode(random_bytes(33)));
            STANDARD.encode(public.encrypt(&share).expect("encrypts"))
        };
        let answer =
            serde_json::json!({ "nonce": id, "keys": [], "keys_base64": [message(), message(), message()] });
        let answer = Secret::from(answer.to_string());
        custody.put(&permit, &generation.key(), &pair.to_secret().expect("bytes")).await.expect("kept");
        custody.put(&permit, &generation.answer(), &answer).await.expect("kept");
        if !dies {
            generation.make_current(&custody, &permit).await.expect("kept");
            self.happened[0] += 1;
        }
    }

    /// One person leaves, and another one comes: everything is sealed again, by one who stays.
    async fn change_team(&mut self) {
        let leaver = self.random.random_range(1..self.team.len());
        self.team[leaver] = Identity::generate();
        let (custody, permit) = (self.custody(), Permit::mint());
        let (objects, _) = custody.misdirected().await.expect("read");
        assert!(!objects.is_empty());
        for one in objects {
            custody.rewrap(&permit, &one.object).await.expect("sealed again");
        }
        let newcomer = self.team.remove(leaver);
        self.team.insert(0, newcomer);
    }

    /// The due secret gets another value, which is kept before the old one goes.
    async fn rotate(&mut self) {
        let (custody, permit) = (self.custody(), Permit::mint());
        let value = Secret::new(random_bytes(20));
        custody.replace(&permit, "aws/ci/access-key", &value).await.expect("kept");
        assert_eq!(custody.get("aws/ci/access-key").await.expect("read"), Some(value));
        self.happened[1] += 1;
    }

    /// A store is lost, and filled again by the next run.
    async fn lose_a_store(&mut self) {
        let name = if self.random.random() { "one" } else { "two" };
        std::fs::remove_dir_all(self.folder.path().join(name)).expect("removed");
        self.opens_newest_and_oldest().await;
        self.custody().complete(&Permit::mint(), "").await.expect("completed");
        self.happened[2] += 1;
    }

    async fn back_up(&mut self) {
        let custody = self.custody();
        let current = self.which.current(&custody).await.expect("read");
        let shares = current.shares(&custody).await.expect("opened");
        let mut ciphertext = b"everything".to_vec();
        let nonce = key(&shares).seal_in_place_append_tag(Aad::empty(), &mut ciphertext).expect("encrypts");
        let kept = Kept {
            base: self.now.to_string(),
            taken: self.now,
            is_proven: true,
            generation: Some(current.id().to_owned()),
        };
        self.backups.push(Backup { kept, nonce: *nonce.as_ref(), ciphertext });
        let gone = to_remove(self.backups.iter().map(|one| one.kept.clone()).collect(), KEEP);
        self.backups.retain(|one| gone.iter().all(|gone| gone.base != one.kept.base));
    }

    async fn opens_newest_and_oldest(&self) {
        let custody = self.custody();
        let generations = self.which.generations(&custody).await.expect("read");
        for backup in [self.backups.first(), self.backups.last()].into_iter().flatten() {
            let mut opened = false;
            for generation in &generations {
                let shares = generation.shares(&custody).await.unwrap_or_default();
                let mut bytes = backup.ciphertext.clone();
                let nonce = Nonce::assume_unique_for_key(backup.nonce);
                opened |= !shares.is_empty()
                    && key(&shares)
                        .open_in_place(nonce, Aad::empty(), &mut bytes)
                        .is_ok_and(|plain| plain == b"everything");
            }
            assert!(opened, "{}: the backup of {} does not open", self.now, backup.kept.base);
        }
    }
}

#[tokio::test]
async fn custody_opens_newest_and_oldest_backup_all_year() {
    let mut year = Year::new();
    year.rekey(false).await;
    for day in 0..DAYS {
        match day % 30 {
            9 => year.change_team().await,
            // A rekey that is cut off, and run again.
            19 => year.rekey(true).await,
            20 => year.rekey(false).await,
            _ if day % 7 == 0 => year.rotate().await,
            25 if year.random.random() => year.lose_a_store().await,
            _ => {}
        }
        year.back_up().await;
        year.opens_newest_and_oldest().await;
        year.now += SignedDuration::from_hours(24);
    }
    let [rekeys, rotations, losses] = year.happened;
    assert!(rekeys > 11 && rotations > 40 && losses > 2, "{:?}", year.happened);
    // The last backup of each generation of shares is there, whatever retention says.
    let mut generations: Vec<_> = year.backups.iter().map(|one| one.kept.generation.clone()).collect();
    generations.dedup();
    assert_eq!(generations.len(), rekeys);
    assert!(year.backups.len() < 40, "{} backups are kept", year.backups.len());
}
