# SPDX-License-Identifier: GPL-2.0-or-later
# Two processors.

xz_t2_prepare() { warm xz; input text 9000; }
xz_t2_run() { xz -3 -T2 --block-size=250KiB <text; }

mutex_prepare() { warm threads; }
mutex_run() { threads mutex "$(n 60000)"; }
