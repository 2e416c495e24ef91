/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All rows in the order of isa_rows, for table.c alone. The rows of one opcode of a map stand together. */
#include "isa/table_onebyte.h"
#include "isa/table_x87.h"
#include "isa/table_integer.h"
#include "isa/table_sse.h"
#include "isa/table_vex.h"
#include "isa/table_evex.h"
