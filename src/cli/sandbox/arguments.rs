//! The arguments of `groundwork sandbox`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::plan::Node;
use crate::sandbox::{self, Extra, OpenBao, Options, Seal, Settings, VaultServer};

/// The alias under which the sandbox keeps the key that unseals Vault.
const UNSEAL_ALIAS: &str = "alias/groundwork-sandbox-unseal";

/// A local AWS and a real Vault server, for rehearsal, demonstration and tests.
#[derive(Args, Debug)]
pub struct SandboxArgs {
    #[command(subcommand)]
    pub(super) command: SandboxCommand,
}

#[derive(Subcommand, Debug)]
pub(super) enum SandboxCommand {
    /// Starts the servers, or what is missing of them, and says where they are.
    Up {
        #[command(flatten)]
        servers: ServerArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Ends the servers and deletes what they held; their logs stay until the next `up`.
    Down {
        #[command(flatten)]
        folder: FolderArgs,
        /// Also delete the logs, and the data of a persisting sandbox.
        #[arg(long)]
        purge: bool,
    },
    /// Kills a server and deletes what it held, as when a machine is lost; `up` with the same options
    /// starts an empty one in its place.
    Lose {
        #[command(flatten)]
        folder: FolderArgs,
        /// The server's name, `vault-2` for instance.
        server: String,
    },
    /// Ends a server and starts it again with what it held, as when its service is restarted. A Vault
    /// that does not unseal itself is sealed then.
    Restart {
        #[command(flatten)]
        folder: FolderArgs,
        /// The server's name or address.
        server: String,
    },
    /// Says how each server is.
    Status {
        #[command(flatten)]
        folder: FolderArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Runs a command whose AWS_* and VAULT_* variables lead to the sandbox, and to nothing else.
    ///
    /// The servers are started if none runs, and then ended with the command.
    Run {
        #[command(flatten)]
        servers: ServerArgs,
        /// The command and its arguments.
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
}

#[derive(Args, Debug)]
pub(super) struct FolderArgs {
    /// Where the sandbox lives; one folder is one sandbox.
    #[arg(long, default_value = ".groundwork/sandbox", value_name = "DIR")]
    pub(super) dir: PathBuf,
}

#[derive(Args, Debug)]
pub(super) struct FormatArgs {
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(super) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Human,
    Json,
}

#[derive(Args, Debug)]
pub(super) struct ServerArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Vault nodes; the others join the first once it is initialised and they are unsealed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(sandbox::MAX_NODES)))]
    nodes: u8,
    /// Vault speaks TLS with a certificate of its own authority. This is the default.
    #[arg(long)]
    tls: bool,
    /// Vault speaks plain HTTP. Any web page in a browser on this machine can then send it requests.
    #[arg(long, conflicts_with = "tls")]
    plain_http: bool,
    /// The OpenBao version to install; 2.6.2 has the awskms seal.
    #[arg(long, value_enum, default_value_t = VersionArg::Current)]
    vault_version: VersionArg,
    /// Use this bao or vault binary; `path` means the one on PATH.
    #[arg(long, value_name = "BINARY", conflicts_with = "vault_version")]
    vault: Option<PathBuf>,
    /// How Vault is unsealed.
    #[arg(long, value_enum, default_value_t = SealArg::Shamir)]
    seal: SealArg,
    /// Keep what the servers hold when they go down.
    #[arg(long)]
    persist: bool,
    /// Further servers. `postgres` is the machine's own PostgreSQL with data of the sandbox's, `kubernetes` a real
    /// API server, which takes Go and about five minutes to build the first time.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SERVER")]
    with: Vec<ExtraArg>,
    /// Start the further servers that this plan needs. `run` looks at the plans that its command names by itself.
    #[arg(long = "for", value_name = "PLAN")]
    plans: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExtraArg {
    /// A PostgreSQL server, if the machine has the program.
    Postgres,
    /// A Kubernetes API server, with the custom resources of External Secrets and the Secrets Store CSI driver.
    Kubernetes,
}

