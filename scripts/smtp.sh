#!/usr/bin/env bash
# Fetches aiosmtpd, the mail server of the tests, into target/smtp: by pip, checked against the digests below.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

version=1.4.6
folder=$root/target/smtp
[ "$(cat "$folder/version" 2>/dev/null)" = "$version" ] && exit 0
rm -rf "$folder"
mkdir -p "$folder"
cat >"$folder/requirements.txt" <<END
aiosmtpd==$version --hash=sha256:72c99179ba5aa9ae0abbda6994668239b64a5ce054471955fe75f581d2592475
atpublic==9.0.0 --hash=sha256:449c3c4f0c74df79749d6fe225ba55e2a2fce34b303f0329211e4d6989ed6f6e
attrs==26.1.0 --hash=sha256:c647aa4a12dfbad9333ca4e71fe62ddc36f4e63b2d260a37a8b83d2f043ac309
END
quietly pip-smtp python3 -m pip install --quiet --no-deps --require-hashes --only-binary :all: --target "$folder" -r "$folder/requirements.txt"
echo "$version" >"$folder/version"
