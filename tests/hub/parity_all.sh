#!/usr/bin/env bash
# parity_all.sh NEMO_HOST FIXTURES: unpacks the model folders of FIXTURES and runs `nemo-host parity` on each, with config.json as transformers 5
# and as transformers 4 writes it. FIXTURES may also be a folder of model folders. Exit code 77: there are no fixtures.
set -euo pipefail
host=$1 fixtures=$2
if [ ! -d "$fixtures" ]; then
  echo "no fixtures in $fixtures; skipped"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
models=$fixtures
if ls "$fixtures"/models*.tar.gz >/dev/null 2>&1; then
  for archive in "$fixtures"/models*.tar.gz; do tar -xzf "$archive" -C "$work"; done
  models=$work
fi
folders=0 missed=0
check() { # NAME FOLDER GOLDEN
  folders=$((folders + 1))
  if "$host" parity "$2" --golden "$3" --work "$work" >"$work/log" 2>&1; then
    printf 'ok      %s\n' "$1"
  else
    missed=$((missed + 1))
    printf 'MISSED  %s\n' "$1"
    grep -v ' ok ' "$work/log" | sed 's/^/        /'
  fi
}
while IFS= read -r golden; do
  folder=$(dirname "$golden") name=$(basename "$(dirname "$golden")")
  check "$name" "$folder" "$golden"
  [ -f "$folder/config.v4.json" ] || continue
  mkdir "$work/v4"
  cp "$folder"/*.safetensors "$folder"/*.json "$work/v4/"
  cp "$folder/config.v4.json" "$work/v4/config.json"
  check "$name (config of transformers 4)" "$work/v4" "$golden"
  rm -rf "$work/v4"
done < <(find "$models" -name golden.safetensors -not -path "*/v4/*" | sort)
if [ "$folders" -eq 0 ]; then
  echo "no golden.safetensors below $fixtures"
  exit 1
fi
echo "$((folders - missed)) of $folders pass"
[ "$missed" -eq 0 ]
