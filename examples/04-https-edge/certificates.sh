#!/bin/sh
# Makes a CA, certificates of the two hosts and of a partner, and certificates.yaml with what Weir
# reads of them: `certificates.sh FOLDER`. For trying it: at home a CA is kept elsewhere.
set -eu
umask 077
cd "$1"

new_key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
# shellcheck disable=SC2086
openssl req -x509 $new_key -days 90 -subj "/CN=example CA" -keyout ca.key -out ca.crt

issue() { # NAME HOST
    # shellcheck disable=SC2086
    openssl req $new_key -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
    printf 'subjectAltName=DNS:%s\n' "$2" > "$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 90 \
        -extfile "$1.ext" -out "$1.crt"
}

secret() { # NAME
    cat <<YAML
---
apiVersion: v1
kind: Secret
metadata: {name: $1}
type: kubernetes.io/tls
data:
  tls.crt: $(base64 < "$1.crt" | tr -d '\n')
  tls.key: $(base64 < "$1.key" | tr -d '\n')
YAML
}

issue shop shop.example.com
issue partners partners.example.com
issue acme acme.partners.example.com
{
    secret shop
    secret partners
    cat <<YAML
---
apiVersion: v1
kind: ConfigMap
metadata: {name: partners-ca}
data:
  ca.crt: |
$(sed 's/^/    /' ca.crt)
YAML
} > certificates.yaml.new
mv certificates.yaml.new certificates.yaml
