# An MCP server over standard input and output, of a few lines: what it offers and how it misbehaves is said by $MODE.
answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
said() { answer '{"content":[{"type":"text","text":"'"$1"'"}]}'; }
tool() { printf '{"name":"%s","description":"Does %s.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}}}}' "$1" "$1"; }
resource() {
  printf '{"uri":"%s","name":"notes","mimeType":"text/plain"},{"uri":"file:///b/notes","name":"notes","description":"A picture."}' "$1"
  n=0; while [ "$n" -lt "${2:-0}" ]; do n=$((n + 1)); printf ',{"uri":"file:///%s","name":"more%s"}' "$n" "$n"; done
}
[ -z "$COUNT" ] || echo started >> "$COUNT"
case "$MODE" in
  dies) echo "no such database" >&2; exit 7 ;;
  garbage) echo "Welcome to the server!"; sleep 1000 ;;
  silent) sleep 1000 ;;
esac
while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case "$line" in
    *'"initialize"'*)
      if [ "$MODE" = library ]; then more=',"resources":{},"prompts":{}'; fi
      answer '{"protocolVersion":"2025-06-18","capabilities":{"tools":{}'"$more"'},"serverInfo":{"name":"s","version":"1"}}' ;;
    *'"resources/list"'*) answer '{"resources":['"$(resource file:///a/notes "$MANY")"']}' ;;
    *'"resources/read"'*'"file:///a/notes"'* | *'"file:///a/notes"'*'"resources/read"'*)
      answer '{"contents":[{"uri":"file:///a/notes","text":"Buy milk."}]}' ;;
    *'"resources/read"'*) answer '{"contents":[{"uri":"file:///b/notes","blob":"AAAA","mimeType":"image/png"}]}' ;;
    *'"prompts/list"'*)
      answer '{"prompts":[{"name":"greet","description":"Says hello.","arguments":[{"name":"whom","description":"who is greeted","required":true}]}]}' ;;
    *'"prompts/get"'*) answer '{"messages":[{"role":"user","content":{"type":"text","text":"Say hello to Ann."}}]}' ;;
    *'"tools/list"'*)
      if [ "$MODE" = twins ]; then answer '{"tools":['"$(tool a.b),$(tool a/b)"']}'
      else answer '{"tools":['"$(tool touch),$(tool fail),$(tool env),$(tool picture),$(tool long),$(tool die),$(tool hang)"']}'; fi ;;
    *'"tools/call"'*'"touch"'* | *'"touch"'*'"tools/call"'*) echo touched >> made-by-server; said 'made it' ;;
    *'"fail"'*) answer '{"isError":true,"content":[{"type":"text","text":"the disk is full"}]}' ;;
    *'"env"'*) said "$(env | sort | cut -d= -f1 | tr '\n' ' ')$(printf '%s' "$GIVEN_TOKEN")" ;;
    *'"picture"'*)
      answer '{"content":[{"type":"text","text":"a cat"},{"type":"image","mimeType":"image/png","data":"AAAA"}],"structuredContent":{"cats":1}}' ;;
    *'"long"'*) said "$(head -c 200000 /dev/zero | tr '\0' x)" ;;
    *'"die"'*) echo "out of memory" >&2; exit 3 ;;
    *'"hang"'*) sleep 1000 & echo $! > hanging; wait ;;
  esac
done
