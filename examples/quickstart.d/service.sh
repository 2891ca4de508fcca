# examples/quickstart --service: 20 simulated concentrators with five meters behind each on TCP, the service of
# examples/thingspanel-service, and a stand-in for the ThingsPanel platform with a stock mosquitto, which counts.
# Commands go down all the time. In the middle the broker stands still for 5 s (SIGSTOP), and the platform's API
# restarts meanwhile. At the end measuring stops, what is kept and logged drains, and the numbers are compared.
# Sourced: $build, $dir and $seconds are set, fail() is there.

concentrators=20 behind=5 rate=5 stall=5
service="" meters="" panel="" stopping=""
service_finish()
{
    exec 4>&- 2>/dev/null
    for pid in $meters $service $panel; do
        kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    rm -rf "$dir"
}
trap service_finish EXIT
trap 'stopping=1' INT TERM

# Waits for a line in a file; fails with the file's text.
await()
{
    for wait in $(seq 200); do
        grep -q "$1" "$2" 2>/dev/null && return 0
        sleep 0.05
    done
    cat "$2" >&2
    fail "$3"
}
# The first member of that name.
member() { grep -o "\"$1\": \"\{0,1\}[^\",}]*" <<<"$2" | head -n 1 | sed 's/.*: "\{0,1\}//'; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

mkdir -p "$dir/data/store" "$dir/panel"
export DATA=$dir/data HTTP_PORT="$(free_port)" TCP_PORT="$(free_port)"
setsid python3 tests/kit/tp_stub --service meter --service-address "127.0.0.1:$HTTP_PORT" --meters $concentrators \
    --sub-meters $behind --state "$dir/panel" --control 0 --quiet >"$dir/panel.out" 2>"$dir/panel.log" &
panel=$!
await '"ready"' "$dir/panel.out" "the stand-in of the platform does not start: $(cat "$dir/panel.log")"
ready=$(head -n 1 "$dir/panel.out")
export PANEL_API="$(member http "$ready")" PANEL_MQTT="$(member mqtt "$ready")"
control=$(member control "$ready")
ask() { python3 tests/kit/tp_stub --ask "$control" "$1"; }

setsid $build/examples/thingspanel-service/thingspanel-service examples/quickstart.d/service.yaml 2>"$dir/service.log" \
    >"$dir/service.out" &
service=$!
for wait in $(seq 200); do
    (: <"/dev/tcp/127.0.0.1/$TCP_PORT") 2>/dev/null && break
    kill -0 "$service" 2>/dev/null || break
    sleep 0.05
done
kill -0 "$service" 2>/dev/null || { cat "$dir/service.log" >&2; fail "the service does not start"; }
mkfifo "$dir/meters.in"
setsid python3 tests/kit/tp_stub/meter.py --port "$TCP_PORT" --meters $concentrators --sub-meters $behind --rate $rate \
    --heartbeat 2 --quiet <"$dir/meters.in" >"$dir/meters.out" 2>"$dir/meters.log" &
meters=$!
exec 4>"$dir/meters.in"
await '"ready"' "$dir/meters.out" "the meters do not start: $(cat "$dir/meters.log")"

# A line more of the meters' counts.
count_meters()
{
    lines=$(wc -l <"$dir/meters.out")
    echo "{\"do\":\"$1\"}" >&4
    for wait in $(seq 100); do
        [ "$(wc -l <"$dir/meters.out")" -gt "$lines" ] && break
        sleep 0.05
    done
    tail -n 1 "$dir/meters.out"
}

# Each second a command: by number or id, flat or as the tree of gateways, to a concentrator or a meter behind it.
turn=0
pause()
{
    for second in $(seq "$1"); do
        [ -z "$stopping" ] && kill -0 "$service" 2>/dev/null || return
        turn=$((turn + 1))
        number=$(printf 'M-%04d' $((turn % concentrators + 1)))
        [ $((turn % 3)) -eq 0 ] || number=$number-$((turn % behind + 1))
        by=number nested=false
        [ $((turn % 2)) -eq 0 ] && by=id
        [ $((turn % 5)) -eq 0 ] && nested=true
        ask "{\"do\":\"command\",\"device\":\"$number\",\"method\":\"relay\",\"params\":{\"on\":true},\"by\":\"$by\",\"nested\":$nested}" \
            >/dev/null
        sleep 0.9
    done
}
for wait in $(seq 100); do
    [ "$(member online "$(ask '{"do":"counts"}')")" -ge $concentrators ] && break
    sleep 0.1
done
stalled=0 away=0
if [ "$seconds" -gt 0 ]; then
    before=$(((seconds > stall ? seconds - stall : 0) / 2))
    pause $before
    if [ -z "$stopping" ]; then
        stalled=$stall away=3
        ask "{\"do\":\"broker\",\"seconds\":$stall,\"mode\":\"freeze\"}" >/dev/null
        ask "{\"do\":\"restart\",\"seconds\":$away}" >/dev/null
        pause $stall
    fi
    pause $((seconds > stall + before ? seconds - before - stall : 0))
else
    while [ -z "$stopping" ] && kill -0 "$service" 2>/dev/null; do
        pause 60
    done
fi

count_meters stop >/dev/null
for wait in $(seq 100); do
    made=$(count_meters counts)
    [ "$(member kept "$made")" = 0 ] && break
    sleep 0.2
done
frames=$(member made "$made")
for wait in $(seq 100); do
    counted=$(ask '{"do":"counts"}')
    [ "$(member frames "$counted")" = "$frames" ] && [ "$(member open "$counted")" = 0 ] && break
    sleep 0.2
done
forms=$(ask '{"do":"forms"}')
rss=$(sed -n 's/^VmRSS:[[:space:]]*//p' "/proc/$service/status" 2>/dev/null)
ticks=$(awk '{ print $14 + $15 }' "/proc/$service/stat" 2>/dev/null)
kill -TERM "$service" 2>/dev/null
service_code=1
while kill -0 "$service" 2>/dev/null; do
    wait "$service"
    service_code=$?
done
service=""
delivered=$(member frames "$counted") commands=$(member commands "$counted") acknowledged=$(member acknowledged "$counted")
devices=$(member devices "$counted") lost=$((frames - delivered))

echo
echo "service: the broker stood still for ${stalled} s, the API was away for ${away} s; resident=${rss:-?} cpu=${ticks:-?}0 ms," \
    "doubled=$(member doubled "$counted") heartbeats=$(member heartbeat "$counted") resent=$(($(member sent "$made") - $(member acknowledged "$made")))"
state=ok
if [ "$service_code" -ne 0 ] || [ "$frames" -eq 0 ] || [ "$lost" -ne 0 ] || [ "$(member missing "$counted")" -ne 0 ] ||
    [ "$(member telemetry "$counted")" -lt $((frames * (behind + 1))) ] ||
    [ "$(member rejected "$counted")" -ne 0 ] || [ "$devices" -ne $((concentrators * (behind + 1))) ] ||
    [ "$commands" -eq 0 ] || [ "$commands" -ne "$acknowledged" ] || ! grep -q '"VCR/' <<<"$forms"; then
    state=failed
    echo "$counted" "$made" "$forms" >&2
    tail -n 20 "$dir/service.log" >&2
fi
echo "service: $state devices=$devices frames=$frames delivered=$delivered lost=$lost commands=$commands acknowledged=$acknowledged"
[ $state = ok ]
