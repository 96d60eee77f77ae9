//! The certificates of the trusted authorities (CAs): the system's and, with `LONGSHORE_CA_FILE`, the operator's. Jobs
//! trust the latter too.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Where systems keep their CAs: on Debian and Alpine, on Red Hat, and on others.
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// The name of the bundle in the data folder.
const BUNDLE: &str = "authorities.pem";

/// The most bytes of certificates for jobs. They are sent to every job.
const MAX_FOR_JOBS: usize = 1 << 20;

/// The operator's CAs together with the system's.
#[derive(Debug, Clone)]
pub(crate) struct CaCertificates {
    /// Both, as PEM.
    all: Vec<u8>,
    /// The operator's file, unchanged.
    own: Vec<u8>,
    /// The certificates of `LONGSHORE_CA_FILE`, and nothing else of the file. Empty without that setting.
    for_jobs: String,
}

impl CaCertificates {
    /// Reads the operator's CAs from `file`, or else from the file that `SSL_CERT_FILE` names. `None` if neither is
    /// given.
    pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let from_environment = std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty()).map(PathBuf::from);
        let (setting, file) = match (file, &from_environment) {
            (Some(file), _) => ("LONGSHORE_CA_FILE", file),
            (None, Some(file)) => ("SSL_CERT_FILE", file.as_path()),
            (None, None) => return Ok(None),
        };
        let own =
            std::fs::read(file).with_context(|| format!("{setting} names {}, which cannot be read", file.display()))?;
        let count = certificates(&own).with_context(|| format!("{setting} names {}", file.display()))?.len();
        anyhow::ensure!(
            count > 0,
            "{setting} names {}, which holds no certificate: write the authority's there, as PEM (`-----BEGIN CERTIFICATE-----`)",
            file.display()
        );
        let mut for_jobs = String::new();
        if setting == "LONGSHORE_CA_FILE" {
            for_jobs = certificate_blocks(&String::from_utf8_lossy(&own));
            anyhow::ensure!(
                for_jobs.len() <= MAX_FOR_JOBS,
                "{setting} names {}, which holds more than {} MiB of certificates: jobs are given them, so leave only your own authorities in it",
                file.display(),
                MAX_FOR_JOBS >> 20
            );
        }
        let mut all = SYSTEM_BUNDLES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
        all.push(b'\n');
        all.extend(&own);
        Ok(Some(Self { all, own, for_jobs }))
    }

    /// Returns the operator's CAs, as PEM.
    pub(crate) fn own(&self) -> &[u8] {
        &self.own
    }

    /// Returns the certificates that jobs trust besides those that their images trust, as PEM.
    pub(crate) fn for_jobs(&self) -> &str {
        &self.for_jobs
    }

    /// Writes the bundle into the data folder, for git, and returns its path. Renames a new file over the old one,
    /// because another program may be reading it.
    pub(crate) fn write(&self, data: &Path) -> anyhow::Result<PathBuf> {
        let (file, new) = (data.join(BUNDLE), data.join(format!("{BUNDLE}.new")));
        std::fs::write(&new, &self.all)
            .and_then(|()| std::fs::rename(&new, &file))
            .with_context(|| format!("cannot write {}", file.display()))?;
        // Git runs in another folder.
        std::path::absolute(&file).with_context(|| format!("cannot find {}", file.display()))
    }

    /// Returns the TLS configuration for the command line's requests.
    pub(crate) fn tls(&self) -> anyhow::Result<TlsConfig> {
        let roots = RootCerts::from(certificates(&self.all)?);
        Ok(TlsConfig::builder().root_certs(roots).build())
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<Certificate<'static>>> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) =
            item.context("it is damaged: what stands between BEGIN and END is not PEM")?
        {
            anyhow::ensure!(
                is_sequence(certificate.der()),
                "it is damaged: what stands between BEGIN and END is not a certificate"
            );
            found.push(certificate);
        }
    }
    Ok(found)
}

/// Returns the certificates of a PEM text without everything around them, such as a private key.
fn certificate_blocks(pem: &str) -> String {
    let (mut blocks, mut within) = (String::new(), false);
    for line in pem.lines().map(str::trim) {
        within |= line == "-----BEGIN CERTIFICATE-----";
        if within {
            blocks.push_str(line);
            blocks.push('\n');
        }
        within &= line != "-----END CERTIFICATE-----";
    }
    blocks
}

/// Returns whether the bytes are one DER sequence, as every certificate is. Git would report a bad file only when it
/// uses it.
fn is_sequence(der: &[u8]) -> bool {
    let Some((&[0x30, length], rest)) =
        der.split_at_checked(2).and_then(|(head, rest)| Some((head.first_chunk::<2>()?, rest)))
    else {
        return false;
    };
    match length {
        0..=0x7f => rest.len() == usize::from(length),
        // The low bits are the number of bytes of the length, which follows.
        0x81..=0x84 => rest.split_at_checked(usize::from(length & 0x7f)).is_some_and(|(length, rest)| {
            length.iter().fold(0_usize, |all, byte| (all << 8) | usize::from(*byte)) == rest.len()
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_get_the_certificates_of_a_file_and_no_key_that_stands_beside_them() {
        let block = |of: &str, body: &str| format!("-----BEGIN {of}-----\n{body}\n-----END {of}-----\n");
        let (one, two) = (block("CERTIFICATE", "b25l"), block("CERTIFICATE", "dHdv"));
        let key = block("PRIVATE KEY", "a2V5");
        assert_eq!(certificate_blocks(&format!("a title\r\n{key}{one}{key}\n{two}")), one + &two);
    }
}
