# SPDX-License-Identifier: GPL-2.0-or-later
# OpenSSL's hand-written vector code, a fixed number of 16 KB records.

crypto_prepare() { warm crypto; cat /usr/lib/x86_64-linux-gnu/libcrypto.so.3 >/dev/null; crypto sha256 1; }

aes_gcm_prepare() { crypto_prepare; }
aes_gcm_run() { crypto aes-256-gcm "$(n 125000)"; }

sha1_prepare() { crypto_prepare; }
sha1_run() { crypto sha1 "$(n 75000)"; }

sha256_prepare() { crypto_prepare; }
sha256_run() { crypto sha256 "$(n 75000)"; }

sha512_prepare() { crypto_prepare; }
sha512_run() { crypto sha512 "$(n 40000)"; }

chacha20_prepare() { crypto_prepare; }
chacha20_run() { crypto chacha20-poly1305 "$(n 150000)"; }
