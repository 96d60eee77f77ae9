// An S3 server on a free port of this machine, on a folder: node s3-server.js FOLDER PORT. Prints its port.
const path = require("path");
const S3rver = require(path.join(process.cwd(), "node_modules", "s3rver"));
const [folder, port] = process.argv.slice(2);
new S3rver({
  address: "127.0.0.1",
  port: Number(port),
  directory: folder,
  silent: true,
  vhostBuckets: false,
  configureBuckets: [{ name: "ci" }],
})
  .run()
  .then((address) => console.log(address.port));
