# SPDX-License-Identifier: GPL-2.0-or-later
# The user network, to a server of iperf3 on the host and from there.

bench_port() { sed -n 's/.*bench_port=\([0-9]*\).*/\1/p' /proc/cmdline; }
iperf() { iperf3 -c 10.0.2.2 -p "$(bench_port)" "$@"; }

net_send_prepare() { warm iperf3; }
net_send_run() { iperf -n "$(n 1000000)K" >log && echo done; }

net_receive_prepare() { warm iperf3; }
net_receive_run() { iperf -R -n "$(n 1000000)K" >log && echo done; }
