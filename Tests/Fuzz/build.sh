#!/bin/sh
# Builds the fuzzer of the manifest reader: build.sh [OUTPUT]. Run it with ASAN_OPTIONS=detect_leaks=0.
set -eu
cd "$(dirname "$0")/../.."
output=${1:-.build/fuzz-manifests}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# One module holds everything, so that the fuzzer sees coverage of all of it: siblings are no longer imported, and
# names that are private to a file stay so.
for file in Sources/Diagnostics/*.swift Sources/Files/Glob*.swift Sources/Files/WorkspacePath.swift \
  Sources/Manifests/*.swift Tests/Fuzz/FuzzManifests.swift; do
  sed -E '/^(@testable )?import (Diagnostics|Digests|Files|Manifests)$/d' "$file" >"$work/$(basename "$file")"
done
swiftc -sanitize=fuzzer,address -parse-as-library -O -swift-version 6 -package-name slipway -module-name Fuzz \
  -enable-upcoming-feature ExistentialAny -I Sources/CYAML "$work"/*.swift -o "$output"
