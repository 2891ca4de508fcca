# examples/quickstart --gateway: 20 simulated meters on Modbus TCP, tp-gateway with its log in files, a stock
# mosquitto, and a stand-in for the ThingsBoard server behind it, which counts. In the middle the broker stands
# still for 5 s (SIGSTOP). At the end polling stops, what is in the log drains, and the numbers are compared.
# Sourced: $build, $dir and $seconds are set, fail() is there.

slaves=20 tags_each=20 stall=5
broker="" gateway="" slaves_pid="" platform="" stopping=""
gateway_finish()
{
    exec 4>&- 2>/dev/null
    [ -n "$broker" ] && kill -CONT "$broker" 2>/dev/null
    for pid in $gateway $slaves_pid $platform $broker; do
        kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    rm -rf "$dir"
}
trap gateway_finish EXIT
trap 'stopping=1' INT TERM

# The gateway may do what a gateway may at a ThingsBoard server, and does not hear itself.
cat >"$dir/acl" <<ACL
user bench
topic write v1/gateway/#
topic write v1/devices/me/#
topic read v1/devices/me/rpc/response/+
topic read v1/devices/me/attributes/response/+
user sink
topic read v1/#
topic readwrite v1/devices/me/rpc/response/+
ACL
for try in 1 2 3 4 5 6 7 8 9 10; do
    MQTT_PORT=$((20000 + (RANDOM * 32768 + RANDOM) % 40000))
    cat >"$dir/mosquitto.conf" <<CONF
listener $MQTT_PORT 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
acl_file $dir/acl
log_dest file $dir/mosquitto.log
user $(id -un)
CONF
    setsid mosquitto -c "$dir/mosquitto.conf" >"$dir/mosquitto.out" 2>&1 &
    broker=$!
    for wait in $(seq 100); do
        kill -0 "$broker" 2>/dev/null || break
        (: <"/dev/tcp/127.0.0.1/$MQTT_PORT") 2>/dev/null && break 2
        sleep 0.05
    done
    kill "$broker" 2>/dev/null
    wait "$broker" 2>/dev/null
    broker=""
done
[ -n "$broker" ] || { cat "$dir/mosquitto.log" >&2; fail "mosquitto does not start"; }

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

# The last count of the stand-in: a line more for each SIGUSR1.
count()
{
    lines=$(wc -l <"$dir/platform.json")
    kill -USR1 "$platform" || return 1
    for wait in $(seq 100); do
        [ "$(wc -l <"$dir/platform.json")" -gt "$lines" ] && break
        sleep 0.05
    done
    tail -n 1 "$dir/platform.json"
}
member() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" <<<"$2"; }

setsid $build/examples/simulator/tp-sim thingsboard --url "127.0.0.1:$MQTT_PORT" >"$dir/platform.json" &
platform=$!
mkfifo "$dir/slaves.in"
setsid $build/examples/simulator/tp-sim modbus --port 0 --slaves $slaves --registers 64 --change 1000 \
    <"$dir/slaves.in" >"$dir/slaves.out" &
slaves_pid=$!
exec 4>"$dir/slaves.in"
await '^ready' "$dir/platform.json" "the stand-in of the platform does not start"
await '^ready' "$dir/slaves.out" "the slaves do not start"

export MQTT_PORT MODBUS_PORT="$(sed -n 's/^ready \([0-9]*\).*/\1/p' "$dir/slaves.out")" DATA=$dir/data
mkdir -p "$DATA"
setsid $build/examples/gateway/tp-gateway --table examples/quickstart.d/gateway.yaml 2>"$dir/gateway.log" &
gateway=$!

# In tenths of a second, so that a signal ends it soon.
pause()
{
    for tenth in $(seq $(($1 * 10))); do
        [ -z "$stopping" ] && kill -0 "$gateway" 2>/dev/null || return
        sleep 0.1
    done
}
stalled=0
if [ "$seconds" -gt 0 ]; then
    before=$(((seconds > stall ? seconds - stall : 0) / 2))
    pause $before
    if [ -z "$stopping" ]; then
        kill -STOP "$broker" && stalled=$stall
        pause $stall
        kill -CONT "$broker"
    fi
    pause $((seconds - before - stall))
else
    while [ -z "$stopping" ] && kill -0 "$gateway" 2>/dev/null; do
        pause 60
    done
fi

echo "fault all silent" >&4 # nobody answers: polling is over
sleep 0.5
echo stats >&4
await '"samples"' "$dir/slaves.out" "the slaves do not say what they answered"
read_samples=$(member samples "$(grep '"samples"' "$dir/slaves.out" | tail -n 1)")
for turn in $(seq 100); do
    counted=$(count)
    [ "$(member delivered "$counted")" -ge "$read_samples" ] && break
    sleep 0.2
done
rss=$(sed -n 's/^VmRSS:[[:space:]]*//p' "/proc/$gateway/status" 2>/dev/null)
ticks=$(awk '{ print $14 + $15 }' "/proc/$gateway/stat" 2>/dev/null)
kill -TERM "$gateway" 2>/dev/null
gateway_code=1
while kill -0 "$gateway" 2>/dev/null; do
    wait "$gateway"
    gateway_code=$?
done
gateway=""
counted=$(count)
delivered=$(member delivered "$counted") doubled=$(member doubled "$counted") points=$(member points "$counted")
lost=$((read_samples - delivered))

echo
echo "gateway: the broker stood still for ${stalled} s; resident=${rss:-?} cpu=${ticks:-?}0 ms," \
    "p50=$(member p50_ms "$(head -n 2 "$dir/platform.json" | tail -n 1)") ms from reading to the platform"
state=ok
if [ "$gateway_code" -ne 0 ] || [ "$read_samples" -eq 0 ] || [ "$lost" -ne 0 ] ||
    [ "$(member out_of_order "$counted")" -ne 0 ] || [ "$(member devices "$counted")" -ne $slaves ] ||
    [ "$points" -ne $(((delivered + doubled) * tags_each)) ]; then
    state=failed
    echo "$counted" >&2
    tail -n 20 "$dir/gateway.log" >&2
fi
echo "gateway: $state slaves=$slaves tags=$((slaves * tags_each)) read=$((read_samples * tags_each))" \
    "delivered=$((delivered * tags_each)) lost=$((lost * tags_each)) doubled=$((doubled * tags_each))"
[ $state = ok ]
