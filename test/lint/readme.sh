#!/usr/bin/env bash
# Each `file:function` and each file that README.md names exists.
set -euo pipefail
cd "$(dirname "$0")/../.."
bad=0
count=0
while read -r ref; do
    file=${ref%%:*}
    function=${ref#*:}
    count=$((count + 1))
    if [ ! -f "$file" ]; then
        echo "README.md names $file, which does not exist"
        bad=1
    elif [ "$function" != "$ref" ] && ! grep -qE "^[a-z].*\b$function\(" "$file"; then
        echo "README.md names $file:$function, which does not exist"
        bad=1
    fi
done < <(grep -oE '`(core|proto|lookup|delivery|tls|test)/[A-Za-z0-9_/.-]+\.(c|h|def|sh|py)(:[a-z0-9_]+)?`' README.md | tr -d '`' | sort -u)
[ "$count" -ge 10 ] || {
    echo "README.md names only $count places: has the table gone?"
    bad=1
}
exit $bad
