//! The contract that every kind keeps, run over every registered kind against real servers.
//!
//! Each kind has a fixture `tests/contract/<kind>.yaml`; see [`Fixture`].

mod fixture;
mod subject;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use groundwork::providers::PROVIDERS;
use groundwork::sandbox::{Extra, OpenBao, VaultServer};
use serde_json::json;

pub use self::fixture::{Fixture, copy_companions, fixture, merge};
use self::subject::Subject;
use crate::kubernetes;
use crate::methods::Methods;
use crate::postgres::Postgres;
use crate::stages::side_by_side;
use crate::support::{Cluster, block_on};

/// Kinds whose life is a ceremony: created once, never deleted. Their own tests go through it.
const CEREMONIES: [&str; 2] = ["vault.init", "vault.root_token"];

/// Set to the address of another emulator, the contract runs against that one, e.g. of moto:
/// `GROUNDWORK_OTHER_AWS=http://127.0.0.1:5000 CONTRACT_KIND=aws.iam_group cargo test --test it contract`.
/// `docs/EMULATORS.md` says what came of it.
const OTHER_AWS: &str = "GROUNDWORK_OTHER_AWS";

/// What plays Vault.
#[derive(Clone, Copy)]
enum Server {
    /// OpenBao as the sandbox runs it.
    Current,
    /// The line of OpenBao before it.
    Older,
    /// [`crate::methods`] before OpenBao.
    StandIn,
    /// OpenBao as the sandbox runs it, beside a Kubernetes API server.
    Kubernetes,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Older => "openbao-2.6",
            Self::StandIn => "stand-in",
            Self::Kubernetes => "kubernetes",
        }
    }

    fn settings(self) -> groundwork::sandbox::Settings {
        let version = if matches!(self, Self::Older) { OpenBao::WithKmsSeal } else { OpenBao::Current };
        groundwork::sandbox::Settings {
            api_audit: true,
            vault: VaultServer::Pinned(version),
            with: matches!(self, Self::Kubernetes).then_some(Extra::Kubernetes).into_iter().collect(),
            ..groundwork::sandbox::Settings::default()
        }
    }
}

#[test]
fn every_kind_keeps_the_contract() {
    run(Server::Current, PROVIDERS.names().filter(|kind| !kind.starts_with(KUBERNETES)).collect());
}

/// Kinds whose server takes Go to build.
const KUBERNETES: &str = "kubernetes.";

#[test]
fn kubernetes_kinds_keep_the_contract() {
    if kubernetes::is_left_out("the contract of the kinds of Kubernetes") {
        return;
    }
    let kinds: Vec<&str> = PROVIDERS.names().filter(|kind| kind.starts_with(KUBERNETES)).collect();
    assert!(kinds.len() >= 8, "{kinds:?}");
    run(Server::Kubernetes, kinds);
}

/// What differs between servers is held in one place, `src/providers/vault/server/`; these kinds ask
/// there.
const DIFFERENT: [&str; 6] =
    ["vault.audit", "vault.auth_method", "vault.mount", "vault.namespace", "vault.policy", "vault.ssh_ca"];

#[test]
fn kinds_keep_the_contract_on_older_openbao() {
    let only_there = |kind: &str| {
        fixture(kind).is_ok_and(|fixture| fixture.servers.contains(&Server::Older.name().into()))
    };
    let kinds: Vec<&str> =
        PROVIDERS.names().filter(|kind| DIFFERENT.contains(kind) || only_there(kind)).collect();
    assert!(kinds.len() > DIFFERENT.len(), "fixtures of the older server are missing: {kinds:?}");
    run(Server::Older, kinds);
}

#[test]
#[ignore = "takes as long as the contract itself; `make sweep`"]
fn every_vault_kind_keeps_contract_on_older_openbao() {
    // Its databases are the same plugins.
    let kinds =
        PROVIDERS.names().filter(|kind| kind.starts_with("vault.") && !kind.starts_with("vault.database_"));
    run(Server::Older, kinds.collect());
}

#[test]
fn kinds_keep_the_contract_with_hashicorp_stand_in() {
    let of_stand_in =
        |kind: &str| fixture(kind).is_ok_and(|fixture| fixture.servers.contains(&"stand-in".to_owned()));
    let kinds: Vec<&str> = PROVIDERS.names().filter(|kind| of_stand_in(kind)).collect();
    assert!(kinds.len() >= 9, "fixtures of the stand-in are missing: {kinds:?}");
    run(Server::StandIn, kinds);
}

