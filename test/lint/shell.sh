#!/usr/bin/env bash
# Every shell script parses, and is executable.
set -euo pipefail
cd "$(dirname "$0")/../.."
bad=0
for file in quickstart .ci/run test/run test/fuzz/run $(git ls-files '*.sh'); do
    bash -n "$file" || bad=1
    [ -x "$file" ] || {
        echo "$file is not executable"
        bad=1
    }
done
exit $bad
