#!/bin/sh
# deps.sh [build] [lint] [test]: installs the Debian packages that are missing for building (and the demo), linting and
# testing; without words, for all three. Says nothing when all is there. Uses sudo where it is not run by root.
set -u

missing=
# need PACKAGE COMMAND…: PACKAGE is missing where COMMAND fails
need() {
  package=$1
  shift
  "$@" >/dev/null 2>&1 || missing="$missing $package"
}
has() { command -v "$1"; }
library() { command -v pkg-config && pkg-config --exists "$1"; }
header() { command -v gcc && echo "#include <$1>" | gcc -E -x c -; }
postgres() { # 15 or later, server and client
  for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin "$(pg_config --bindir 2>/dev/null)" "$(dirname "$(command -v postgres)")"; do
    [ -x "$dir/postgres" ] && [ -x "$dir/psql" ] || continue
    [ "$("$dir/postgres" -V | tr -dc '0-9.' | cut -d. -f1)" -ge 15 ] && return 0
  done
  return 1
}

for set in ${*:-build lint test}; do
  case $set in
  build)
    need gcc has gcc
    need libc6-dev header stdio.h
    need make has make
    need pkg-config has pkg-config
    need luajit has luajit
    need libluajit-5.1-dev library luajit
    need libpq-dev library libpq
    need libuv1-dev library libuv
    need zlib1g-dev library zlib
    need libssl-dev library libcrypto
    need libcsv-dev header csv.h
    need libedit-dev library libedit
    need tzdata test -e /usr/share/zoneinfo/Europe/Lisbon
    need libcurl4-openssl-dev library libcurl
    need postgresql postgres
    ;;
  lint)
    need lua-check has luacheck
    need clang-format has clang-format
    need clang-tidy has clang-tidy
    ;;
  test)
    need lua-busted luajit -e 'require "busted"'
    need faketime sh -c 'ls /usr/lib/*/faketime/libfaketimeMT.so.1'
    need procps has pgrep
    need xz-utils has xz
    need binutils has nm
    need socat has socat
    need libxml2-utils has xmllint
    need python3 has python3
    need curl has curl
    need prometheus-alertmanager has prometheus-alertmanager
    ;;
  *)
    echo "deps: '$set': no such set (build, lint, test)" >&2
    exit 2
    ;;
  esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "deps: this is no Debian: install what these packages hold by other means:$missing" >&2
  exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "deps: missing:$missing (as root: apt-get install$missing)" >&2
    exit 1
  fi
  sudo=sudo
fi

log=$(mktemp) || exit 1
quiet_cluster=
finish() {
  [ -z "$quiet_cluster" ] || $sudo rm -f "$quiet_cluster"
  rm -f "$log"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Debian's package would make and start a server for the whole system, which nobody asked for here.
case " $missing " in
*" postgresql "*)
  conf=/etc/postgresql-common/createcluster.d/moonwake.conf
  $sudo mkdir -p "${conf%/*}" && echo 'create_main_cluster = false' | $sudo tee $conf >/dev/null && quiet_cluster=$conf
  ;;
esac

install() {
  # shellcheck disable=SC2086
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >"$log" 2>&1
}
echo "installing:$missing"
# Package lists may be missing or older than what the servers hold.
if ! install && ! { $sudo apt-get update -q >"$log" 2>&1 && install; }; then
  tail -n 20 "$log" >&2
  echo "deps: the installation failed (as root: apt-get install$missing)" >&2
  exit 1
fi

# Nor did anybody ask for a service of the whole system.
case " $missing " in
*" prometheus-alertmanager "*) [ ! -d /run/systemd/system ] || $sudo systemctl disable --now -q prometheus-alertmanager ;;
esac
