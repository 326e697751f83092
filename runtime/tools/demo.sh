#!/bin/sh
# demo.sh: what `make demo` runs. Installs what is missing, builds, and shows moonwake at work on a fleet of devices: an
# embedded PostgreSQL, a history to catch up with, events that arrive live, and the tables that come of it. It works in
# .moonwake/demo and leaves that folder for trying more.
#
#   demo.sh [--workspace DIR] [--devices N] [--events N] [--live SECONDS] [--rate N]
#
# With MOONWAKE_BIN in the environment that program is shown and nothing is built.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD build=$PWD/build workspace=$PWD/.moonwake/demo
devices=250 events=50000 live=8 rate=150
inside=
while [ $# -gt 0 ]; do
  case $1 in
  --workspace) workspace=$2 ;;
  --devices) devices=$2 ;;
  --events) events=$2 ;;
  --live) live=$2 ;;
  --rate) rate=$2 ;;
  --inside) inside=$2 ;;
  *) echo "demo: '$1': no such option" >&2; exit 2 ;;
  esac
  shift 2
done
[ -z "${MOONWAKE_BIN-}" ] || build=$(dirname "$MOONWAKE_BIN")

bold= dim= plain=
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
  bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m')
fi
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '  %s\n' "$*"; }
command_line() { printf '  %s$ %s%s\n' "$dim" "$*" "$plain"; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
group() { echo "$1" | sed -e ':a' -e 's/^\([0-9]*[0-9]\)\([0-9]\{3\}\)/\1,\2/' -e 'ta'; } # 50000 -> 50,000
# rate EVENTS SINCE_MS UNTIL_MS: "50,000 events in 1.2 s: 41,666 events/s"
rate_of() {
  ms=$(($3 > $2 ? $3 - $2 : 1))
  echo "$(group "$1") events in $((ms / 1000)).$((ms % 1000 / 100)) s: $(group $(($1 * 1000 / ms))) events/s"
}
sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 -c "$1"; }
table() { psql -X -q -P footer=off -P null=- -v ON_ERROR_STOP=1 -c "$1" | sed 's/^./  &/'; }

prepare() {
  sh runtime/tools/deps.sh build
  [ -n "${MOONWAKE_BIN-}" ] || make_program
  # The scripts as they are now; the database of an earlier demo is emptied below.
  mkdir -p "$workspace"
  for folder in projections rules scripts; do
    rm -rf "${workspace:?}/$folder"
    cp -r $folder "$workspace/"
  done
}

make_program() {
  log=$(mktemp)
  if [ ! -x "$build/moonwake" ]; then
    echo "building …"
  fi
  if ! make -j"$(nproc)" all >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "demo: the build failed" >&2
    exit 1
  fi
  rm -f "$log"
}

publish_history() {
  title "1. A fleet's history"
  luajit scripts/demo/fleet.lua --devices $devices --events $events >history.ndjson
  command_line "luajit scripts/demo/fleet.lua --devices $devices --events $events | moonwake publish -"
  begun=$(now_ms)
  moonwake publish - <history.ndjson >/dev/null
  say "$devices devices, two days: $(rate_of $events "$begun" "$(now_ms)") appended to the log"
  rm -f history.ndjson
}

