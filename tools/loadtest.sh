#!/bin/sh
# loadtest - a load test against the demo, which is started for it: loadtest.sh BUILD COMMAND [OPTIONS].
#
# The demo's own traffic goes on meanwhile. The report lies in BUILD/load_test_report.json, a page of it beside it. The exit
# status is that of the test.
#
# SPDX-License-Identifier: Apache-2.0
set -eu

build=$1
command=$2
shift 2
penstock=$build/penstock
port=${PORT:-5050}
url=http://127.0.0.1:$port
out=$build/load_test_report.json

"$penstock" demo --listen "127.0.0.1:$port" >"$build/loadtest-demo.log" 2>&1 &
demo=$!
trap 'kill $demo 2>/dev/null; wait $demo 2>/dev/null' EXIT
trap 'exit 5' INT TERM

tries=0
until curl -fs -o /dev/null "$url/readyz"; do
    tries=$((tries + 1))
    if [ $tries -gt 300 ] || ! kill -0 $demo 2>/dev/null; then
        echo "loadtest: the demo does not start; see $build/loadtest-demo.log" >&2
        exit 1
    fi
    sleep 0.2
done

case $command in
suite | endurance) set -- --target-metrics "$url/metrics" "$@" ;;
esac
status=0
"$penstock" "$command" "$url/v1/chat/completions" --out "$out" "$@" || status=$?
if [ -f "$out" ]; then
    "$penstock" report "$out" --html "$build/load_test_report.html" && echo "page: $build/load_test_report.html"
fi
exit $status
