# SPDX-License-Identifier: GPL-2.0-or-later
# The nanobenchmarks that a user program can do on the bare host. Instead of a scale comes the count.

nano_syscall_run() { nano syscall "$scale"; }
nano_callret_run() { nano callret "$scale"; }
nano_pgfault_run() { nano pgfault "$scale"; }
nano_divzero_run() { nano divzero "$scale"; }
