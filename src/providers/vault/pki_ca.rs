//! Certificate authorities of a PKI engine: a root, or an intermediate that another mount signs.
//! <https://openbao.org/api-docs/secret/pki/#generate-root>,
//! <https://openbao.org/api-docs/secret/pki/#generate-intermediate-csr>.
//!
//! Every creating request contains the authority's name, for the issuer and for the key, and the
//! server accepts a name only once. So a run finds and uses what an interrupted run created, and
//! never creates a second authority.

mod certificate;
mod der;
mod issue;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub(super) use certificate::expiry;

use super::content;
use super::fields::{self, Fixed};
use super::mount::{pick, refuse_blocked};
use super::notation::{CommaNames, Names, Ttl};
use super::permissions;
use super::{VaultClient, prove};
use crate::access::Granting;
use crate::error::{FieldError, Result};
use crate::health::Due;
use crate::place::Realm;
use crate::proof::{Proof, Prover};
use crate::providers::vault::risk::UNLISTED;
use crate::resource::risk::Category::{BroaderGrant, Destination, ProtectionOff};
use crate::resource::risk::{Risks, added, becomes, fixed, identity, removed, safe, state, turned_on};
use crate::resource::{Attachment, Diff, Look, Partial, Replacement, Requirement, Resource, Writer};
use crate::run::{Access, Permission, Use};
use issue::{generate_intermediate, generate_root, may_last, tune};

/// A certificate authority.
#[derive(Debug)]
pub struct PkiCa;

/// The declared fields of an authority.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PkiCaSpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// The name of the authority and of its key.
    pub name: String,
    /// The authority that signs it; absent for a self-signed root. Fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<Signer>,
    /// The common name. Fixed.
    pub common_name: String,
    /// Organisations in the subject. Fixed.
    #[serde(default)]
    pub organization: Names,
    /// Organisational units in the subject. Fixed.
    #[serde(default)]
    pub ou: Names,
    /// Countries in the subject. Fixed.
    #[serde(default)]
    pub country: Names,
    /// How long the certificate is valid. Fixed.
    pub ttl: Ttl,
    /// `rsa`, `ec` or `ed25519`. Fixed.
    #[serde(default = "ec")]
    pub key_type: String,
    /// Bits of the key. Fixed. When absent, the engine chooses for the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_bits: Option<u64>,
    /// How many levels of authorities may follow below it; -1 is unlimited. Fixed.
    #[serde(default = "unlimited")]
    pub max_path_length: i64,
    /// Whether it is the default issuer, for requests that do not name one.
    #[serde(default)]
    pub default: bool,
    /// The treatment of a certificate that would outlast it: `err`, `truncate` or `permit`.
    #[serde(default = "err")]
    pub leaf_not_after_behavior: String,
    /// Allowed usages: `read-only`, `issuing-certificates`, `crl-signing`, `ocsp-signing`. Not
    /// managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<CommaNames>,
    /// Addresses of its certificate, written into the certificates that it issues; empty is the
    /// engine's setting.
    #[serde(default)]
    pub issuing_certificates: Names,
    /// Addresses of its revocation list; empty is the engine's setting.
    #[serde(default)]
    pub crl_distribution_points: Names,
    /// Addresses of its OCSP responders; empty is the engine's setting.
    #[serde(default)]
    pub ocsp_servers: Names,
}

/// The authority that signs an intermediate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// The engine's path.
    pub mount: String,
    /// The authority's name, e.g. `{{ root.name }}`.
    pub issuer: String,
}

fn mount() -> String {
    "pki".to_owned()
}

fn ec() -> String {
    "ec".to_owned()
}

fn err() -> String {
    "err".to_owned()
}

const fn unlimited() -> i64 {
    -1
}

/// An authority by mount and name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaId {
    mount: String,
    name: String,
}

impl fmt::Display for CaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mount, self.name)
    }
}

