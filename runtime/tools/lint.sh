#!/bin/sh
# lint.sh BUILD: every check of the code that needs no run of it. Each problem is printed with its file and line; all
# checks are made, also after one that fails.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${1:-build}

# A file that passed is not looked at again until its preprocessed text, the checks or the tool change.
tidy_one() {
  status=0
  mkdir -p "$TIDY_SEEN"
  for file; do
    sum=$({ echo "$TIDY_CHECKS"; clang-tidy --version; eval "gcc -E $TIDY_FLAGS $file"; } 2>/dev/null | sha256sum | cut -c1-32)
    [ -e "$TIDY_SEEN/$sum" ] && continue
    if eval "clang-tidy --quiet --checks='$TIDY_CHECKS' --warnings-as-errors='*' $file -- $TIDY_FLAGS \
      -Xclang -analyzer-config -Xclang max-nodes=40000" >"$TIDY_SEEN/$sum.out" 2>&1; then
      : >"$TIDY_SEEN/$sum"
    else
      status=1
      grep -E ': (error|warning): ' "$TIDY_SEEN/$sum.out" | sed "s|$PWD/||"
    fi
    rm -f "$TIDY_SEEN/$sum.out"
  done
  return $status
}

if [ "$build" = --tidy ]; then
  shift
  tidy_one "$@"
  exit
fi

sh runtime/tools/deps.sh build lint || exit 1

work=$(mktemp -d /tmp/moonwake-lint.XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0
check() { # check NAME COMMAND…
  name=$1
  shift
  if "$@" >"$work/out" 2>&1; then
    return
  fi
  failed=$((failed + 1))
  echo "lint: $name:"
  sed 's/^/  /' "$work/out"
}

shell_syntax() {
  for script in runtime/tools/*.sh bench/*.sh .ci/run; do
    [ ! -f "$script" ] || sh -n "$script" || return 1
  done
}

c_format() {
  if ! clang-format --dry-run -Werror runtime/*/*.[ch] bench/*.c 2>"$work/format"; then
    grep 'error:' "$work/format" | cut -d: -f1-2 | sort -u -t: -k1,1 -k2,2n | sed 's/$/: not in the house format (run make format)/'
    return 1
  fi
}

lua_check() { luacheck --formatter plain --codes . ; }

generated() { # the editor's stubs and the reference, against runtime/prelude/api.lua
  mkdir -p "$work/meta"
  luajit runtime/tools/meta.lua "$work/meta" && diff -r runtime/meta "$work/meta" ||
    { echo "runtime/meta:1: is not what runtime/prelude/api.lua says (run make meta)"; return 1; }
}

# A fixed list, so that another version of clang-tidy finds nothing new over night. Of the analyzer's checks, those
# about memory; it gives up on a function after some thousand states, which keeps all this under a minute.
tidy_checks='-*,bugprone-argument-comment,bugprone-assert-side-effect,bugprone-bad-signal-to-kill-thread,
bugprone-bool-pointer-implicit-conversion,bugprone-copy-constructor-init,bugprone-fold-init-type,
bugprone-incorrect-roundings,bugprone-infinite-loop,bugprone-integer-division,bugprone-macro-parentheses,
bugprone-macro-repeated-side-effects,bugprone-misplaced-operator-in-strlen-in-alloc,
bugprone-misplaced-pointer-arithmetic-in-alloc,bugprone-misplaced-widening-cast,bugprone-multiple-statement-macro,
bugprone-posix-return,bugprone-redundant-branch-condition,bugprone-signal-handler,bugprone-signed-char-misuse,
bugprone-string-literal-with-embedded-nul,bugprone-suspicious-enum-usage,bugprone-suspicious-include,
bugprone-suspicious-memory-comparison,bugprone-suspicious-memset-usage,bugprone-suspicious-missing-comma,
bugprone-suspicious-semicolon,bugprone-suspicious-string-compare,bugprone-terminating-continue,
bugprone-too-small-loop-variable,bugprone-undefined-memory-manipulation,bugprone-unused-return-value,
clang-analyzer-core.*,clang-analyzer-deadcode.*,clang-analyzer-unix.*'

tidy() {
  make -s B="$build" --eval 'lint-generated: ; @$(MAKE) -s $(GEN)' lint-generated || return 1
  TIDY_FLAGS=$(make -s B="$build" VERSION=lint --eval 'lint-flags: ; @echo "$(subst ",\",$(FLAGS))"' lint-flags) || return 1
  TIDY_CHECKS=$(echo "$tidy_checks" | tr -d '\n')
  TIDY_SEEN=$build/tidy
  export TIDY_FLAGS TIDY_CHECKS TIDY_SEEN
  ls runtime/*/*.c | xargs -P "$(nproc)" -n 3 sh runtime/tools/lint.sh --tidy
}

check "layers" luajit runtime/tools/layers.lua
check "limits" luajit runtime/tools/limits.lua
check "shell" shell_syntax
check "generated files" generated
check "clang-format" c_format
check "luacheck" lua_check
check "clang-tidy" tidy
[ $failed = 0 ] && echo "lint: ok"
[ $failed = 0 ]
