//! Certificates for servers that require TLS: an authority of our own and what it
//! signs, made anew each time, as the PEM files a server and a client are given.
//!
//! Knows nothing about servers and their flags.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::error::{Error, Result};

/// What all subjects end with, but for that of servers (see [`Authority::server`]).
const ORGANIZATION: &str = "shardlift";

/// An authority whose files lie in one directory.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Authority {
    /// Makes one and writes `ca.pem` to `dir`.
    pub fn create(dir: &Path) -> Result<Authority> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject("the authority", "authorities");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(cannot)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(cannot)?;
        let authority = Authority {
            issuer,
            dir: dir.to_owned(),
        };
        std::fs::write(authority.file(), authority.issuer.pem())?;
        Ok(authority)
    }

    /// The authority's own certificate: whom to trust.
    pub fn file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Certificate and key of a server that is dialled by these names and addresses.
    /// Its subject has another unit than a client's: else a server takes the client for
    /// one of its own kind.
    pub fn server(&self, names: &[&str]) -> Result<PathBuf> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.sign(
            CertificateParams::new(names).map_err(cannot)?,
            "server",
            "servers",
        )
    }

    /// Certificate and key of a client; [`user_of`] is the user it logs in as.
    pub fn client(&self, name: &str) -> Result<PathBuf> {
        self.sign(CertificateParams::default(), name, "clients")
    }

    fn sign(&self, mut params: CertificateParams, name: &str, unit: &str) -> Result<PathBuf> {
        params.distinguished_name = subject(name, unit);
        let key = KeyPair::generate().map_err(cannot)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(cannot)?;
        let path = self.dir.join(format!("{name}.pem"));
        std::fs::write(&path, certificate.pem() + &key.serialize_pem())?;
        Ok(path)
    }
}

/// The subject of a client's certificate as a user's name in `$external`.
pub fn user_of(client: &str) -> String {
    format!("CN={client},OU=clients,O={ORGANIZATION}")
}

/// From the widest to the narrowest; written the other way round (RFC 2253).
fn subject(name: &str, unit: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, ORGANIZATION);
    subject.push(DnType::OrganizationalUnitName, unit);
    subject.push(DnType::CommonName, name);
    subject
}

fn cannot(e: rcgen::Error) -> Error {
    Error::new(format!("certificate: {e}"))
}