catch_up() {
  title "2. Three projections and twelve rules catch up with it"
  command_line "moonwake run --until-caught-up"
  begun=$(now_ms)
  moonwake run --until-caught-up --quiet
  say "$(rate_of $events "$begun" "$(now_ms)") through each of"
  for file in projections/*.lua; do
    say "  $file -> the table moonwake.$(basename "$file" .lua)"
  done
  say "  rules/*.lua -> alerts"
}

# An event is appended, and a row waited for, some times over: how late is a table?
measure_latency() {
  device=$(sql "SELECT device_uuid FROM moonwake.device_summary ORDER BY name LIMIT 1")
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    cat <<SQL
SELECT id AS probe FROM moonwake.publish_event('device.heartbeat', 'device', '$device', '{"uptime_s": 1}') \gset
SELECT set_config('demo.probe', :'probe', false) \g /dev/null
DO \$\$ DECLARE seen bigint := 0; appended timestamptz; BEGIN
  WHILE seen < current_setting('demo.probe')::bigint LOOP
    PERFORM pg_sleep(0.0003);
    SELECT position INTO seen FROM moonwake.device_summary WHERE device_uuid = '$device';
  END LOOP;
  PERFORM set_config('demo.late', (clock_timestamp() - e.timestamp)::text, false)
    FROM moonwake.events e WHERE e.id = current_setting('demo.probe')::bigint;
END \$\$;
SELECT extract(epoch FROM current_setting('demo.late')::interval) * 1000;
SELECT pg_sleep(0.1) \g /dev/null
SQL
  done | psql -X -q -A -t -v ON_ERROR_STOP=1 | sort -n |
    awk '{ ms[NR] = $1 } END { printf "half of the events within %.1f ms, all within %.1f ms", ms[int((NR + 1) / 2)], ms[NR] }'
}

go_live() {
  title "3. Live"
  command_line "moonwake run &"
  moonwake run --quiet &
  daemon=$!
  command_line "luajit scripts/demo/fleet.lua --live $live --rate $rate | moonwake publish - &"
  luajit scripts/demo/fleet.lua --devices $devices --live $live --rate $rate | moonwake publish - >/dev/null &
  publisher=$!
  before=$(sql "SELECT max(id) FROM moonwake.events")
  for second in $(seq 2 2 $((live - 2))); do
    sleep 2
    # the head first: what is appended between the two readings is not behind
    head=$(sql "SELECT max(id) FROM moonwake.events")
    behind=$(sql "SELECT greatest(0, $head - min(position)) FROM moonwake.consumers")
    say "after $second s: $((head - before)) new events, $behind of them not yet in the tables"
  done
  late=$(measure_latency)
  wait $publisher
  sleep 0.3
  say "from the append to the row that everybody can read: $late"
  command_line "moonwake status"
  moonwake status | sed 's/^/  /'
  kill -TERM $daemon
  wait $daemon || true
  daemon=
}

show_models() {
  title "4. What came of it"
  say "device_summary: typed columns, one row per device. Those that crash most:"
  table "SELECT name, site, model, os, online, crashes, to_char(last_seen, 'MM-DD HH24:MI:SS') AS last_seen
    FROM moonwake.device_summary ORDER BY crashes DESC, name LIMIT 5"
  say "device_state: a JSON document per device. Those that do not run what they should:"
  table "SELECT s.name, d ->> 'app' AS app, d ->> 'want' AS should_run, d ->> 'have' AS runs,
      to_char((t.state ->> 'drifting_since')::timestamptz, 'MM-DD HH24:MI') AS since
    FROM moonwake.device_state t JOIN moonwake.device_summary s ON s.device_uuid = t.key,
      jsonb_array_elements(t.state -> 'drift') d ORDER BY s.name LIMIT 5"
  say "rollout_health: a key of two columns. One release does not suit one model:"
  table "SELECT image, model, started, crashed, exit_codes, verdict
    FROM moonwake.rollout_health ORDER BY crashed DESC, image, model LIMIT 5"
}

show_alerts() {
  title "5. What is wrong with it"
  for rule in bad_rollout crash_loop; do
    command_line "moonwake alerts --rule $rule"
    moonwake alerts --rule $rule | head -n 4 | cut -c 1-118 | sed 's/^/  /'
  done
  say "What does three crashes say that five would not? The same events once more, and no action taken:"
  mkdir -p try
  sed 's/count >= 3/count >= 5/' rules/crash_loop.lua >try/crash_loop.lua
  command_line "moonwake backtest crash_loop --against try/crash_loop.lua"
  moonwake backtest crash_loop --against try/crash_loop.lua | head -n 3 | cut -c 1-118 | sed 's/^/  /'
}

inside() {
  PATH=$build:$PATH
  export PATH
  cd "$workspace"
  daemon=
  trap '[ -z "$daemon" ] || kill -TERM $daemon 2>/dev/null || true' EXIT
  if [ "$(sql "SELECT count(*) FROM (SELECT FROM moonwake.events LIMIT 1) e")" != 0 ]; then
    sql "SET client_min_messages = error; DROP SCHEMA moonwake CASCADE"
    moonwake migrate >/dev/null
  fi
  say "PostgreSQL $(sql "SHOW server_version" | cut -d' ' -f1), private to this folder; the schema moonwake with $(sql \
    "SELECT count(*) FROM moonwake.event_types") event types"
  publish_history
  catch_up
  go_live
  show_models
  show_alerts
}

if [ -n "$inside" ]; then
  inside
  exit
fi
prepare
title "moonwake: events in, tables and alerts out"
"$build/moonwake" -C "$workspace" dev --quiet -- sh "$root/runtime/tools/demo.sh" --workspace "$workspace" \
  --devices "$devices" --events "$events" --live "$live" --rate "$rate" --inside yes
title "Next"
say "build/moonwake -C .moonwake/demo dev -- psql     look around: SELECT * FROM moonwake.device_summary;"
say "build/moonwake -C .moonwake/demo dev             keep it running; then, in another terminal:"
say "build/moonwake -C .moonwake/demo tail            the events, as they come"
say "build/moonwake -C .moonwake/demo publish device.online device my-first '{}'"
say "build/moonwake -C .moonwake/demo alerts          what fires; then: explain EPISODE, ack, silence, backtest RULE"
say "edit .moonwake/demo/{projections,rules}/*.lua    a saved file is loaded at once; README.md goes on from here"
