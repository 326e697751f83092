#!/bin/sh
# test.sh [--all] BUILD [SPEC FILES…]: runs spec files against the program in BUILD, by default all of them. Each is a
# process of its own, as many at a time as there are cores. --all first installs what is missing, lints and builds.
# The last line is `N passed, N failed`, with `, N skipped` where some were; the exit status agrees.
#
#   MOONWAKE_SOAK=1   the long versions
#   MOONWAKE_JOBS=N   so many at a time
set -u
cd "$(dirname "$0")/../.." || exit 1
tools=runtime/tools

# One file: its output is kept and shown as a whole, so that files do not mix.
if [ "${1-}" = --one ]; then
  out=$2 file=$3 base=$2/$(echo "$3" | tr / _)
  start=$(date +%s)
  limit=600
  [ -n "${MOONWAKE_SOAK-}" ] && limit=7200
  case $file in
  # of scripts, as a user runs them
  spec/projections/* | spec/reducers/* | spec/rules/* | spec/upcasters/* | spec/workspaces/*/spec/*)
    workspace=. rest=$file
    case $file in spec/workspaces/*) workspace=${file%%/spec/*} rest=spec/${file#*/spec/} ;; esac
    timeout -k 20 $limit "$MOONWAKE_BIN" test -C "$workspace" "$rest" >"$base.log" 2>&1 </dev/null
    code=$?
    sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed\(, \([0-9]*\) pending\)*$/\1 \2 \4/p' "$base.log" >"$base.result"
    ;;
  *)
    MOONWAKE_RESULT=$base.result timeout -k 20 $limit \
      env ${MOONWAKE_PRELOAD:+"LD_PRELOAD=$MOONWAKE_PRELOAD" "ASAN_OPTIONS=detect_leaks=0"} \
      luajit $tools/spec.lua "$file" >"$base.log" 2>&1 </dev/null
    code=$?
    ;;
  esac
  passed=0 failed=0 skipped=0 why=
  [ -s "$base.result" ] && read -r passed failed skipped <"$base.result"
  skipped=${skipped:-0}
  if [ $code = 124 ] || [ $code = 137 ]; then
    why="stopped after $limit s"
  elif [ ! -s "$base.result" ]; then
    why="ended with status $code before its end"
  elif [ $code != 0 ] && [ "$failed" = 0 ]; then
    why="ended with status $code after its tests"
  elif [ $((passed + failed + skipped)) = 0 ]; then
    why="holds no test"
  fi
  [ -n "$why" ] && failed=$((failed + 1))
  echo "$passed $failed $skipped" >"$base.result"
  word=ok
  [ "$failed" = 0 ] || word=FAILED
  (
    flock 9
    printf '%-7s %s: %d passed, %d failed (%d s)\n' "$word" "$file" "$passed" "$failed" $(($(date +%s) - start))
    [ -z "$why" ] || echo "  FAILED  $file: $why"
    if [ "$word" != ok ] || [ "$skipped" != 0 ] || [ -n "${MOONWAKE_SOAK-}" ]; then
      cat "$base.log"
    fi
  ) 9>"$out/lock"
  exit 0
fi

passed=0 failed=0 skipped=0
finish() {
  if [ "$skipped" -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
  else
    echo "$passed passed, $failed failed"
  fi
  [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
  exit
}

all=
[ "${1-}" = --all ] && all=1 && shift
[ $# -gt 0 ] || { echo "usage: test.sh [--all] BUILD [SPEC FILES…]" >&2; exit 2; }
build=$1
shift

if ! sh $tools/deps.sh ${all:+build lint} test; then
  failed=1
  finish
fi
if [ -n "$all" ]; then
  if sh $tools/lint.sh "$build"; then
    passed=1
  else
    failed=1
  fi
  if ! make -s --no-print-directory -j"$(nproc)" B="$build" all; then
    echo "FAILED  the build"
    failed=$((failed + 1))
    finish
  fi
fi

MOONWAKE_BUILD=$(realpath "$build")
MOONWAKE_BIN=$MOONWAKE_BUILD/moonwake
export MOONWAKE_BUILD MOONWAKE_BIN
if [ ! -x "$MOONWAKE_BIN" ]; then
  echo "test: $build/moonwake: not built (run make B=$build)" >&2
  failed=$((failed + 1))
  finish
fi

# A library with a sanitizer inside can only be loaded where its runtime was there from the start. Leaks are looked
# for in the program and not in luajit, which leaves its memory to the system.
if nm -D "$MOONWAKE_BUILD/libmoonwake.so" 2>/dev/null | grep -q __asan_init; then
  MOONWAKE_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
  UBSAN_OPTIONS=print_stacktrace=1:${UBSAN_OPTIONS-}
  export MOONWAKE_PRELOAD UBSAN_OPTIONS
fi

out=$(mktemp -d /tmp/moonwake-test.XXXXXX) || exit 1
trap 'rm -rf "$out"' EXIT
trap 'exit 130' INT TERM
# The end-to-end specs take longest, so they begin.
if [ $# -gt 0 ]; then
  printf '%s\n' "$@"
else
  find spec/e2e -name '*_spec.lua' | sort
  find spec -name '*_spec.lua' ! -path 'spec/e2e/*' | sort
fi >"$out/files"
xargs -P "${MOONWAKE_JOBS:-$(nproc)}" -I FILE sh $tools/test.sh --one "$out" FILE <"$out/files"

for file in $(tr / _ <"$out/files"); do
  p=0 f=1 s=0
  [ -s "$out/$file.result" ] && read -r p f s <"$out/$file.result"
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
finish