/// A live authority.
#[derive(Clone, Debug)]
pub struct LiveCa {
    id: CaId,
    fields: Map<String, Value>,
    issuer_id: String,
    certificate: String,
    serial_number: String,
    /// Seconds since 1970.
    expires: i64,
    signed_by: SignedBy,
    revoked: bool,
    /// Every field that the server both reports and accepts.
    reported: Map<String, Value>,
}

/// Fields that the server reports and does not accept.
const OF_THE_SERVER: [&str; 8] = [
    "ca_chain",
    "certificate",
    "issuer_id",
    "issuer_name",
    "key_id",
    "revoked",
    "revocation_time",
    "revocation_time_rfc3339",
];

/// The signer of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SignedBy {
    /// The authority itself.
    Itself,
    /// The declared authority.
    Declared(Signer),
    /// An authority with this common name.
    Other(String),
}

impl SignedBy {
    fn shown(&self) -> Value {
        match self {
            Self::Itself => json!("itself"),
            Self::Declared(signer) => json!(signer),
            Self::Other(name) => json!({ "common_name": name }),
        }
    }
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PkiCaOutputs {
    /// Its name.
    pub name: String,
    /// The engine's path.
    pub mount: String,
    /// The id that the server assigned.
    pub issuer_id: String,
    /// Its certificate, as PEM.
    pub certificate: String,
    /// The certificate's serial number, as hexadecimal bytes with colons.
    pub serial_number: String,
    /// When the certificate expires, in seconds since 1970.
    pub expires: i64,
}

/// Fields that the server changes without a new certificate.
const TUNED: [&str; 5] =
    ["leaf_not_after_behavior", "usage", "issuing_certificates", "crl_distribution_points", "ocsp_servers"];

const DECIDED: &str = "a certificate cannot change after it is signed; declare another authority under a new name, make it the \
    default, and remove this one when none of its certificates is in use";

const REVOKED: &str = "the authority is permanently revoked; declare another one under a new name, make it the default, \
    and remove this step from the plan";

const FIXED: [Fixed; 9] = [
    ("signed_by", DECIDED),
    ("common_name", DECIDED),
    ("organization", DECIDED),
    ("ou", DECIDED),
    ("country", DECIDED),
    ("ttl", DECIDED),
    ("key_type", DECIDED),
    ("key_bits", DECIDED),
    ("max_path_length", DECIDED),
];

impl PkiCaSpec {
    /// The fields that requests for certificates share.
    fn subject(&self) -> Map<String, Value> {
        let names = ["common_name", "organization", "ou", "country", "ttl", "max_path_length"];
        let mut subject = pick(&fields::fields(self), &names);
        // The common name of an authority is not a host name.
        subject.insert("exclude_cn_from_sans".to_owned(), json!(true));
        subject
    }

    fn with_key(&self, mut body: Map<String, Value>) -> Value {
        body.extend(pick(&fields::fields(self), &["key_type", "key_bits"]));
        body.insert("key_name".to_owned(), json!(self.name));
        Value::Object(body)
    }

