//! The settings of the object store: checked, and turned into a client.

use anyhow::Context as _;
use longshore_object_store::{ObjectStore, Settings, TlsConfig};

use super::{
    settings::{MergedS3, S3Settings},
    unless_empty,
};
use crate::ca_certificates::CaCertificates;

impl MergedS3 {
    /// Returns the object store, if the settings name one.
    pub(super) fn object_store(self, ca_certificates: Option<&CaCertificates>) -> anyhow::Result<Option<ObjectStore>> {
        let Some(endpoint) = unless_empty(self.endpoint) else {
            let others = [("bucket", self.bucket), ("access_key", self.access_key), ("secret_key", self.secret_key)];
            let given = others.into_iter().find(|(_, given)| unless_empty(given.clone()).is_some());
            if let Some((name, _)) = given {
                anyhow::bail!("s3: {name} is given and endpoint is not: give LONGSHORE_S3_ENDPOINT");
            }
            return Ok(None);
        };
        let named = |name: &str, given: Option<String>| {
            unless_empty(given).with_context(|| {
                format!("s3: endpoint is given and {name} is not: give LONGSHORE_S3_{}", name.to_uppercase())
            })
        };
        let settings = Settings {
            endpoint,
            bucket: named("bucket", self.bucket)?,
            prefix: self.prefix,
            region: self.region,
            access_key: named("access_key", self.access_key)?,
            secret_key: named("secret_key", self.secret_key)?,
            path_style: self.path_style,
        };
        let tls = match ca_certificates {
            Some(ca_certificates) => ca_certificates.tls()?,
            None => TlsConfig::default(),
        };
        ObjectStore::new(&settings, tls).map(Some).map_err(|why| anyhow::anyhow!("s3: {why}"))
    }
}

impl S3Settings {
    /// Returns the object store that the command line and the environment name.
    pub(crate) fn object_store(self) -> anyhow::Result<Option<ObjectStore>> {
        let file = std::env::var_os("LONGSHORE_CA_FILE").filter(|file| !file.is_empty());
        let ca_certificates = CaCertificates::read(file.as_deref().map(std::path::Path::new))?;
        self.over(Self::default()).object_store(ca_certificates.as_ref())
    }
}
