//! Vault itself: its initialisation, audit, root token and address.

use crate::lint::Rule;
use crate::plan::{Section, Severity};
use crate::provider::Provider;
use crate::providers::vault::Vault;

pub const RULES: &[&Rule] = &[&AUDIT, &ROOT_TOKEN, &ONE_SHARE, &CLEARTEXT];

const AUDIT: Rule = Rule {
    id: "audit-missing",
    severity: Severity::Error,
    title: "Vault is initialised without an audit device",
    explanation: "Without an audit device nothing records who read which secret, and an intrusion cannot be \
                  traced. The device must exist from the first day, because past requests cannot be recorded \
                  later.",
    help: "add a `vault.audit` step, and make the steps that write secrets depend on it with `needs:`",
    bad: r"steps:
  init:                                  # here
    kind: vault.init
",
    good: r"steps:
  init: { kind: vault.init }
  audit: { kind: vault.audit, path: file, type: file }
",
    check: |facts, findings| {
        if !facts.has("vault.audit") {
            for fact in facts.of_kind("vault.init") {
                findings.step(fact, "", "Vault is initialised, but no audit device records requests");
            }
        }
    },
};

const ROOT_TOKEN: Rule = Rule {
    id: "root-token-kept",
    severity: Severity::Warning,
    title: "The root token is never revoked",
    explanation: "The root token of an initialisation may do everything and never expires. Revoke it as soon \
                  as an admin role works; a quorum of key holders can create a new one.",
    help: "add a `vault.root_token` step with the admin role that takes over",
    bad: r"steps:
  init:                                  # here
    kind: vault.init
  audit: { kind: vault.audit, path: file, type: file }
",
    good: r"steps:
  init: { kind: vault.init }
  audit: { kind: vault.audit, path: file, type: file }
  root_token:
    kind: vault.root_token
    admin: { approle: { role: admin } }
",
    check: |facts, findings| {
        if !facts.has("vault.root_token") {
            for fact in facts.of_kind("vault.init") {
                findings.step(fact, "", "the root token is never revoked");
            }
        }
    },
};

const ONE_SHARE: Rule = Rule {
    id: "one-share-opens",
    severity: Severity::Warning,
    title: "A single key share unseals Vault",
    explanation: "With a threshold of one, the holder of one share can unseal Vault and create a root token \
                  without anyone else. Key shares exist so that several people are needed.",
    help: "set `shares: 5` and `threshold: 3`, or another split that needs several holders",
    bad: r"steps:
  init:
    kind: vault.init
    shares: 1
    threshold: 1                         # here
",
    good: r"steps:
  init: { kind: vault.init, shares: 5, threshold: 3 }
",
    check: |facts, findings| {
        for fact in facts.of_kind("vault.init").filter(|fact| fact.number("threshold") == 1) {
            findings.step(fact, "threshold", "a single share unseals Vault");
        }
    },
};

const CLEARTEXT: Rule = Rule {
    id: "vault-without-tls",
    severity: Severity::Error,
    title: "Vault is reached without TLS",
    explanation: "Tokens, secrets and key shares would cross the network unencrypted. Every command refuses \
                  such an address unless it belongs to this machine or GROUNDWORK_ALLOW_ENDPOINT=1 is set.",
    help: "give Vault a certificate and use `https://`; `vault.ca_cert` names a private authority",
    bad: r"vault:
  address: http://vault.example.net:8200           # here
",
    good: r"vault:
  address: https://vault.example.net:8200
  nodes: [ http://127.0.0.1:8200 ]
",
    check: |facts, findings| {
        let Some(vault) = facts.resolved.provider::<Vault>().map(|vault| &vault.settings) else { return };
        let address = vault.address.iter().map(|address| ("address".to_owned(), address));
        let nodes = vault.nodes.iter().enumerate().map(|(index, node)| (format!("nodes[{index}]"), node));
        for (path, url) in address.chain(nodes) {
            if url.starts_with("http://") && crate::net::endpoint::require_vault_tls(url).is_err() {
                findings.section(Section::Provider(Vault::NAME), &path, format!("`{url}` is not encrypted"));
            }
        }
    },
};