    fn issuer(&self) -> String {
        format!("{}/issuer/{}", self.mount, self.name)
    }
}

/// The entry of a listing's `key_info` whose `field` is `value`.
async fn find(client: &VaultClient, path: &str, field: &str, value: &str) -> Result<Option<(String, Value)>> {
    let listing = client.list(path).await?.unwrap_or_default();
    let entries = listing["key_info"].as_object().into_iter().flatten();
    Ok(entries
        .filter(|(_, entry)| entry[field] == value)
        .map(|(id, entry)| (id.clone(), entry.clone()))
        .next())
}

/// The certificate of the declared signer; `None` when it does not exist.
async fn certificate_of(client: &VaultClient, signer: &Signer) -> Result<Option<String>> {
    let Signer { mount, issuer } = signer;
    let listing = client.list(&format!("{mount}/issuers")).await?.unwrap_or_default();
    let is_it = |(id, entry): &(&String, &Value)| match issuer.as_str() {
        "default" => entry["is_default"] == true,
        name => *id == name || entry["issuer_name"] == name,
    };
    let Some((id, _)) = listing["key_info"].as_object().into_iter().flatten().find(is_it) else {
        return Ok(None);
    };
    // Reading an issuer's certificate here does not require any permission.
    let told = client.get(&format!("{mount}/issuer/{id}/json")).await?.unwrap_or_default();
    Ok(told["certificate"].as_str().map(str::to_owned))
}

/// The signer of `read`, as far as its certificate and that of the declared signer show.
fn signed_by(read: &certificate::Read, declared: Option<(&Signer, Option<&str>)>) -> Result<SignedBy> {
    if read.is_signed_by(read) {
        return Ok(SignedBy::Itself);
    }
    if let Some((signer, Some(pem))) = declared
        && read.is_signed_by(&certificate::read(pem)?)
    {
        return Ok(SignedBy::Declared(signer.clone()));
    }
    Ok(SignedBy::Other(read.signer_name.clone()))
}

/// A live authority, from its certificate, the declared signer with its certificate, and the server's
/// response.
fn live(
    id: &CaId,
    told: &Value,
    is_default: bool,
    signer: Option<(&Signer, Option<&str>)>,
) -> Result<LiveCa> {
    let text = |name: &str| told[name].as_str().unwrap_or_default().trim().to_owned();
    let certificate = text("certificate");
    let read = certificate::read(&certificate)?;
    let signed_by = signed_by(&read, signer)?;
    let mut reported = told.as_object().cloned().unwrap_or_default();
    reported.retain(|name, value| !OF_THE_SERVER.contains(&name.as_str()) && !value.is_null());
    let mut fields = pick(&told.as_object().cloned().unwrap_or_default(), &TUNED);
    fields.extend(read.fields);
    fields.insert("default".to_owned(), json!(is_default));
    for (name, value) in &mut fields {
        *value = in_order(name, value.take());
    }
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
    Ok(LiveCa {
        id: id.clone(),
        fields,
        issuer_id: text("issuer_id"),
        certificate,
        serial_number: read.serial_number,
        expires: read.expires,
        signed_by,
        revoked: told["revoked"] == true,
        reported,
    })
}

/// A list in the plan's notation: the order does not matter, `usage` is a comma-separated text, and
/// unset addresses are null when another one is set.
fn in_order(name: &str, value: Value) -> Value {
    match name {
        "usage" => sorted::<CommaNames>(value),
        "issuing_certificates" | "crl_distribution_points" | "ocsp_servers" => match value {
            Value::Null => json!([]),
            value => sorted::<Names>(value),
        },
        _ => value,
    }
}

/// A value in the notation of `T`; unchanged when it is not understood, so that it differs.
fn sorted<T: serde::de::DeserializeOwned + Serialize>(value: Value) -> Value {
    serde_json::from_value::<T>(value.clone()).map_or(value, |names| json!(names))
}

impl Resource for PkiCa {
    const KIND: &'static str = "vault.pki_ca";
    const GRANTS: Granting = Granting::Never("certificates are issued through its roles");
    const ABOUT: &'static str =
        "A certificate authority: a root, or an intermediate that another mount signs.";
    const EXAMPLE: &'static str = "\
root_engine:
  kind: vault.mount
  path: pki-root
  type: pki
  max_lease_ttl: 3650d
issuing_engine:
  kind: vault.mount
  path: pki
  type: pki
  max_lease_ttl: 1825d
root:
  kind: vault.pki_ca
  mount: pki-root
  name: root-2026
  common_name: Example Root 2026
  ttl: 3650d
issuing:
  kind: vault.pki_ca
  mount: pki
  name: issuing-2026
  signed_by: { mount: pki-root, issuer: \"{{ root.name }}\" }
  common_name: Example Issuing 2026
  ttl: 1825d
  max_path_length: 0
  default: true
";
    const RISKS: Risks = &[&[
        state("revoked"),
        identity("mount name"),
        fixed("signed_by common_name organization ou country ttl key_type key_bits max_path_length"),
        turned_on("default").low(Destination, "signs the requests that name no authority"),
        becomes("leaf_not_after_behavior", "permit").medium(ProtectionOff, "certificates may outlast it"),
        added("usage").low(BroaderGrant, "may be used for more"),
        removed("crl_distribution_points ocsp_servers").medium(ProtectionOff, UNLISTED),
        safe("issuing_certificates", "clients check the certificate that they find there"),
    ]];
    const PROOF: Proof = Proof::Tried("its certificate is good for a while");
    const PROTECTED: bool = true;
    const REPLACEMENT: Replacement = Replacement::Never(
        "who trusts it would have to trust another one at the same moment; declare a second one beside it, have it trusted, then take the old step out",
    );

    type Client = VaultClient;
    type Id = CaId;
    type Desired = PkiCaSpec;
    type Observed = LiveCa;
    type Outputs = PkiCaOutputs;

    fn id(desired: &PkiCaSpec) -> CaId {
        CaId { mount: desired.mount.clone(), name: desired.name.clone() }
    }

    fn occupies(desired: &PkiCaSpec) -> Option<String> {
        desired.default.then(|| format!("the default issuer of the mount `{}`", desired.mount))
    }

    fn check(desired: &PkiCaSpec) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let one_of = |field: &str, value: &str, known: &[&str]| {
            let wrong = !known.contains(&value);
            wrong.then(|| FieldError::new(field, format!("must be one of {}", known.join(", "))))
        };
        if desired.name.is_empty() || desired.name.contains('/') || desired.name == "default" {
            errors.push(FieldError::new("name", "is not a valid name for an authority"));
        }
        errors.extend(one_of("key_type", &desired.key_type, &["rsa", "ec", "ed25519"]));
        errors.extend(one_of(
            "leaf_not_after_behavior",
            &desired.leaf_not_after_behavior,
            &["err", "truncate", "permit"],
        ));
        if desired.ttl == Ttl::default() {
            errors.push(FieldError::new("ttl", "must be more than 0"));
        }
        errors
    }

