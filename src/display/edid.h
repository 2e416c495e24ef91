/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DISPLAY_EDID_H
#define VISOR_DISPLAY_EDID_H

#include <stdint.h>

#define EDID_SIZE 128u

/* What a monitor says of itself (VESA E-EDID 1.4, base block): it likes 60 pictures a second of this size, up to 4095
 * in each direction, best. */
void edid_make(uint8_t edid[EDID_SIZE], unsigned width, unsigned height);

#endif
