#!/usr/bin/env bash
# Builds a Rust, a Node and a Python project with dependencies from their registries: with `longshore run` and `cache`, and beside it by hand in a
# container with the same folders mounted. Prints how long the first build took, and the median of later ones, each after a change.
# Usage: bench-projects.sh [rust] [node] [python]   (all of them where none is named)
# LONGSHORE_PROGRAM is the program to measure (target/release/longshore), ROUNDS how many later builds there are (5).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

program=$(realpath "${LONGSHORE_PROGRAM:-$release_program}")
[ -x "$program" ] || die "there is no $program: run scripts/build.sh first"
rounds=${ROUNDS:-5}
image=longshore-bench/projects
work=$(mktemp -d)
instance=projects-$RANDOM
export LONGSHORE_INSTANCE=$instance XDG_CACHE_HOME=$work/cache

# Waits until nobody looks after the caches of runs that are over, so that what is measured next has the machine for itself.
settle() {
  while pgrep -f "cache-upkeep .*--instance $instance" >/dev/null; do sleep 0.05; done
}

leave() {
  # What the containers have written belongs to root.
  docker run --rm -v "$work:/work" "$image" sh -c 'rm -rf /work/*' >/dev/null 2>&1 || true
  rm -rf "$work"
  settle
  "$program" clean >/dev/null 2>&1 || true
  docker ps -aq --filter "label=longshore.instance=$instance" | xargs -r docker rm -f >/dev/null
  docker volume ls -q --filter "label=longshore.instance=$instance" | xargs -r docker volume rm -f >/dev/null
  docker network ls -q --filter "label=longshore.instance=$instance" | xargs -r docker network rm >/dev/null
}
trap leave EXIT

# Debian with this machine's Rust, with Node and npm, with Python and pip, and with the authorities that this machine trusts.
make_image() {
  local hash dir=$work/image npm=10.9.2
  hash=$(recipe_hash "$(declare -f make_image)" "$(rustc --version)" "$(sha256sum /etc/ssl/certs/ca-certificates.crt)")
  if image_is_current "$image" "$hash"; then return; fi
  mkdir -p "$dir/usr/local/rust" "$dir/usr/local/bin" "$dir/usr/local/lib/node_modules/npm" "$dir/etc/ssl/certs"
  cp -a "$(rustc --print sysroot)/." "$dir/usr/local/rust/"
  rm -rf "$dir/usr/local/rust/share"
  quietly npm curl -fsSL --retry 3 -o "$work/npm.tgz" "https://registry.npmjs.org/npm/-/npm-$npm.tgz"
  tar -C "$dir/usr/local/lib/node_modules/npm" --strip-components=1 -xzf "$work/npm.tgz"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$dir/usr/local/bin/npm"
  ln -s ../lib/node_modules/npm/bin/npx-cli.js "$dir/usr/local/bin/npx"
  cp /etc/ssl/certs/ca-certificates.crt "$dir/etc/ssl/certs/"
  debian_tarball "projects-$hash" bookworm --variant=minbase \
    --include=ca-certificates,gcc,libc6-dev,nodejs,python3-pip,python3-venv --customize-hook="sync-in $dir /" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
  docker import --change "LABEL longshore.recipe=$hash" --change 'CMD ["bash"]' \
    --change 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt' --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' \
    "target/images/projects-$hash.tar" "$image" >/dev/null
  rm -rf "$dir"
}

# For each project: `write_X DIR` writes it, `change_X DIR N` changes it, `script_X` is its build, and `folders_X` are what is kept:
# a path of the pipeline, and the same in a container.
write_rust() {
  mkdir -p "$1/src"
  cat >"$1/Cargo.toml" <<'END'
[package]
name = "app"
version = "0.1.0"
edition = "2021"

[dependencies]
clap = { version = "4", features = ["derive"] }
regex = "1"
serde = { version = "1", features = ["derive"] }
serde_json = "1"
tokio = { version = "1", features = ["full"] }
END
  cat >"$1/src/main.rs" <<'END'
use clap::Parser;

#[derive(Parser, serde::Serialize)]
struct Args {
    #[arg(long, default_value = "world")]
    name: String,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    println!("{} {}", greeting(&args.name), serde_json::to_string(&args).unwrap());
}

fn greeting(name: &str) -> String {
    regex::Regex::new("o+").unwrap().replace_all(&format!("hello {name}"), "0").into_owned()
}

#[test]
fn greets() {
    assert_eq!(greeting("world"), "hell0 w0rld");
}
END
  (cd "$1" && quietly cargo-lock cargo generate-lockfile)
}
change_rust() { printf '#[allow(dead_code)]\nfn added_%s() -> usize {\n    %s\n}\n' "$2" "$2" >>"$1/src/main.rs"; }
script_rust='cargo test --quiet --locked'
folders_rust='~/.cargo/registry=/root/.cargo/registry target=/longshore/workspace/target'
lock_rust=Cargo.lock

