//! Creates an authority, and sets its changeable fields.

use serde_json::{Map, Value, json};

use super::super::VaultClient;
use super::super::fields;
use super::super::mount::pick;
use super::super::notation::Ttl;
use super::{PkiCaSpec, Signer, TUNED, certificate, find};
use crate::error::{Error, ErrorKind, Result};
use crate::resource::Writer;

/// Fails when the mount allows a shorter time than declared: the server would shorten it without an
/// error.
pub(super) async fn may_last(client: &VaultClient, desired: &PkiCaSpec) -> Result<()> {
    let mount = desired.signed_by.as_ref().map_or(&desired.mount, |signer| &signer.mount);
    let tuned = client.get(&format!("sys/mounts/{mount}/tune")).await?.unwrap_or_default();
    match (&desired.ttl, tuned["max_lease_ttl"].as_u64()) {
        (Ttl::Seconds(wanted), Some(allowed)) if *wanted > allowed => {
            let message = format!("`{mount}` allows {allowed} s, but `ttl` declares {wanted} s");
            Err(Error::new(ErrorKind::Rejected, format!("make {}/{}", desired.mount, desired.name), message)
                .advice("set a longer `max_lease_ttl` in that `vault.mount` step"))
        }
        _ => Ok(()),
    }
}

pub(super) async fn generate_root(w: &Writer<'_, VaultClient>, desired: &PkiCaSpec) -> Result<()> {
    let mut body = desired.subject();
    body.insert("issuer_name".to_owned(), json!(desired.name));
    let path = format!("{}/root/generate/internal", desired.mount);
    w.post(w.permit(), &path, &desired.with_key(body)).await.map(drop)
}

/// Creates the key and the request at one mount, signs it at the other, and imports the
/// certificate. An existing key of this name was created by an interrupted run.
pub(super) async fn generate_intermediate(
    w: &Writer<'_, VaultClient>,
    desired: &PkiCaSpec,
    signer: &Signer,
) -> Result<()> {
    let PkiCaSpec { mount, name, .. } = desired;
    let key = find(w, &format!("{mount}/keys"), "key_name", name).await?;
    if let Some((key, _)) = &key
        && let Some(issuer) = issuer_with(w, desired, key).await?
    {
        return baptise(w, desired, &issuer).await;
    }
    let request = if key.is_some() {
        let mut body = desired.subject();
        body.insert("key_ref".to_owned(), json!(name));
        w.post(w.permit(), &format!("{mount}/intermediate/generate/existing"), &Value::Object(body)).await?
    } else {
        let body = desired.with_key(desired.subject());
        w.post(w.permit(), &format!("{mount}/intermediate/generate/internal"), &body).await?
    };
    let mut body = desired.subject();
    body.insert("csr".to_owned(), request["csr"].clone());
    body.insert("format".to_owned(), json!("pem"));
    let sign = format!("{}/issuer/{}/sign-intermediate", signer.mount, signer.issuer);
    let signed = w.post(w.permit(), &sign, &Value::Object(body)).await?;
    let chain = json!({ "certificate": bundle(&signed) });
    w.post(w.permit(), &format!("{mount}/intermediate/set-signed"), &chain).await?;
    let key = find(w, &format!("{mount}/keys"), "key_name", name).await?;
    let issuer = match &key {
        Some((key, _)) => issuer_with(w, desired, key).await?,
        None => None,
    };
    match issuer {
        Some(issuer) => baptise(w, desired, &issuer).await,
        None => Err(Error::new(
            ErrorKind::Rejected,
            format!("POST {mount}/intermediate/set-signed"),
            "the server did not match the certificate to any of its keys",
        )),
    }
}

/// The unnamed issuer that has this key and the declared common name. A mount may contain others,
/// such as the root that signed it, and the server lists them in any order.
async fn issuer_with(client: &VaultClient, desired: &PkiCaSpec, key: &str) -> Result<Option<String>> {
    let mount = &desired.mount;
    let listing = client.list(&format!("{mount}/issuers")).await?.unwrap_or_default();
    let entries = listing["key_info"].as_object().into_iter().flatten();
    let mut unnamed: Vec<&String> = entries
        .filter(|(_, entry)| {
            entry["key_id"] == key && entry["issuer_name"].as_str().is_none_or(str::is_empty)
        })
        .map(|(id, _)| id)
        .collect();
    unnamed.sort();
    for id in unnamed {
        let told = client.get(&format!("{mount}/issuer/{id}")).await?.unwrap_or_default();
        let read = certificate::read(told["certificate"].as_str().unwrap_or_default())?;
        if read.fields["common_name"] == desired.common_name.as_str() {
            return Ok(Some(id.clone()));
        }
    }
    Ok(None)
}

/// A certificate and its chain, without duplicates.
fn bundle(signed: &Value) -> String {
    let mut all: Vec<&str> = vec![signed["certificate"].as_str().unwrap_or_default().trim()];
    for above in signed["ca_chain"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !all.contains(&above.trim()) {
            all.push(above.trim());
        }
    }
    all.join("\n")
}

async fn baptise(w: &Writer<'_, VaultClient>, desired: &PkiCaSpec, issuer: &str) -> Result<()> {
    let body = json!({ "issuer_name": desired.name });
    w.patch(w.permit(), &format!("{}/issuer/{issuer}", desired.mount), &body).await.map(drop)
}

/// Sets the changeable fields, over `kept`: OpenBao's patch of one address resets the authority's
/// other addresses.
pub(super) async fn tune(
    w: &Writer<'_, VaultClient>,
    desired: &PkiCaSpec,
    kept: Map<String, Value>,
) -> Result<()> {
    let mut body = kept;
    body.extend(pick(&fields::fields(desired), &TUNED));
    if let Some(usage) = &desired.usage {
        body.insert("usage".to_owned(), json!(usage.joined()));
    }
    w.patch(w.permit(), &desired.issuer(), &Value::Object(body)).await?;
    if desired.default {
        let body = json!({ "default": desired.name });
        w.post(w.permit(), &format!("{}/config/issuers", desired.mount), &body).await?;
    }
    Ok(())
}
