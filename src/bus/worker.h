/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BUS_WORKER_H
#define VISOR_BUS_WORKER_H

/* The contract lies in base, since disks, which know no bus, hand work on as well. */
#include "base/worker.h"

#endif
