#!/bin/sh
# Starts the edge; makes a certificate for orchestrator.lan and llama.lan first, if there is none.
#
# To use your own, put cert.pem (the chain) and key.pem into $EDGE_TLS_DIR (default /var/lib/edge).
# A certificate that was made here is made anew when it has less than 30 days left.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
dir=${EDGE_TLS_DIR:-/var/lib/edge}
made=$dir/made-here

if [ ! -s "$dir/cert.pem" ] || { [ -e "$made" ] && ! openssl x509 -in "$dir/cert.pem" -noout -checkend 2592000 >/dev/null; }; then
    # Beside its place and then moved: a half-written key is never served.
    umask 077
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 397 \
        -subj /CN=orchestrator.lan \
        -addext subjectAltName=DNS:orchestrator.lan,DNS:llama.lan \
        -addext extendedKeyUsage=serverAuth \
        -keyout "$dir/key.pem.new" -out "$dir/cert.pem.new" 2>/dev/null || {
        echo "edge: cannot make a certificate in $dir: is it writable?" >&2
        exit 1
    }
    : >"$made"
    mv "$dir/key.pem.new" "$dir/key.pem"
    mv "$dir/cert.pem.new" "$dir/cert.pem"
    echo "edge: made a certificate for orchestrator.lan and llama.lan; to trust it, import $dir/cert.pem" >&2
elif [ ! -s "$dir/key.pem" ]; then
    echo "edge: $dir/cert.pem has no key.pem beside it" >&2
    exit 1
fi
exec nginx -e stderr -p "$here" -c "${EDGE_CONF:-$here/nginx.conf}"
