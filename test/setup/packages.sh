#!/usr/bin/env bash
# Installs the Debian packages that this project needs; quickstart and test/run call it, and it can be run by hand:
#
#   test/setup/packages.sh build        what building a release needs
#   test/setup/packages.sh quickstart   that, and what ./quickstart makes its tables with
#   test/setup/packages.sh test         all that, and what the tests run: MariaDB, Dovecot, Postfix's smtp-source, linters, …
#
# Works on Debian 12 and 13, as root or with sudo. Asks nothing, reads no input, starts no service, removes no package.
# When everything is there already it neither needs root nor touches the network.
set -euo pipefail

build_packages=(
  gcc libc6-dev cmake ninja-build pkgconf
  libuv1-dev libsqlite3-dev default-libmysqlclient-dev libjansson-dev libpcre2-dev libc-ares-dev libidn2-dev
  libsasl2-dev libcrypt-dev
)
# Mbed TLS 3.6, which Debian 12 does not have: there these come from Debian 13, whose packages install as they are.
mbedtls_packages=(libmbedtls-dev)
mbedtls_least=3.6
quickstart_packages=(sqlite3)

# The -core packages of MariaDB are the server and its client without the system service and its data directory.
test_packages=(
  libcmocka-dev clang libclang-rt-dev clang-format clang-tidy universal-ctags valgrind strace git
  python3-pytest mariadb-server-core mariadb-client-core dovecot-core dovecot-mysql dovecot-lmtpd postfix postfix-pcre swaks libnet-ssleay-perl passwd procps
  pflogsumm fail2ban groff-base openssl libssl-dev nsd
  sasl2-bin libsasl2-modules libsasl2-modules-sql testssl.sh msmtp node-nodemailer
)

# Exim's package and Postfix's exclude each other: for the tests, which want its program, it is only unpacked.
exim=/usr/local/lib/mta-test/exim4

policy=/usr/sbin/policy-rc.d
policy_mark='# mta test/setup/packages.sh: services stay as they are during this installation'

fail() {
  printf 'packages.sh: %s\n' "$*" >&2
  exit 1
}

# Prints the packages among the arguments that are not installed.
missing_of() {
  local package
  for package; do
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] || printf '%s\n' "$package"
  done
}

# The same for Mbed TLS, whose version matters.
missing_mbedtls() {
  local version
  version=$(dpkg-query -W -f '${Version}' "${mbedtls_packages[0]}" 2>/dev/null) || version=0
  dpkg --compare-versions "${version:-0}" ge "$mbedtls_least" || printf '%s\n' "${mbedtls_packages[@]}"
}

# Debian 12: lets apt see Debian 13 for the packages of Mbed TLS, and for nothing else.
allow_mbedtls() {
  local uri
  grep -q '^VERSION_CODENAME=bookworm' /etc/os-release || return 0
  # shellcheck disable=SC2016  # apt's own variable
  uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Label: Debian' | head -n 1)
  cat >/etc/apt/sources.list.d/mta-mbedtls.sources <<EOF
Types: deb
URIs: ${uri:-http://deb.debian.org/debian}
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
  cat >/etc/apt/preferences.d/mta-mbedtls <<'EOF'
Explanation: mta needs Mbed TLS 3.6; everything else stays with Debian 12
Package: *
Pin: release n=trixie
Pin-Priority: -10

Package: libmbedtls-dev libmbedtls21 libmbedx509-7 libmbedcrypto16
Pin: release n=trixie
Pin-Priority: 995
EOF
}

# Keeps the packages' own scripts from starting services. A policy that somebody else put there is left alone.
forbid_services() {
  if [[ -e $policy ]] && ! grep -qxF "$policy_mark" "$policy"; then
    return
  fi
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy"
  chmod 755 "$policy"
}

apt() {
  DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C \
    apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null
}

install() {
  forbid_services
  printf 'packages.sh: installing %s\n' "$*"
  # With "No configuration" Postfix leaves /etc/postfix alone: the tests want its programs, not a running system.
  if command -v debconf-set-selections >/dev/null; then
    echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
  fi
  allow_mbedtls
  apt update || fail "'apt-get update' failed: is there a network, and are the sources in /etc/apt right?"
  apt install --no-install-recommends --no-remove "$@" ||
    fail "'apt-get install $*' failed, see above. (--no-remove is set: another mail server or a conflicting package is not replaced by itself.)"
}

# Exim's program, and the libraries that it names; after install().
unpack_exim() {
  local folder
  local -a libraries
  folder=$(mktemp -d)
  (cd "$folder" && apt download exim4-daemon-light) || fail 'cannot download exim4-daemon-light'
  mapfile -t libraries < <(dpkg-deb -f "$folder"/*.deb Depends | tr ',' '\n' | awk '$1 ~ /^lib/ {print $1}')
  apt install --no-install-recommends --no-remove "${libraries[@]}"
  mkdir -p "$exim"
  dpkg-deb -x "$folder"/*.deb "$exim"
  chmod 755 "$exim/usr/sbin/exim4" # it need not be set-uid root
  rm -rf "$folder"
}

main() {
  local -a wanted missing
  case "${1-}" in
    build) wanted=("${build_packages[@]}") ;;
    quickstart) wanted=("${build_packages[@]}" "${quickstart_packages[@]}") ;;
    test) wanted=("${build_packages[@]}" "${quickstart_packages[@]}" "${test_packages[@]}") ;;
    *) fail "usage: $0 build|quickstart|test" ;;
  esac
  if ! command -v apt-get >/dev/null; then
    fail 'this needs Debian 12 or 13 (no apt-get here)'
  fi

  # shellcheck disable=SC2207  # package names hold no spaces
  missing=($(missing_of "${wanted[@]}") $(missing_mbedtls))
  if [[ $1 == test && ! -x $exim/usr/sbin/exim4 ]]; then missing+=("$exim"); fi
  ((${#missing[@]})) || return 0
  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "not installed: ${missing[*]}. Run this as root, or install sudo."
    # Without a terminal sudo must not ask for a password.
    if [[ -t 0 ]]; then exec sudo bash "$0" "$1"; else exec sudo -n bash "$0" "$1"; fi
  fi
  # shellcheck disable=SC2068  # package names hold no spaces
  install ${missing[@]/"$exim"/}
  [[ " ${missing[*]} " != *" $exim "* ]] || unpack_exim
  # shellcheck disable=SC2207
  missing=($(missing_of "${wanted[@]}") $(missing_mbedtls))
  ((${#missing[@]} == 0)) || fail "still not installed: ${missing[*]}"
}

main "$@"