    /// The server lists issuers to anyone.
    fn permissions(desired: &PkiCaSpec, used: Use<'_>) -> Vec<Permission> {
        let mount = &desired.mount;
        let any = format!("{mount}/issuer/+");
        let made = match (used.access, &desired.signed_by) {
            (Access::Read, _) => return vec![permissions::read(any)],
            (Access::Prove, _) => return Vec::new(),
            (Access::Delete, _) => {
                let keys = [
                    permissions::list(format!("{mount}/keys")),
                    permissions::delete(format!("{mount}/key/+")),
                ];
                return std::iter::once(permissions::delete(any)).chain(keys).collect();
            }
            (Access::Update, _) => Vec::new(),
            (Access::Create, None) => vec![
                permissions::read(format!("sys/mounts/{mount}/tune")),
                permissions::write(format!("{mount}/root/generate/internal")),
            ],
            (Access::Create, Some(Signer { mount: signer, issuer })) => vec![
                permissions::read(format!("sys/mounts/{signer}/tune")),
                permissions::list(format!("{mount}/keys")),
                permissions::write(format!("{mount}/intermediate/generate/internal")),
                permissions::write(format!("{signer}/issuer/{issuer}/sign-intermediate")),
                permissions::write(format!("{mount}/intermediate/set-signed")),
                permissions::patch(any),
            ],
        };
        let default = desired.default.then(|| permissions::write(format!("{mount}/config/issuers")));
        made.into_iter().chain([permissions::patch(desired.issuer())]).chain(default).collect()
    }

    fn requires(desired: &PkiCaSpec) -> Vec<Requirement> {
        let mut required =
            vec![Requirement::Kind("vault.init"), Requirement::thing("vault.mount", &desired.mount)];
        required.push(Requirement::thing("vault.pki_urls", format!("{}/config/urls", desired.mount)));
        if let Some(Signer { mount, issuer }) = &desired.signed_by {
            required.push(Requirement::thing("vault.pki_ca", format!("{mount}/{issuer}")));
        }
        required
    }

