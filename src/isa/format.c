/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "isa/insn.h"
int isa_format(char *text, size_t size, const struct insn *insn, uint64_t ip) { return 0; }
