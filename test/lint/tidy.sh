#!/usr/bin/env bash
# clang-tidy with the settings of the tree finds nothing. BUILD is a build folder with compile_commands.json.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${1:?usage: tidy.sh BUILD}
git ls-files '*.c' ':!test' | xargs -P "$(nproc)" -n 8 clang-tidy --quiet -p "$build" 2>/dev/null
