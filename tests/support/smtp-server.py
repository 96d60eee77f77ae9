#!/usr/bin/env python3
"""A mail server for tests (aiosmtpd, which scripts/smtp.sh fetches): writes what arrives to files, and can refuse.

    smtp-server.py DIR MODE [CERTIFICATE KEY]

MODE is `plain`, `starttls` or `tls`; the last two take the user `ci` with the password `p@ss/w&rd` alone. The port is
written to DIR/port, each message to DIR/N.eml. While there is a file DIR/answer, every message is answered with its text.
Mail to `nobody@` is refused, and mail to `later@` too until there is a file DIR/now.
"""

import asyncio
import os
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

folder, mode = pathlib.Path(sys.argv[1]), sys.argv[2]
context = None
if mode != "plain":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])


class Handler:
    count = 0

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address.startswith("nobody@"):
            return "550 no such user"
        if address.startswith("later@") and not (folder / "now").exists():
            return "450 greylisted"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        answer = folder / "answer"
        if answer.exists():
            return answer.read_text().strip()
        text = f"X-Login: {bool(session.authenticated)}\r\nX-To: {','.join(envelope.rcpt_tos)}\r\n".encode() + envelope.content
        (folder / "incoming").write_bytes(text)
        os.replace(folder / "incoming", folder / f"{Handler.count}.eml")
        Handler.count += 1
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    fits = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ci", b"p@ss/w&rd")
    return AuthResult(success=fits, handled=False)


def secrets():
    if mode == "plain":
        return {}
    return {"authenticator": authenticate, "auth_required": True, "auth_require_tls": mode == "starttls"}


def session():
    tls = {"tls_context": context, "require_starttls": True} if mode == "starttls" else {}
    return SMTP(handler, hostname="mail.test", **tls, **secrets())


async def serve():
    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0, ssl=context if mode == "tls" else None)
    (folder / "port.new").write_text(str(server.sockets[0].getsockname()[1]))
    os.replace(folder / "port.new", folder / "port")
    await server.serve_forever()


handler = Handler()
asyncio.run(serve())
