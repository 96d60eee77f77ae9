//! Makes the programs of this container trust the operator's certificate authorities (CAs): writes their certificates
//! to files, and sets the environment variables that name such files.
//!
//! Most of these variables replace the CAs that a program would trust otherwise, so they name a bundle of the image's
//! CAs and the operator's. Java has no such variable.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::AgentOptions;
use crate::files::read_regular;

/// Where images keep the bundle of their CAs, below `/etc`: Debian's and Alpine's place first, then Red Hat's,
/// SUSE's and others'.
const IMAGE_BUNDLES: [&str; 7] = [
    "ssl/certs/ca-certificates.crt",
    "pki/tls/certs/ca-bundle.crt",
    "ssl/ca-bundle.pem",
    "pki/tls/cacert.pem",
    "pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "ssl/cert.pem",
    "ssl/certs/ca-bundle.crt",
];
/// How much of an image's bundle is read. Usual ones have about 200 KiB.
const MAX_BUNDLE: u64 = 8 << 20;
const CERTIFICATE_END: &[u8] = b"-----END CERTIFICATE-----";
/// Variables that replace a program's CAs, and therefore name the bundle. Each is followed by the variables that its
/// programs read next: if the image or the pipeline has set one of those, this one would override it, and is not set.
const REPLACING_VARIABLES: [(&str, &[&str]); 8] = [
    // OpenSSL, Go, Python, Ruby, PHP, programs in Rust.
    ("SSL_CERT_FILE", &[]),
    ("NIX_SSL_CERT_FILE", &["SSL_CERT_FILE"]),
    ("CURL_CA_BUNDLE", &["SSL_CERT_FILE"]),
    ("GIT_SSL_CAINFO", &[]),
    ("CARGO_HTTP_CAINFO", &["SSL_CERT_FILE"]),
    // Python's requests.
    ("REQUESTS_CA_BUNDLE", &["CURL_CA_BUNDLE"]),
    ("PIP_CERT", &["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]),
    ("AWS_CA_BUNDLE", &["REQUESTS_CA_BUNDLE"]),
];
/// Variables that add to a program's CAs, and therefore name the operator's alone.
const ADDING_VARIABLES: [&str; 3] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT", "LONGSHORE_CA_FILE"];

/// The files that were written. `None` if the operator has no CAs.
#[derive(Debug, Default)]
pub(crate) struct CaCertificates {
    files: Option<Files>,
}

#[derive(Debug)]
struct Files {
    /// The image's CAs and the operator's.
    bundle: PathBuf,
    /// The operator's alone.
    operators: PathBuf,
}

impl CaCertificates {
    /// Writes the files, readable by all users of the container. If the image has no bundle, ours has only the
    /// operator's CAs.
    pub(crate) fn write(operators: &str, options: &AgentOptions) -> io::Result<Self> {
        if operators.is_empty() {
            return Ok(Self::default());
        }
        let folder = options.root.join("authorities");
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        let mut bundle = read_image_bundle(&options.etc);
        if bundle.last().is_some_and(|last| *last != b'\n') {
            bundle.push(b'\n');
        }
        bundle.extend_from_slice(operators.as_bytes());
        let write = |name: &str, content: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
            Ok::<_, io::Error>(path)
        };
        let files = Files { bundle: write("bundle.pem", &bundle)?, operators: write("own.pem", operators.as_bytes())? };
        Ok(Self { files: Some(files) })
    }

    /// Adds the variables that name the files, except where the image or the pipeline has set its own.
    pub(crate) fn add_to(&self, env: &mut BTreeMap<OsString, OsString>) {
        let Some(Files { bundle, operators }) = &self.files else { return };
        let is_set = |name: &str| env.contains_key(OsStr::new(name));
        let replacing = REPLACING_VARIABLES
            .iter()
            .filter(|(name, next)| !is_set(name) && !next.iter().any(|next| is_set(next)))
            .map(|(name, _)| (*name, bundle));
        let adding = ADDING_VARIABLES.iter().filter(|name| !is_set(name)).map(|name| (*name, operators));
        let added: Vec<(OsString, OsString)> =
            replacing.chain(adding).map(|(name, path)| (name.into(), path.into())).collect();
        env.extend(added);
    }
}

/// Reads the bundle of the image's CAs. Empty if it has none.
fn read_image_bundle(etc: &Path) -> Vec<u8> {
    let read = |place| read_regular(&etc.join(place), OFlags::empty(), MAX_BUNDLE).ok();
    let mut bundle = IMAGE_BUNDLES.iter().filter_map(read).find(|bundle| !bundle.is_empty()).unwrap_or_default();
    // A longer bundle was cut within its last certificate.
    if bundle.len() as u64 == MAX_BUNDLE {
        let end = bundle.windows(CERTIFICATE_END.len()).rposition(|part| part == CERTIFICATE_END);
        bundle.truncate(end.map_or(0, |end| end + CERTIFICATE_END.len()));
    }
    bundle
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "-----BEGIN CERTIFICATE-----\nown\n-----END CERTIFICATE-----\n";

    fn options(folder: &Path) -> AgentOptions {
        AgentOptions { etc: folder.join("etc"), ..AgentOptions::new([0; 16], folder.to_owned()) }
    }

    fn env(set: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        set.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }

    #[test]
    fn of_a_bundle_that_is_longer_than_what_is_read_the_certificates_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("etc").join(IMAGE_BUNDLES[0]);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, OWN.repeat(usize::try_from(MAX_BUNDLE).unwrap() / OWN.len() + 2)).unwrap();
        let certificates = CaCertificates::write(OWN, &options(folder.path())).unwrap();
        let bundle = fs::read_to_string(certificates.files.unwrap().bundle).unwrap();
        assert!(bundle.len() as u64 <= MAX_BUNDLE + OWN.len() as u64);
        assert_eq!(bundle.replace(OWN, ""), "");
    }

    #[test]
    fn the_bundle_has_the_images_authorities_and_the_operators_and_everybody_may_read_it() {
        for place in IMAGE_BUNDLES {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("etc").join(place);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "of the image").unwrap();
            let certificates = CaCertificates::write(OWN, &options(folder.path())).unwrap();
            let mut env = env(&[]);
            certificates.add_to(&mut env);
            let bundle = Path::new(&env[OsStr::new("SSL_CERT_FILE")]);
            assert_eq!(fs::read_to_string(bundle).unwrap(), format!("of the image\n{OWN}"), "{place}");
            let own = Path::new(&env[OsStr::new("NODE_EXTRA_CA_CERTS")]);
            assert_eq!(fs::read_to_string(own).unwrap(), OWN);
            for path in [bundle, own] {
                assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o644);
            }
            assert_eq!(fs::metadata(own.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o755);
        }
    }

    #[test]
    fn an_image_without_a_bundle_gets_the_operators_authorities_alone_and_nobody_gets_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut env = env(&[]);
        CaCertificates::write("", &options(folder.path())).unwrap().add_to(&mut env);
        assert!(env.is_empty() && fs::read_dir(folder.path()).unwrap().next().is_none());
        CaCertificates::write(OWN, &options(folder.path())).unwrap().add_to(&mut env);
        assert_eq!(fs::read_to_string(&env[OsStr::new("GIT_SSL_CAINFO")]).unwrap(), OWN);
        assert_eq!(env.len(), REPLACING_VARIABLES.len() + ADDING_VARIABLES.len());
    }

    #[test]
    fn what_the_image_or_the_pipeline_trusts_is_not_hidden_by_a_variable_that_its_programs_look_at_first() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = CaCertificates::write(OWN, &options(folder.path())).unwrap();
        let mut all = env(&[("SSL_CERT_FILE", "/mine.pem")]);
        certificates.add_to(&mut all);
        assert_eq!(all[OsStr::new("SSL_CERT_FILE")], "/mine.pem");
        let is_set = |all: &BTreeMap<OsString, OsString>, name: &str| all.contains_key(OsStr::new(name));
        assert!(!is_set(&all, "CURL_CA_BUNDLE") && !is_set(&all, "CARGO_HTTP_CAINFO"));
        assert!(is_set(&all, "GIT_SSL_CAINFO") && is_set(&all, "REQUESTS_CA_BUNDLE"));
        let mut all = env(&[("CURL_CA_BUNDLE", "/mine.pem"), ("NODE_EXTRA_CA_CERTS", "")]);
        certificates.add_to(&mut all);
        assert!(!is_set(&all, "REQUESTS_CA_BUNDLE") && !is_set(&all, "PIP_CERT") && is_set(&all, "SSL_CERT_FILE"));
        assert_eq!(all[OsStr::new("NODE_EXTRA_CA_CERTS")], "");
    }
}
