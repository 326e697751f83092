#!/bin/sh
# Builds the floors and runs the benchmarks: sh bench/run.sh BUILD [replay|debugger|rules|doorbell …]
set -eu
build=${1:-build}
[ $# -gt 0 ] && shift
mkdir -p "$build/bench"
cc -O2 -Wall -Wextra -o "$build/bench/read_floor" bench/read_floor.c $(pkg-config --cflags --libs libpq)
MOONWAKE_BIN=$build/moonwake exec luajit bench/bench.lua "$build" "$@"
