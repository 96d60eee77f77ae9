//! Services that would open one port: at the other systems each has a network of its own, here a job's share one.

use super::draft::{Map, Note};

/// Ports that well-known images open.
const KNOWN: &[(&str, u16)] = &[
    ("postgres", 5432),
    ("postgis", 5432),
    ("timescaledb", 5432),
    ("pgvector", 5432),
    ("mysql", 3306),
    ("mariadb", 3306),
    ("redis", 6379),
    ("valkey", 6379),
    ("keydb", 6379),
    ("mongo", 27017),
    ("rabbitmq", 5672),
    ("elasticsearch", 9200),
    ("opensearch", 9200),
    ("memcached", 11211),
    ("minio", 9000),
    ("nats", 4222),
    ("kafka", 9092),
    ("zookeeper", 2181),
    ("cassandra", 9042),
    ("etcd", 2379),
    ("consul", 8500),
    ("vault", 8200),
    ("nginx", 80),
    ("httpd", 80),
    ("localstack", 4566),
    ("clickhouse-server", 8123),
    ("registry", 5000),
];

/// The ports that the services of a job open, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Ports {
    opened: Vec<(String, u16)>,
}

impl Ports {
    /// Adds a service, with its ports as they are written (`5432`, `5433:5432`). `services` gets a note if another one
    /// opens the same port.
    pub(super) fn add(&mut self, name: &str, image: &str, written: &[String], line: u32, services: &mut Map) {
        let inner = written.iter().filter_map(|port| {
            let port = port.split('/').next()?.rsplit(':').next()?;
            port.trim().parse().ok()
        });
        let known = KNOWN.iter().filter(|(known, _)| *known == name_of(image)).map(|(_, port)| *port);
        let mut ports: Vec<u16> = inner.chain(known).collect();
        ports.sort_unstable();
        ports.dedup();
        for port in ports {
            if let Some((other, _)) = self.opened.iter().find(|(_, opened)| *opened == port) {
                let why = format!(
                    "it opens port {port}, as `{other}` does: services of a job share one network, in which only one can: \
                     give it another port by its `command` or `env`, or put it into another job"
                );
                services.note(Note::new(line, name, why));
            }
            self.opened.push((name.to_owned(), port));
        }
    }
}

/// The last part of an image's name, without tag and digest.
fn name_of(image: &str) -> &str {
    let path = image.split('@').next().unwrap_or(image).rsplit('/').next().unwrap_or(image);
    path.split(':').next().unwrap_or(path)
}