    /// Reads the certificate of the declared signer as well.
    async fn observe(client: &VaultClient, id: &CaId, look: Look<'_, Self>) -> Result<Option<LiveCa>> {
        let found = find(client, &format!("{}/issuers", id.mount), "issuer_name", &id.name).await?;
        let Some((issuer, entry)) = found else { return Ok(None) };
        let told = client.get(&format!("{}/issuer/{issuer}", id.mount)).await?.unwrap_or_default();
        let declared = look.declared.and_then(|desired| desired.signed_by.as_ref());
        let certificate = match declared {
            Some(signer) => certificate_of(client, signer).await?,
            None => None,
        };
        let signer = declared.map(|signer| (signer, certificate.as_deref()));
        live(id, &told, entry["is_default"] == true, signer).map(Some)
    }

    fn diff(desired: &PkiCaSpec, observed: &LiveCa) -> Diff {
        let mut declared = fields::fields(desired);
        declared.retain(|name, _| name != "mount" && name != "name");
        let mut live = observed.fields.clone();
        live.insert("signed_by".to_owned(), observed.signed_by.shown());
        let signer = desired.signed_by.clone().map_or(SignedBy::Itself, SignedBy::Declared);
        declared.insert("signed_by".to_owned(), signer.shown());
        if !desired.default {
            // Another authority has become the default by its own `default: true`; this one is not
            // asked to give it up.
            declared.remove("default");
        }
        let mut diff = fields::compare(&live, &declared, &FIXED);
        if observed.revoked {
            diff.immutable("revoked", &true, &Value::Null, REVOKED);
        }
        diff
    }

    async fn create(w: &Writer<'_, VaultClient>, desired: &PkiCaSpec) -> Result<()> {
        may_last(w, desired).await?;
        match &desired.signed_by {
            None => generate_root(w, desired).await?,
            Some(signer) => generate_intermediate(w, desired, signer).await?,
        }
        tune(w, desired, Map::new()).await
    }

    async fn update(w: &Writer<'_, VaultClient>, desired: &PkiCaSpec, observed: &LiveCa) -> Result<()> {
        refuse_blocked(&Self::diff(desired, observed), Self::KIND, &Self::id(desired).to_string())?;
        tune(w, desired, observed.reported.clone()).await
    }

    /// Also deletes its key, so that it cannot sign anything in the future.
    async fn delete(w: &Writer<'_, VaultClient>, id: &CaId) -> Result<()> {
        let CaId { mount, name, .. } = id;
        if let Some((issuer, _)) = find(w, &format!("{mount}/issuers"), "issuer_name", name).await? {
            w.delete(w.permit(), &format!("{mount}/issuer/{issuer}")).await?;
        }
        if let Some((key, _)) = find(w, &format!("{mount}/keys"), "key_name", name).await? {
            w.delete(w.permit(), &format!("{mount}/key/{key}")).await?;
        }
        Ok(())
    }

    /// The server does not delete a key that another issuer uses.
    async fn attachments(client: &VaultClient, id: &CaId, _: &LiveCa) -> Result<Vec<Attachment>> {
        content::sharing_key(client, &id.mount, &id.name).await
    }

    async fn prove(prover: &Prover<'_, VaultClient>, _: &PkiCaSpec, observed: &LiveCa) {
        prove::engines::authority(prover, observed.expires);
    }

    fn due(_: &PkiCaSpec, observed: &LiveCa) -> Vec<Due> {
        vec![Due::ends_at("certificate", observed.expires)]
    }

    fn outputs(observed: &LiveCa) -> PkiCaOutputs {
        let CaId { mount, name, .. } = observed.id.clone();
        PkiCaOutputs {
            name,
            mount,
            issuer_id: observed.issuer_id.clone(),
            certificate: observed.certificate.clone(),
            serial_number: observed.serial_number.clone(),
            expires: observed.expires,
        }
    }

    fn predicted_outputs(desired: &PkiCaSpec, _: &Realm) -> Partial {
        Partial::default().with("name", &desired.name).with("mount", &desired.mount)
    }
}