/// A change of any field is a change that a plan shows, or the fixture says why it is none.
#[test]
fn fixtures_change_every_field_of_their_kind() {
    let kinds = PROVIDERS.kinds().filter(|kind| !CEREMONIES.contains(&kind.name()));
    let mut wrong = Vec::new();
    for kind in kinds {
        let fixture = fixture(kind.name()).expect("a fixture");
        // Of what no server of the tests has, documented answers are compared in unit tests.
        if fixture.elsewhere.is_some() && fixture.servers.is_empty() {
            continue;
        }
        // Fields that say which thing it is: another value is another thing.
        let identity: &[&str] =
            if kind.provider() == "vault" { &["mount", "name", "path", "namespace"] } else { &["name"] };
        let changes = [&fixture.changes, &fixture.blocked, &fixture.blocked_at_end, &fixture.not_in_sandbox];
        let of_others = fixture.others.iter().flat_map(|other| &other.changes);
        let changes = changes.into_iter().flatten().chain(of_others);
        let shown: BTreeSet<&str> = changes
            .flat_map(|change| &change.shows)
            .map(|path| path.split(['.', '[']).next().unwrap_or_default())
            .collect();
        for field in groundwork::schema::describe::fields(kind).iter().filter(|field| field.depth == 0) {
            let excused = fixture.not_shown.contains_key(&field.path);
            match shown.contains(field.path.as_str()) {
                true if excused => {
                    wrong.push(format!("{}: `{}` is shown after all", kind.name(), field.path));
                }
                false if !excused && !identity.contains(&field.path.as_str()) => {
                    wrong.push(format!("{}: nothing shows `{}`", kind.name(), field.path));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Stages that kinds go through side by side. A kind mostly waits for its servers, so these are more
/// than there are processors.
pub const STAGES: usize = 4;

/// Takes `kinds` through their life on `server`: each stage takes the next kind that no other has taken.
fn run(server: Server, kinds: Vec<&'static str>) {
    let kinds: Vec<&str> = kinds.into_iter().filter(|kind| wanted(kind)).collect();
    // One API server is enough: its objects do not get into each other's way.
    let stages = if matches!(server, Server::Kubernetes) { 1 } else { STAGES };
    let broken = side_by_side(
        kinds,
        stages,
        || Stage::new(server),
        |stage, kind| (!stage.keeps_the_contract(kind)).then_some(kind),
    );
    let broken: Vec<&str> = broken.into_iter().flatten().collect();
    assert!(broken.is_empty(), "these kinds break the contract, see above: {}", broken.join(", "));
}

const DATABASE_PASSWORD: &str = "contract-database-password";

/// What an application has in its database.
const TABLES: &str = "DROP TABLE IF EXISTS contract_sources; DROP SEQUENCE IF EXISTS contract_numbers; \
     CREATE TABLE contract_sources (name text, number int, config jsonb); CREATE SEQUENCE contract_numbers; \
     INSERT INTO contract_sources VALUES ('imaging', 7, '{\"kept\": {\"exactly\": 1.0}}'), ('other', 8, NULL)";

/// Servers of their own for one kind after the other.
struct Stage {
    server: Server,
    cluster: Cluster,
    methods: Option<Methods>,
    database: OnceCell<Postgres>,
    /// The one of the kinds of PostgreSQL: Vault gives itself another password in the first.
    plain_database: OnceCell<Postgres>,
}

impl Stage {
    fn new(server: Server) -> Self {
        let cluster = Cluster::with("contract", server.settings());
        cluster.declare(&json!({}));
        cluster.apply(&[]);
        let environment = &cluster.environment;
        copy_companions(&environment.folder);
        let methods =
            matches!(server, Server::StandIn).then(|| Methods::before(&environment.sandbox.vault_addrs()[0]));
        Self { server, cluster, methods, database: OnceCell::new(), plain_database: OnceCell::new() }
    }

    /// Takes one kind through its life.
    fn keeps_the_contract(&self, kind: &str) -> bool {
        // The library reads its surroundings from the process, so each kind runs in one of its own.
        let mut inner = Command::new(std::env::current_exe().expect("this program"));
        inner.args(["contract::inner", "--exact", "--ignored", "--nocapture"]);
        self.cluster.lead(&mut inner);
        if let Some(other) = std::env::var_os(OTHER_AWS) {
            inner.env("AWS_ENDPOINT_URL", other);
        }
        if let Some(methods) = &self.methods {
            inner.env("VAULT_ADDR", &methods.url).env_remove("GROUNDWORK_VAULT_NODES");
        }
        if kind.starts_with("vault.database_") {
            let database = self.database.get_or_init(|| Postgres::start(DATABASE_PASSWORD));
            inner.env("CONTRACT_POSTGRES_PORT", database.port.to_string());
        }
        if kind.starts_with("postgres.") {
            let database = self.plain_database.get_or_init(|| Postgres::start(DATABASE_PASSWORD));
            database.query("manager", DATABASE_PASSWORD, TABLES).expect("tables");
            inner.envs(database.variables("manager", DATABASE_PASSWORD));
        }
        inner.env("CONTRACT_SERVER", self.server.name()).env(KIND, kind);
        inner.env(RECIPIENT, self.cluster.recipient());
        let output = inner.env("CONTRACT_FOLDER", &self.cluster.environment.folder).output();
        let output = output.expect("the inner test starts");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        // In one piece, so that the stages' words do not mix.
        println!("{}", said.concat());
        // A filter that matches no test succeeds, too.
        output.status.success() && said[0].contains(&format!("{kind}: ok"))
    }
}

#[test]
#[ignore = "started by the tests above with a sandbox in its environment"]
fn inner() {
    let folder = PathBuf::from(std::env::var_os("CONTRACT_FOLDER").expect("started by the outer test"));
    let wanted = std::env::var(KIND).expect("started by the outer test");
    let kind = PROVIDERS.names().find(|kind| *kind == wanted).expect("a kind of the registry");
    let started = std::time::Instant::now();
    if let Err(problem) = block_on(Subject::new(&folder, kind).and_then_run()) {
        panic!("{kind}: {problem}");
    }
    println!("{kind}: ok, {:.1} s", started.elapsed().as_secs_f32());
}

/// Who can open what is in custody.
const RECIPIENT: &str = "CONTRACT_RECIPIENT";

/// Names kinds, separated by commas: only these are exercised.
const KIND: &str = "CONTRACT_KIND";

/// Whether a kind is exercised.
fn wanted(kind: &str) -> bool {
    let only = std::env::var(KIND).ok();
    only.is_none_or(|only| only.split(',').any(|wanted| wanted == kind))
}
