#!/bin/sh
# Starts the edge; makes a certificate for orchestrator.lan and llama.lan first, if there is none.
#
# To use your own, put cert.pem (the chain) and key.pem into $EDGE_TLS_DIR (default /var/lib/edge).
# A certificate that was made here is made anew when it has less than 30 days left.
#
# What others need to trust it is put into $EDGE_CA_DIR (default /var/lib/edge-ca), without the key:
# ca.pem of $EDGE_TLS_DIR if there is one, else the certificate itself.
#
# $EDGE_LISTEN is a name of this container: nginx listens at its address alone. Without it, at all of them.
#
# $EDGE_SIDE_DIR (default /run/orchestrator-edge) is shared with the orchestrator: their sockets, and the
# figures of what was carried. Nobody else may enter it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
dir=${EDGE_TLS_DIR:-/var/lib/edge}
made=$dir/made-here
public=${EDGE_CA_DIR:-/var/lib/edge-ca}
side=${EDGE_SIDE_DIR:-/run/orchestrator-edge}

if [ ! -s "$dir/cert.pem" ] || { [ -e "$made" ] && ! openssl x509 -in "$dir/cert.pem" -noout -checkend 2592000 >/dev/null; }; then
    # Beside its place and then moved: a half-written key is never served.
    (umask 077 && exec openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 397 \
        -subj /CN=orchestrator.lan \
        -addext subjectAltName=DNS:orchestrator.lan,DNS:llama.lan \
        -addext extendedKeyUsage=serverAuth \
        -keyout "$dir/key.pem.new" -out "$dir/cert.pem.new" 2>/dev/null) || {
        echo "edge: cannot make a certificate in $dir: may user $(id -u) write there?" \
            "Or read it, if you have put yours there?" >&2
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
for each in cert.pem key.pem; do
    [ -r "$dir/$each" ] || {
        echo "edge: user $(id -u) may not read $dir/$each" >&2
        exit 1
    }
done
if [ -d "$public" ]; then
    authority=$dir/cert.pem
    [ ! -s "$dir/ca.pem" ] || authority=$dir/ca.pem
    # Moved into place, for readers of an older one; readable by every user, as key.pem never is.
    cp "$authority" "$public/ca.pem.new"
    chmod 644 "$public/ca.pem.new"
    mv "$public/ca.pem.new" "$public/ca.pem"
fi
# Of an nginx that was killed: another would not start over it. The orchestrator reads the figures and cuts them.
(umask 0 && rm -f "$side/control.sock" && : >>"$side/figures.log") || {
    echo "edge: user $(id -u) may not write in $side: is it shared with the orchestrator, as in compose.yaml?" >&2
    exit 1
}
conf=${EDGE_CONF:-$here/nginx.conf}
if [ -n "${EDGE_LISTEN:-}" ]; then
    # nginx takes no variable there, and looks for what a file includes beside it.
    own=${EDGE_RUN_DIR:-/run/edge}
    for each in "$here"/*; do ln -sfn "$each" "$own/"; done
    rm -f "$own/nginx.conf"
    sed "s/^\( *listen \)\([0-9]\)/\1$EDGE_LISTEN:\2/" "$conf" >"$own/nginx.conf"
    conf=$own/nginx.conf
fi
exec nginx -e stderr -p "$here" -c "$conf"