impl From<ExtraArg> for Extra {
    fn from(extra: ExtraArg) -> Self {
        match extra {
            ExtraArg::Postgres => Self::Postgres,
            ExtraArg::Kubernetes => Self::Kubernetes,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VersionArg {
    #[value(name = "2.7.2")]
    Current,
    #[value(name = "2.6.2")]
    WithKmsSeal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SealArg {
    /// By key shares.
    Shamir,
    /// By itself, with a key in its configuration.
    Static,
    /// By itself, with a key in the sandbox's KMS.
    Awskms,
}

impl ServerArgs {
    pub(super) fn options(self) -> Options {
        let version = match self.vault_version {
            VersionArg::Current => OpenBao::Current,
            VersionArg::WithKmsSeal => OpenBao::WithKmsSeal,
        };
        let vault = match self.vault {
            None => VaultServer::Pinned(version),
            Some(path) if path.as_os_str() == "path" => VaultServer::OnPath,
            Some(path) => VaultServer::Path(path),
        };
        let seal = match self.seal {
            SealArg::Shamir => Seal::Shamir,
            SealArg::Static => Seal::Static,
            SealArg::Awskms => Seal::AwsKms { key: UNSEAL_ALIAS.to_owned() },
        };
        let of_plans = self.plans.iter().flat_map(|plan| needed_by(plan));
        let with = self.with.into_iter().map(Extra::from).chain(of_plans).collect();
        let settings = Settings {
            nodes: self.nodes,
            tls: self.tls || !self.plain_http,
            vault,
            seal,
            persist: self.persist,
            api_audit: false,
            with,
        };
        Options { settings, ..Options::new(self.folder.dir) }
    }
}

impl ServerArgs {
    /// The same with the further servers of the plans that a command names.
    pub(super) fn for_command(mut self, command: &[OsString]) -> Self {
        let is_yaml = |path: &Path| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        let plans = command.iter().map(PathBuf::from).filter(|path| is_yaml(path) && path.is_file());
        self.plans.extend(plans);
        self
    }
}

/// Kinds that only write a file.
const IN_A_FILE: [&str; 1] = ["kubernetes.rendered"];

/// The further servers that the kinds of a plan need. A file that is not a plan needs none.
fn needed_by(plan: &Path) -> BTreeSet<Extra> {
    let servers = [("kubernetes.", Extra::Kubernetes), ("postgres.", Extra::Postgres)];
    let kinds = kinds_in(plan, 0);
    let is_used = |prefix: &str| {
        kinds.iter().any(|kind| kind.starts_with(prefix) && !IN_A_FILE.contains(&kind.as_str()))
    };
    servers.into_iter().filter(|(prefix, _)| is_used(prefix)).map(|(_, extra)| extra).collect()
}

/// How deep includes are followed.
const DEEPEST: u8 = 8;

fn kinds_in(plan: &Path, depth: u8) -> Vec<String> {
    let text = std::fs::read_to_string(plan).unwrap_or_default();
    let Ok(node) = Node::parse(&text, 0) else { return Vec::new() };
    let document = node.to_value();
    let steps = document["steps"].as_object().into_iter().flatten();
    let mut kinds: Vec<String> =
        steps.filter_map(|(_, step)| step["kind"].as_str()).map(str::to_owned).collect();
    let folder = plan.parent().unwrap_or(Path::new(""));
    let includes = document["include"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for include in includes.filter(|_| depth < DEEPEST) {
        kinds.extend(kinds_in(&folder.join(include), depth + 1));
    }
    kinds
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        sandbox: SandboxArgs,
    }

    fn options(arguments: &[&str]) -> Options {
        let all = ["groundwork", "up"].iter().chain(arguments);
        match Tool::try_parse_from(all).unwrap().sandbox.command {
            SandboxCommand::Up { servers, .. } => servers.options(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn arguments_become_settings() {
        assert_eq!(options(&[]).settings, Settings { tls: true, ..Settings::default() });
        assert_eq!(options(&["--plain-http"]).settings, Settings::default());
        assert_eq!(options(&["--with", "postgres"]).settings.with, [Extra::Postgres].into());
        assert_eq!(options(&["--with", "kubernetes"]).settings.with, [Extra::Kubernetes].into());
        assert_eq!(options(&["--vault", "path"]).settings.vault, VaultServer::OnPath);
        assert_eq!(options(&["--vault", "/x/bao"]).settings.vault, VaultServer::Path("/x/bao".into()));
        let three = options(&["--nodes", "3", "--tls", "--seal", "static"]).settings;
        assert!(three.nodes == 3 && three.tls && three.seal == Seal::Static);
        assert!(Tool::try_parse_from(["groundwork", "up", "--nodes", "8"]).is_err());
    }

    #[test]
    fn plan_of_a_command_brings_its_servers() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        write("more.yaml", "steps: { a: { kind: kubernetes.namespace, name: a } }");
        let whole = write("whole.yaml", "include: [more.yaml]\nsteps: { b: { kind: vault.mount } }");
        let other = write("other.yaml", "steps: { b: { kind: vault.mount } }");
        let parsed = Tool::try_parse_from(["groundwork", "run", "--", "x"]).unwrap();
        let SandboxCommand::Run { servers, .. } = parsed.sandbox.command else { panic!() };
        let command = ["groundwork", "apply", whole.to_str().unwrap()].map(OsString::from);
        assert_eq!(servers.for_command(&command).options().settings.with, [Extra::Kubernetes].into());
        let of_plan = |plan: &Path| options(&["--for", plan.to_str().unwrap()]).settings.with;
        assert!(of_plan(&other).is_empty());
        let row = write("row.yaml", "steps: { c: { kind: postgres.row } }");
        assert_eq!(of_plan(&row), [Extra::Postgres].into());
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/clinical-ai.yaml");
        assert_eq!(of_plan(&ours), [Extra::Kubernetes, Extra::Postgres].into());
        // A file of objects needs no cluster.
        let file = write("file.yaml", "steps: { d: { kind: kubernetes.rendered } }");
        assert!(of_plan(&file).is_empty());
    }

    #[test]
    fn sandbox_command_follows_the_double_dash() {
        let parsed = Tool::try_parse_from(["groundwork", "run", "--tls", "--", "sh", "-c", "--tls"]).unwrap();
        let SandboxCommand::Run { command, .. } = parsed.sandbox.command else { panic!() };
        assert_eq!(command, ["sh", "-c", "--tls"]);
        assert!(Tool::try_parse_from(["groundwork", "run"]).is_err());
    }
}
