//! The configuration file of a Vault node.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::vault_binary::Flavour;

/// The settings of a node's configuration.
#[derive(Clone, Debug)]
pub struct VaultConfig {
    /// The product that reads it.
    pub flavour: Flavour,
    /// The node's name.
    pub node: String,
    /// Its Raft data.
    pub data: PathBuf,
    /// Its own URL.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// The port for the other nodes.
    pub cluster_port: u16,
    /// The folder of certificates, when it speaks TLS.
    pub tls: Option<PathBuf>,
    /// The URLs of the other nodes, of which any may lead.
    pub join: Vec<String>,
    /// The declared audit log. All nodes name the same file: the declaration is replicated, and
    /// a node that becomes active with another one refuses to change its options.
    pub audit_log: PathBuf,
    /// Audit devices may be added over the API too.
    pub api_audit: bool,
    /// How it unseals itself, if it does.
    pub seal: Option<SealStanza>,
}

/// How a node unseals itself.
#[derive(Clone, Debug)]
pub enum SealStanza {
    /// With this key of 32 bytes in base64.
    Static(String),
    /// With a KMS key at this endpoint.
    AwsKms {
        /// A key id or alias.
        key: String,
        /// The URL of KMS.
        endpoint: String,
    },
}

impl VaultConfig {
    /// The file's text.
    pub fn render(&self) -> String {
        let mut stanzas = vec![self.storage(), self.listener()];
        stanzas.extend(self.seal.as_ref().map(SealStanza::render));
        if self.flavour == Flavour::OpenBao {
            stanzas.push(self.audit());
        }
        stanzas.push(self.addresses());
        stanzas.join("\n")
    }

    fn storage(&self) -> String {
        let join: String = self.join.iter().map(|leader| self.retry_join(leader)).collect();
        // The multiplier shortens the elections, which suit a data centre, to a second; the intervals are
        // those at which the leader looks which nodes may become voters.
        let inner = format!(
            "  path = {}\n  node_id = {}\n  performance_multiplier = 1\n  \
             autopilot_update_interval = \"500ms\"\n  autopilot_reconcile_interval = \"1s\"\n{join}",
            path(&self.data),
            quote(&self.node)
        );
        format!("storage \"raft\" {{\n{inner}}}\n")
    }

    fn retry_join(&self, leader: &str) -> String {
        let mut text = format!("  retry_join {{\n    leader_api_addr = {}\n", quote(leader));
        if let Some(tls) = &self.tls {
            let _ = writeln!(text, "    leader_ca_cert_file = {}", path(&tls.join("ca.pem")));
        }
        text + "  }\n"
    }

    fn listener(&self) -> String {
        let tls = match &self.tls {
            None => "  tls_disable = true\n".to_owned(),
            Some(folder) => format!(
                "  tls_cert_file = {}\n  tls_key_file = {}\n",
                path(&folder.join("server.pem")),
                path(&folder.join("server-key.pem"))
            ),
        };
        format!(
            "listener \"tcp\" {{\n  address = \"127.0.0.1:{}\"\n  cluster_address = \"127.0.0.1:{}\"\n{tls}}}\n",
            self.port, self.cluster_port
        )
    }

    fn audit(&self) -> String {
        format!(
            "audit \"file\" \"file\" {{\n  options {{\n    file_path = {}\n    mode = \"0600\"\n  }}\n}}\n",
            path(&self.audit_log)
        )
    }

    fn addresses(&self) -> String {
        let mut text = format!(
            "api_addr = {}\ncluster_addr = \"https://127.0.0.1:{}\"\nui = false\n",
            quote(&self.address),
            self.cluster_port
        );
        if self.flavour == Flavour::HashiCorp {
            // OpenBao no longer knows the setting; Vault with Raft insists on it.
            text.push_str("disable_mlock = true\n");
        } else if self.api_audit {
            text.push_str("unsafe_allow_api_audit_creation = true\n");
        }
        text
    }
}

impl SealStanza {
    fn render(&self) -> String {
        match self {
            Self::Static(key) => format!(
                "seal \"static\" {{\n  current_key_id = \"sandbox\"\n  current_key = {}\n}}\n",
                quote(key)
            ),
            Self::AwsKms { key, endpoint } => format!(
                "seal \"awskms\" {{\n  region = \"us-east-1\"\n  kms_key_id = {}\n  endpoint = {}\n}}\n",
                quote(key),
                quote(endpoint)
            ),
        }
    }
}

fn path(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// A string of HCL; the folder's name is the user's and may hold anything.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> VaultConfig {
        VaultConfig {
            flavour: Flavour::OpenBao,
            node: "vault-2".to_owned(),
            data: "/s/data/vault-2".into(),
            address: "https://127.0.0.1:2002".to_owned(),
            port: 2002,
            cluster_port: 2003,
            tls: Some("/s/tls".into()),
            join: vec!["https://127.0.0.1:2000".to_owned()],
            audit_log: "/s/logs/vault-audit.log".into(),
            api_audit: false,
            seal: None,
        }
    }

    #[test]
    fn joining_tls_node_renders_every_stanza() {
        insta::assert_snapshot!(config().render(), @r#"
        storage "raft" {
          path = "/s/data/vault-2"
          node_id = "vault-2"
          performance_multiplier = 1
          autopilot_update_interval = "500ms"
          autopilot_reconcile_interval = "1s"
          retry_join {
            leader_api_addr = "https://127.0.0.1:2000"
            leader_ca_cert_file = "/s/tls/ca.pem"
          }
        }

        listener "tcp" {
          address = "127.0.0.1:2002"
          cluster_address = "127.0.0.1:2003"
          tls_cert_file = "/s/tls/server.pem"
          tls_key_file = "/s/tls/server-key.pem"
        }

        audit "file" "file" {
          options {
            file_path = "/s/logs/vault-audit.log"
            mode = "0600"
          }
        }

        api_addr = "https://127.0.0.1:2002"
        cluster_addr = "https://127.0.0.1:2003"
        ui = false
        "#);
    }

    #[test]
    fn first_plain_node_has_no_join_stanza() {
        let text = VaultConfig { tls: None, join: Vec::new(), ..config() }.render();
        assert!(
            text.contains("tls_disable = true") && !text.contains("retry_join") && !text.contains("_file")
        );
    }

    #[test]
    fn hashicorp_vault_gets_mlock_setting_without_audit_stanza() {
        let text = VaultConfig { flavour: Flavour::HashiCorp, ..config() }.render();
        assert!(!text.contains("audit \"file\"") && text.contains("disable_mlock = true"));
    }

    #[test]
    fn seal_is_rendered_as_stanza() {
        let seal = Some(SealStanza::AwsKms { key: "alias/a".to_owned(), endpoint: "http://e".to_owned() });
        let text = VaultConfig { seal, ..config() }.render();
        assert!(text.contains("seal \"awskms\"") && text.contains("kms_key_id = \"alias/a\""));
    }

    #[test]
    fn special_characters_in_folder_names_stay_quoted() {
        let data = PathBuf::from("/a \"b\"\\c\nd/${x}");
        let text = VaultConfig { data: data.clone(), ..config() }.render();
        assert!(text.contains(r#"path = "/a \"b\"\\c\nd/${x}""#), "{text}");
    }
}
