#!/usr/bin/env bash
# clang-format changes nothing. Only with the version the tree is formatted with: others differ in details.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$(clang-format --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p')
if [ "$version" != 14 ]; then
    echo "clang-format is version $version, not 14: nothing was checked"
    exit 0
fi
git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror
