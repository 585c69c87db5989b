#!/usr/bin/env bash
# The include order of design.md is a total one, and each third-party header stays in the files named for it.
set -uo pipefail
cd "$(dirname "$0")/../.."
bad=0
complain() {
    printf '%s\n' "$*"
    bad=1
}

# folder -> its place in the order; smtpd and delivery share one and may not include each other.
place() {
    case "$1" in
    core/base/*) echo 1 base ;;
    core/loop/*) echo 2 loop ;;
    core/conf/*) echo 3 conf ;;
    core/queue/*) echo 4 queue ;;
    tls/*) echo 5 tls ;;
    lookup/*) echo 6 lookup ;;
    proto/grammar/*) echo 7 grammar ;;
    proto/auth/*) echo 8 auth ;;
    proto/content/*) echo 9 content ;;
    proto/smtpd/* | proto/milter/*) echo 10 server ;;
    delivery/*) echo 10 delivery ;;
    core/*) echo 11 main ;;
    *) echo 0 unknown ;;
    esac
}

while IFS=: read -r file _ line; do
    header=$(sed -n 's/.*"\(.*\)".*/\1/p' <<<"$line")
    read -r from from_name <<<"$(place "$file")"
    read -r to to_name <<<"$(place "$header")"
    [ "$to_name" != unknown ] || complain "$file: includes \"$header\": write the path from the root"
    [ "$to" -le "$from" ] || complain "$file: $from_name may not include $to_name ($header)"
    [ "$to" -ne "$from" ] || [ "$to_name" = "$from_name" ] || complain "$file: $from_name and $to_name may not include each other ($header)"
    [ -f "$header" ] || complain "$file: \"$header\" does not exist"
    case "$header" in
    *_int.h) [ "$(dirname "$header")" = "$(dirname "$file")" ] || complain "$file: $header is private to its folder" ;;
    esac
done < <(grep -Hn '^ *#include "' $(git ls-files 'core/*.[ch]' 'lookup/*.[ch]' 'proto/*.[ch]' 'delivery/*.[ch]' 'tls/*.[ch]'))

# third-party header -> where it may be
quarantine() { # PATTERN ALLOWED...
    local pattern=$1 file
    shift
    for file in $(grep -lE "#include <($pattern)" $(git ls-files '*.c' '*.h' ':!test')); do
        for allowed; do
            # shellcheck disable=SC2053
            [[ $file == $allowed ]] && continue 2
        done
        complain "$file: may not include <$pattern>"
    done
}
quarantine 'uv\.h' 'core/loop/*'
quarantine 'sqlite3\.h' 'core/queue/queue_sql*' 'lookup/table_sqlite.c'
quarantine 'mysql\.h|mysql/|mariadb/|errmsg\.h|mysqld_error\.h' 'lookup/mysql_*'
quarantine 'pcre2\.h|regex\.h' 'lookup/table_pcre.c' 'lookup/table_regexp.c'
quarantine 'mbedtls/|psa/' 'tls/*'
quarantine 'ares\.h' 'lookup/dns_channel.c'
quarantine 'idn2\.h' 'lookup/dns_name.c'
quarantine 'sasl/' 'proto/auth/*'

# calls that block the loop, or that are never right
for file in $(git ls-files '*.c' ':!test'); do
    grep -nHE '\b(strcpy|strcat|sprintf|gets|system|popen|strtok|atoi|gethostbyname)\(' "$file" && bad=1
    case "$file" in
    core/loop/* | core/queue/queue_sql* | core/queue/queue.c) ;; # at start: nothing runs yet
    *) grep -nHE '\b(sleep|usleep|nanosleep)\(' "$file" && bad=1 ;;
    esac
done
exit $bad
