//! TLS in front of a server, with a certificate of a private authority.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Accepts TLS connections and forwards their plain content.
const FORWARD: &str = r#"
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def copy(source, to):
    try:
        while data := source.recv(65536):
            to.sendall(data)
    except OSError:
        pass
    try:
        (to.unwrap() if isinstance(to, ssl.SSLSocket) else to).shutdown(socket.SHUT_WR)
    except OSError:
        pass
def forward(plain):
    try:
        secure = context.wrap_socket(plain, server_side=True)
    except OSError:
        return
    to = socket.create_connection(("127.0.0.1", int(sys.argv[3])))
    threading.Thread(target=copy, args=(to, secure), daemon=True).start()
    copy(secure, to)
while True:
    threading.Thread(target=forward, args=(listener.accept()[0],), daemon=True).start()
"#;

pub(crate) struct Tls {
    process: Child,
    pub(crate) port: u16,
    /// The authority's certificate.
    pub(crate) authority: PathBuf,
}

impl Tls {
    /// Starts in front of the server on `port` of 127.0.0.1, which the certificate calls `own.example` too; keys and
    /// certificates are written to `folder`.
    pub(crate) fn before(port: u16, folder: &Path) -> Self {
        let folder = folder.join("tls");
        std::fs::create_dir_all(&folder).unwrap();
        let openssl = |arguments: &str| {
            let made = Command::new("openssl").current_dir(&folder).args(arguments.split(' ')).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=own"));
        std::fs::write(
            folder.join("extensions"),
            "subjectAltName = IP:127.0.0.1, DNS:own.example\nbasicConstraints = CA:FALSE\n",
        )
        .unwrap();
        openssl(&format!("req -new {key} -keyout key -out request -subj /CN=host"));
        openssl(
            "x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out certificate",
        );
        let mut process = Command::new("python3")
            .args(["-c", FORWARD])
            .args([folder.join("certificate"), folder.join("key")])
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, port: line.trim().parse().unwrap(), authority: folder.join("ca.pem") }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
