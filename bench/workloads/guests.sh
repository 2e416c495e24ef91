# SPDX-License-Identifier: GPL-2.0-or-later
# From one guest to another, which serves (see agent), and back.

guest_send_prepare() { warm iperf3; }
guest_send_run() { iperf -n "$(n 1000000)K" >log && echo done; }

guest_receive_prepare() { warm iperf3; }
guest_receive_run() { iperf -R -n "$(n 1000000)K" >log && echo done; }
