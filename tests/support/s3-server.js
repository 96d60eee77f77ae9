// An S3 server on a free port of this machine, on a folder: node s3-server.js FOLDER PORT. Prints its port.
const fs = require("fs");
const path = require("path");
const S3rver = require(path.join(process.cwd(), "node_modules", "s3rver"));
const [folder, port] = process.argv.slice(2);
const server = new S3rver({
  address: "127.0.0.1",
  port: Number(port),
  directory: folder,
  silent: true,
  vhostBuckets: false,
  configureBuckets: [{ name: "ci" }],
});
// It has no AbortMultipartUpload.
server.middleware.unshift((ctx, next) => {
  if (ctx.method !== "DELETE" || !ctx.query.uploadId) return next();
  const uploads = path.join(folder, ctx.path.split("/")[1], "._S3rver_uploads");
  fs.rmSync(path.join(uploads, ctx.query.uploadId), { recursive: true, force: true });
  ctx.status = 204;
});
server
  .run()
  .then((address) => console.log(address.port));
