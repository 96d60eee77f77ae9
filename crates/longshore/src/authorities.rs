//! Whose certificates are trusted: the system's authorities and, with `LONGSHORE_CA_FILE`, people's own.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Where systems keep their authorities: Debian's and Alpine's place, Red Hat's, and others'.
const OF_SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// The bundle's name in the data folder.
const BUNDLE: &str = "authorities.pem";

/// Authorities besides those that every program of ours trusts anyway, with the system's.
#[derive(Debug, Clone)]
pub(crate) struct Authorities(Vec<u8>);

impl Authorities {
    /// Those in `file` or, where nothing is given, in the one that `SSL_CERT_FILE` names; nothing where that is not set either.
    pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let of_system = std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty()).map(PathBuf::from);
        let (setting, file) = match (file, &of_system) {
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
        let mut all = OF_SYSTEM.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
        all.push(b'\n');
        all.extend(own);
        Ok(Some(Self(all)))
    }

    /// Writes them into the data folder, for git, and says where they are. Beside and renamed: another program may be reading.
    pub(crate) fn write(&self, data: &Path) -> anyhow::Result<PathBuf> {
        let (file, new) = (data.join(BUNDLE), data.join(format!("{BUNDLE}.new")));
        std::fs::write(&new, &self.0)
            .and_then(|()| std::fs::rename(&new, &file))
            .with_context(|| format!("cannot write {}", file.display()))?;
        // Git is started in another folder.
        std::path::absolute(&file).with_context(|| format!("cannot find {}", file.display()))
    }

    /// For the command line's own requests.
    pub(crate) fn tls(&self) -> anyhow::Result<TlsConfig> {
        let roots = RootCerts::from(certificates(&self.0)?);
        Ok(TlsConfig::builder().root_certs(roots).build())
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<Certificate<'static>>> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) =
            item.context("it is damaged: what stands between BEGIN and END is no PEM")?
        {
            anyhow::ensure!(
                is_sequence(certificate.der()),
                "it is damaged: what stands between BEGIN and END is no certificate"
            );
            found.push(certificate);
        }
    }
    Ok(found)
}

/// Whether these bytes are one DER sequence, as a certificate is. Git would refuse a file with anything else only once it is used.
fn is_sequence(der: &[u8]) -> bool {
    let Some((&[0x30, length], rest)) =
        der.split_at_checked(2).and_then(|(head, rest)| Some((head.first_chunk::<2>()?, rest)))
    else {
        return false;
    };
    match length {
        0..=0x7f => rest.len() == usize::from(length),
        // The length's own length, and the length.
        0x81..=0x84 => rest.split_at_checked(usize::from(length & 0x7f)).is_some_and(|(length, rest)| {
            length.iter().fold(0_usize, |all, byte| (all << 8) | usize::from(*byte)) == rest.len()
        }),
        _ => false,
    }
}
