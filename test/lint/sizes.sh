#!/usr/bin/env bash
# Functions of at most 100 lines, files of at most 700: places where a seam was missed.
set -euo pipefail
cd "$(dirname "$0")/../.."
bad=0
while IFS=$'\t' read -r name file _ rest; do
    line=$(sed -n 's/.*line:\([0-9]*\).*/\1/p' <<<"$rest")
    end=$(sed -n 's/.*end:\([0-9]*\).*/\1/p' <<<"$rest")
    if [ -n "$end" ] && [ $((end - line)) -gt 100 ]; then
        echo "$file:$line: $name has $((end - line)) lines"
        bad=1
    fi
done < <(git ls-files '*.c' ':!test' | ctags -L - --languages=C --kinds-C=f --fields=+ne -f - | grep 'end:')
while read -r lines file; do
    if [ "$file" != total ] && [ "$lines" -gt 700 ]; then
        echo "$file: $lines lines"
        bad=1
    fi
done < <(git ls-files '*.c' '*.h' '*.py' | xargs wc -l)
exit $bad