write_node() {
  mkdir -p "$1/src"
  cat >"$1/package.json" <<'END'
{
  "name": "app", "version": "1.0.0", "private": true,
  "dependencies": { "lodash": "4.17.21", "react": "18.3.1", "react-dom": "18.3.1" },
  "devDependencies": { "@types/react": "18.3.12", "@types/react-dom": "18.3.1", "@types/lodash": "4.17.13", "jest": "29.7.0", "ts-loader": "9.5.1",
    "typescript": "5.6.3", "webpack": "5.96.1", "webpack-cli": "5.1.4" }
}
END
  cat >"$1/tsconfig.json" <<'END'
{ "compilerOptions": { "target": "es2020", "module": "esnext", "moduleResolution": "node", "jsx": "react-jsx", "strict": true, "esModuleInterop": true, "skipLibCheck": true } }
END
  cat >"$1/webpack.config.js" <<'END'
module.exports = {
  mode: "production",
  entry: "./src/index.tsx",
  module: { rules: [{ test: /\.tsx?$/, use: "ts-loader", exclude: /node_modules/ }] },
  resolve: { extensions: [".tsx", ".ts", ".js"] },
};
END
  cat >"$1/src/index.tsx" <<'END'
import _ from "lodash";
import { createRoot } from "react-dom/client";

const words: string[] = _.uniq(["hello", "hello", "world"]);
createRoot(document.body).render(<p>{words.join(" ")}</p>);
END
  printf 'const _ = require("lodash");\ntest("words", () => expect(_.uniq([1, 1])).toEqual([1]));\n' >"$1/src/words.test.js"
  (cd "$1" && quietly npm-lock npm install --package-lock-only --no-audit --no-fund)
}
change_node() { printf 'export const added%s: number = %s;\n' "$2" "$2" >>"$1/src/index.tsx"; }
script_node='npm install --prefer-offline --no-audit --no-fund --silent && npx webpack >/dev/null && npx jest --silent 2>&1 | tail -4'
folders_node='~/.npm=/root/.npm node_modules=/longshore/workspace/node_modules'
lock_node=package-lock.json

write_python() {
  mkdir -p "$1/app"
  printf 'numpy==2.1.3\npandas==2.2.3\npytest==8.3.3\nDjango==5.1.3\n' >"$1/requirements.txt"
  : >"$1/app/__init__.py"
  printf 'import pandas\n\n\ndef total(rows):\n    return int(pandas.DataFrame(rows).sum().sum())\n' >"$1/app/table.py"
  printf 'import django\nfrom app.table import total\n\n\ndef test_total():\n    assert django.VERSION and total([[1, 2], [3, 4]]) == 10\n' >"$1/test_table.py"
}
change_python() { printf '\n\ndef added_%s():\n    return %s\n' "$2" "$2" >>"$1/app/table.py"; }
script_python='[ -x .venv/bin/pip ] || python3 -m venv .venv; .venv/bin/pip install --quiet -r requirements.txt && .venv/bin/pytest -q'
folders_python='~/.cache/pip=/root/.cache/pip .venv=/longshore/workspace/.venv'
lock_python=requirements.txt

# milliseconds COMMAND...: runs it and prints how long it took.
milliseconds() {
  local begun=${EPOCHREALTIME/./}
  "$@" >"$work/output" 2>&1 || {
    tail -30 "$work/output" >&2
    die "failed: $*"
  }
  echo $(((${EPOCHREALTIME/./} - begun) / 1000))
}

by_longshore() { "$program" run "$work/longshore/$1"; }

by_hand() {
  local -a mounts=() folder
  for folder in $2; do
    mkdir -p "$work/kept/$1/${folder#*=}"
    mounts+=(-v "$work/kept/$1/${folder#*=}:${folder#*=}")
  done
  docker run --rm -v "$work/hand/$1:/longshore/workspace" "${mounts[@]}" -w /longshore/workspace "$image" sh -ec "$3"
}

median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }

measure() {
  local name=$1 folders=folders_$1 script=script_$1 lock=lock_$1 folder n
  local -a longshore=() hand=()
  mkdir -p "$work/longshore" "$work/hand"
  "write_$name" "$work/longshore/$name"
  {
    echo "jobs:"
    echo "  test:"
    echo "    image: $image"
    echo "    pull: never"
    echo "    cache:"
    n=0
    for folder in ${!folders}; do
      echo "      - { path: '${folder%%=*}', key: '$n-\${{ hash-files(\"${!lock}\") }}-\${{ hash-files(\"src/**\", \"app/**\") }}', fallback: ['$n-\${{ hash-files(\"${!lock}\") }}-', '$n-'] }"
      n=$((n + 1))
    done
    echo "    steps:"
    echo "      - run: |"
    echo "          ${!script}"
  } >"$work/longshore/$name/.longshore.yml"
  cp -a "$work/longshore/$name" "$work/hand/$name"
  local first_longshore first_hand
  first_longshore=$(milliseconds by_longshore "$name")
  settle
  first_hand=$(milliseconds by_hand "$name" "${!folders}" "${!script}")
  for ((n = 1; n <= rounds; n++)); do
    "change_$name" "$work/longshore/$name" "$n"
    "change_$name" "$work/hand/$name" "$n"
    longshore+=("$(milliseconds by_longshore "$name")")
    settle
    hand+=("$(milliseconds by_hand "$name" "${!folders}" "${!script}")")
  done
  local later_longshore later_hand
  later_longshore=$(median "${longshore[@]}")
  later_hand=$(median "${hand[@]}")
  printf '%-8s %10s %10s %10s %10s %8s\n' "$name" "$first_longshore" "$first_hand" "$later_longshore" "$later_hand" \
    "$(awk "BEGIN { printf \"%.2f\", $later_longshore / $later_hand }")"
  say "      $name, each later build: longshore ${longshore[*]}; by hand ${hand[*]}"
}

make_image
[ $# -gt 0 ] || set -- rust node python
printf '%-8s %10s %10s %10s %10s %8s\n' 'ms' 'first' 'by hand' 'later' 'by hand' 'ratio'
for project in "$@"; do
  case $project in
    rust | node | python) measure "$project" ;;
    *) die "bench-projects.sh knows rust, node and python, not '$project'" ;;
  esac
done
