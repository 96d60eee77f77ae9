use std::fmt;

/// Where a store is, and who uses it.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// `https://s3.eu-west-1.amazonaws.com`, or the address of any other store.
    pub endpoint: String,
    pub bucket: String,
    /// What the keys of all objects begin with; empty for nothing.
    pub prefix: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
    /// Whether the bucket is in the path of an address (`https://host/bucket/key`), and not in front of the host.
    pub path_style: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("region", &self.region)
            .field("path_style", &self.path_style)
            .finish_non_exhaustive()
    }
}
