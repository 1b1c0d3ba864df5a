#!/usr/bin/env bash
# curl, which knows lines and not events.
url=$1 token=$2
curl -sN --max-time 60 -H "Authorization: Bearer $token" -H "Accept: text/event-stream" "$url" |
    sed -nu -e 's/^event: history$/history/p' -e 's/^data: .*"message":.*"content":"\([^"]*\)".*/message \1/p'
[[ ${PIPESTATUS[0]} == 0 ]] && echo ended
curl -s --max-time 60 -o - -w '\nrefused %{http_code}\n' -H "Authorization: Bearer $token" \
    -H "Accept: text/event-stream" "$url" | tail -1
