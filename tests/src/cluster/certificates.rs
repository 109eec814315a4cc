//! The cluster's certificate authority, and who it vouches for.
//!
//! Certificates bear rcgen's dates (1975 to 4096): a cluster lives for minutes, and no clock can be wrong about it.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// A certificate authority whose files are in one folder.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of a certificate and of its key, PEM.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The files of a pair of bare keys, PEM.
#[derive(Clone, Debug)]
pub(crate) struct TokenKeys {
    pub(crate) private: PathBuf,
    pub(crate) public: PathBuf,
}

/// Whom a certificate is for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject<'a> {
    /// The user, where it is shown to the API server.
    pub(crate) name: &'a str,
    /// The user's group.
    pub(crate) group: Option<&'a str>,
    /// Names and addresses of a server.
    pub(crate) hosts: &'a [&'a str],
    pub(crate) addresses: &'a [IpAddr],
}

impl Authority {
    /// A new authority.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        write_secret(&folder.join("ca.key"), &key.serialize_pem())?;
        fs::write(folder.join("ca.crt"), certificate).context("writing the authority's certificate")?;
        Ok(Self { folder: folder.to_owned(), issuer: Issuer::new(params, key) })
    }

    /// Its own certificate and key.
    pub(crate) fn identity(&self) -> Identity {
        self.files("ca")
    }

    /// Vouches for somebody, as a client and as a server.
    pub(crate) fn issue(&self, file: &str, subject: &Subject<'_>) -> Result<Identity> {
        let hosts: Vec<String> = subject.hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.subject_alt_names.extend(subject.addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name.push(DnType::CommonName, subject.name);
        if let Some(group) = subject.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let identity = self.files(file);
        fs::write(&identity.certificate, certificate.pem())
            .with_context(|| format!("writing {}", identity.certificate.display()))?;
        write_secret(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }

    /// The keys that sign and check the tokens of service accounts; nobody vouches for them.
    pub(crate) fn token_keys(&self) -> Result<TokenKeys> {
        let (private, public) =
            (self.folder.join("service-accounts.key"), self.folder.join("service-accounts.pub"));
        let key = KeyPair::generate()?;
        write_secret(&private, &key.serialize_pem())?;
        fs::write(&public, key.public_key_pem()).context("writing the public key of tokens")?;
        Ok(TokenKeys { private, public })
    }

    fn files(&self, name: &str) -> Identity {
        Identity {
            certificate: self.folder.join(format!("{name}.crt")),
            key: self.folder.join(format!("{name}.key")),
        }
    }
}

/// Writes what only its owner may read.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}
